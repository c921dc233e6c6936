"""Saves dead letters: frames and events that were given up, each with the reason and what was announced.

All of them go into the spool. The picture of a frame goes into a file beside it that viewers open; pictures are large,
so few are written within a time, and the oldest make room for new ones.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import os
import re
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detektr.descriptor import Descriptor, unpack_descriptor
from detektr.edge.edge_options import FrameOutcome
from detektr.errors import DetektrError, RefusedError
from detektr.memory.ring import open_ring
from detektr.memory.run_folder import RunFolder
from detektr.nodes.dead_letter_spool import DeadLetterSpool, dead_letter_folder
from detektr.picture import PictureLayout
from detektr.process.fault_text import fault_text
from detektr.redaction import mask

PICTURES_MAX = 10  # pictures are saved at most ...
PICTURES_WITHIN_NS = 10_000_000_000  # ... within this time: a fault on every frame must not flood the disk
WHY_CHARS_MAX = 100_000
_COPIES_MAX = 1000  # of one frame: each consumer of a camera may give it up
_STRANGE = re.compile(r"[^A-Za-z0-9_.-]")
_PICTURE = re.compile(r"\d+_.+_\d+_[0-9a-f]{8}(?:-\d+)?\.(?:y4m|ppm|pgm|raw)")
_Y4M = {
    "yuv420p": "420jpeg",
    "nv12": "420jpeg",
    "nv21": "420jpeg",
    "yuv422p": "422",
    "yuyv422": "422",
    "yuv444p": "444",
    "yuv411p": "411",
}
_PLANAR = {"420jpeg": "yuv420p", "422": "yuv422p", "444": "yuv444p", "411": "yuv411p"}


class DeadLetters:
    """The dead letters of one producer's process, in the folder that all processes of its pipeline share."""

    def __init__(self, folder: RunFolder, producer: str, bytes_max: int) -> None:
        """Name the places; nothing is made yet.

        Args:
            folder: the run's, where its rings are.
            producer: the process, as in `see.0`.
            bytes_max: half of it is for the spool, half for the pictures.
        """
        self._folder, self._producer = folder, producer
        self._pictures_bytes_max, self._spool_bytes_max = bytes_max // 2, bytes_max - bytes_max // 2
        self._saved_ns: deque[int] = deque()

    @functools.cached_property
    def spool(self) -> DeadLetterSpool:
        """The spool, once it is needed.

        Raises:
            RefusedError: this user has no folder for it.
        """
        return DeadLetterSpool(dead_letter_folder(self._folder.pipeline), self._spool_bytes_max)

    def save_event(self, consumer: str, outcome: FrameOutcome, frame: str) -> str:
        """Save an event that no sink could take; returns where, in words.

        Args:
            consumer: the sink.
            outcome: of the event; the packed event is its payload.
            frame: id of the frame that it is about.
        Raises:
            OSError: the spool cannot be written.
            RefusedError: this user has no folder for it.
        """
        return self._add(consumer, outcome, {"kind": "event", "frame": frame})

    def save_frame(self, consumer: str, outcome: FrameOutcome) -> str:
        """Save a frame, with its picture if its slot still holds it; returns where, in words.

        Args:
            consumer: who could not do it.
            outcome: of the frame; its packed descriptor is the payload.
        Raises:
            OSError: the spool cannot be written.
            RefusedError: this user has no folder for it.
        """
        descriptor = unpack_descriptor(outcome.payload)
        try:
            about = self._save_picture(descriptor)
        except (OSError, DetektrError) as fault:  # a full disk must not cost the record, which is small
            about = {"picture": "", "no_picture": fault_text(fault)}
        return self._add(consumer, outcome, {"kind": "frame", "frame": descriptor.id, **about})

    def _add(self, consumer: str, outcome: FrameOutcome, about: dict[str, Any]) -> str:
        letter = self.spool.add(
            {
                **about,
                "producer": self._producer,
                "consumer": consumer,
                "attempts": outcome.attempts,
                "why": mask(outcome.reason)[-WHY_CHARS_MAX:],
                "payload": base64.b64encode(outcome.payload).decode(),
            }
        )
        return f"as {letter}, in {self.spool.folder}"

    def _save_picture(self, descriptor: Descriptor) -> dict[str, Any]:
        if not self._may_save(time.monotonic_ns()):
            return {"picture": "", "no_picture": f"more than {PICTURES_MAX} within {PICTURES_WITHIN_NS // 10**9} s"}
        ring = open_ring(self._folder.ring(descriptor.node, descriptor.epoch))
        if ring is None:
            return {"picture": "", "no_picture": "its ring is gone"}
        try:
            picture = bytes(ring.memory(descriptor.slot))
            if ring.facts.run != descriptor.run or not ring.holds(descriptor.slot, descriptor.generation):
                return {"picture": "", "no_picture": "its slot holds another frame by now"}
            layout = ring.facts.picture
            path = save_picture(self.spool.folder, descriptor, layout, picture, self._pictures_bytes_max)
        finally:
            ring.close()
        return {
            "picture": path.name,
            "show": _show_command(layout, path),
            "camera": descriptor.camera,
            "sequence": descriptor.sequence,
            "timestamp": descriptor.timestamp.isoformat(),
            "format": layout.format,
            "matrix": layout.matrix,
            "is_full_range": layout.is_full_range,
            "width": layout.width,
            "height": layout.height,
        }

    def _may_save(self, now_ns: int) -> bool:
        """Whether one more picture may be written."""
        while self._saved_ns and now_ns - self._saved_ns[0] > PICTURES_WITHIN_NS:
            self._saved_ns.popleft()
        if len(self._saved_ns) >= PICTURES_MAX:
            return False
        self._saved_ns.append(now_ns)
        return True


def save_picture(
    folder: Path, descriptor: Descriptor, layout: PictureLayout, slot_bytes: bytes | memoryview, bytes_max: int
) -> Path:
    """Save the picture of a frame that was given up, readable by its owner alone; the oldest pictures make room for it.

    Planar yuv becomes .y4m, bgr and rgb .ppm, grey .pgm; other formats are saved as they lie (.raw). A picture never
    replaces another one of the same frame.

    Args:
        folder: made (mode 0700) where it is missing.
        descriptor: which frame it is.
        layout: how the picture lies in `slot_bytes`.
        slot_bytes: the slot, at least `layout.nbytes` long; a shorter one is saved as it is (.raw).
        bytes_max: most bytes of all pictures in the folder; one that is larger is kept alone.
    Returns:
        Its path.
    Raises:
        OSError: the folder cannot be made or written; nothing half written stays.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    suffix, picture = _picture_file(layout, bytes(slot_bytes[: layout.nbytes]))
    _make_room(folder, max(0, bytes_max - len(picture)))
    name = _STRANGE.sub("_", descriptor.id)
    for stem in (name, *(f"{name}-{copy}" for copy in range(2, _COPIES_MAX))):
        path = folder / f"{stem}{suffix}"
        with contextlib.suppress(FileExistsError):
            _write_new(path, picture)
            return path
    raise FileExistsError(f"{folder}: frame {name} has {_COPIES_MAX} dead letters already; empty the folder")


def _write_new(path: Path, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _make_room(folder: Path, bytes_max: int) -> None:
    """Delete the oldest pictures beyond so many bytes; nothing else."""
    found = []
    for entry in os.scandir(folder):
        if _PICTURE.fullmatch(entry.name):
            with contextlib.suppress(FileNotFoundError):  # another process keeps order here too
                facts = entry.stat()
                found.append((facts.st_mtime_ns, entry.name, facts.st_size))
    total = sum(nbytes for _, _, nbytes in found)
    for _, name, nbytes in sorted(found):
        if total <= bytes_max:
            break
        (folder / name).unlink(missing_ok=True)
        total -= nbytes


def _picture_file(layout: PictureLayout, data: bytes) -> tuple[str, bytes]:
    """Return the suffix and the content of the picture's file."""
    size = f"{layout.width} {layout.height}"
    if len(data) < layout.nbytes:
        return ".raw", data
    if layout.format == "gray":
        return ".pgm", f"P5 {size} 255\n".encode() + data
    if layout.format in ("rgb24", "bgr24", "rgba", "bgra"):
        step = layout.planes[0].channels
        red, blue = (0, 2) if layout.format.startswith("rgb") else (2, 0)
        colours = bytearray(layout.width * layout.height * 3)
        for place, channel in enumerate((red, 1, blue)):
            colours[place::3] = data[channel::step]
        return ".ppm", f"P6 {size} 255\n".encode() + colours
    colour_space = _Y4M.get(layout.format.replace("yuvj", "yuv"))
    if colour_space is None or (layout.format == "yuyv422" and layout.width % 2):
        return ".raw", data
    if layout.format in ("nv12", "nv21"):
        offset = layout.planes[1].offset
        first, second = data[offset::2], data[offset + 1 :: 2]
        data = data[:offset] + (first + second if layout.format == "nv12" else second + first)
    elif layout.format == "yuyv422":
        data = data[::2] + data[1::4] + data[3::4]
    colour_range = " XCOLORRANGE=FULL" if layout.is_full_range else ""
    header = f"YUV4MPEG2 W{layout.width} H{layout.height} F25:1 Ip A1:1 C{colour_space}{colour_range}\nFRAME\n"
    return ".y4m", header.encode() + data


def read_picture(path: Path, record: Mapping[str, Any]) -> tuple[PictureLayout, bytes]:
    """Read a picture that `save_picture` wrote: how it lies, and its bytes.

    Args:
        path: of the file.
        record: the dead letter's, which says format, size, matrix and range.
    Raises:
        OSError: the file cannot be read.
        RefusedError: it has not as many bytes as such a picture has.
    """
    saved, data = str(record["format"]), path.read_bytes()
    formats = {".ppm": "rgb24", ".pgm": "gray", ".y4m": _PLANAR.get(_Y4M.get(saved.replace("yuvj", "yuv"), ""), saved)}
    layout = PictureLayout(
        formats.get(path.suffix, saved),
        int(record["width"]),
        int(record["height"]),
        str(record["matrix"]),
        bool(record["is_full_range"]),
    )
    picture = data[-layout.nbytes :]  # the header is before it
    if len(picture) < layout.nbytes:
        raise RefusedError(
            f"{path} has {len(data)} bytes, but a picture of {layout.width}x{layout.height} in {layout.format} has"
            f" {layout.nbytes}: the slot was smaller than its picture; look at what there is with a raw viewer"
        )
    return layout, picture


def _show_command(layout: PictureLayout, path: Path) -> str:
    told = f"-f rawvideo -pixel_format {layout.format} -video_size {layout.width}x{layout.height} "
    told += "-vf setparams=range=full " if layout.is_full_range else ""
    return f"ffplay {told if path.suffix == '.raw' else ''}{path.name}"
