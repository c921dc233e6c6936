"""Pictures out of Python: a generator function or a class with `__iter__`, for camera SDKs, simulators and tests."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from detektr.errors import SourceError
from detektr.options import SECOND_NS, CaptureOptions
from detektr.picture import SIDE_PIXELS_MAX, PictureLayout
from detektr.process.user_boundary import call_user
from detektr.registry.code_checks import shown
from detektr.registry.user_code import PictureCode, told
from detektr.selection.rate_limiter import RateLimiter
from detektr.sources.contract import Picture
from detektr.sources.decoding.decoded_picture import ArrayPicture, DecodedPicture, FormatConverter
from detektr.sources.pacing import Pacer, Steps
from detektr.sources.timeline import exact

_EXPECTED = "a numpy uint8 array (H, W, 3) in bgr24 order or (H, W) gray8, or an av.VideoFrame"
_BYTES: Final = np.dtype(np.uint8)
_END: Final = object()
_log = logging.getLogger(__name__)


class GeneratorSource:
    """A python: source; it counts as a file: it blocks, and may end.

    A picture is written before the next one is asked for, so one array may be filled again and again. The user's code
    is first built by who opens the source; what yields the pictures is asked, and closed, by the thread that iterates.

    Raises:
        SourceError: the module or name is not found, or building it with the keys of `with` raises.
    """

    is_live = False
    is_batch = False  # whoever yields pictures may be a camera
    corrupt = 0
    stale = 0

    def __init__(self, options: CaptureOptions, folder: Path) -> None:
        self.description = options.source
        self.mode = "python generator"
        self.thinned = 0
        self._options = options
        self._converter = FormatConverter(options)
        self._rate_limiter = None if options.fps is None else RateLimiter(options.fps)
        self._pacer, self._steps = Pacer() if options.realtime else None, Steps()
        self._is_over = False  # closed or ended; asked for every picture
        self._closed = threading.Event()  # what a wait for a picture's time ends at
        self._reader = 0
        self._is_plain = self._rate_limiter is None and self._pacer is None and not self._converter.is_asked
        self._shape: tuple[int, ...] | None = None
        self._layout: PictureLayout | None = None  # of arrays of that shape
        self._code = PictureCode(options.source, options.with_, folder)
        self._product = self._code.build()
        self._items: Iterator[Any] | None = None
        self._count = self._count_before = 0

    def pictures(self) -> Iterator[Picture]:
        """Yield pictures, waiting for each; ends with the generator or after the picture during which it is closed."""
        return iter(self._next, None)

    def close(self) -> None:
        """Make `pictures` end, from any thread, as soon as the generator has yielded what it is at.

        Called by the thread that iterates, it closes what yields the pictures too.
        """
        self._is_over = True
        self._closed.set()
        if self._reader == threading.get_ident():
            self._let_go()

    def _next(self) -> Picture | None:
        """Wait for the next picture; None: the generator has ended, or is closed."""
        if self._items is None and not self._is_over:
            self._reader = threading.get_ident()
            self._begin(self._product)
        while not self._is_over:
            item = self._item()
            if item is _END:
                self._begin_again()
                continue
            picture = self._picture(item, self._count)
            self._count += 1
            if picture is not None:
                return picture
        self._let_go()
        return None

    def _item(self) -> Any:
        """Return what the user's code yields, `_END` after its last; what it raises comes out as SourceError."""
        assert self._items is not None
        try:
            return call_user(next, self._items, _END)
        except SourceError:  # says all that is to be said
            raise
        except BaseException as error:  # sys.exit() too: it would end this thread without a word
            raise self._raised(error) from error

    def _begin(self, product: Any) -> None:
        try:
            self._items = call_user(iter, product)
        except BaseException as error:
            raise self._raised(error) from error

    def _begin_again(self) -> None:
        """Begin another round, unless the last one was the only one, or nobody wants more."""
        if self._is_over or not self._options.loop:
            self._is_over = True
            return
        if self._count == self._count_before:
            raise self._code.fault("ends without a picture", "with loop: true it must yield at least one")
        self._let_go()
        self._count_before = self._count
        self._begin(self._code.build())

    def _let_go(self) -> None:
        """Close what yields the pictures, if it can be closed."""
        items, self._items = self._items, None
        try:
            close = getattr(items, "close", None)
            if close is not None:
                call_user(close)
        except BaseException as error:  # every picture that was wanted has come
            _log.warning(
                "%s", self._code.fault(f"raised as it was closed: {told(error)}", "mend it, or catch it there")
            )

    def _raised(self, error: BaseException) -> SourceError:
        return self._code.fault(f"raised at picture {self._count}: {told(error)}", "mend it, or catch it there")

    def _picture(self, item: Any, count: int) -> Picture | None:
        """Return the picture to be written; None if it is left out by `fps` or came too late for a stop."""
        if self._is_plain and type(item) is np.ndarray and item.shape == self._shape and item.dtype == _BYTES:
            return ArrayPicture(item, self._layout_of(item))  # nearly every picture of nearly every generator
        frame = pts = None
        time_base: Fraction | None = None
        # Whoever yields a VideoFrame has imported av: others need not.
        if "av" in sys.modules and isinstance(item, sys.modules["av"].VideoFrame):
            frame = item
            time_base = exact(frame.time_base)
            pts = None if time_base is None else frame.pts
        elif not _is_picture(item):
            raise self._code.fault(f"picture {count} is {shown(item)}", f"expected {_EXPECTED}")
        moment = None if pts is None or time_base is None else pts * time_base
        if self._pacer is not None and moment is None:
            moment = self._moment_of(count)
        elif self._rate_limiter is not None:
            now = Fraction(time.monotonic_ns(), SECOND_NS)
            if not self._rate_limiter.takes(now if moment is None else moment):
                self.thinned += 1
                return None
        if self._pacer is not None and moment is not None:
            wait_ns = self._pacer.wait_ns(moment, time.monotonic_ns(), is_jump=self._steps.is_jump(moment))
            if self._closed.wait(wait_ns / SECOND_NS):
                return None
        if frame is None and not self._converter.is_asked:
            return ArrayPicture(item, self._layout_of(item))
        if frame is None:
            from av import VideoFrame

            frame = VideoFrame.from_ndarray(item, "gray" if item.ndim == 2 else "bgr24")
        fitted, layout = self._converter.fit(frame)
        return DecodedPicture(fitted, layout, pts, time_base)

    def _layout_of(self, item: npt.NDArray[Any]) -> PictureLayout:
        """Return the layout of a picture that was looked at; the same one for as long as its shape is the same."""
        if self._layout is None or item.shape != self._shape:
            height, width = item.shape[:2]
            self._layout = PictureLayout("gray" if item.ndim == 2 else "bgr24", width, height)
            self._shape = item.shape
        return self._layout

    def _moment_of(self, count: int) -> Fraction:
        """Return when a picture without a time of its own is due in real time: at the pace of `fps`."""
        if self._options.fps is None:
            hint = "yield av.VideoFrames with pts and time_base, or say `fps`, or leave `realtime` out"
            raise self._code.fault(f"picture {count} has no time, so that `realtime` cannot pace it", hint)
        return Fraction(count) / Fraction(str(self._options.fps))


def _is_picture(item: object) -> bool:
    if not isinstance(item, np.ndarray) or item.dtype != np.uint8:
        return False
    is_shaped = item.ndim == 2 or (item.ndim == 3 and item.shape[2] == 3)
    return is_shaped and all(1 <= side <= SIDE_PIXELS_MAX for side in item.shape[:2])
