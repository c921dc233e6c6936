"""Asks a node's process for its stacks from outside, and finds the line that matters in them."""

from __future__ import annotations

import os
import re
import select
import signal
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path

import detektr
from detektr.errors import DetektrError
from detektr.memory.run_folder import RunFolder
from detektr.memory.status_block_reader import NodeSnapshot, open_status_block
from detektr.nodes.stack_dump import FILE_NAME, STACK_SIGNAL
from detektr.observe.status import find_running

ANSWER_NS = 300_000_000  # a process answers within milliseconds, unless it is stopped or a device holds it
QUIET_NS = 40_000_000  # after so long without another line, the answer is complete
_POLL_MS = 2
_DEAF = {"T": "it is stopped (SIGSTOP)", "t": "a debugger holds it", "D": "it waits for a device"}
_STACK_BYTES_MAX = 1 << 20
_FRAME = re.compile(r'^  File "(.*)", line (\d+) in (.*)$', re.MULTILINE)
_OWN = str(Path(detektr.__file__).parent) + os.sep
_NOT_THE_USERS = tuple(
    {
        *(sysconfig.get_paths()[name] + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        _OWN,
        "<",
    }
)


@dataclass(frozen=True)
class Stacks:
    """The answer of one process."""

    name: str
    pid: int
    text: str
    """All threads, each with its latest call first; empty: no answer."""
    state: str
    """Why it did not answer; empty: it did."""

    @property
    def place(self) -> str:
        """Where its main thread is, as `mine.py:12 in process`, or why that is not known."""
        return find_place(self.text) or self.state or "no Python code runs in it"

    @property
    def shown(self) -> str:
        """The text for a log: of each thread the calls down to the first of detektr's own."""
        lines, is_cut = [], False
        for line in self.text.splitlines():
            is_call = line.startswith("  ")
            if not (is_call and is_cut):
                lines.append(line)
            is_cut = is_call and (is_cut or _OWN in line)
        return "".join(f"{line}\n" for line in lines)


def find_place(text: str) -> str:
    """Return where the user's own code is: in the main thread or, if that runs none of it, in another one.

    If no thread runs any, return where the main thread is; empty: it is nowhere.

    Args:
        text: output of `faulthandler`: threads, the main one last, with their latest calls first.
    """
    threads = [_FRAME.findall(thread) for thread in reversed(re.split(r"\n\n", text.strip()))]
    for calls in threads:
        own = next((call for call in calls if not call[0].startswith(_NOT_THE_USERS)), None)
        if own is not None:
            return _shown(own) if own == calls[0] else f"{_shown(own)} (in {_shown(calls[0])})"
    return _shown(threads[0][0]) if threads[0] else ""


def _shown(call: tuple[str, str, str]) -> str:
    file, line, function = call
    return f"{Path(file).name}:{line} in {function}"


def ask_stacks(folder: RunFolder, node: str, replica: int) -> Stacks:
    """Ask a process for its stacks, and wait for them; a third of a second at most."""
    name = f"{node}.{replica}"
    status_block = open_status_block(folder.status_block(node, replica), node, replica)
    if status_block is None:
        return Stacks(name, 0, "", "it does not run")
    snapshot = status_block.snapshot()
    status_block.close()
    if not snapshot.is_alive or not snapshot.stacks_fd:
        return Stacks(name, snapshot.pid, "", "it has ended" if not snapshot.is_alive else "it has not begun yet")
    try:
        text = _ask(snapshot)
    except OSError as fault:
        return Stacks(name, snapshot.pid, "", f"it cannot be asked: {fault.strerror}")
    return Stacks(name, snapshot.pid, text, "" if text else _state(snapshot.pid))


def read_stacks(pipeline: str, node: str | None = None) -> list[Stacks]:
    """Return the stacks of the processes of a running pipeline.

    Args:
        pipeline: its name.
        node: only this node (`motion`) or process (`motion.0`); None: all.
    Raises:
        DetektrError: no such pipeline runs, or no such node of it.
    """
    folder = find_running(pipeline)
    live = [(name, replica) for name, replica, _ in folder.live_processes()]
    asked = [one for one in live if node in (None, one[0], f"{one[0]}.{one[1]}")]
    if not asked:
        names = ", ".join(dict.fromkeys(name for name, _ in live)) or "none"
        raise DetektrError(f"pipeline {pipeline!r} has no process of node {node!r}; choose one of: {names}")
    return [ask_stacks(folder, name, replica) for name, replica in asked]


def describe_stacks(stacks: list[Stacks]) -> str:
    """Write stacks as text, one process after the other."""
    parts = [f"{one.name} (process {one.pid}): {one.place}\n{one.text}".rstrip() for one in stacks]
    return "\n\n".join(parts)


def _ask(snapshot: NodeSnapshot) -> str:
    """Empty the file, send the signal and read; empty: no answer came.

    Raises:
        OSError: the process is gone, another user's or in another container.
    """
    link = f"/proc/{snapshot.pid}/fd/{snapshot.stacks_fd}"
    handle = os.pidfd_open(snapshot.pid)
    try:
        if _letter(snapshot.pid) in _DEAF:
            return ""
        if FILE_NAME not in os.readlink(link):  # then the signal would end it
            return ""
        fd = os.open(link, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.ftruncate(fd, 0)
            signal.pidfd_send_signal(handle, STACK_SIGNAL)
            return _read(fd)
        finally:
            os.close(fd)
    finally:
        os.close(handle)


def _read(fd: int) -> str:
    poll, begun_ns = select.poll(), time.monotonic_ns()
    size, changed_ns = 0, begun_ns
    while True:
        now_ns, now_size = time.monotonic_ns(), os.fstat(fd).st_size
        if now_size != size:
            size, changed_ns = now_size, now_ns
        if now_ns - begun_ns > ANSWER_NS or (size and now_ns - changed_ns > QUIET_NS):
            return os.pread(fd, _STACK_BYTES_MAX, 0).decode(errors="replace")
        poll.poll(_POLL_MS)


def _state(pid: int) -> str:
    """Say why a process may not have answered."""
    letter = _letter(pid)
    if not letter:
        return "it has ended"
    return _DEAF.get(letter, "it does not answer: its code has taken the signal for itself, or has left it blocked")


def _letter(pid: int) -> str:
    """Return the letter of a process's state; empty: there is none of that number."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return ""
