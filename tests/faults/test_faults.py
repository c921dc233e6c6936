"""One test a fault: real processes, real signals; afterwards the ledger, the pixels and the machine are looked at."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import detektr
from detektr.nodes.dead_letter_spool import DeadLetterSpool, dead_letter_folder
from tests.harness.checked import Note, read_notes, wrong_pixels
from tests.harness.effort import alike
from tests.harness.running import RunningPipeline

RESTART = {"backoff": "50ms..200ms", "limit": "1000 in 1m"}
QUICK = {"restart": RESTART, "drain": "20s"}


def graph(tmp_path: Path, *, count: int = 0, when_full: str = "block", **check: Any) -> dict[str, Any]:
    """A numbered source, a buffer and a processor in two replicas that checks every frame."""
    source = {"count": count} if count else {}
    worker = {key: check.pop(key) for key in ("replicas", "timeout", "max_deliveries", "window") if key in check}
    return {
        "camera": {"kind": "capture", "source": "python:tests.harness.checked:numbered", "with": source, **QUICK},
        "buffer": {"kind": "buffer", "input": "camera", "high_water_mark": 32, "when_full": when_full, **QUICK},
        "check": {
            "kind": "processor", "input": "buffer", "use": "tests.harness.checked:Check", "replicas": 2,
            "with": {"path": str(tmp_path / "notes"), **check}, **worker, **QUICK,
        },
    }  # fmt: skip


def dead_letters_of(pipeline: str) -> list[dict[str, Any]]:
    """What was given up, in the order in which it was."""
    return list(DeadLetterSpool(dead_letter_folder(pipeline), 0).read().letters.values())


def assert_sound(report: dict[str, Any], notes: list[Note], *, lost: int = 0) -> None:
    """Every frame offered was worked on, its pixels were its own, and whoever saw it twice was told so."""
    assert report["unaccounted"] == 0
    offered = max(edge["offered"] for edge in report["edges"] if edge["from"] == "camera")
    seen = Counter(note.sequence for note in notes)
    assert wrong_pixels(notes) == []
    assert offered - len(seen) == lost, f"{offered} offered, {len(seen)} worked on"
    doubled = {sequence for sequence, count in seen.items() if count > 1}
    marked = {note.sequence for note in notes if note.delivery > 1}
    assert doubled <= marked, f"worked on twice and not marked: {sorted(doubled - marked)[:9]}"


@pytest.mark.usefixtures("lane")
def test_killed_consumer_its_leases_go_to_others_and_nothing_is_lost(tmp_path: Path) -> None:
    with RunningPipeline(tmp_path, "consumer", graph(tmp_path, count=3000, busy_s=0.001)) as run:
        for target in (200, 600, 1000, 1400):
            run.wait_delivered("buffer", "check", target)
            run.kill("check", place=target // 200 % 2)
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert_sound(report, read_notes(tmp_path / "notes"))
    assert report["nodes"]["check"]["restarts"] >= 4


@pytest.mark.usefixtures("lane")
def test_killed_buffer_loses_nothing_and_doubles_nothing_unmarked(tmp_path: Path) -> None:
    with RunningPipeline(tmp_path, "buffer", graph(tmp_path, count=3000, busy_s=0.001)) as run:
        for target in (100, 500, 900, 1300, 1700):
            run.wait_delivered("buffer", "check", target)
            run.kill("buffer")
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert_sound(report, read_notes(tmp_path / "notes"))


@pytest.mark.usefixtures("lane")
def test_killed_capture_goes_on_with_its_sequence_in_a_new_epoch(tmp_path: Path) -> None:
    with RunningPipeline(tmp_path, "capture", graph(tmp_path, count=1500, busy_s=0.001)) as run:
        run.wait_delivered("camera", "buffer", 300)
        run.kill("camera")
        report = run.end(None)
    notes = read_notes(tmp_path / "notes")
    dropped = next(edge["dropped"] for edge in report["edges"] if edge["from"] == "camera")
    assert set(dropped) <= {"capture_died"}
    assert_sound(report, notes, lost=dropped.get("capture_died", 0))
    numbers = [note.number for note in notes]
    assert numbers.count(0) >= 2, "the source began anew"
    assert max(note.sequence for note in notes) > 1500, "and the sequence did not"


def test_poison_frame_that_kills_every_replica_is_quarantined_and_the_rest_flows(tmp_path: Path) -> None:
    nodes = graph(tmp_path, count=400, poison=[100])
    with RunningPipeline(tmp_path, "poison", nodes) as run:
        report = run.end(None)
    edge = next(edge for edge in report["edges"] if edge["to"] == "check")
    assert (edge["delivered"], edge["dead_lettered"]) == (399, 1), run.tail()
    assert_sound(report, read_notes(tmp_path / "notes"), lost=1)
    (letter,) = dead_letters_of("poison")
    assert "_camera_100_" in letter["frame"] and "died" in letter["why"]


@pytest.mark.usefixtures("lane")
def test_raising_frame_is_tried_again_then_dead_lettered_with_its_traceback(tmp_path: Path) -> None:
    nodes = graph(tmp_path, count=200, faulty=[50], max_deliveries=4)
    with RunningPipeline(tmp_path, "raising", nodes) as run:
        report = run.end(None)
    edge = next(edge for edge in report["edges"] if edge["to"] == "check")
    assert (edge["delivered"], edge["dead_lettered"], edge["redelivered"]) == (199, 1, 3), run.tail()
    (letter,) = dead_letters_of("raising")
    assert "_camera_50_" in letter["frame"] and "ValueError: picture 50 is faulty" in letter["why"]
    picture = dead_letter_folder("raising") / letter["picture"]
    assert picture.suffix == ".pgm" and picture.stat().st_size > 320 * 240


@pytest.mark.parametrize(("is_optional", "exit_code"), [(False, 1), (True, 0)])
def test_results_that_are_no_events_are_dead_lettered_at_once_and_the_run_ends_with_1_unless_optional(
    tmp_path: Path, is_optional: bool, exit_code: int
) -> None:
    (tmp_path / "strange.py").write_text("def answer(frame): return 42\n")
    nodes = graph(tmp_path, count=60)
    strange = {"use": "strange:answer", "max_deliveries": 5, "optional": is_optional}
    nodes["strange"] = {"kind": "processor", "input": "buffer", **strange, **QUICK}
    with RunningPipeline(tmp_path, "strange", nodes) as run:
        report = run.end(None)
    edges = {edge["to"]: edge for edge in report["edges"]}
    given_up, dropped = edges["strange"]["dead_lettered"], edges["strange"]["dropped"]
    assert edges["strange"]["redelivered"] == 0 and given_up + dropped.get("consumer_slow", 0) == 60, run.tail()
    assert is_optional or dropped == {}, "only what is optional is not waited for"
    assert edges["check"]["delivered"] == 60
    assert report["unaccounted"] == 0
    assert run.exit_code == exit_code
    assert f"NOTHING WAS DELIVERED from buffer to strange: of 60 offered, {given_up} were dead-lettered" in run.tail()
    letters = dead_letters_of("strange")
    assert len(letters) == given_up, "each one is recorded, however fast they come"
    why = letters[0]["why"]
    assert why.startswith("Traceback")
    assert "process() returned int; return None, a dict, or a list of dicts (events)" in why


@pytest.mark.usefixtures("lane")
def test_stopped_replica_loses_its_lease_and_its_late_result_is_refused(tmp_path: Path) -> None:
    nodes = graph(tmp_path, count=0, busy_s=0.005, timeout="1s", stopping=[20])  # hung for 3 s it would be killed
    with RunningPipeline(tmp_path, "stopped", nodes) as run:
        run.wait(lambda: run.edge("buffer", "check").get("redelivered", 0) > 0, what="a redelivery")
        delivered = run.edge("buffer", "check")["delivered"]
        run.wait_delivered("buffer", "check", delivered + 10)
        assert run.edge("buffer", "check")["refused"] == 0
        pids = run.pids("check")
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        run.wait(lambda: run.edge("buffer", "check").get("refused", 0) >= 1, what="a refused result")
        noted = {pid: sum(note.pid == pid for note in read_notes(tmp_path / "notes")) for pid in pids}
        run.wait(
            lambda: all(
                sum(note.pid == pid for note in read_notes(tmp_path / "notes")) > noted[pid] + 10 for pid in pids
            ),
            what="both replicas at work again",
        )
        report = run.end()
    assert run.exit_code == 0
    assert report["unaccounted"] == 0
    assert wrong_pixels(read_notes(tmp_path / "notes")) == [], "wrong pixels in a result that was not refused"


@pytest.mark.usefixtures("lane")
@pytest.mark.parametrize("policy", ["drop-oldest", alike("drop-newest")])
def test_slow_processor_behind_a_dropping_edge_every_drop_is_counted(tmp_path: Path, policy: str) -> None:
    nodes = graph(tmp_path, count=600, when_full=policy, busy_s=0.01, replicas=1)
    nodes["camera"]["with"]["rate"] = 300
    with RunningPipeline(tmp_path, "slow", nodes) as run:
        report = run.end(None)
    edge = next(edge for edge in report["edges"] if edge["to"] == "check")
    assert edge["offered"] == 600
    assert edge["dropped"] == {"queue_full": 600 - edge["delivered"]}
    assert edge["delivered"] == len(read_notes(tmp_path / "notes"))
    assert report["unaccounted"] == 0


SEVERAL = """
class Answers:
    def __init__(self, many=3, exits=()):
        self.many, self.exits = many, exits

    def close(self):
        raise SystemExit("and out")

    def process(self, frame):
        if frame.sequence in self.exits:
            raise SystemExit("enough")
        return [{"frame": frame.sequence, "part": part} for part in range(self.many)]

def slow(event):
    import time
    time.sleep(0.002)  # a sink that does not keep up
    with open("events.txt", "a") as file:
        file.write(f"{event['data']['frame']} {event['data']['part']} {event['delivery']}\\n")
"""


def several(tmp_path: Path, count: int, **options: Any) -> dict[str, Any]:
    """A processor with several events a frame, in less room than one frame's need, and a slow sink."""
    (tmp_path / "several.py").write_text(SEVERAL)
    mark = options.pop("mark", 4)
    return {
        "camera": {
            "kind": "capture", "source": "python:tests.harness.checked:numbered", "with": {"count": count}, **QUICK
        },
        "answers": {
            "kind": "processor", "input": "camera", "use": "several:Answers", "with": options, "high_water_mark": mark,
            **QUICK,
        },
        "slow": {"kind": "sink", "input": "answers", "use": "several:slow", "window": 1, **QUICK},
    }  # fmt: skip


@pytest.mark.usefixtures("lane")
@pytest.mark.parametrize(("many", "mark"), [(3, 4), (9, 2)])
def test_events_of_one_frame_wait_for_room_as_frames_do(tmp_path: Path, many: int, mark: int) -> None:
    count = 60
    with RunningPipeline(tmp_path, "several", several(tmp_path, count, many=many, mark=mark)) as run:
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    edge = next(edge for edge in report["edges"] if edge["to"] == "slow")
    assert (edge["offered"], edge["delivered"], edge["dropped"]) == (many * count, many * count, {})
    lines = (tmp_path / "events.txt").read_text().splitlines()
    assert lines == [f"{frame} {part} 1" for frame in range(count) for part in range(many)]


@pytest.mark.usefixtures("lane")
@pytest.mark.parametrize("number", [signal.SIGKILL, alike(signal.SIGTERM)])
def test_processor_that_ends_while_events_wait_loses_none_and_marks_those_that_come_twice(
    tmp_path: Path, number: signal.Signals
) -> None:
    count, many = 60, 9
    with RunningPipeline(tmp_path, "several", several(tmp_path, count, many=many, mark=2)) as run:
        for target in (20, 150, 300):
            run.wait_delivered("answers", "slow", target)
            run.kill("answers", number)
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert report["unaccounted"] == 0
    edges = {edge["to"]: edge for edge in report["edges"]}
    assert edges["slow"]["dropped"] == {} and edges["answers"]["delivered"] == count
    seen = Counter(tuple(map(int, line.split()[:2])) for line in (tmp_path / "events.txt").read_text().splitlines())
    assert sorted(seen) == [(frame, part) for frame in range(count) for part in range(many)]
    marked = {int(line.split()[0]) for line in (tmp_path / "events.txt").read_text().splitlines() if line[-1] > "1"}
    assert {frame for (frame, _), times in seen.items() if times > 1} <= marked


def test_time_that_events_wait_is_no_time_that_their_frame_takes(tmp_path: Path) -> None:
    nodes = several(tmp_path, 4, many=400, mark=2)
    nodes["answers"]["timeout"] = "600ms"  # of the 800 ms that the sink takes for the events of one frame
    with RunningPipeline(tmp_path, "several", nodes) as run:
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    edges = {edge["to"]: edge for edge in report["edges"]}
    assert (edges["answers"]["delivered"], edges["answers"]["redelivered"], edges["answers"]["refused"]) == (4, 0, 0)
    assert edges["slow"]["delivered"] == 4 * 400


@pytest.mark.usefixtures("lane")
def test_processor_stopped_while_events_wait_leaves_its_frame_to_another_attempt(tmp_path: Path) -> None:
    nodes = several(tmp_path, 6, many=40, mark=2)
    nodes["answers"]["timeout"] = "300ms"
    with RunningPipeline(tmp_path, "several", nodes) as run:
        run.wait_delivered("answers", "slow", 5)
        pid = run.kill("answers", signal.SIGSTOP)
        run.wait(lambda: not run.edge("camera", "answers")["in_flight"], what="the lease to be over")
        os.kill(pid, signal.SIGCONT)
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    edges = {edge["to"]: edge for edge in report["edges"]}
    assert edges["answers"]["delivered"] == 6 and edges["answers"]["dropped"] == {}, run.tail()
    lines = [tuple(map(int, line.split())) for line in (tmp_path / "events.txt").read_text().splitlines()]
    assert {(frame, part) for frame, part, _ in lines} == {(frame, part) for frame in range(6) for part in range(40)}
    assert max(delivery for _, _, delivery in lines) >= 2  # more, where the machine is too busy for 300 ms a frame


def test_processor_told_to_stop_while_events_wait_gives_them_all_first(tmp_path: Path) -> None:
    with RunningPipeline(tmp_path, "several", several(tmp_path, 0, many=9, mark=2)) as run:
        run.wait_delivered("answers", "slow", 20)
        report = run.end()
    edges = {edge["to"]: edge for edge in report["edges"]}
    assert report["unaccounted"] == 0 and edges["slow"]["dropped"] == {}
    assert edges["slow"]["offered"] == edges["slow"]["delivered"] == 9 * edges["answers"]["delivered"]


def test_code_that_exits_fails_one_frame_and_ends_no_process(tmp_path: Path) -> None:
    with RunningPipeline(tmp_path, "several", several(tmp_path, 40, many=1, exits=[7])) as run:
        report = run.end(None)
    edges = {edge["to"]: edge for edge in report["edges"]}
    assert (edges["answers"]["delivered"], edges["answers"]["dead_lettered"]) == (39, 1), run.tail()
    assert report["nodes"]["answers"]["restarts"] == 0 and run.exit_code == 0
    assert "SystemExit: enough" in run.tail(400)


@pytest.mark.usefixtures("lane")
def test_killed_buffer_of_two_cameras_gives_back_what_a_guest_holds_to_the_camera_it_came_from(tmp_path: Path) -> None:
    nodes = graph(tmp_path, count=600, busy_s=0.001)
    nodes["second"] = {**nodes["camera"]}
    nodes["buffer"] |= {"input": ["camera", "second"], "guests": 8}
    with RunningPipeline(tmp_path, "guest", nodes) as run:
        run.wait_delivered("buffer", "check", 100)
        with detektr.attach("guest/buffer", name="slow", window=4, wait_s=20, announce=run.announce) as frames:
            while next(frames).camera != "second":
                continue
            for target in (300, 500):
                run.wait_delivered("buffer", "check", target)
                run.kill("buffer")
            run.wait_delivered("buffer", "check", 700)
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert report["unaccounted"] == 0
    cameras = {edge["from"]: edge for edge in report["edges"] if edge["to"] == "buffer"}
    assert [(edge["delivered"], edge["refused"], edge["dropped"]) for edge in cameras.values()] == [(600, 0, {})] * 2
    seen = {(note.camera, note.sequence) for note in read_notes(tmp_path / "notes")}
    assert seen == {(camera, number) for camera in ("camera", "second") for number in range(600)}
