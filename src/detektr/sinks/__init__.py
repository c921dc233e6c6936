"""The base class of sinks, and the events that they get; shipped sinks are beside this file."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NotRequired, TypedDict


class Event(TypedDict):
    """What a sink gets: a dict of plain values (text, numbers, truth values, None, bytes, lists, dicts).

    The processor's own values are in `data`; the rest says which frame they are about.
    """

    frame: str
    """The frame's id, `1753608701224_<node>_<camera>_<sequence>_<8 hex>`; it is the same at each delivery."""
    camera: str
    """The camera's name."""
    sequence: int
    """The number of the frame: the camera's frames are counted from 0 since the pipeline was started."""
    epoch: int
    """The life of the ring: a restart of the capture, or another picture size, begins the next one."""
    timestamp: str
    """UTC time of the picture, in ISO 8601 to the millisecond: by the camera's clock if it sends one, else by the
    machine's."""
    node: str
    """The name of the processor."""
    replica: int
    """The number of the processor's replica, from 0."""
    delivery: int
    """The number of the attempt at the frame that gave this event, from 1."""
    data: dict[str, Any]
    """What `process` returned. Times in it are ISO 8601 text, and numpy values are numbers and lists."""
    delivery_of_event: NotRequired[int]
    """The number of the attempt at this event; the key is there from the second attempt on."""
    resent: NotRequired[str]
    """The id of the dead letter that the event was; the key is there if `detektr dead-letters resend` gave it again."""


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
