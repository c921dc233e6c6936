"""`detektr why` names who is to blame: injected faults, live, after the end from another folder, and at a time."""

from __future__ import annotations

import datetime
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from detektr.errors import DetektrError
from detektr.observe.why.answer import explain
from tests.cameras.rtsp_servers import RtspServer, make_clip
from tests.harness.effort import alike
from tests.harness.running import RunningPipeline

if TYPE_CHECKING:
    from tests.conftest import RunDetektr

CODE = """
import time

import numpy as np


def pictures(rate=40):
    begun = time.monotonic()
    for count in range(100_000):
        time.sleep(max(0.0, begun + count / rate - time.monotonic()))
        yield np.zeros((16, 16, 3), np.uint8)


class Takes:
    def __init__(self, s=0.0, each=1):
        self.s, self.each = s, each

    def process(self, frame):
        if frame.sequence % self.each == self.each - 1:
            time.sleep(self.s)
        return {"n": frame.sequence}

    def write(self, event):
        time.sleep(self.s)


class Hangs:
    def write(self, event):
        time.sleep(1000)


class Poisoned:
    def process(self, frame):
        if frame.sequence % 10 == 3:
            raise ValueError("no such track")
        return {"n": frame.sequence}
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CODE)


def graph(detect: dict[str, Any] | None = None, hook: dict[str, Any] | None = None, **cam: Any) -> dict[str, Any]:
    """A live camera, a buffer, a processor and a sink, all of them quick unless told otherwise."""
    return {
        "cam": {
            "kind": "capture",
            "source": "python:mine:pictures",
            "when_full": "drop-oldest",
            **cam,
        },
        "buf": {"kind": "buffer", "input": "cam", "high_water_mark": 8},
        "detect": {"kind": "processor", "input": "buf", "use": "mine:Takes", "high_water_mark": 4, **(detect or {})},
        "hook": {"kind": "sink", "input": "detect", "use": "mine:Takes", "drain": "500ms", **(hook or {})},
    }


ALWAYS = ("slow processor", "sink that hangs", "poison frames")  # the others where there is time
FAULTS: dict[str, tuple[dict[str, Any], str, str, str]] = {
    # name: the graph, code and culprit that are to come first, and words that are said
    "slow processor": (graph({"with": {"s": 0.1}}), "losing", "detect", "detect takes 1"),
    "sink that hangs": (graph(hook={"use": "mine:Hangs", "timeout": "3s"}), "hung", "hook", "mine.py:"),
    "slow sink": (graph(hook={"with": {"s": 0.4}}), "losing", "hook", "ms an event and holds up detect"),
    "full disk": (graph(hook={"use": "jsonl", "with": {"path": "/dev/full"}}), "failing", "hook", "No space left"),
    "poison frames": (graph({"use": "mine:Poisoned", "max_deliveries": 2}), "failing", "detect", "no such track"),
    "queue too small": (
        graph({"with": {"s": 0.2, "each": 40}, "input": {"from": "buf", "high_water_mark": 1}, "window": 1}),
        "losing",
        "buf -> detect",
        "too small with 1",
    ),
}


def sickest(name: str | None = None, **which: Any) -> dict[str, Any]:
    """Return the finding that comes first; empty: there is none."""
    found: list[dict[str, Any]] = explain(name, **which)["sickest"]
    return found[0] if found else {}


def is_named(code: str, culprit: str, words: str, lost: int = 20) -> Callable[[], bool]:
    """Whether a finding comes first now; one of losses after some of them."""

    def look() -> bool:
        try:
            first = sickest("demo")
        except DetektrError:  # it has not begun
            return False
        if first.get("code") == "losing" and first["lost"] < lost:
            return False
        return (first.get("code"), first.get("culprit")) == (code, culprit) and words in first["text"]

    return look


def wait_recorded(run: RunningPipeline, code: str, culprit: str, for_s: int = 3) -> None:
    """Wait until the history has a fault, for so long that it is told afterwards too."""

    def is_recorded() -> bool:
        try:
            answer = explain("demo", run="last")
        except DetektrError:  # nothing is written yet
            return False
        first = answer["sickest"][0] if answer["sickest"] else {"code": "", "culprit": "", "since": ""}
        if (first["code"], first["culprit"]) != (code, culprit):
            return False
        return time.time() - datetime.datetime.fromisoformat(first["since"]).timestamp() > for_s

    run.wait(is_recorded, what=f"{code} {culprit} in the history")


def assert_told_afterwards(run_detektr: RunDetektr, elsewhere: Path, code: str, culprit: str, words: str) -> None:
    """After the end, from another folder, the same is said of the run; and of a second in the middle of it."""
    elsewhere.mkdir()
    told = run_detektr("why", "demo", "--json", cwd=elsewhere)
    assert told.returncode == 0, told.stderr
    answer = json.loads(told.stdout)
    first = answer["sickest"][0]
    assert (first["code"], first["culprit"]) == (code, culprit) and words in first["text"], answer["sickest"]
    assert not answer["live"]
    shown = run_detektr("why", "--run", "last", cwd=elsewhere).stdout
    assert f"1. {code}, since " in shown and first["text"] in shown and first["next"] in shown
    at = time.strftime("%H:%M:%S", time.localtime(time.time() - 2))
    assert sickest("demo", at=at)["culprit"] == culprit


@pytest.mark.parametrize("name", [name if name in ALWAYS else alike(name) for name in FAULTS])
def test_the_culprit_comes_first(tmp_path: Path, run_detektr: RunDetektr, name: str) -> None:
    nodes, code, culprit, words = FAULTS[name]
    with RunningPipeline(tmp_path, "demo", nodes) as run:
        run.wait(is_named(code, culprit, words), 30, f"{code} {culprit}: {words}")
        wait_recorded(run, code, culprit)
        run.end()
    assert_told_afterwards(run_detektr, tmp_path / "elsewhere", code, culprit, words)


def test_a_suspended_process_comes_first(tmp_path: Path, run_detektr: RunDetektr) -> None:
    with RunningPipeline(tmp_path, "demo", graph()) as run:
        run.wait_delivered("buf", "detect", 20)
        pid = run.kill("detect", signal.SIGSTOP)
        run.wait(is_named("hung", "detect", f"process {pid} is suspended"), what="the suspended process")
        assert run.status()["nodes"]["detect"]["state"] == "suspended"
        wait_recorded(run, "hung", "detect")
        os.kill(pid, signal.SIGCONT)
        run.end()
    assert_told_afterwards(run_detektr, tmp_path / "elsewhere", "hung", "detect", "is suspended")


def test_a_supervisor_that_was_killed_comes_first(tmp_path: Path, run_detektr: RunDetektr) -> None:
    with RunningPipeline(tmp_path, "demo", graph()) as run:
        run.wait_delivered("buf", "detect", 60)
        assert run.process is not None
        run.process.kill()
        run.process.wait()
        assert sickest("demo")["code"] == "supervisor_dead"
    told = run_detektr("why", "demo", "--run", "last")
    assert told.stdout.splitlines()[1].startswith("1. supervisor_dead, since "), told.stdout
    assert f"the supervisor (process {run.process.pid}) died without a word" in told.stdout
    runs = run_detektr("runs", "demo").stdout
    assert " died " in runs.splitlines()[1]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "cam.mp4"
    make_clip(path, seconds=3)
    return path


@pytest.fixture
def server(clip: Path) -> Iterator[RtspServer]:
    with RtspServer(clip.parent) as made:
        yield made


@pytest.mark.parametrize("how", ["dead", alike("frozen")])
def test_a_camera_that_is_down_comes_first(
    tmp_path: Path, run_detektr: RunDetektr, server: RtspServer, how: str
) -> None:
    source: dict[str, Any] = {"source": server.url("cam.mp4"), "stall_timeout": "1s", "camera": "door"}
    with RunningPipeline(tmp_path, "demo", graph(**source)) as run:
        run.wait_delivered("buf", "detect", 10)
        assert sickest("demo", camera="door") == {}
        if how == "dead":
            server.kill()
        else:
            server.stop()
        run.wait(is_named("camera_down", "cam", "no frame for"), what="the camera")
        wait_recorded(run, "camera_down", "cam")
        assert sickest("demo", camera="door")["culprit"] == "cam"
        with pytest.raises(DetektrError, match="'demo' has no camera 'yard'; it has: door"):
            sickest("demo", camera="yard")
        run.end()
    assert_told_afterwards(run_detektr, tmp_path / "elsewhere", "camera_down", "cam", "no frame for")


def test_a_healthy_run_has_nothing_to_say(tmp_path: Path, run_detektr: RunDetektr) -> None:
    with RunningPipeline(tmp_path, "demo", graph()) as run:
        run.wait_delivered("buf", "detect", 100)
        told = run_detektr("why")
        assert "nothing was lost or late" in told.stdout, told.stdout + told.stderr
        run.end()
    (record,) = json.loads(run_detektr("runs", "demo", "--json").stdout)
    assert record["state"] == "ended" and record["exit_code"] == 0 and record["stopped_by"] == "signal 15"
    assert record["report"]["unaccounted"] == 0 and record["report"]["edges"][0]["offered"] >= 100
    assert record["file"] == str(tmp_path / "pipeline.yaml")


def test_a_start_that_was_refused_is_what_is_spoken_of_and_not_the_run_before(
    tmp_path: Path, run_detektr: RunDetektr
) -> None:
    nodes = {"cam": {"kind": "capture", "source": "lavfi:testsrc2=size=64x48:rate=10:duration=1"}}
    nodes["work"] = {"kind": "processor", "input": "cam", "use": "motion"}
    file = tmp_path / "pipeline.yaml"
    file.write_text(json.dumps({"name": "shop", "nodes": nodes}))
    assert run_detektr("up", "--quiet").returncode == 0
    nodes["work"]["use"] = "nowhere:Nobody"
    file.write_text(json.dumps({"name": "shop", "nodes": nodes}))
    assert run_detektr("up", "--quiet").returncode == 2
    told = run_detektr("why", "shop")
    assert told.returncode == 0, told.stderr
    assert "1. failed, since" in told.stdout and "the start was refused: " in told.stdout, told.stdout
    assert "there is no module 'nowhere'" in told.stdout
    runs = run_detektr("runs", "shop").stdout.splitlines()
    assert [line.split()[5] for line in runs[1:]] == ["0", "2"], runs
    assert "began nothing: its start was refused" in run_detektr("status", "shop", "--run", "last").stderr


def test_what_is_asked_wrongly_is_answered_in_words(tmp_path: Path, run_detektr: RunDetektr) -> None:
    assert "start one: detektr up pipeline.yaml" in run_detektr("why").stderr
    assert "pipeline 'demo' has not run here; known are none" in run_detektr("why", "demo").stderr
    with RunningPipeline(tmp_path, "demo", graph()) as run:
        run.wait_delivered("buf", "detect", 20)
        run.end()
    assert "'demo' has no run '1999'; name one of them, as 20" in run_detektr("why", "demo", "--run", "1999").stderr
    assert "--at 'noon' is not a time; write 14:03" in run_detektr("why", "demo", "--at", "noon").stderr
    assert "has no node or edge 'nosuch'; it has: buf, buf->detect, " in run_detektr("why", "demo", "nosuch").stderr
    assert "did not run at 1999-01-01T10:00" in run_detektr("why", "demo", "--at", "1999-01-01T10:00").stderr
