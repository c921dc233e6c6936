"""Nodes started one by one, as in terminals, containers and units."""

from __future__ import annotations

import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.harness.following import assert_in_order, assert_told_where_it_begins, read_seen
from tests.process.terminal import Terminals, open_terminals

if TYPE_CHECKING:
    from tests.conftest import WaitUntil

FRAMES = 48
WINDOW = 4  # the most leases that die with a replica
CLEAN = {"offered": FRAMES, "delivered": FRAMES} | dict.fromkeys(
    ("dropped", "dead-lettered", "queued", "in flight", "redelivered"), 0
)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminals]:
    with open_terminals(tmp_path) as terminals:
        yield terminals


@pytest.fixture
def file(tmp_path: Path, clip: Path) -> Path:
    path = tmp_path / "pipeline.yaml"
    path.write_text(
        f"""
name: alone
nodes:
  cam: {{kind: capture, source: {clip}}}
  motion: {{kind: processor, input: cam, use: "writer:Write", with: {{path: frames.txt, die_at: 20}}, replicas: 2}}
"""
    )
    return path


def numbers(path: Path) -> list[int]:
    return [int(line.split()[0]) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_processor_after_its_capture_gets_every_frame_in_order(
    terminal: Terminals, clip: Path, tmp_path: Path
) -> None:
    capture = terminal("capture", "--name", "cam", "--source", clip)
    capture.wait_says("no consumer yet")
    processor = terminal("processor", "writer:Write", "--input", "cam", "--with", "path=frames.txt")
    assert (capture.end(), processor.end()) == (0, 0)
    assert numbers(tmp_path / "frames.txt") == list(range(FRAMES))
    assert capture.counts("cam -> write") == processor.counts("cam -> write") == CLEAN
    assert "unaccounted: 0" in capture.out


def test_a_capture_that_was_started_alone_tells_what_it_left_out(terminal: Terminals, clip: Path) -> None:
    capture = terminal("capture", "--name", "cam", "--source", clip, "--fps", "6")
    processor = terminal("processor", "writer:Write", "--input", "cam", "--with", "path=frames.txt")
    assert (capture.end(), processor.end()) == (0, 0)
    assert "cam left pictures of its source out, which are on no edge: thinned 36\nunaccounted: 0" in capture.out


def test_a_processor_before_its_capture_waits_visibly_and_works_when_it_comes(
    terminal: Terminals, clip: Path, tmp_path: Path
) -> None:
    processor = terminal("processor", "writer:Write", "--input", "cam", "--with", "path=frames.txt", "--name", "late")
    processor.wait_says("waiting for cam")
    capture = terminal("capture", "--name", "cam", "--source", clip)
    assert (capture.end(), processor.end()) == (0, 0)
    assert numbers(tmp_path / "frames.txt") == list(range(FRAMES))
    assert processor.counts("cam -> late") == CLEAN


def test_four_nodes_without_a_file_started_last_first_carry_every_frame_to_the_sink(
    terminal: Terminals, clip: Path, tmp_path: Path
) -> None:
    sink = terminal("sink", "writer:Keep", "--input", "write", "--with", "path=events.txt")
    processor = terminal("processor", "writer:Write", "--input", "queue", "--with", "path=frames.txt")
    buffer = terminal("buffer", "--name", "queue", "--input", "cam", "--when-full", "block")
    waiting = [sink, processor, buffer]
    buffer.wait_says("waiting for cam")
    processor.wait_says("waiting for queue")
    waiting.append(terminal("capture", "--name", "cam", "--source", clip))
    assert [one.end() for one in waiting] == [0, 0, 0, 0]
    assert sorted(numbers(tmp_path / "events.txt")) == list(range(FRAMES))
    assert buffer.counts("cam -> queue") == buffer.counts("queue -> write") == CLEAN
    assert sink.counts("write -> keep") == CLEAN


def test_a_killed_replica_of_a_file_loses_nothing_to_its_twin(terminal: Terminals, file: Path, tmp_path: Path) -> None:
    one = terminal("processor", "--pipeline", file, "--node", "motion", "--replica", "0")
    two = terminal("processor", "--pipeline", file, "--node", "motion", "--replica", "1")
    one.wait_says("waiting for cam")
    two.wait_says("waiting for cam")
    capture = terminal("capture", "--pipeline", file, "--node", "cam")
    assert capture.end() == 0
    assert sorted((one.end(), two.end())) == [-signal.SIGKILL, 0]
    assert sorted(set(numbers(tmp_path / "frames.txt"))) == list(range(FRAMES))
    counts = capture.counts("cam -> motion")
    assert 1 <= counts["redelivered"] <= WINDOW
    assert {**counts, "redelivered": 0} == CLEAN
    clean = terminal("shm", "clean")
    assert clean.end() == 0
    assert "removed alone/motion." in clean.out


def test_a_killed_processor_of_a_file_finds_its_frames_again_when_restarted(
    terminal: Terminals, file: Path, tmp_path: Path
) -> None:
    file.write_text(file.read_text().replace(", replicas: 2", ""))
    capture = terminal("capture", "--pipeline", file, "--node", "cam")
    assert terminal("processor", "--pipeline", file, "--node", "motion").end() == -signal.SIGKILL
    assert terminal("processor", "--pipeline", file, "--node", "motion").end() == 0
    assert capture.end() == 0
    assert sorted(set(numbers(tmp_path / "frames.txt"))) == list(range(FRAMES))
    counts = capture.counts("cam -> motion")
    assert 1 <= counts["redelivered"] <= WINDOW
    assert {**counts, "redelivered": 0} == CLEAN


def test_a_killed_capture_goes_on_where_it_was_when_restarted(
    terminal: Terminals, clip: Path, tmp_path: Path, wait_until: WaitUntil
) -> None:
    processor = terminal("processor", "writer:Write", "--input", "cam", "--with", "path=frames.txt")
    capture = terminal("capture", "--name", "cam", "--source", clip, "--realtime")
    wait_until(lambda: len(numbers(tmp_path / "frames.txt")) > 5, what="some frames")
    capture.tell(signal.SIGKILL)
    capture.end()
    again = terminal("capture", "--name", "cam", "--source", clip)
    assert (again.end(), processor.end()) == (0, 0)
    seen = numbers(tmp_path / "frames.txt")
    counts = again.counts("cam -> write")
    assert seen == sorted(set(seen))
    assert counts["delivered"] == len(seen)
    assert counts["offered"] == counts["delivered"] + counts["dropped"] == seen[-1] + 1
    assert seen[-1] + 1 == FRAMES, "the file is gone on with, and none of its frames comes twice"
    assert "unaccounted: 0" in again.out


def test_sigterm_drains_a_capture_and_is_a_clean_end(
    terminal: Terminals, tmp_path: Path, wait_until: WaitUntil
) -> None:
    source = "lavfi:testsrc2=size=160x120:rate=30"
    capture = terminal("capture", "--name", "cam", "--source", source, "--realtime")
    processor = terminal("processor", "writer:Write", "--input", "cam", "--with", "path=frames.txt")
    wait_until(lambda: len(numbers(tmp_path / "frames.txt")) > 5, what="some frames")
    capture.tell(signal.SIGTERM)
    assert capture.end() == 0
    counts = capture.counts("cam -> write")
    assert counts["offered"] == counts["delivered"] == len(numbers(tmp_path / "frames.txt"))
    wait_until(lambda: processor.err.rstrip().endswith("waiting for cam"), what="the processor to wait for it")
    processor.tell(signal.SIGTERM)
    assert processor.end() == 0


def test_ctrl_c_drains_and_ends_with_130(terminal: Terminals, tmp_path: Path) -> None:
    processor = terminal("processor", "writer:Write", "--input", "cam", "--with", "path=frames.txt")
    processor.wait_says("waiting for cam")
    processor.tell(signal.SIGINT)
    assert processor.end() == 130


def test_a_second_process_of_the_same_name_is_refused(terminal: Terminals) -> None:
    first = terminal("buffer", "--name", "queue", "--input", "cam")
    first.wait_says("waiting for cam")
    second = terminal("buffer", "--name", "queue", "--input", "cam")
    assert second.end() == 2
    assert f"queue.0 is running already, as process {first.process.pid}" in second.err
    first.tell(signal.SIGTERM)
    assert first.end() == 0


def test_metrics_of_a_node_alone_hold_the_edges_it_produces_for(
    terminal: Terminals, tmp_path: Path, wait_until: WaitUntil
) -> None:
    source = "lavfi:testsrc2=size=160x120:rate=30"
    capture = terminal("capture", "--name", "cam", "--source", source, "--realtime", "--metrics-port", "0")
    processor = terminal("processor", "writer:Write", "--input", "cam", "--with", "path=frames.txt")
    wait_until(lambda: len(numbers(tmp_path / "frames.txt")) > 5, what="some frames")
    url = next(word for word in capture.err.split() if word.startswith("http://"))
    with urllib.request.urlopen(url, timeout=5) as answer:
        text = answer.read().decode()
    assert 'detektr_edge_delivered_total{from="cam",pipeline="local",to="write"}' in text
    facts = [line.rpartition(" ") for line in text.splitlines() if line.startswith(("detektr_ring", "detektr_shm"))]
    ring = {name.partition("{")[0] + name.partition("state=")[2].rstrip("}"): float(value) for name, _, value in facts}
    assert ring['detektr_ring_slots"free"'] + ring['detektr_ring_slots"used"'] == 40
    assert ring["detektr_shm_bytes"] >= 40 * 160 * 120 * 1.5
    assert 'detektr_node_up{node="cam",pipeline="local",replica="0"} 1.0' in text
    assert 'node="write"' not in text
    for one in (capture, processor):
        one.tell(signal.SIGTERM)
        assert one.end() == 0


def test_metrics_of_a_node_alone_hold_what_its_user_code_counts(
    terminal: Terminals, tmp_path: Path, wait_until: WaitUntil
) -> None:
    (tmp_path / "counting.py").write_text(
        "from detektr import metrics\n"
        "seen = metrics.counter('seen', 'Seen.', labels=['camera'])\n"
        "def look(frame):\n"
        "    seen.inc(camera=frame.camera)\n"
    )
    source = "lavfi:testsrc2=size=160x120:rate=30"
    capture = terminal("capture", "--name", "cam", "--source", source, "--realtime")
    processor = terminal("processor", "counting:look", "--input", "cam", "--metrics-port", "0")
    url = wait_until(lambda: next((word for word in processor.err.split() if word.startswith("http://")), ""))

    def count() -> float:
        with urllib.request.urlopen(url, timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        start = 'detektr_user_seen_total{camera="cam",node="look",pipeline="local",replica="0"} '
        return next((float(line.removeprefix(start)) for line in lines if line.startswith(start)), 0)

    wait_until(lambda: count() > 5, what="some frames")
    for one in (capture, processor):
        one.tell(signal.SIGTERM)
        assert one.end() == 0


def test_a_source_that_is_not_there_is_refused_with_its_cure(terminal: Terminals) -> None:
    capture = terminal("capture", "--name", "cam", "--source", "nowhere.mp4")
    assert capture.end() == 2
    assert "nowhere.mp4" in capture.err
    assert "Traceback" not in capture.err


def test_started_one_by_one_each_cameras_frames_wait_for_its_own_replica(
    terminal: Terminals, tmp_path: Path, wait_until: WaitUntil
) -> None:
    """Nobody supervises them: cameras are dealt out as in a run, and a dead replica's wait for its successor."""
    file, count = tmp_path / "pipeline.yaml", 60
    numbered = f'"python:tests.harness.checked:numbered", with: {{count: {count}, width: 64, height: 48}}'
    file.write_text(f"""
name: alone
nodes:
  one: {{kind: capture, source: {numbered}}}
  two: {{kind: capture, source: {numbered}}}
  all: {{kind: buffer, input: [one, two], when_full: block}}
  look: {{kind: processor, input: all, use: "tests.harness.following:Follow", with: {{path: seen}}, replicas: 2}}
""")
    first = terminal("processor", "--pipeline", file, "--node", "look", "--replica", "0")
    others = [terminal("capture", "--pipeline", file, "--node", name) for name in ("one", "two")]
    others.append(terminal("buffer", "--pipeline", file, "--node", "all"))
    wait_until(lambda: len(read_seen(tmp_path / "seen")) == count)
    assert {one.camera for one in read_seen(tmp_path / "seen")} == {"one"}
    assert first.process.poll() is None, "it waits for more, as frames of the other camera may come"
    second = terminal("processor", "--pipeline", file, "--node", "look", "--replica", "1")
    assert [process.end() for process in (*others, first, second)] == [0] * 5
    seen = read_seen(tmp_path / "seen")
    for camera in ("one", "two"):
        assert_in_order(seen, camera, count)
    assert_told_where_it_begins(seen)
    assert len({one.pid for one in seen}) == 2
