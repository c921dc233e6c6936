"""Many deaths in one run, and many runs that die: nothing grows, nothing stays."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from detektr.memory.run_folder import RunFolder, shm_root
from tests.harness.checked import read_notes, wrong_pixels
from tests.harness.running import RunningPipeline

RESTART = {"backoff": "1ms..5ms", "limit": "9999 in 1m"}
QUICK = {"restart": RESTART, "drain": "20s"}
SETTLED_S = 10.0
POLL_S = 0.05
WAYS_IN_CHANGE = 2  # descriptors
READ_BY_UP = 7  # the pages of four processes and the journals of three edges


def graph(tmp_path: Path, **source: Any) -> dict[str, Any]:
    """A camera, a buffer that blocks, a processor that checks every frame and a sink."""
    check = {"use": "tests.harness.checked:Check", "with": {"path": str(tmp_path / "notes")}, "max_deliveries": 99}
    events = {"use": "detektr.sinks.jsonl:JsonLines", "with": {"path": str(tmp_path / "events.jsonl")}}
    return {
        "camera": {"kind": "capture", "source": "python:tests.harness.checked:numbered", "with": source, **QUICK},
        "buffer": {"kind": "buffer", "input": "camera", "high_water_mark": 16, "when_full": "block", **QUICK},
        "check": {"kind": "processor", "input": "buffer", **check, **QUICK},
        "events": {"kind": "sink", "input": "check", **events, "max_deliveries": 99, **QUICK},
    }


def holdings(run: RunningPipeline, nodes: tuple[str, ...]) -> dict[str, tuple[int, int, int]]:
    """Return descriptors, maps of ours and threads of the supervisor and of some nodes' processes."""
    assert run.process is not None
    pids = {"up": run.process.pid, **{node: run.pids(node)[0] for node in nodes}}
    counts = {}
    for name, pid in pids.items():
        process = psutil.Process(pid)
        ours = sum(str(shm_root()) in line for line in Path(f"/proc/{pid}/maps").read_text().splitlines())
        counts[name] = process.num_fds(), ours, process.num_threads()
    return counts


def is_more(old: tuple[int, int, int], now: tuple[int, int, int]) -> bool:
    """Say whether more is held; a way in or out may just be closing or opening."""
    return now[0] > old[0] + WAYS_IN_CHANGE or now[1:] > old[1:]


def kill_in_turn(run: RunningPipeline, victims: tuple[str, ...], times: int) -> None:
    """Kill processes in turn, each once frames have come through since the one before."""
    for number in range(times):
        delivered = run.edge("buffer", "check")["delivered"]
        victim = victims[number % len(victims)]
        pid = run.kill(victim)
        run.wait(lambda: run.pids(victim) not in ([], [pid]), what=f"a successor of {victim}")  # noqa: B023
        run.wait_delivered("buffer", "check", delivered + 5)


def assert_nothing_grows(tmp_path: Path, times: int) -> None:
    with RunningPipeline(tmp_path, "leaks", graph(tmp_path, rate=500)) as run:
        run.wait_delivered("buffer", "check", 50)
        survivors = ("buffer", "events")
        run.wait(lambda: holdings(run, survivors)["up"][1] >= READ_BY_UP, what="the supervisor's first look at all")
        kill_in_turn(run, ("check", "camera"), 4)  # the first deaths map what stays mapped
        folder = RunFolder("leaks").path

        def files() -> list[str]:
            return sorted(path.suffix for path in folder.iterdir() if not path.name.startswith("."))

        def has_grown() -> list[str]:
            now, files_now = holdings(run, survivors), files()
            grown = [f"{name}: {old}, now {now[name]}" for name, old in before.items() if is_more(old, now[name])]
            more = Counter(files_now) - Counter(
                files_before
            )  # at the first look, an old ring may still be on its way out
            return grown + [f"files: {files_before}, now also {sorted(more.elements())}"] * bool(more)

        before, files_before = holdings(run, survivors), files()
        kill_in_turn(run, ("check", "camera"), times)
        deadline = time.monotonic() + SETTLED_S
        while (grown := has_grown()) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        assert grown == [], f"after {times} deaths"
        report = run.end()
    assert run.exit_code == 0, run.tail()
    assert report["unaccounted"] == 0
    assert report["nodes"]["check"]["restarts"] + report["nodes"]["camera"]["restarts"] == times + 4
    assert [report["nodes"][name]["restarts"] for name in survivors] == [0, 0]
    assert wrong_pixels(read_notes(tmp_path / "notes")) == []


@pytest.mark.usefixtures("lane")
def test_survivors_of_many_deaths_hold_no_more_than_before(tmp_path: Path) -> None:
    assert_nothing_grows(tmp_path, 8)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_survivors_of_200_deaths_hold_no_more_than_before(tmp_path: Path) -> None:
    assert_nothing_grows(tmp_path, 200)


def assert_runs_vanish(tmp_path: Path, times: int) -> list[float]:
    """Kill `up` in mid-run, again and again, and look whether all is gone each time."""
    gone_after_s = []
    for _ in range(times):
        with RunningPipeline(tmp_path, "vanish", graph(tmp_path, rate=500)) as run:
            run.wait_delivered("buffer", "check", 20)
            pids = [pid for node in run.status()["nodes"].values() for pid in node["pids"]]
            assert run.process is not None
            run.process.kill()
            begun = time.monotonic()
            run.wait(
                lambda: not any(psutil.pid_exists(pid) for pid in pids) and not RunFolder("vanish").path.exists(),  # noqa: B023
                within_s=5,
                what="no process, no segment and no socket",
            )
            gone_after_s.append(time.monotonic() - begun)
    with RunningPipeline(tmp_path, "vanish", graph(tmp_path, count=50)) as run:
        report = run.end(None)
    assert run.exit_code == 0 and report["unaccounted"] == 0, run.tail()
    return gone_after_s


def test_killed_supervisors_leave_nothing_within_5_s_and_the_next_one_starts(tmp_path: Path) -> None:
    assert_runs_vanish(tmp_path, 3)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_50_killed_supervisors_leave_nothing_within_5_s_and_the_next_one_starts(tmp_path: Path) -> None:
    gone_after_s = assert_runs_vanish(tmp_path, 50)
    print(f"gone after {sorted(gone_after_s)[25]:.2f} s (median), {max(gone_after_s):.2f} s (longest)")


def assert_buffer_deaths_lose_nothing(tmp_path: Path, frames: int, kills: int) -> None:
    with RunningPipeline(tmp_path, "buffers", graph(tmp_path, count=frames, rate=1500)) as run:  # it outlives the kills
        step = frames // (kills + 2)
        for number in range(kills):
            run.wait_delivered("buffer", "check", (number + 1) * step, within_s=60)
            pid = run.kill("buffer")
            run.wait(lambda: run.pids("buffer") not in ([], [pid]), what="a successor of buffer")  # noqa: B023
        report = run.end(None, within_s=120)
    assert run.exit_code == 0, run.tail()
    assert report["nodes"]["buffer"]["restarts"] == kills
    assert report["unaccounted"] == 0
    assert all(not edge["dropped"] and not edge["dead_lettered"] for edge in report["edges"]), report["edges"]
    notes = read_notes(tmp_path / "notes")
    assert wrong_pixels(notes) == []
    seen = Counter(note.sequence for note in notes)
    assert sorted(seen) == list(range(frames)), f"{frames - len(seen)} of {frames} were never worked on"
    marked = {note.sequence for note in notes if note.delivery > 1}
    doubled = {sequence for sequence, count in seen.items() if count > 1}
    assert doubled <= marked, f"worked on twice and not marked: {sorted(doubled - marked)}"
    print(f"{kills} deaths, {frames} frames, {len(doubled)} worked on twice, {len(marked)} announced twice")


@pytest.mark.usefixtures("lane")
def test_10_deaths_of_the_buffer_every_frame_is_worked_on_and_the_doubled_are_marked(tmp_path: Path) -> None:
    assert_buffer_deaths_lose_nothing(tmp_path, 1500, 10)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_200_deaths_of_the_buffer_every_frame_is_worked_on_and_the_doubled_are_marked(tmp_path: Path) -> None:
    assert_buffer_deaths_lose_nothing(tmp_path, 20_000, 200)
