"""What one run is told, by a file in its folder, so that every interpreter and every peer reads the same."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

WARM_FRAMES = 20  # first frames, left out of every figure of everybody
SOCKET = "watch.sock"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One run: `count` frames from each producer to `consumers` that each must get every one of them."""

    folder: str
    """Where this run keeps its files."""
    count: int
    """Frames of each producer."""
    warm: int = WARM_FRAMES
    """The first frame that is measured."""
    rate: float = 0.0
    """Frames a second; 0: as fast as they are taken."""
    height: int = 0
    """Of the pictures, in pixels; 0 where a file says it."""
    width: int = 0
    """Of the pictures, in pixels; 0 where a file says it."""
    consumers: int = 1
    """How many must get every frame."""
    replicas: int = 1
    """Processes that share the frames of one consumer."""
    cameras: int = 1
    """Producers, each with a consumer of its own where there are several."""
    reads: bool = False
    """Whether each consumer reads every byte before it notes the frame; else it reads number and hand-over alone."""
    file: str = ""
    """The video that is decoded; empty: pictures from memory."""

    def save(self) -> None:
        """Write it into its folder."""
        Path(self.folder, "trial.json").write_text(json.dumps(asdict(self)))


def load_trial(folder: str) -> Trial:
    """Read the trial of this folder."""
    return Trial(**json.loads(Path(folder, "trial.json").read_text()))
