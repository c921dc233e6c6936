"""shared memory of a camera at the defaults, and of each process beyond it (USS), running on a real H.264 file"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import psutil
from bar import Bar
from clip import cached_clip

from detektr.memory.run_folder import shm_root
from tests.harness.lane import add_announce
from tests.harness.running import RunningPipeline

MIB = 1 << 20
MOST_MIB = {"capture": 80.0, "buffer": 45.0, "processor": 45.0}
SHARED_MIB = (
    72.0  # of a 1080p camera behind a buffer and a processor: its `memory`, and what each process shows of itself
)
LOOKS = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this run can be told."""
    add_announce(parser)
    parser.add_argument("file", type=Path, nargs="?", help="a video; a 1080p H.264 clip is made unless one is named")
    parser.add_argument("--frames", type=int, default=300, help="processed before each of the three looks")


def run(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """Look three times at every process of a running pipeline."""
    file = (chosen.file or cached_clip(1080, 1920, 30, 300)).resolve()
    seen: dict[str, list[dict[str, float]]] = {}
    kinds: dict[str, str] = {}
    shared_mib = 0.0
    with tempfile.TemporaryDirectory(prefix="dtk") as folder:
        nodes: dict[str, Any] = {
            "camera": {"kind": "capture", "source": str(file), "loop": True},
            "buffer": {"kind": "buffer", "input": "camera", "when_full": "block"},
            "motion": {"kind": "processor", "input": "buffer", "use": "detektr.processors.motion:Motion"},
            "events": {
                "kind": "sink", "input": "motion", "use": "detektr.sinks.jsonl:JsonLines",
                "with": {"path": f"{folder}/events.jsonl"},
            },
        }  # fmt: skip
        name, told = f"bench-memory-{os.getpid()}", {"announce": chosen.announce, "metrics": {"port": 0}}
        with RunningPipeline(Path(folder), name, nodes, **told) as up:
            for look in range(LOOKS):
                up.wait_delivered("buffer", "motion", (look + 1) * chosen.frames, within_s=300)
                shared_mib = max(shared_mib, run_folder_bytes(shm_root() / up.name) / MIB)
                assert up.process is not None
                seen.setdefault("up", []).append(beyond_rings(up.process.pid, shm_root() / up.name))
                for name, facts in up.status()["nodes"].items():
                    kinds[name] = facts["kind"]
                    seen.setdefault(name, []).append(beyond_rings(facts["pids"][0], shm_root() / up.name))
            up.end()
    run = f"{file.name}: MiB of shared memory of the run, announced by {chosen.announce}"
    return [
        {"run": run, "who": "camera, buffer, motion, events", "kind": "shared", "shared": shared_mib},
        *(
            {
                "run": f"{file.name}: MiB of each process, the most of {LOOKS} looks, announced by {chosen.announce}",
                "who": name,
                "kind": kinds.get(name, "supervisor"),
                **{figure: max(look[figure] for look in looks) for figure in looks[0]},
            }
            for name, looks in seen.items()
        ),
    ]


def run_folder_bytes(folder: Path) -> int:
    """Return the shared memory that a run has taken: rings, journals and status blocks."""
    return sum(path.stat().st_blocks * 512 for path in folder.iterdir() if path.is_file())


def beyond_rings(pid: int, rings: Path) -> dict[str, float]:
    """Return what a process has for itself, in MiB: USS, the part of it in the run's shared memory, and the rest.

    A slot that only its writer has touched so far counts as the writer's own in USS, although it is declared.
    """
    process = psutil.Process(pid)
    private = sum(
        area.private_clean + area.private_dirty
        for area in process.memory_maps(grouped=True)
        if area.path.startswith(f"{rings}/")
    )
    uss = process.memory_full_info().uss
    return {"beyond_rings": (uss - private) / MIB, "uss": uss / MIB, "rss": process.memory_info().rss / MIB}


def bars(rows: list[dict[str, Any]]) -> list[Bar]:
    """Return the rows of the bar table that these figures answer."""
    shared = [
        Bar(f"shared memory of {row['who']}, MiB", row["shared"], most=SHARED_MIB) for row in rows if "shared" in row
    ]
    return [
        *shared,
        *(
            Bar(f"{row['kind']} {row['who']}: MiB beyond the rings", row["beyond_rings"], most=MOST_MIB[row["kind"]])
            for row in rows
            if row["kind"] in MOST_MIB
        ),
    ]
