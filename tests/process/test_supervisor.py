"""Runs under supervision: how they begin, go on after a death, and end."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from detektr.memory.run_folder import shm_root
from detektr.observe.logbook import log_folder
from tests.harness.running import RunningPipeline

if TYPE_CHECKING:
    from tests.conftest import RunDetektr, WaitUntil

QUICK = {"restart": {"backoff": "50ms..100ms", "limit": "2 in 10m"}, "drain": "1s"}
CODE = """
import os, time
import numpy as np

def pictures(count=20, fails=False):
    for number in range(count):
        yield np.full((48, 64), number % 250, np.uint8)
    if fails:
        raise RuntimeError("the camera's library fell over")

class Sleep:
    def __init__(self, s=0.0, at=-1): self.s, self.at = s, at
    def process(self, frame):
        if self.at < 0 or (frame.sequence == self.at and frame.delivery == 1):
            time.sleep(self.s)

class Raises:
    def __init__(self): raise ValueError("no model there")
    def process(self, frame): pass

class Dies:
    def process(self, frame):
        print("going down"); os._exit(3)
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CODE)


def graph(*, use: str = "mine:Sleep", count: int = 100_000, sleep_s: float = 0, **options: Any) -> dict[str, Any]:
    """A generator, a buffer and a worker, all quick to restart."""
    source = {"count": count, **options.pop("source", {})}
    if sleep_s:
        options["with"] = {"s": sleep_s}
    return {
        "cam": {"kind": "capture", "source": "python:mine:pictures", "with": source, **QUICK},
        "buf": {"kind": "buffer", "input": "cam", "when_full": "block", "high_water_mark": 16, **QUICK},
        "work": {"kind": "processor", "input": "buf", "use": use, **QUICK, **options},
    }


def edge(report: dict[str, Any], consumer: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in report["edges"] if each["to"] == consumer)
    return found


def assert_nothing_left() -> None:
    assert not shm_root().exists() or list(shm_root().iterdir()) == []


def test_run_whose_source_ends_drains_and_exits_0_by_itself(tmp_path: Path) -> None:
    with RunningPipeline(tmp_path, "demo", graph(count=50)) as run:
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert {node["state"] for node in report["nodes"].values()} == {"ended"}
    assert edge(report, "work")["delivered"] == edge(report, "work")["offered"] == 50
    assert report["unaccounted"] == 0
    assert_nothing_left()


def test_all_who_refuse_are_listed_with_their_lines_and_nothing_is_left(
    tmp_path: Path, run_detektr: RunDetektr
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(
        "name: bad\n"
        "nodes:\n"
        '  cam: {kind: capture, source: "python:mine:pictures"}\n'
        '  work: {kind: processor, input: cam, use: "mine:Raises", replicas: 2}\n'
        '  none: {kind: processor, input: cam, use: "mine:Nowhere"}\n'
    )
    ended = run_detektr("pipeline", "up", file)
    assert ended.returncode == 2
    lines = [line for line in ended.stderr.splitlines() if line.startswith(str(file))]
    assert [line.partition(": ")[0] for line in lines[:2]] == [f"{file}:4", f"{file}:5"], ended.stderr
    assert "node work" in lines[0] and "no model there" in lines[0]
    assert "node none" in lines[1] and "Nowhere" in lines[1]
    assert len(lines) == 3, "replicas say it once"
    assert_nothing_left()


def test_user_code_that_could_not_work_is_refused_with_its_line_before_any_frame(
    tmp_path: Path, run_detektr: RunDetektr
) -> None:
    (tmp_path / "queue.py").write_text("class Mine:\n    def process(self, frame): pass\n")
    (tmp_path / "yolo_look.py").write_text("import yolo\n")
    (tmp_path / "odd.py").write_text("class NoSelf:\n    def process(): pass\n")
    uses = {"hidden": "queue:Mine", "lacking": "yolo_look:Look", "selfless": "odd:NoSelf", "short": "motion"}
    nodes = {name: {"kind": "processor", "input": "cam", "use": use} for name, use in uses.items()}
    file = tmp_path / "bad.yaml"
    file.write_text(json.dumps({"name": "bad", "nodes": {**graph(), **nodes}}, indent=0))
    ended = run_detektr("up", file)
    assert ended.returncode == 2
    lines = {line.split(": ")[1]: line for line in ended.stderr.splitlines() if line.startswith(str(file))}
    assert f"it hides your {tmp_path}/queue.py" in lines["node hidden"]
    assert f"{tmp_path}/yolo_look.py:1 imports 'yolo', which is not there" in lines["node lacking"]
    assert "it is process(); expected process(self, frame)" in lines["node selfless"]
    assert "node short" not in lines
    assert_nothing_left()


def test_node_that_dies_before_it_is_ready_is_a_refusal_with_its_last_words(
    tmp_path: Path, run_detektr: RunDetektr
) -> None:
    (tmp_path / "gone.py").write_text("import os\nprint('no licence')\nos._exit(7)\n")
    file = tmp_path / "bad.yaml"
    file.write_text(json.dumps({"name": "bad", "nodes": graph(use="gone:Any")}))
    ended = run_detektr("pipeline", "up", file)
    assert ended.returncode == 2
    assert "node work: its process exited with 7 before it was ready; it said: no licence" in ended.stderr


def test_node_that_is_not_ready_in_time_is_a_refusal(tmp_path: Path, run_detektr: RunDetektr) -> None:
    (tmp_path / "slow.py").write_text("import threading\nthreading.Event().wait()\n")
    file = tmp_path / "bad.yaml"
    file.write_text(json.dumps({"name": "bad", "nodes": graph(use="slow:Any", start_timeout="500ms")}))
    ended = run_detektr("pipeline", "up", file)
    assert ended.returncode == 2
    assert "node work: killed: not ready within 500ms" in ended.stderr


def test_second_up_of_a_name_is_refused_and_the_first_goes_on(tmp_path: Path, run_detektr: RunDetektr) -> None:
    with RunningPipeline(tmp_path, "demo", graph(sleep_s=0.001)) as run:
        run.wait_delivered("buf", "work", 5)
        ended = run_detektr("pipeline", "up", run.file)
        assert ended.returncode == 2
        assert run.process is not None
        assert f"is running already, as process {run.process.pid}" in ended.stderr
        run.wait_delivered("buf", "work", run.edge("buf", "work")["delivered"] + 5)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_signal_drains_and_only_one_that_means_an_order_is_a_clean_end(tmp_path: Path, number: int, code: int) -> None:
    with RunningPipeline(tmp_path, "demo", graph()) as run:
        run.wait_delivered("buf", "work", 20)
        report = run.end(number)
    assert run.exit_code == code, run.tail()
    assert report["unaccounted"] == 0
    for each in report["edges"]:
        assert each["offered"] == each["delivered"] > 0 and each["dropped"] == {}
    assert_nothing_left()


def test_report_that_cannot_be_written_costs_nobody_the_ledger(tmp_path: Path, run_detektr: RunDetektr) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    (tmp_path / "leaves.py").write_text(
        f"def close(frame):\n    import os; os.path.isdir({str(gone)!r}) and os.rmdir({str(gone)!r})\n"
    )
    file = tmp_path / "demo.yaml"
    file.write_text(json.dumps({"name": "demo", "nodes": graph(count=5, use="leaves:close")}))
    ended = run_detektr("pipeline", "up", file, "--report", gone / "report.json")
    assert ended.returncode == 1
    assert "unaccounted: 0" in ended.stdout
    assert f"--report {gone}/report.json: it could not be written at the end: No such file" in ended.stderr
    assert "Traceback" not in ended.stderr and "fault of detektr" not in ended.stderr


def test_pictures_that_were_left_out_are_told_in_the_last_lines(
    tmp_path: Path, clip: Path, run_detektr: RunDetektr
) -> None:
    nodes = {"cam": {"kind": "capture", "source": str(clip), "fps": 6}, "work": {**graph()["work"], "input": "cam"}}
    file = tmp_path / "demo.yaml"
    file.write_text(json.dumps({"name": "demo", "nodes": nodes}))
    ended = run_detektr("pipeline", "up", file)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-2:] == [
        "cam left pictures of its source out, which are on no edge: thinned 36",
        "unaccounted: 0",
    ]


def test_second_sigint_drops_the_rest_as_stopped_at_once(tmp_path: Path) -> None:
    nodes = graph()
    nodes["work"] |= {"with": {"s": 0.2}, "drain": "30s"}
    with RunningPipeline(tmp_path, "demo", nodes) as run:
        run.wait(lambda: run.edge("buf", "work").get("queued", 0) >= 16, what="a full queue")
        assert run.process is not None
        run.process.send_signal(signal.SIGINT)
        run.wait(lambda: "draining" in run.tail(), what="the drain")
        report = run.end(signal.SIGINT, within_s=8)
    assert run.exit_code == 130, run.tail()
    assert edge(report, "work")["dropped"]["stopped"] > 0
    assert report["unaccounted"] == 0
    assert "a second signal came; the frames that are still queued are dropped" in run.tail()
    assert "drain timeout" not in run.tail()


def test_sigterm_whose_drain_was_too_short_exits_with_143(tmp_path: Path) -> None:
    nodes = graph()
    nodes["work"]["with"] = {"s": 0.2}
    with RunningPipeline(tmp_path, "demo", nodes) as run:
        run.wait(lambda: run.edge("buf", "work").get("queued", 0) >= 16, what="a full queue")
        report = run.end(signal.SIGTERM)
    assert edge(report, "work")["dropped"]["stopped"] > 0
    assert run.exit_code == 143, run.tail()


def test_stop_longer_than_the_drain_drops_the_rest_as_stopped(tmp_path: Path, run_detektr: RunDetektr) -> None:
    nodes = graph()
    nodes["work"]["with"] = {"s": 0.1}
    file, report_file = tmp_path / "p.yaml", tmp_path / "r.json"
    file.write_text(json.dumps({"name": "demo", "nodes": nodes}))
    ended = run_detektr("pipeline", "up", file, "--for", "1s", "--report", report_file)
    assert ended.returncode == 0, ended.stderr
    report = json.loads(report_file.read_text())
    assert edge(report, "work")["dropped"]["stopped"] > 0
    assert report["unaccounted"] == 0 and "unaccounted: 0" in ended.stdout


def test_hung_processor_is_killed_and_its_frame_tried_again(tmp_path: Path) -> None:
    nodes = graph(count=40, timeout="200ms")
    nodes["work"]["with"] = {"s": 1000, "at": 7}
    with RunningPipeline(tmp_path, "demo", nodes) as run:
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert report["nodes"]["work"]["restarts"] == 1
    assert edge(report, "work")["delivered"] == 40 and edge(report, "work")["redelivered"] >= 1
    assert "one frame took longer than 3 x 200ms" in run.tail()


def test_node_that_fails_for_good_ends_the_run_with_1_and_its_words_are_kept(tmp_path: Path) -> None:
    with RunningPipeline(tmp_path, "demo", graph(use="mine:Dies"), audit="sqlite:audit.db") as run:
        report = run.end(None)
    assert run.exit_code == 1, run.tail()
    assert report["nodes"]["work"]["state"] == "failed" and report["nodes"]["work"]["restarts"] == 2
    assert "given up after 3 failures (its `restart` allows 2 in 10m)" in run.tail()
    assert "going down" in (log_folder("demo") / "work.0.log").read_text()
    assert report["unaccounted"] == 0


def test_optional_node_that_fails_for_good_does_not_end_the_run(tmp_path: Path) -> None:
    nodes = graph(sleep_s=0.001)
    nodes["buf"]["when_full"] = "drop-oldest"
    nodes["extra"] = {"kind": "processor", "input": "buf", "use": "mine:Dies", "optional": True, **QUICK}
    with RunningPipeline(tmp_path, "demo", nodes) as run:
        run.wait(lambda: run.status()["nodes"].get("extra", {}).get("state") == "failed", what="extra to fail")
        run.wait_delivered("buf", "work", run.edge("buf", "work")["delivered"] + 50)
        report = run.end(signal.SIGTERM)
    assert run.exit_code == 0, run.tail()
    assert report["nodes"]["work"]["state"] == "ended" and report["unaccounted"] == 0


def test_source_that_raises_is_restarted_and_its_consumers_stay(tmp_path: Path) -> None:
    with RunningPipeline(tmp_path, "demo", graph(count=20, source={"fails": True})) as run:
        report = run.end(None)
    assert run.exit_code == 1, run.tail()
    assert report["nodes"]["cam"]["state"] == "failed" and report["nodes"]["cam"]["restarts"] == 2
    assert "the camera's library fell over" in report["nodes"]["cam"]["why"]
    assert edge(report, "work")["delivered"] == 60, "three lives of twenty pictures each"
    assert {report["nodes"][name]["state"] for name in ("buf", "work")} == {"ended"}
    assert report["nodes"]["buf"]["restarts"] == 0


def test_node_told_to_end_by_somebody_else_is_replaced(tmp_path: Path) -> None:
    with RunningPipeline(tmp_path, "demo", graph()) as run:
        run.wait_delivered("buf", "work", 20)
        old = run.kill("work", signal.SIGTERM)
        run.wait(lambda: run.pids("work") not in ([], [old]), what="a successor")
        run.wait_delivered("buf", "work", run.edge("buf", "work")["delivered"] + 20)
        report = run.end(signal.SIGTERM)
    assert report["nodes"]["work"]["restarts"] == 1 and report["unaccounted"] == 0


def test_what_a_node_started_ends_with_it(tmp_path: Path, wait_until: WaitUntil) -> None:
    (tmp_path / "mine.py").write_text(
        f"{CODE}\nimport subprocess\n"
        "class Starts:\n"
        "    def __init__(self):\n"
        "        self.child = subprocess.Popen(['sleep', '1000'])\n"
        "        print('started', self.child.pid)\n"
        "    def process(self, frame): pass\n"
    )
    with RunningPipeline(tmp_path, "demo", graph(use="mine:Starts")) as run:
        run.wait_delivered("buf", "work", 5)
        log = (log_folder("demo") / "work.0.log").read_text()
        started = int(log.partition("started ")[2].split()[0])
        assert psutil.pid_exists(started)
        run.end(signal.SIGTERM)
    wait_until(lambda: not psutil.pid_exists(started), 2, "the end of what the node had started")


def test_killed_supervisor_leaves_nothing_and_the_next_up_works(tmp_path: Path, wait_until: WaitUntil) -> None:
    with RunningPipeline(tmp_path, "demo", graph()) as run:
        run.wait_delivered("buf", "work", 20)
        pids = [pid for name in ("cam", "buf", "work") for pid in run.pids(name)]
        assert run.process is not None
        os.kill(run.process.pid, signal.SIGKILL)
        run.process.wait()
        with RunningPipeline(tmp_path, "demo", graph(count=10)) as successor:
            assert successor.end(None)["unaccounted"] == 0
        assert successor.exit_code == 0, successor.tail()
        wait_until(lambda: not any(psutil.pid_exists(pid) for pid in pids), 5, "the end of the orphans")
    assert_nothing_left()


def test_down_drains_a_pipeline_by_its_name(tmp_path: Path, run_detektr: RunDetektr) -> None:
    with RunningPipeline(tmp_path, "demo", graph()) as run:
        run.wait_delivered("buf", "work", 5)
        status = json.loads(run_detektr("pipeline", "status", "demo", "--json").stdout)
        assert {name: node["kind"] for name, node in status["nodes"].items()} == {
            "cam": "capture", "buf": "buffer", "work": "processor",
        }  # fmt: skip
        assert all(psutil.pid_exists(pid) for node in status["nodes"].values() for pid in node["pids"])
        ended = run_detektr("pipeline", "down", "demo")
        assert ended.returncode == 0, ended.stderr
        assert run.process is not None and run.process.wait(5) == 0
    assert run_detektr("pipeline", "status", "demo").returncode == 1
