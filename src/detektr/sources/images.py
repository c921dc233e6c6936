"""A folder of images: its pictures in the order of their names, each of any size, format and codec of its own."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av import FFmpegError, VideoFrame

from detektr.options import CaptureOptions
from detektr.sources.contract import Picture
from detektr.sources.decoded_picture import DecodedPicture, FormatConverter
from detektr.sources.ffmpeg_input import fault
from detektr.sources.pacing import SECOND_NS, Pacer
from detektr.sources.picture_decoder import be_strict

IMAGES_A_SECOND = 25.0
SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".qoi", ".tga", ".tif", ".tiff", ".webp"))


class ImageFolderSource:
    """The images of one folder, those of its folders left out; names are sorted as people count: 9.png, 10.png.

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
        self._rate = Fraction(str(options.fps or IMAGES_A_SECOND))
        self._converter = FormatConverter(options)
        self._pacer = Pacer() if options.realtime else None
        self._closed = threading.Event()
        self.description = f"{options.source} ({len(self._images())} images, {float(self._rate):g}/s)"

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
                frame = _read(path)
                if frame is None:
                    self.corrupt += count >= shown
                    continue
                if count < shown:
                    count += 1
                    continue
                if self._pacer is not None:
                    wait_ns = self._pacer.wait_ns(count / self._rate, time.monotonic_ns())
                    if self._closed.wait(wait_ns / SECOND_NS):
                        return
                fitted, layout = self._converter.fit(frame)
                yield DecodedPicture(fitted, layout, count, 1 / self._rate, place=count - count_before)
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
        try:
            images = [path for path in self._path.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file()]
        except OSError as error:
            raise fault(self._options, f"cannot be listed ({error.strerror})", "allow this user to read it") from None
        if not images:
            why = f"is a folder without images (looked for {', '.join(sorted(SUFFIXES))})"
            raise fault(self._options, why, "name a folder that has some, or one file")
        return sorted(images, key=_as_counted)


def _read(path: Path) -> VideoFrame | None:
    """Decode one image; None: it is damaged, or went away."""
    try:
        # Told that the name is no pattern: a `%` in it is meant as it stands.
        with av.open(str(path), "r", format="image2", options={"pattern_type": "none"}) as container:
            be_strict(container.streams.video[0].codec_context)
            frame = next(container.decode(video=0), None)
    except (FFmpegError, IndexError):
        return None
    return None if frame is None or frame.is_corrupt else frame


def _as_counted(path: Path) -> tuple[tuple[bool, int, str], ...]:
    parts = re.findall(r"[0-9]+|[^0-9]+", path.name)
    return tuple((not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts)
