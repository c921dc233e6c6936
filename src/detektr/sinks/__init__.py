"""What a sink is; batteries lie beside this file."""

from __future__ import annotations

from typing import Any


class Sink:
    """Your code on every event of the processors; built with the keys of `with`.

    Deriving from it is not needed: any class with `write` will do, and so will a plain function of an event.
    """

    def open(self) -> None:
        """Get ready (open a file, connect): called once in the sink's process, before the first event."""

    def write(self, event: dict[str, Any]) -> None:
        """Take one event; when this returns, the event counts as delivered.

        Args:
            event: plain values (text, numbers, bytes, lists, dicts).
        Raises:
            Exception: whatever it raises, the event is delivered again, up to `max_deliveries` times.
        """
        raise NotImplementedError(f"{type(self).__name__} must define write(self, event)")

    def close(self) -> None:
        """Let go of what `open` took: called once, after the last event of a drained run.

        Then the object is let go of, threads are joined, `atexit` runs and files are flushed, as at the end of any
        Python program; within the node's `drain`: what takes longer is named in the log and cut off.
        """
