"""The protocol of your own sources: code that yields pictures, for camera SDKs, simulators and tests."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from av import VideoFrame


class Source:
    """Your pictures, as `source: python:my_module:MyCamera`; built with the keys of `with`.

    Deriving from it is not needed: any class with `__iter__` will do, and so will a generator function. It belongs to
    one thread of the capture's process. Such a source counts as a file: it waits for its readers, and may end.
    """

    @abstractmethod
    def __iter__(self) -> Iterator[npt.NDArray[np.uint8] | VideoFrame]:
        """Yield pictures, waiting for each; the capture ends when this does (with `loop: true` it is built again).

        Each is copied before the next one is asked for, so one array may be filled again and again. With a `close`
        method, what this returns is closed at the end by the thread that iterated.

        Returns:
            uint8 arrays, (H, W, 3) in bgr24 order or (H, W) gray, each side 1 to 16384 pixels; or `av.VideoFrame`s of
            any format, whose `pts` and `time_base` become the frames'.
        Raises:
            detektr.SourceError: the source is away; it is tried again after a pause, and `status` shows the text.
            Exception: whatever else it raises, likewise, with the place where it was raised.
        """
        raise NotImplementedError(f"{type(self).__name__} must define __iter__(self)")
