"""Shared memory that is small, full, or filled by somebody else: words and counts, never a SIGBUS."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import detektr
from detektr.errors import NoRoomError, RefusedError
from detektr.memory.layout import PAGE_BYTES
from detektr.memory.run_folder import RunFolder
from tests.harness.checked import read_notes, wrong_pixels
from tests.harness.running import RunningPipeline

if TYPE_CHECKING:
    from tests.conftest import RunDetektr

SMALL_MIB = 64
QUICK = {"restart": {"backoff": "20ms..100ms", "limit": "99 in 1m"}, "drain": "20s"}
GIVEN_UP = {**QUICK, "restart": {"when": "never"}}


@pytest.fixture
def small_shm(shm_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Let DETEKTR_SHM_DIR be a file system in memory of 64 MiB, as a container has."""
    place = shm_dir / "s"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_MIB}m", "tmpfs", str(place)]
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode:
        place.rmdir()
        pytest.skip(f"a small tmpfs cannot be mounted here: {made.stderr.strip()}")
    monkeypatch.setenv("DETEKTR_SHM_DIR", str(place))
    try:
        yield place
        assert list(place.iterdir()) == [], "left in shared memory"
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
        place.rmdir()


def graph(tmp_path: Path, source: str, *, node: dict[str, Any] | None = None, **arguments: Any) -> dict[str, Any]:
    """A source, a buffer and a processor that checks every frame."""
    check = {"use": "tests.harness.checked:Check", "with": {"path": str(tmp_path / "notes")}}
    return {
        "camera": {"kind": "capture", "source": source, "with": arguments, **QUICK, **(node or {})},
        "buffer": {"kind": "buffer", "input": "camera", "high_water_mark": 8, "when_full": "block", **QUICK},
        "check": {"kind": "processor", "input": "buffer", **check, **QUICK},
    }


NUMBERED = "python:tests.harness.checked:numbered"


def sizes(tmp_path: Path, *steps: tuple[int, int, int]) -> str:
    """Write a source that yields so many pictures of each width and height, in turn."""
    lines = ["from tests.harness.checked import numbered", "def pictures():"]
    lines += [f"    yield from numbered({count}, {width}, {height})" for count, width, height in steps]
    (tmp_path / "changing.py").write_text("\n".join(lines) + "\n")
    return "python:changing:pictures"


def fill(place: Path, name: str = "foreign") -> Path:
    """Take all that is left, as somebody else."""
    path = place / name
    fd, block = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), 1 << 20
    while block >= PAGE_BYTES:
        try:
            os.posix_fallocate(fd, os.fstat(fd).st_size, block)
        except OSError:
            block //= 2
    os.close(fd)
    return path


def test_ring_that_does_not_fit_is_refused_in_one_sentence_with_needed_free_and_cure(
    tmp_path: Path, small_shm: Path, run_detektr: RunDetektr
) -> None:
    run = RunningPipeline(tmp_path, "large", graph(tmp_path, NUMBERED, width=1920, height=1080, node={"slots": 64}))
    ended = run_detektr("pipeline", "up", run.file)
    assert ended.returncode == 2, ended.stderr
    told = [line for line in ended.stderr.splitlines() if "MiB" in line and "node camera" in line]
    assert len(told) == 1, ended.stderr
    assert "needs 126.8 MiB of shared memory" in told[0] and f"{small_shm} has 6" in told[0]
    assert "use fewer slots" in told[0] and "--shm-size" in told[0]


def test_ring_that_fits_runs(tmp_path: Path, small_shm: Path) -> None:
    with RunningPipeline(tmp_path, "fits", graph(tmp_path, NUMBERED, count=200, width=1280, height=720)) as run:
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert report["unaccounted"] == 0
    assert sorted(note.sequence for note in read_notes(tmp_path / "notes")) == list(range(200))


def test_a_1080p_camera_behind_a_buffer_runs_at_the_defaults_in_the_shared_memory_of_a_container(
    tmp_path: Path, small_shm: Path
) -> None:
    source = "lavfi:testsrc2=size=1920x1080:rate=100:duration=1"
    nodes: dict[str, Any] = {
        "camera": {"kind": "capture", "source": source},
        "buffer": {"kind": "buffer", "input": "camera", "when_full": "block"},
        "motion": {"kind": "processor", "input": "buffer", "use": "motion"},
        "events": {"kind": "sink", "input": "motion", "use": "jsonl", "with": {"path": "events.jsonl"}},
    }
    with RunningPipeline(tmp_path, "default", nodes) as run:
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert report["unaccounted"] == 0 and all(not edge["dropped"] for edge in report["edges"])


def test_pictures_larger_than_was_assumed_are_told_with_their_bytes_and_flow(tmp_path: Path) -> None:
    nodes: dict[str, Any] = {
        "camera": {"kind": "capture", "source": "lavfi:testsrc2=size=2560x1440:rate=10:duration=1"},
        "motion": {"kind": "processor", "input": "camera", "use": "motion"},
    }
    with RunningPipeline(tmp_path, "larger", nodes) as run:
        report = run.end(None)
    assert run.exit_code == 0 and report["edges"][0]["delivered"] == 10, run.tail()
    told = r"as the pictures are yuv420p 2560x1440; [0-9.]+ MiB were planned"
    assert re.search(told, run.log.read_text()), run.tail()


def test_size_change_that_fits_begins_an_epoch_and_old_frames_stay_right(tmp_path: Path, small_shm: Path) -> None:
    source = sizes(tmp_path, (100, 320, 240), (100, 640, 480), (100, 320, 240))
    with RunningPipeline(tmp_path, "changing", graph(tmp_path, source)) as run:
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    notes = read_notes(tmp_path / "notes")
    assert [note.sequence for note in notes] == list(range(300)) and wrong_pixels(notes) == []
    assert report["unaccounted"] == 0 and all(not edge["dropped"] for edge in report["edges"])
    assert all(f"epoch {epoch}: gray" in run.log.read_text() for epoch in (1, 2, 3))


def test_size_change_that_fits_once_the_old_frames_are_done_waits_for_them(tmp_path: Path, small_shm: Path) -> None:
    # Each of the two rings takes more than half of what there is.
    source = sizes(tmp_path, (60, 1920, 1080), (60, 1080, 1920))
    nodes = graph(tmp_path, source, node={"slots": 28, "guests": 0})
    nodes["buffer"]["guests"] = 0
    with RunningPipeline(tmp_path, "tight", nodes) as run:
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert report["nodes"]["camera"]["restarts"] == 0, run.tail()
    notes = read_notes(tmp_path / "notes")
    assert [note.sequence for note in notes] == list(range(120)) and wrong_pixels(notes) == []


@pytest.mark.usefixtures("lane")
def test_killed_capture_whose_ring_takes_most_of_the_memory_comes_back(tmp_path: Path, small_shm: Path) -> None:
    arguments = {"count": 120, "rate": 150, "width": 1920, "height": 1080}
    nodes = graph(tmp_path, NUMBERED, node={"slots": 28, "guests": 0}, **arguments)
    nodes["buffer"]["guests"] = 0
    nodes["check"]["with"]["busy_s"] = 0.005  # so that there are frames in the ring of the dead
    with RunningPipeline(tmp_path, "heir", nodes) as run:
        run.wait_delivered("buffer", "check", 40)
        run.kill("camera")
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert report["nodes"]["camera"]["restarts"] == 1, run.tail()
    edge = next(edge for edge in report["edges"] if edge["from"] == "camera")
    notes = read_notes(tmp_path / "notes")
    assert wrong_pixels(notes) == [] and set(edge["dropped"]) <= {"capture_died"}
    assert len({note.sequence for note in notes}) + edge["dropped"].get("capture_died", 0) == edge["offered"]


def test_size_change_that_does_not_fit_fails_the_node_in_words_and_the_others_drain(
    tmp_path: Path, small_shm: Path
) -> None:
    source = sizes(tmp_path, (100, 320, 240), (100, 3840, 2160))
    with RunningPipeline(tmp_path, "growing", graph(tmp_path, source, node=GIVEN_UP)) as run:
        report = run.end(None)
    assert run.exit_code == 1, run.tail()
    assert report["nodes"]["camera"]["state"] == "failed"
    assert "of shared memory and" in report["nodes"]["camera"]["why"], report["nodes"]["camera"]
    assert [note.sequence for note in read_notes(tmp_path / "notes")] == list(range(100))
    assert report["unaccounted"] == 0
    assert all(edge["delivered"] == edge["offered"] == 100 for edge in report["edges"]), report["edges"]
    assert "signal" not in report["nodes"]["camera"]["why"]


def test_memory_filled_by_somebody_else_stops_nothing_that_runs_and_guests_are_refused_in_words(
    tmp_path: Path, small_shm: Path
) -> None:
    with RunningPipeline(tmp_path, "filled", graph(tmp_path, NUMBERED, rate=300)) as run:
        run.wait_delivered("buffer", "check", 50)
        foreign = fill(small_shm)
        no_room = r"needs .* MiB of shared memory and .* has 0\.0 MiB free"
        with pytest.raises(NoRoomError, match=no_room), detektr.attach("filled/buffer", wait_s=10) as frames:
            next(frames)
        os.truncate(foreign, foreign.stat().st_size - 2 * PAGE_BYTES)  # now its page fits, its edge's journal does not
        no_room = r"refused by buffer: .*edge needs .* MiB of shared memory"
        with pytest.raises(RefusedError, match=no_room), detektr.attach("filled/buffer", wait_s=10) as frames:
            next(frames)
        fill(small_shm, foreign.name)
        for node in ("buffer", "check"):
            delivered = run.edge("buffer", "check")["delivered"]
            pid = run.kill(node)
            run.wait_delivered("buffer", "check", delivered + 200)
            assert pid not in [status_block[2] for status_block in RunFolder(run.name).live_processes()]
        report = run.end()
        foreign.unlink()
    assert run.exit_code == 0, run.tail()
    assert report["unaccounted"] == 0 and all(not edge["dropped"] for edge in report["edges"])
    notes = read_notes(tmp_path / "notes")
    assert wrong_pixels(notes) == []
    again = {sequence for sequence, count in Counter(note.sequence for note in notes).items() if count > 1}
    assert again <= {note.sequence for note in notes if note.delivery > 1}
    assert "bus error" not in run.log.read_text()


@pytest.fixture
def control_group() -> Iterator[Path]:
    """Return a control group of 400 MiB, to be joined by writing into `cgroup.procs`."""
    first = Path("/sys/fs/cgroup/memory")
    group = (first if first.is_dir() else first.parent) / f"detektr-test-{os.getpid()}"
    limit = group / ("memory.limit_in_bytes" if first.is_dir() else "memory.max")
    try:
        group.mkdir()
        limit.write_text(str(400 << 20))
    except OSError as fault:
        if group.is_dir():
            group.rmdir()
        pytest.skip(f"a control group with a memory limit cannot be made here: {fault}")
    yield group
    group.rmdir()


def test_ring_larger_than_the_control_group_allows_is_refused_in_words_and_nobody_is_killed(
    tmp_path: Path, control_group: Path
) -> None:
    run = RunningPipeline(tmp_path, "group", graph(tmp_path, NUMBERED, width=1920, height=1080, node={"slots": 256}))
    join = f'echo $$ > "{control_group}/cgroup.procs"; exec "{sys.executable}" -m detektr pipeline up "{run.file}"'
    ended = subprocess.run(["sh", "-c", join], capture_output=True, text=True, cwd=tmp_path, timeout=40)
    assert ended.returncode == 2, ended.stderr
    told = [line for line in ended.stderr.splitlines() if "node camera" in line]
    assert len(told) == 1 and "needs 507.0 MiB" in told[0] and "control group allows 400.0 MiB" in told[0], ended.stderr
