"""Saves dead letters: frames and events that were given up, with the reason; pictures in a format that viewers open."""

from __future__ import annotations

import json
import os
import re
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detektr.descriptor import Descriptor, unpack_descriptor
from detektr.memory.ring import open_ring
from detektr.memory.run_folder import RunFolder, state_root
from detektr.picture import PictureLayout
from detektr.redaction import mask

DEAD_LETTERS_KEPT_MAX = 100  # of frames, and as many of events: neither pushes the other out
WHY_CHARS_MAX = 100_000
_COPIES_MAX = 1000  # of one frame: each consumer of a camera may give it up
_STRANGE = re.compile(r"[^A-Za-z0-9_.-]")
_FRAME_LETTER = re.compile(r"(\d+_.+_\d+_[0-9a-f]{8}(?:-\d+)?)\.(?:json|y4m|ppm|pgm|raw)")
_EVENT_LETTER = re.compile(r"(event_.+\.\d+_\d+)\.json")
_Y4M = {
    "yuv420p": "420jpeg",
    "nv12": "420jpeg",
    "nv21": "420jpeg",
    "yuv422p": "422",
    "yuyv422": "422",
    "yuv444p": "444",
    "yuv411p": "411",
}


def save_dead_letter(
    folder: Path,
    descriptor: Descriptor,
    layout: PictureLayout,
    slot_bytes: bytes | memoryview,
    why: str,
    dead_letters_max: int = DEAD_LETTERS_KEPT_MAX,
) -> Path:
    """Save a frame that was given up, readable by its owner alone, and delete the oldest dead letters of frames.

    Planar yuv becomes .y4m, bgr and rgb .ppm, grey .pgm; other formats are saved as they lie (.raw) with the
    command that shows them. A dead letter never replaces another one of the same frame.

    Args:
        folder: made (mode 0700) where it is missing.
        descriptor: which frame it is.
        layout: how the picture lies in `slot_bytes`.
        slot_bytes: the slot, at least `layout.nbytes` long; a shorter one is saved as it is (.raw).
        why: the reason; of a long one the end is kept, where a traceback says what happened.
        dead_letters_max: how many stay in the folder.
    Returns:
        Path of the JSON file; the key `picture` in it names the other file.
    Raises:
        OSError: the folder cannot be made or written; nothing half written stays.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    suffix, picture = _picture_file(layout, bytes(slot_bytes[: layout.nbytes]))
    name = _STRANGE.sub("_", descriptor.id)
    for stem in (name, *(f"{name}-{copy}" for copy in range(2, _COPIES_MAX))):
        dead_letter, picture_path = folder / f"{stem}.json", folder / f"{stem}{suffix}"
        if dead_letter.exists():
            continue
        try:
            _write_new(picture_path, picture)
        except FileExistsError:
            continue
        break
    else:
        raise FileExistsError(f"{folder}: frame {name} has {_COPIES_MAX} dead letters already; empty the folder")
    record = {
        "id": descriptor.id,
        **descriptor._asdict(),
        "timestamp": descriptor.timestamp.isoformat(),
        "format": layout.format,
        "matrix": layout.matrix,
        "is_full_range": layout.is_full_range,
        "width": layout.width,
        "height": layout.height,
        "picture": picture_path.name,
        "show": _show_command(layout, picture_path),
        "why": mask(why)[-WHY_CHARS_MAX:],
    }
    try:
        _write_new(dead_letter, (json.dumps(record, indent=1) + "\n").encode())
    except OSError:
        picture_path.unlink(missing_ok=True)
        raise
    _keep_newest(folder, _FRAME_LETTER, dead_letters_max)
    return dead_letter


def save_frame(folder: RunFolder, payload: bytes, why: str) -> str:
    """Save the frame that was announced with `payload`, if its slot still holds it.

    Args:
        folder: of the run, where its ring is.
        payload: its descriptor.
        why: the reason.
    Returns:
        Where, or why it was saved nowhere.
    """
    descriptor = unpack_descriptor(payload)
    ring = open_ring(folder.ring(descriptor.node, descriptor.epoch))
    if ring is None:
        return "nowhere: its ring is gone"
    try:
        picture = bytes(ring.memory(descriptor.slot))
        if ring.facts.run != descriptor.run or not ring.holds(descriptor.slot, descriptor.generation):
            return "nowhere: its slot holds another frame by now"
        return str(save_dead_letter(_dead_letters(folder.pipeline), descriptor, ring.facts.picture, picture, why))
    finally:
        ring.close()


def save_event(pipeline: str, producer: str, event: Mapping[str, Any], why: str) -> str:
    """Save an event that no sink could take, and delete the oldest dead letters of events.

    Args:
        pipeline: whose it is.
        producer: the processor that made it, as in `motion.0`.
        event: of plain values; what JSON has no word for is saved as text.
        why: the reason; of a long one the end is kept.
    Returns:
        Where.
    Raises:
        OSError: the folder cannot be made or written; nothing half written stays.
    """
    dead_letters = _dead_letters(pipeline)
    dead_letters.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = dead_letters / f"event_{producer}_{time.time_ns()}.json"
    record = {"event": event, "why": mask(why)[-WHY_CHARS_MAX:]}
    _write_new(path, (json.dumps(record, default=str, indent=1) + "\n").encode())
    _keep_newest(dead_letters, _EVENT_LETTER, DEAD_LETTERS_KEPT_MAX)
    return str(path)


def _dead_letters(pipeline: str) -> Path:
    return state_root() / pipeline / "dead-letters"


def _write_new(path: Path, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _keep_newest(folder: Path, dead_letter: re.Pattern[str], dead_letters_max: int) -> None:
    """Delete the oldest dead letters beyond the limit, and pictures whose JSON file was never written; nothing else.

    Args:
        folder: where the dead letters are.
        dead_letter: matches their files' names; its first group is the same for all files of one dead letter.
        dead_letters_max: how many stay.
    """
    ages: dict[str, int] = {}
    files: dict[str, list[Path]] = defaultdict(list)
    for entry in os.scandir(folder):
        match = dead_letter.fullmatch(entry.name)
        if match is None:
            continue
        try:
            written_ns = entry.stat().st_mtime_ns
        except FileNotFoundError:  # another process of the node keeps order here too
            continue
        stem = match.group(1)
        ages[stem] = max(ages.get(stem, 0), written_ns)
        files[stem].append(Path(entry.path))
    newest_first = sorted(ages, key=lambda stem: (ages[stem], stem), reverse=True)
    for stem in newest_first[dead_letters_max:]:
        for path in files[stem]:
            path.unlink(missing_ok=True)


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


def _show_command(layout: PictureLayout, path: Path) -> str:
    told = f"-f rawvideo -pixel_format {layout.format} -video_size {layout.width}x{layout.height} "
    told += "-vf setparams=range=full " if layout.is_full_range else ""
    return f"ffplay {told if path.suffix == '.raw' else ''}{path.name}"
