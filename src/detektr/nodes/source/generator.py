"""Pictures out of Python: a generator function or a class with `__iter__`, for camera SDKs, simulators and tests."""

from __future__ import annotations

import importlib
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from detektr.errors import SourceError
from detektr.nodes.options import CaptureOptions
from detektr.nodes.source.contract import Picture
from detektr.nodes.source.decoded import ArrayPicture, DecodedPicture, Fitting
from detektr.nodes.source.pace import SECOND_NS, Pacer, Thinner
from detektr.nodes.source.timeline import exact
from detektr.picture import SIDE_PIXELS_MAX, PictureLayout

_EXPECTED = "a numpy uint8 array (H, W, 3) in bgr24 order or (H, W) gray8, or an av.VideoFrame"


class GeneratorSource:
    """A python: source; it counts as a file: it blocks, and may end.

    A picture is written before the next one is asked for, so one array may be filled again and again.

    Raises:
        SourceError: the module or name is not found, or building it with the keys of `with` raises.
    """

    is_live = False
    is_batch = False  # whoever yields pictures may be a camera

    def __init__(self, options: CaptureOptions, folder: Path) -> None:
        self.description = options.source
        self.mode = "python generator"
        self.thinned = 0
        self.corrupt = 0
        self.stale = 0
        self._options = options
        self._fitting = Fitting(options)
        self._thinner = None if options.fps is None else Thinner(options.fps)
        self._pacer = Pacer() if options.realtime else None
        self._closed = threading.Event()
        self._is_plain = self._thinner is None and self._pacer is None and not self._fitting.is_asked
        self._shape: tuple[int, ...] | None = None
        self._layout: PictureLayout | None = None  # of arrays of that shape
        self._factory = self._find(folder)
        self._product = self._build()

    def pictures(self) -> Iterator[Picture]:
        """Yield pictures, waiting for each; ends with the generator or after the picture during which it is closed."""
        count, is_looped = 0, False
        while not self._closed.is_set():
            count_before = count
            for item in self._items(count, is_looped):
                picture = self._picture(item, count)
                count += 1
                if picture is not None:
                    yield picture
                if self._closed.is_set():
                    return
            if not self._options.loop:
                return
            if count == count_before:
                raise self._fault("ends without a picture", "with loop: true it must yield at least one")
            is_looped = True

    def close(self) -> None:
        """Make `pictures` end, from any thread, as soon as the generator has yielded what it is at."""
        self._closed.set()

    def _items(self, count: int, is_looped: bool) -> Iterator[Any]:
        """Yield what the user's code yields; what it raises comes out as SourceError, with its place."""
        try:
            product = self._build() if is_looped else self._product
            iterator = iter(product)
            try:
                for item in iterator:
                    yield item
                    count += 1
            finally:
                close = getattr(iterator, "close", None)
                if close is not None:
                    close()
        except SourceError:
            raise
        except Exception as error:
            raise self._fault(f"raised at picture {count}: {_told(error)}", "mend it, or catch it there") from error

    def _picture(self, item: Any, count: int) -> Picture | None:
        """Return the picture to be written; None if it is left out by `fps` or came too late for a stop."""
        if self._is_plain and type(item) is np.ndarray and item.shape == self._shape and item.dtype == np.uint8:
            return ArrayPicture(item, self._layout_of(item))  # nearly every picture of nearly every generator
        frame = pts = None
        time_base: Fraction | None = None
        # Whoever yields a VideoFrame has imported av: others need not.
        if "av" in sys.modules and isinstance(item, sys.modules["av"].VideoFrame):
            frame = item
            time_base = exact(frame.time_base)
            pts = None if time_base is None else frame.pts
        elif not _is_picture(item):
            raise self._fault(f"picture {count} is {_shown(item)}", f"expected {_EXPECTED}")
        moment = None if pts is None or time_base is None else pts * time_base
        if self._pacer is not None and moment is None:
            moment = self._moment_of(count)
        elif self._thinner is not None:
            now = Fraction(time.monotonic_ns(), SECOND_NS)
            if not self._thinner.takes(now if moment is None else moment):
                self.thinned += 1
                return None
        if self._pacer is not None and moment is not None:
            wait_ns = self._pacer.wait_ns(moment, time.monotonic_ns())
            if self._closed.wait(wait_ns / SECOND_NS):
                return None
        if frame is None and not self._fitting.is_asked:
            return ArrayPicture(item, self._layout_of(item))
        if frame is None:
            from av import VideoFrame

            frame = VideoFrame.from_ndarray(item, "gray" if item.ndim == 2 else "bgr24")
        fitted, layout = self._fitting.fit(frame)
        return DecodedPicture(fitted, layout, pts, time_base)

    def _layout_of(self, item: np.ndarray[Any, Any]) -> PictureLayout:
        """Return the layout of a picture that was looked at; the same one for as long as its shape is the same."""
        if self._layout is None or item.shape != self._shape:
            height, width = item.shape[:2]
            self._layout = PictureLayout("gray" if item.ndim == 2 else "bgr24", width, height)
            self._shape = item.shape
        return self._layout

    def _moment_of(self, count: int) -> Fraction:
        """Return when a picture without a time of its own is due in real time: at the pace of `fps`."""
        if self._options.fps is None:
            cure = "yield av.VideoFrames with pts and time_base, or say `fps`, or leave `realtime` out"
            raise self._fault(f"picture {count} has no time, so that `realtime` cannot pace it", cure)
        return Fraction(count) / Fraction(str(self._options.fps))

    def _find(self, folder: Path) -> Callable[..., Iterable[Any]]:
        module_name, _, name = self._options.source.partition(":")[2].partition(":")
        if not module_name or not name:
            raise self._fault("is not python:module:name", "e.g. python:my.module:pictures")
        if str(folder.absolute()) not in sys.path:
            sys.path.append(str(folder.absolute()))  # last, so that a file there hides no installed module
        try:
            found = reduce(getattr, name.split("."), importlib.import_module(module_name))
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
                raise self._fault(f"its module raises: {_told(error)}", "install what it imports") from error
            cure = f"put it on PYTHONPATH or in {folder}"
            raise self._fault(f"there is no module {error.name!r}", cure) from None
        except AttributeError as error:
            if error.obj is None or traceback.extract_tb(error.__traceback__)[-1].filename != __file__:
                raise self._fault(f"its module raises: {_told(error)}", "mend it") from error
            raise self._fault(f"module {module_name!r} has no {name!r}", "name a function or class of it") from None
        except Exception as error:
            raise self._fault(f"its module raises: {_told(error)}", "mend it") from error
        if not callable(found):
            raise self._fault(f"{name!r} is {_shown(found)}", "expected a generator function or a class with __iter__")
        return found

    def _build(self) -> Iterable[Any]:
        keys = ", ".join(self._options.with_) or "none"
        try:
            product: object = self._factory(**self._options.with_)
        except Exception as error:
            raise self._fault(f"cannot be built: {_told(error)}", f"keys of with: {keys}") from error
        if not isinstance(product, Iterable):
            cure = "expected a generator function or a class with __iter__"
            raise self._fault(f"gives {_shown(product)}, which has no pictures", cure)
        return product

    def _fault(self, why: str, cure: str) -> SourceError:
        return SourceError(f"source {self._options.source}: {why}; {cure}")


def _is_picture(item: object) -> bool:
    if not isinstance(item, np.ndarray) or item.dtype != np.uint8:
        return False
    is_shaped = item.ndim == 2 or (item.ndim == 3 and item.shape[2] == 3)
    return is_shaped and all(1 <= side <= SIDE_PIXELS_MAX for side in item.shape[:2])


def _shown(item: object) -> str:
    if isinstance(item, np.ndarray):
        return f"a numpy {item.dtype} array of shape {item.shape}"
    return f"{type(item).__name__} {item!r:.60}"


def _told(error: BaseException) -> str:
    """Say what was raised and where, as far as the user's own code goes."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = "" if last.filename == __file__ else f" ({Path(last.filename).name}:{last.lineno})"
    return f"{type(error).__name__}: {error}{where}"
