"""What shells, cron, containers and terminals do to a command: streams closed or full, no home, few descriptors."""

from __future__ import annotations

import json
import os
import pty
import resource
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.harness.effort import alike

if TYPE_CHECKING:
    from tests.conftest import RunDetektr, WaitUntil

FRAMES = 40
CODE = """
import time
import numpy as np

def pictures(count=40, pause=0.0):
    for number in range(count):
        yield np.full((48, 64), number % 250, np.uint8)
        time.sleep(pause)

class Prints:
    def process(self, frame):
        print("saw", frame.sequence)
        return {"number": frame.sequence}
"""
FILE = """
name: around
nodes:
  cam: {kind: capture, source: "python:mine:pictures", with: {count: COUNT, pause: PAUSE}, drain: 5s}
  work: {kind: processor, input: cam, use: "mine:Prints", drain: 5s}
  keep: {kind: sink, input: work, use: "detektr.sinks.jsonl:JsonLines", with: {path: events.jsonl}, drain: 5s}
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CODE)
    (tmp_path / "some.yaml").write_text(FILE.replace("COUNT", str(FRAMES)).replace("PAUSE", "0"))
    (tmp_path / "endless.yaml").write_text(FILE.replace("COUNT", "10000000").replace("PAUSE", "0.005"))


def shell(line: str, folder: Path) -> int:
    """Run `line` with $D for our command, as a script would; returns its exit code."""
    command = f"{sys.executable} -m detektr"
    return subprocess.run(["bash", "-c", line.replace("$D", command)], cwd=folder, timeout=45).returncode


@pytest.mark.parametrize("closed", [">&-", alike("2>&-"), alike("<&-"), alike("<&- 2>&-"), "<&- >&- 2>&-"])
def test_a_run_whose_standard_streams_are_closed_is_a_run_like_any_other(closed: str, tmp_path: Path) -> None:
    assert shell(f"$D pipeline up some.yaml --report report.json {closed}", tmp_path) == 0
    assert json.loads((tmp_path / "report.json").read_text())["unaccounted"] == 0
    assert len((tmp_path / "events.jsonl").read_text().splitlines()) == FRAMES


@pytest.mark.parametrize("closed", [alike(">&-"), alike("<&- 2>&-"), "<&- >&- 2>&-"])
def test_other_commands_answer_with_closed_streams(closed: str, tmp_path: Path) -> None:
    assert shell(f"$D pipeline validate some.yaml {closed}", tmp_path) == 0
    assert shell(f"$D pipeline validate missing.yaml {closed}", tmp_path) == 2


@pytest.mark.parametrize("full", [alike(">/dev/full"), alike("2>/dev/full"), ">/dev/full 2>/dev/full"])
def test_a_full_disk_behind_its_output_costs_a_run_only_that_output(full: str, tmp_path: Path) -> None:
    assert shell(f"$D pipeline up some.yaml --report report.json {full}", tmp_path) == 0
    assert json.loads((tmp_path / "report.json").read_text())["unaccounted"] == 0


def test_a_lone_node_whose_output_cannot_be_written_works_and_leaves_nothing(tmp_path: Path) -> None:
    lone = "$D processor mine:Prints --input cam >/dev/full 2>/dev/full & "
    cam = "$D capture --source python:mine:pictures >/dev/full 2>/dev/full; one=$?; wait $!; exit $((one + $?))"
    assert shell(lone + cam, tmp_path) == 0


def test_an_answer_that_cannot_be_written_is_told_as_that(tmp_path: Path) -> None:
    line = "$D pipeline validate some.yaml 2>said.txt >/dev/full"
    assert shell(line, tmp_path) == 1
    assert (tmp_path / "said.txt").read_text().startswith("the answer cannot be written: No space left on device")


def in_terminal(folder: Path, *arguments: str) -> tuple[int, int]:
    """Run a command in a terminal of its own; returns its process and the terminal's other end."""
    pid, fd = pty.fork()
    if not pid:
        os.chdir(folder)
        os.environ["TERM"] = "xterm"
        os.execv(sys.executable, [sys.executable, "-m", "detektr", *arguments])
    return pid, fd


def read_until(fd: int, text: str, wait_until: WaitUntil) -> None:
    said = bytearray()

    def is_said() -> bool:
        if select.select([fd], [], [], 0)[0]:
            said.extend(os.read(fd, 65536))
        return text.encode() in said

    wait_until(is_said, 20, text)


def end_of(pid: int, wait_until: WaitUntil) -> int:
    ended: list[int] = []

    def has_ended() -> bool:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            ended.append(os.waitstatus_to_exitcode(status))
        return bool(found)

    wait_until(has_ended, 20, "the end")
    return ended[0]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_terminal_that_closes_drains_a_run_and_its_report_is_written(tmp_path: Path, wait_until: WaitUntil) -> None:
    pid, fd = in_terminal(tmp_path, "pipeline", "up", "endless.yaml", "--report", "report.json")
    read_until(fd, "processes ready", wait_until)
    wait_until(lambda: (tmp_path / "events.jsonl").exists(), what="events")
    os.close(fd)
    assert end_of(pid, wait_until) == 128 + signal.SIGHUP
    assert json.loads((tmp_path / "report.json").read_text())["unaccounted"] == 0


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_terminal_that_closes_drains_lone_nodes_and_nothing_of_them_stays(
    tmp_path: Path, wait_until: WaitUntil, shm_dir: Path
) -> None:
    source = ["--source", "python:mine:pictures", "--with", "count=10000000", "--with", "pause=0.005"]
    nodes = [
        in_terminal(tmp_path, "capture", *source),
        in_terminal(tmp_path, "processor", "mine:Prints", "--input", "cam"),
    ]
    read_until(nodes[1][1], "saw 20", wait_until)
    for _, fd in nodes:
        os.close(fd)
    assert [end_of(pid, wait_until) for pid, _ in nodes] == [128 + signal.SIGHUP] * 2
    assert not [path for path in shm_dir.rglob("*") if path.is_file()]


def test_a_lone_node_under_nohup_does_not_hear_that_its_terminal_closes(tmp_path: Path, wait_until: WaitUntil) -> None:
    line = [sys.executable, "-m", "detektr", "capture", "--source", "python:mine:pictures", "--with", "count=9999999"]
    with (tmp_path / "said.txt").open("w") as said:
        capture = subprocess.Popen(["nohup", *line], cwd=tmp_path, stdout=said, stderr=said)
    wait_until(lambda: "no consumer yet" in (tmp_path / "said.txt").read_text(), 20, "the capture")
    capture.send_signal(signal.SIGHUP)
    capture.send_signal(signal.SIGTERM)
    assert capture.wait(20) == 0  # 129 if it were the first that it obeyed


HOMELESS = ["unshare", "--user", "--map-user=54321", "--map-group=54321"]


@pytest.mark.parametrize("command", [["pipeline", "up", "some.yaml"], ["buffer", "--input", "cam"]])
def test_a_user_without_a_home_folder_is_told_what_to_set(command: list[str], tmp_path: Path) -> None:
    if shutil.which("unshare") is None or subprocess.run([*HOMELESS, "true"], capture_output=True).returncode:
        pytest.skip("no user of another number can be made here")
    environment = {key: value for key, value in os.environ.items() if key not in ("HOME", "DETEKTR_STATE_DIR")}
    line = [*HOMELESS, sys.executable, "-m", "detektr", *command]
    ended = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 2
    assert "user 54321 has no home folder" in ended.stderr and "set DETEKTR_STATE_DIR" in ended.stderr


def wide(count: int) -> str:
    nodes = "".join(f'  w{n}: {{kind: processor, input: cam, use: "mine:Prints", window: 1}}\n' for n in range(count))
    return f'name: wide\nnodes:\n  cam: {{kind: capture, source: "python:mine:pictures"}}\n{nodes}'


def test_too_few_descriptors_are_refused_with_the_number_that_is_needed_and_nothing_is_left(
    run_detektr: RunDetektr, tmp_path: Path
) -> None:
    (tmp_path / "wide.yaml").write_text(wide(60))
    line = "ulimit -n 128; $D pipeline up wide.yaml 2>said.txt"
    assert shell(line, tmp_path) == 2
    said = (tmp_path / "said.txt").read_text()
    assert "a pipeline of 61 processes: up to 700 files are open at once" in said and "may have 128" in said
    assert run_detektr("pipeline", "up", "some.yaml").returncode == 0


def test_a_soft_limit_of_descriptors_is_raised_to_what_is_needed(tmp_path: Path) -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 512:
        pytest.skip("the hard limit is low here")
    (tmp_path / "wide.yaml").write_text(wide(12))
    assert shell("ulimit -S -n 64; $D pipeline up wide.yaml", tmp_path) == 0
