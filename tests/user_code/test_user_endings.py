"""What user code leaves to the end of its process: it comes to that end as in any Python program, and in time."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.running import RunningPipeline
from tests.process.terminal import open_terminals

if TYPE_CHECKING:
    from tests.conftest import WaitUntil

FRAMES = 40
CODE = """
import atexit, logging, logging.handlers, os, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
import numpy as np

def pictures(count=40, pause=0.0, path=""):
    file = open(path, "w") if path else None
    try:
        for number in range(count):
            if file is not None: print(number, file=file)
            yield np.full((48, 64), number % 250, np.uint8)
            time.sleep(pause)
    finally:
        if file is not None: print("closed", file=file)

class Process:
    def process(self, frame): return {"number": frame.sequence}

class Keeps:
    def __init__(self):
        self.file = open("out.txt", "w")
        self.open_()
    def open_(self): pass
    def write(self, event): print(event["data"]["number"], file=self.file)

class Global(Keeps):
    def open_(self):
        global KEPT
        KEPT = self.file

class Cycle(Keeps):
    def open_(self): self.self = self

class Video:
    def __init__(self): self.numbers = []
    def write(self, event): self.numbers.append(event["data"]["number"])
    def __del__(self): open("out.txt", "w").write("".join(f"{number}\\n" for number in self.numbers))

class AtExit(Video):
    def __init__(self):
        super().__init__()
        atexit.register(Video.__del__, self)
    __del__ = None

class Threads(Video):
    def __init__(self):
        super().__init__()
        self.is_over = threading.Event()
        threading.Thread(target=self.late).start()
    def close(self): self.is_over.set()
    def late(self):
        self.is_over.wait()
        time.sleep(0.2)
        Video.__del__(self)
    __del__ = None

class Pool:
    def __init__(self): self.pool = ThreadPoolExecutor(1)
    def write(self, event): self.pool.submit(self.upload, event["data"]["number"])
    def upload(self, number):
        time.sleep(0.01)
        with open("out.txt", "a") as file: print(number, file=file)

class Logs:
    def __init__(self):
        target = logging.FileHandler("out.txt")
        self.log = logging.getLogger("mine")
        self.log.propagate = False
        self.log.addHandler(logging.handlers.MemoryHandler(10_000, target=target))
    def write(self, event): self.log.warning("%d", event["data"]["number"])

class Hangs(Keeps):
    def open_(self): threading.Thread(target=time.sleep, args=(1000,), name="uploader").start()

class HangsInClose(Keeps):
    def close(self): time.sleep(1000)

class HangsAtExit(Keeps):
    def open_(self): atexit.register(time.sleep, 1000)

class HangsInDel(Keeps):
    def open_(self):
        global SELF
        SELF = self
    def __del__(self, sleep=time.sleep): sleep(1000)

class Crashes(Keeps):
    def close(self):
        self.file.flush()
        atexit.register(os.abort)
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CODE)


def graph(use: str, **source: Any) -> dict[str, Any]:
    return {
        "cam": {"kind": "capture", "source": "python:mine:pictures", "with": source, "drain": "5s"},
        "work": {"kind": "processor", "input": "cam", "use": "mine:Process", "drain": "5s"},
        "keep": {"kind": "sink", "input": "work", "use": f"mine:{use}", "drain": "5s"},
    }


def numbers(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "out.txt").read_text().split()]


KINDS = ["Keeps", "Global", "Cycle", "Video", "AtExit", "Threads", "Pool", "Logs"]


@pytest.mark.parametrize("use", KINDS)
def test_what_user_code_has_not_flushed_is_written_before_its_process_ends(use: str, tmp_path: Path) -> None:
    with RunningPipeline(tmp_path, "ends", graph(use)) as run:
        report = run.end(None)
        assert (run.exit_code, report["unaccounted"]) == (0, 0), run.tail()
    assert numbers(tmp_path) == list(range(FRAMES))


def test_what_user_code_has_not_flushed_is_written_when_its_run_is_stopped(tmp_path: Path) -> None:
    nodes = graph("Global", count=10**6, pause=0.002, path="source.txt")
    with RunningPipeline(tmp_path, "stopped", nodes) as run:
        run.wait_delivered("work", "keep", 20)
        report = run.end(signal.SIGTERM)
    delivered = next(edge["delivered"] for edge in report["edges"] if edge["to"] == "keep")
    assert numbers(tmp_path) == list(range(delivered))
    assert (tmp_path / "source.txt").read_text().endswith("closed\n")


def test_what_user_code_has_not_flushed_is_written_when_its_node_is_restarted(
    tmp_path: Path, wait_until: WaitUntil
) -> None:
    with RunningPipeline(tmp_path, "restarted", graph("Video", count=10**6, pause=0.002)) as run:
        run.wait_delivered("work", "keep", 20)
        run.kill("keep", signal.SIGTERM)
        wait_until(lambda: (tmp_path / "out.txt").exists(), what="the file of the first life")
        assert numbers(tmp_path)[:20] == list(range(20))
        run.wait(lambda: run.status()["nodes"].get("keep", {}).get("restarts"), what="its second life")
        assert run.end()["unaccounted"] == 0


def test_a_lone_sink_writes_what_its_code_has_not_flushed(tmp_path: Path) -> None:
    with open_terminals(tmp_path) as terminal:
        sink = terminal("sink", "mine:Global", "--input", "work")
        work = terminal("processor", "mine:Process", "--input", "cam", "--name", "work")
        for one in (sink, work):
            one.wait_says("waiting for")
        capture = terminal("capture", "--source", "python:mine:pictures", "--with", "path=source.txt")
        assert [one.end() for one in (capture, work, sink)] == [0, 0, 0]
    assert numbers(tmp_path) == list(range(FRAMES))
    assert (tmp_path / "source.txt").read_text().endswith("closed\n")


@pytest.mark.parametrize(
    ("use", "words"),
    [
        ("Hangs", "thread 'uploader': not finished within the 1s"),
        ("HangsInClose", "the user's code at mine.py:.. in close(): not finished within the 1s"),
        ("HangsAtExit", "its last objects: not finished within the 1s"),
        ("HangsInDel", "Timeout"),
    ],
)
def test_what_does_not_come_to_its_end_within_the_drain_is_named_and_cut_off(
    use: str, words: str, tmp_path: Path
) -> None:
    nodes = graph(use)
    nodes["keep"]["drain"] = "1s"
    with RunningPipeline(tmp_path, "hangs", nodes) as run:
        report = run.end(None)
        assert (run.exit_code, report["unaccounted"]) == (0, 0), run.tail()
        before, _, after = words.partition("..")
        assert before in run.tail() and after in run.tail()


def test_a_crash_of_user_code_after_its_work_was_done_is_told_and_does_not_begin_the_work_again(
    tmp_path: Path,
) -> None:
    with RunningPipeline(tmp_path, "crashes", graph("Crashes")) as run:
        report = run.end(None)
        assert run.exit_code == 0, run.tail()
        assert report["nodes"]["keep"]["restarts"] == 0
        assert "killed by signal 6 (aborted by its own code), on its way out after its work was done" in run.tail()
    assert numbers(tmp_path) == list(range(FRAMES))
