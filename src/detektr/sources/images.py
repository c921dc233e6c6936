"""A folder of images, or a numbered series: in the order of their names, each of any size, format and codec."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from detektr.options import SECOND_NS, CaptureOptions
from detektr.redaction import redact
from detektr.source_uri import is_series, series_names
from detektr.sources.contract import Picture
from detektr.sources.decoding.decoded_picture import DecodedPicture, FormatConverter
from detektr.sources.decoding.picture_file import is_picture, read_picture
from detektr.sources.pacing import Pacer
from detektr.sources.transport.ffmpeg_input import fault

IMAGES_A_SECOND = 25.0
NAMES_MAX = 5  # of files left out, in the log
_log = logging.getLogger(__name__)


class ImageFolderSource:
    """The images of one folder, whatever they are called; names are sorted as people count: 9.png, 10.png.

    What is no picture is left out and told; folders in it are left out. Of a series (`folder/img%04d.png`) those with
    such a name, from whatever number on and with whatever gaps.

    They have no times of their own: there are `fps` in a second, and `IMAGES_A_SECOND` unless told otherwise. What lies
    there when a round begins belongs to it.

    Raises:
        SourceError: there is no image in it.
    """

    is_live = False
    thinned = 0
    stale = 0

    def __init__(self, options: CaptureOptions, path: Path, begin_at: int = 0) -> None:
        self.is_batch = not options.realtime
        self.corrupt = 0
        self._options, self._path, self._begin_at = options, path, begin_at
        self._names: re.Pattern[str] | None = None  # that are meant; None: all
        if is_series(path):
            self._path, self._names = path.parent, series_names(path.name)
        self.rate = Fraction(str(options.fps or IMAGES_A_SECOND))
        """Pictures a second."""
        self._converter = FormatConverter(options)
        self._pacer = Pacer() if options.realtime else None
        self._closed = threading.Event()
        self._name = redact(options.source)
        self._known: dict[str, bool] = {}  # files by name, and whether they are pictures
        images, others = len(self._images()), sum(not is_image for is_image in self._known.values())
        left_out = f"; {others} other files left out" if others else ""
        self.description = f"{self._name} ({images} images, {float(self.rate):g}/s{left_out})"

    @property
    def mode(self) -> str:
        """How it is read, in short words for status."""
        return f"images{self._converter.note and f', {self._converter.note}'}"

    def pictures(self) -> Iterator[Picture]:
        """Yield pictures, waiting for each; ends with the folder or soon after `close`; to be called once."""
        count, shown = 0, self._begin_at
        while True:
            count_before = count
            for path in self._images():
                if self._closed.is_set():
                    return
                frame = read_picture(path)
                if frame is None:
                    self.corrupt += count >= shown
                    continue
                if count < shown:
                    count += 1
                    continue
                if self._pacer is not None:
                    wait_ns = self._pacer.wait_ns(count / self.rate, time.monotonic_ns())
                    if self._closed.wait(wait_ns / SECOND_NS):
                        return
                fitted, layout = self._converter.fit(frame)
                yield DecodedPicture(fitted, layout, count, 1 / self.rate, place=count - count_before)
                count += 1
            if count == count_before:
                why = f"not one of its images could be decoded ({self.corrupt} damaged)"
                raise fault(self._options, why, "see whether they open elsewhere")
            if not self._options.loop:
                return

    def close(self) -> None:
        """Make `pictures` end, from any thread, after the picture that it is at."""
        self._closed.set()

    def _images(self) -> list[Path]:
        """List the pictures that lie there now, and tell of the files that are none, once of each."""
        images, others = [], []
        try:
            for path in self._path.iterdir():
                if self._names is not None and not self._names.fullmatch(path.name):
                    continue
                if path.name not in self._known and path.is_file():
                    self._known[path.name] = is_picture(path)
                    others += [] if self._known[path.name] else [path.name]
                if self._known.get(path.name) and path.is_file():
                    images.append(path)
        except OSError as error:
            raise fault(self._options, f"cannot be listed ({error.strerror})", "allow this user to read it") from None
        if others:
            names = ", ".join(sorted(others)[:NAMES_MAX]) + (", ..." if len(others) > NAMES_MAX else "")
            _log.warning("source %s: %d files are no pictures, and left out: %s", self._name, len(others), names)
        if not images and self._names is not None:
            why = f"names a series, and no picture in {self._path} has such a name"
            raise fault(self._options, why, "%04d stands for a number of four digits or more, %d for any")
        if not images:
            why = f"is a folder without pictures ({len(others)} other files)"
            raise fault(self._options, why, "name a folder that has some, or one file")
        return sorted(images, key=_as_counted)


def _as_counted(path: Path) -> tuple[tuple[bool, int, str], ...]:
    parts = re.findall(r"[0-9]+|[^0-9]+", path.name)
    return tuple((not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts)
