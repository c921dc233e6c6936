"""The base class of sinks, and the events that they get; shipped sinks are beside this file."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NotRequired, TypedDict


class Event(TypedDict):
    """What a sink gets: a dict of plain values (text, numbers, truth values, None, bytes, lists, dicts).

    The processor's own values are in `data`; the rest says which frame they are about.
    """

    frame: str
    """Id of the frame: `1753608701224_<node>_<camera>_<sequence>_<8 hex>`, the same at each delivery."""
    camera: str
    """Name of the camera."""
    sequence: int
    """Count of the camera's frames since the pipeline was started, from 0."""
    epoch: int
    """Life of the ring: a restart of the capture or a change of size begins a new one."""
    timestamp: str
    """Wall-clock time of the capture, ISO 8601 in UTC to the millisecond."""
    node: str
    """Name of the processor."""
    replica: int
    """Which of its processes, from 0."""
    delivery: int
    """Which attempt at the frame gave it: 1, 2, ..."""
    data: dict[str, Any]
    """What `process` returned. Times are ISO 8601 text in it, numpy values are numbers and lists."""
    delivery_of_event: NotRequired[int]
    """Which attempt at this event it is; there from the second one on."""
    resent: NotRequired[str]
    """Id of the dead letter that it was; there if `detektr dead-letters resend` gave it again."""


class Sink:
    """Your code on every event of the processors; built with the keys of `with`.

    Deriving from it is not needed: any class with `write` will do, and so will a plain function of an event.
    """

    def open(self) -> None:
        """Get ready (open a file, connect): called once in the sink's process, before the first event.

        Raises:
            Exception: whatever it raises, the pipeline does not start; the text is told.
        """

    @abstractmethod
    def write(self, event: Event) -> None:
        """Take one event; when this returns, the event counts as delivered.

        Args:
            event: a dict of plain values, yours to keep and to change.
        Raises:
            Exception: whatever it raises, the event is delivered again, up to `max_deliveries` times, or for as long as
                `retry` says, then it is dead-lettered with the traceback.
            ResultError: no attempt will ever succeed: the event is dead-lettered at once.
        """
        raise NotImplementedError(f"{type(self).__name__} must define write(self, event)")

    def close(self) -> None:
        """Let go of what `open` took: called once, after the last event of a drained run.

        Then the object is let go of, threads are joined, `atexit` runs and files are flushed, as at the end of any
        Python program; within the node's `drain`: what takes longer is named in the log and cut off.
        """
