"""`detektr new`: a folder with a pipeline, a processor and its test, to begin from."""

from __future__ import annotations

import re
from pathlib import Path

from detektr.errors import RefusedError
from detektr.options import NAME_PATTERN

_PIPELINE = """\
# detektr up          start it (Ctrl-C drains it and prints the ledger)
# detektr validate    all faults of this file, with their lines
# detektr list        what `use` knows by a short name

name: {name}

nodes:
  camera:
    kind: capture
    # Yours: rtsp://user:${{PASSWORD}}@host/stream, /dev/video0, clip.mp4; `detektr probe SOURCE` says what it is.
    source: "lavfi:testsrc2=size=640x360:rate=10"
    realtime: true

  look:
    kind: processor
    input: camera
    use: "look:Look"          # the class Look in look.py
    with: {{below: 255}}

  events:
    kind: sink
    input: look
    use: jsonl
    with: {{path: events.jsonl}}
"""
_PROCESSOR = """\
from detektr import Frame, Processor


class Look(Processor):
    \"\"\"Says how bright a picture is that is not brighter than `below`.\"\"\"

    def __init__(self, below: float = 255) -> None:
        self.below = below

    def process(self, frame: Frame) -> dict[str, float] | None:
        mean = float(frame.gray.mean())  # a view of shared memory: copy what you keep
        return {"mean": mean} if mean < self.below else None
"""
_TEST = """\
import numpy as np
from look import Look

from detektr.testing import frame, run_processor


def test_a_dark_picture_is_told() -> None:
    [event] = run_processor(Look(below=100), [frame(np.full((48, 64), 30, np.uint8))])
    assert event["data"] == {"mean": 30.0}


def test_a_bright_picture_is_not() -> None:
    assert run_processor(Look(below=100), [frame(np.full((48, 64), 200, np.uint8))]) == []
"""


def make_project(folder: Path) -> list[Path]:
    """Write a new pipeline's files into a new folder.

    Args:
        folder: it must not exist; its last part is the pipeline's name.
    Returns:
        The files.
    Raises:
        RefusedError: the name is none, or the folder exists or cannot be made.
    """
    name = folder.name
    if not re.fullmatch(NAME_PATTERN, name):
        raise RefusedError(f"new: {name!r} is not a name; use a letter, then at most 31 letters, digits, _ or -")
    texts = {"pipeline.yaml": _PIPELINE.format(name=name), "look.py": _PROCESSOR, "test_look.py": _TEST}
    try:
        folder.mkdir(parents=True)
        for file, text in texts.items():
            (folder / file).write_text(text)
    except FileExistsError:
        raise RefusedError(f"new: {folder} exists; name another folder") from None
    except OSError as fault:
        raise RefusedError(f"new: {fault.filename}: {fault.strerror}; name a folder that can be made") from None
    return [folder / file for file in texts]
