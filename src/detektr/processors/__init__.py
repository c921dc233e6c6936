"""The base class of processors; shipped processors are beside this file."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detektr.frame import Frame


class Processor:
    """Your code on every frame; one object in each replica's process, built with the keys of `with`.

    Deriving from it is not needed: any class with `process` will do, and so will a plain function of a frame. With the
    key `batch`, `process_batch(self, frames: list[Frame])` is called in place of `process`; it returns a list with one
    result for each frame, and all of them are good until then.
    """

    stateful: bool = False
    """True: it remembers something of each camera's frames (a tracker, a background). Then each camera's frames come to
    one replica, in order: a frame that failed is tried again before the next one of its camera. Below a processor in
    several replicas they are in order if the file says `order: camera`. `frame.is_first_here` says where a camera
    begins in this replica."""

    def open(self) -> None:
        """Get ready (load a model, say): called once in the replica's process, before the first frame.

        Raises:
            Exception: whatever it raises, the pipeline does not start; the text is told.
        """

    @abstractmethod
    def process(self, frame: Frame) -> dict[str, Any] | list[dict[str, Any]] | None:
        """Work on one frame, which is good until this returns.

        Args:
            frame: read-only; copy what is kept, e.g. `frame.bgr` or `frame.pixels.copy()`.
        Returns:
            An event, several, or None: dicts, which reach the sinks as `data` of an `Event`. Their keys are text or
            numbers, their values text, numbers, truth values, None, bytes, lists and dicts; times become ISO 8601
            text, small numpy arrays lists, paths, UUIDs and decimals text.
        Raises:
            Exception: whatever it raises, the frame is delivered again, up to `max_deliveries` times, then it is
                dead-lettered with its picture and the traceback.
        """
        raise NotImplementedError(f"{type(self).__name__} must define process(self, frame)")

    def close(self) -> None:
        """Let go of what `open` took: called once, after the last frame of a drained run.

        Then the object is let go of, threads are joined, `atexit` runs and files are flushed, as at the end of any
        Python program; within the node's `drain`: what takes longer is named in the log and cut off.
        """
