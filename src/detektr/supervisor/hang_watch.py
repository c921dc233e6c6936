"""Watches for processes that work on one frame for too long; reports each, with the place in its code, once a frame."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

from detektr.memory.run_folder import RunFolder
from detektr.memory.status_block_reader import NodeSnapshot
from detektr.observe.stacks import ask_stacks
from detektr.options import CaptureOptions, ProcessorOptions, SinkOptions
from detektr.source_uri import source_kind
from detektr.supervisor.managed_process import ManagedProcess

HUNG_TIMEOUTS = 3  # a frame worked on for so many of its processor's timeouts: the process hangs
HOLD_UP_NS = 2_000_000_000  # a stop is held up by who works on one frame for so long, and so long into it
HangFinding = Literal["hanging", "running", "killed"]
_log = logging.getLogger(__name__)


class HangWatch:
    """The hanging processes of one run."""

    def __init__(self, folder: RunFolder, show: Callable[[str, bytes], None], seen_ns: Callable[[int], int]) -> None:
        """Begin without hanging processes.

        Args:
            folder: the run's.
            show: takes the stacks of a process, as lines.
            seen_ns: returns the seen time at a monotonic one.
        """
        self._folder, self._show, self._seen_ns = folder, show, seen_ns
        self._told: dict[str, int] = {}  # process: monotonic time since which it works on the reported frame
        self._in_the_way: set[str] = set()  # processes that were reported to hold up the stop

    def look(
        self, managed: ManagedProcess, snapshot: NodeSnapshot, now_ns: int, stopping_since_ns: int
    ) -> tuple[HangFinding, str] | None:
        """Look at a running process.

        Args:
            managed: the process.
            snapshot: its status block.
            now_ns: now, as seen.
            stopping_since_ns: since when, as seen, the run is being stopped; 0: it is not.
        Returns:
            The finding, and why: it hangs, it runs again, or it is to be killed; None: nothing new.
        """
        name, since_ns = managed.name, snapshot.working_since_ns
        worked_ns = now_ns - self._seen_ns(since_ns) if since_ns else 0
        stopping_ns = now_ns - stopping_since_ns if stopping_since_ns else 0
        options = managed.spec.options
        if isinstance(options, ProcessorOptions | SinkOptions) and worked_ns > HUNG_TIMEOUTS * options.timeout_ns:
            return "killed", f"killed: {_work_of(options)} took longer than {HUNG_TIMEOUTS} x {options.timeout}"
        if name in self._told and self._told[name] != since_ns:
            del self._told[name]
            return "running", ""
        if name in self._told:
            return None
        limit_ns, limit, what = _limit_of(managed)
        is_late = 0 < limit_ns < worked_ns
        is_in_the_way = limit_ns > 0 and name not in self._in_the_way and min(worked_ns, stopping_ns) > HOLD_UP_NS
        if not (is_late or is_in_the_way):
            return None
        stacks = ask_stacks(self._folder, snapshot.node, snapshot.replica)
        begun = time.strftime("%H:%M:%S", time.localtime(time.time() - (time.monotonic_ns() - since_ns) / 1e9))
        why = f"since {begun} {what} ({limit}), at {stacks.place}"
        verb, stop = "hangs" if is_late else "works", "; the stop waits for it" if stopping_ns else ""
        _log.warning("%s %s %s%s", name, verb, why, stop)
        self._show(name, stacks.shown.encode())
        if stopping_ns:
            self._in_the_way.add(name)
        if not is_late:
            return None
        self._told[name] = since_ns
        return "hanging", f"hangs {why}"

    def end_of(self, rest: Iterable[ManagedProcess], snapshots: Mapping[str, NodeSnapshot], now_ns: int) -> int:
        """Return until when, as seen, we wait for optional processes: for their drain, counted from when they hang."""
        ends_ns = [now_ns]
        for managed in rest:
            snapshot = snapshots.get(managed.name)
            since_ns = self._seen_ns(snapshot.working_since_ns) if snapshot and snapshot.working_since_ns else now_ns
            ends_ns.append(since_ns + managed.spec.options.drain_ns)
        return max(ends_ns)

    def forget(self, name: str) -> None:
        """Note that a process has ended."""
        self._told.pop(name, None)

    def hanging(self, managed: Iterable[ManagedProcess]) -> list[str]:
        """Return those that hang, in words."""
        return [f"{one.name} {one.why}" for one in managed if one.name in self._told]

    def place(self, managed: ManagedProcess) -> str:
        """Return where a process that is to be killed is in its code; empty: it does not answer."""
        stacks = ask_stacks(self._folder, managed.spec.node, managed.spec.replica)
        if managed.name not in self._told:
            self._show(managed.name, stacks.shown.encode())
        return f"; it was at {stacks.place}" if stacks.text else ""


def _work_of(options: ProcessorOptions | SinkOptions) -> str:
    is_batching = isinstance(options, ProcessorOptions) and options.batch is not None
    return "one batch" if is_batching else "one frame"


def _limit_of(managed: ManagedProcess) -> tuple[int, str, str]:
    """Return how long a frame may take before it is reported, the same in words, and the kind of work."""
    options = managed.spec.options
    if isinstance(options, ProcessorOptions | SinkOptions):
        return options.timeout_ns, f"timeout {options.timeout}", f"on {_work_of(options)}"
    if isinstance(options, CaptureOptions) and source_kind(options.source) == "python":
        return options.stall_timeout_ns, f"stall_timeout {options.stall_timeout}", "on its next picture"
    return 0, "", ""
