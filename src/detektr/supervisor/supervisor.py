"""Supervision of one run: starts its processes, watches them, starts them again, and ends them in order."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from detektr.errors import RefusedError
from detektr.events import NodeExited, NodeStateChanged, RunEvent
from detektr.ledger import EdgeLedger, merge
from detektr.memory.run_folder import RunFolder
from detektr.memory.status_block_reader import NodeSnapshot
from detektr.nodes.spec import NodeSpec
from detektr.observe.culprit import held_up
from detektr.observe.logbook import Logbook
from detektr.observe.run_reader import RunReader
from detektr.options import CaptureOptions, PullOptions, SinkOptions
from detektr.redaction import mask
from detektr.supervisor.child_process import ChildProcess, ProcessGroups, modules_of
from detektr.supervisor.fork_client import ForkServer
from detektr.supervisor.hang_watch import HangWatch
from detektr.supervisor.leaving.cameras import CameraHomes
from detektr.supervisor.leaving.orphaned_edges import end_edges, end_unborn
from detektr.supervisor.managed_process import (
    ManagedProcess,
    consumers_given_up,
    describe,
    is_begun_with,
    optional_rest,
    relays_given_up,
)
from detektr.supervisor.operating.line import OperatorInbox
from detektr.supervisor.operating.operations import Operations
from detektr.supervisor.restart import describe_exit
from detektr.supervisor.signals import SignalPipe
from detektr.supervisor.watch import Watch

RECORD_NS = 60_000_000_000  # how often the ledgers go into the audit trail
REFUSAL_NS = 5_000_000_000  # after a first refusal the others may still say theirs for so long
CUT_NS = 3_000_000_000  # from the drain's end until whoever is left is killed
KILLED_NS = 5_000_000_000  # a killed process that is not gone by then waits for a device
ABORT_NS = 2_000_000_000  # for processes that have not begun to work
LOG_READS_MAX = 64
_log = logging.getLogger(__name__)
Phase = Literal["starting", "running", "draining", "cutting", "aborting"]
Look = Callable[[list[EdgeLedger], list[NodeSnapshot]], None]


class Supervisor:
    """The one loop: a single thread that waits for ends, messages, log lines, signals and its own times."""

    def __init__(
        self,
        specs: Sequence[NodeSpec],
        folder: RunFolder,
        logbook: Logbook,
        signals: SignalPipe,
        forks: ForkServer,
        *,
        look: Look,
        look_ns: int,
        change: Callable[[], None],
    ) -> None:
        """Begin without processes.

        Args:
            specs: of all processes, consumers before their producers.
            folder: the run's; its lock is held by the caller.
            logbook: takes the output of the processes.
            signals: those that end the run.
            forks: the fork server's client; closed with this.
            look: gets ledgers and status blocks ...
            look_ns: ... so often, in nanoseconds.
            change: is told when the state of a process has changed.
        """
        self.processes = [ManagedProcess(spec, is_wanted=is_begun_with(spec)) for spec in specs]
        self.record: Callable[[RunEvent | Mapping[str, Any]], None] = lambda event: None
        """Takes what happened; must not wait."""
        self.phase: Phase = "starting"
        self.stop_signal: int | None = None
        self.started_ns = 0
        self.stopped_by = "its sources ended"
        """Why the run ends, in words."""
        self._has_given_up = False
        self._refusals: list[tuple[ManagedProcess, str]] = []
        self._folder, self._logbook, self._signals = folder, logbook, signals
        self._look, self._look_ns, self._change = look, look_ns, change
        self._reader = RunReader(folder)
        self._forks, self._groups = forks, ProcessGroups()
        self._watch = Watch(signals.fd)
        self._next_look_ns = self._next_record_ns = 0
        self._hangs = HangWatch(folder, logbook.take, self._watch.seen_ns)
        self._homes = CameraHomes(folder, self.processes, self._reader, lambda event: self.record(event))
        self._operations = Operations(self.processes, lambda event: self.record(event), self._homes)
        self._operators: OperatorInbox | None = None
        self._culprits: dict[str, str] = {}  # who waited for whom when that was last so
        self._stopping_ns = 0  # since when the run is being stopped
        self._end_ns: int | None = None  # when the phase's time is over
        self._cut_short = ""  # why it was over before its time
        self._for_ns: int | None = None  # when the run is to be stopped

    @property
    def exit_code(self) -> int:
        """0; 1: a node failed for good; 128+n: ended by signal n."""
        if self._has_given_up:
            return 1
        if self.stop_signal is not None:
            return 128 + self.stop_signal
        return int(self.has_failed)

    @property
    def has_failed(self) -> bool:
        """Whether a node that is not optional has failed for good."""
        return any(managed.state == "failed" and not managed.spec.options.optional for managed in self.processes)

    def describe(self) -> dict[str, dict[str, Any]]:
        """Return what is known of each node, in the order of the frames: `kind`, `state`, `pids`, `restarts`, `why`."""
        return describe(self.processes)

    # -- the run's course -------------------------------------------------------------------------------------------

    def warm_up(self) -> None:
        """Let the fork server import the processes' modules, while the caller goes on.

        Raises:
            RefusedError: the machine starts no more processes.
        """
        self._forks.need(modules_of(managed.spec for managed in self.processes))

    def start(self) -> None:
        """Start every process that is wanted; none of them lets frames flow yet.

        Raises:
            RefusedError: the machine starts no more processes, or has no memory for those that may come.
        """
        for managed in self.processes:
            if managed.is_wanted:
                self._start(managed)
            else:
                managed.state = "away"
                end_unborn(self._folder, managed.spec)
        self._operators = OperatorInbox(self._folder)
        self._watch.add_operator(self._operators.fd)
        self._change()

    def wait_ready(self) -> list[tuple[NodeSpec, str]]:
        """Wait until every process is ready or has refused; returns the refusals, empty when all may begin.

        A signal ends the wait; `stop_signal` tells.
        """
        while any(managed.child is not None and managed.ready_ns is None for managed in self.processes):
            if self._refusals and self._end_ns is None:
                self._end_ns = self._watch.now_ns() + REFUSAL_NS
            if self.stop_signal is not None or (self._end_ns is not None and self._watch.now_ns() > self._end_ns):
                break
            self._turn()
        self._end_ns = None
        return [(managed.spec, why) for managed, why in self._refusals]

    def run(self, for_ns: int | None) -> None:
        """Let the frames flow, until every node has ended.

        Args:
            for_ns: stop after this time, in nanoseconds; None: when the sources end, or on a signal.
        """
        self.phase, self.started_ns = "running", time.monotonic_ns()
        self._for_ns = None if for_ns is None else self._watch.now_ns() + for_ns
        for managed in self.processes:
            self._go(managed)
        self._change()
        while not all(managed.is_over for managed in self.processes):
            self._turn()

    def stop(self, why: str) -> None:
        """Stop the captures; the nodes below them end when their inputs have, or when the drain timeout expires."""
        if self.phase != "running":
            return
        self.phase, self._stopping_ns, self.stopped_by = "draining", self._watch.now_ns(), why
        longest_ns = max(managed.spec.options.drain_ns for managed in self.processes)
        self._end_ns = self._watch.now_ns() + longest_ns
        _log.info("%s: draining, for at most %.1f s", why, longest_ns / 1e9)
        self._operations.forget(self._stopping_ns)
        for managed in self.processes:
            if (
                isinstance(managed.spec.options, CaptureOptions)
                and managed.child is not None
                and managed.ready_ns is not None
            ):
                managed.child.try_order({"order": "stop"})
            elif (
                isinstance(managed.spec.options, SinkOptions | PullOptions)
                and managed.child is not None
                and managed.ready_ns is not None
            ):
                managed.child.try_order({"order": "drain"})  # a pause of an outage may be longer than the drain

    def close(self) -> None:
        """End every process that is left, at once if it works already; when this returns, none lives."""
        if any(managed.child is not None for managed in self.processes):
            now_ns = self._watch.now_ns()
            self.phase, self._end_ns, last_ns = "aborting", now_ns + ABORT_NS, now_ns + ABORT_NS + KILLED_NS
            for managed in self.processes:
                managed.restart_at_ns = None
                if managed.child is not None:
                    managed.child.hang_up()
            while (
                left := [managed for managed in self.processes if managed.child is not None]
            ) and self._watch.now_ns() < last_ns:
                self._turn()
            for managed in left:
                _log.critical(
                    "%s: process %s was killed and has not ended; a device holds it", managed.name, managed.pid
                )
        for managed in self.processes:  # a process that died in a drain, or before a planned restart, left its edges
            if managed.child is None and self.started_ns:
                end_edges(self._folder, managed.spec)
        self._homes.close()
        if self._operators is not None:
            self._operators.close()
        self._groups.close()
        self._forks.close()
        self._reader.close()
        self._watch.close()

    def read(self) -> tuple[list[EdgeLedger], list[NodeSnapshot]]:
        """Return the present ledgers and status blocks."""
        return self._reader.read()

    # -- the loop ---------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        """Wait for the next input, and deal with it."""
        for what, managed in self._watch.wait(self._next_ns()):
            if what == "signal":
                self._take_signals()
            elif what == "operator" and self._operators is not None:
                self._operators.answer(self._obey)
            elif managed is None or managed.child is None:
                continue  # its end came first
            elif what == "log":
                self._take_log(managed)
            elif what == "control":
                self._take_messages(managed)
            else:
                self._take_end(managed)
        self._do_due(self._watch.now_ns())

    def _next_ns(self) -> int:
        times = [self._next_look_ns, *(at_ns for at_ns in (self._end_ns, self._for_ns) if at_ns is not None)]
        if self.phase in ("running", "draining"):
            now_ns = self._watch.now_ns()
            due = self._homes.due_ns(now_ns), self._operations.due_ns(now_ns)
            times += [at_ns for at_ns in due if at_ns is not None]
        return min([*times, *(at_ns for managed in self.processes if (at_ns := managed.due_ns) is not None)])

    def _do_due(self, now_ns: int) -> None:
        if self._for_ns is not None and now_ns >= self._for_ns:
            self._for_ns = None
            self.stop("the time is over")
        if self._end_ns is not None and now_ns >= self._end_ns and self.phase in ("draining", "cutting", "aborting"):
            self._end_phase(now_ns)
        for managed in self.processes:
            if managed.restart_at_ns is not None and not managed.is_wanted and self._has_left(managed):
                managed.restart_at_ns = None
                self._note_left(managed, managed.why, is_clean=False)
            if managed.restart_at_ns is not None and now_ns >= managed.restart_at_ns:
                managed.restarts += 1
                self._try_restart(managed)
            if managed.child is not None and managed.ready_ns is None and now_ns >= managed.ready_by_ns:
                self._condemn(managed, f"killed: not ready within {managed.spec.options.start_timeout}")
        if self.phase in ("running", "draining"):
            self._homes.look(now_ns)
            for managed in self._operations.do_due(now_ns):
                self._condemn(managed, "killed: it did not end in time to be restarted")
            for managed in self._operations.to_begin if self.phase == "running" else ():
                managed.is_trial = True
                self._try_restart(managed)
        if now_ns >= self._next_look_ns:
            self._next_look_ns = now_ns + self._look_ns
            self._look_around(now_ns)

    def _end_phase(self, now_ns: int) -> None:
        """Go from draining to cutting, where nodes drop their frames, and from cutting to killing."""
        if self.phase != "draining":
            self._end_ns = None
            for managed in self.processes:
                if managed.child is not None:
                    self._condemn(managed, "killed: it did not end when told to")
            return
        self.phase, self._end_ns = "cutting", now_ns + CUT_NS
        blamed = self._hangs.hanging(self.processes)
        blamed += [f"{node} takes what it gets too slowly" for node in dict.fromkeys(self._culprits.values())]
        why = f": {'; '.join(blamed)}" if blamed else ""
        cause = self._cut_short or "drain timeout expired"
        _log.warning("%s; the frames that are still queued are dropped (reason: stopped)%s", cause, why)
        for managed in self.processes:
            if managed.restart_at_ns is not None:
                managed.restart_at_ns = None
                self._enter(managed, "failed" if managed.is_wanted else "away", managed.why)
            if managed.child is not None and managed.ready_ns is not None:
                managed.child.try_order({"order": "stop", "within_ns": 0})
            elif managed.child is not None:
                self._condemn(managed, "killed: not ready before the end")

    def _look_around(self, now_ns: int) -> None:
        self._groups.look()
        self._forks.reap([managed.pid for managed in self.processes if managed.pid is not None])
        ledgers, snapshots = self._reader.read()
        by_name = {f"{snapshot.node}.{snapshot.replica}": snapshot for snapshot in snapshots}
        for managed in self.processes:
            snapshot = by_name.get(managed.name)
            if snapshot is not None and managed.pid == snapshot.pid and managed.state in ("running", "hanging"):
                if self._operations.is_late(managed, snapshot.working_since_ns, now_ns):
                    self._condemn(managed, "killed: it did not finish its work in time to leave")
                finding = self._hangs.look(managed, snapshot, now_ns, self._stopping_ns)
                if finding is not None and finding[0] == "killed":
                    self._condemn(managed, finding[1])
                elif finding is not None:
                    self._enter(managed, *finding)
        self._culprits = held_up(ledgers, time.monotonic_ns()) or self._culprits
        if self.phase == "running" and (rest := optional_rest(self.processes)):
            self.stop(f"only optional nodes are left ({', '.join(managed.name for managed in rest)})")
            self._end_ns = self._hangs.end_of(rest, by_name, now_ns)
        if self.phase in ("running", "draining"):
            if now_ns >= self._next_record_ns:
                self._next_record_ns = now_ns + RECORD_NS
                edges = [edge.as_record() for edge in merge(ledgers)]
                self.record({"event": "LedgerRead", "node": "", "edges": edges})
            self._look(ledgers, snapshots)

    def _obey(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Do what an operator asks for."""
        answer = self._operations.answer(request, self.phase, self._watch.now_ns())
        if request["do"] == "scale":
            self._change()  # before anybody who was answered can look
        return answer

    def _take_signals(self) -> None:
        for number in self._signals.take():
            if self.stop_signal is None:
                self.stop_signal = number
            if self.phase == "running":
                self.stop(f"signal {number}")
            elif self.phase in ("draining", "cutting") and self._signals.is_impatient(number):
                self._end_ns, self._cut_short = self._watch.now_ns(), "a second signal came"

    # -- one process ------------------------------------------------------------------------------------------------

    def _start(self, managed: ManagedProcess) -> None:
        managed.restart_at_ns = managed.ready_ns = managed.refusal = managed.verdict = managed.farewell = None
        managed.child = ChildProcess(managed.spec, self._forks)
        managed.started_ns, managed.lives, managed.restart_by_ns = self._watch.now_ns(), managed.lives + 1, None
        managed.is_told_to_retire = managed.is_given_up = False
        self._watch.add(managed)

    def _try_restart(self, managed: ManagedProcess) -> None:
        try:
            self._start(managed)
        except RefusedError as fault:
            self._judge(managed, str(fault), is_clean=False)
        else:
            self._enter(managed, "starting", "")

    def _go(self, managed: ManagedProcess) -> None:
        """Let a ready process work; a capture that becomes ready in a drain is stopped at once, and only serves."""
        if managed.child is None or managed.ready_ns is None:
            return
        is_only_serving = self.phase == "draining" and isinstance(managed.spec.options, CaptureOptions)
        managed.is_told_to_pause = managed.is_paused
        managed.child.try_order({"order": "stop" if is_only_serving else "go", "is_paused": managed.is_paused})
        if self.phase == "draining" and isinstance(managed.spec.options, SinkOptions | PullOptions):
            managed.child.try_order({"order": "drain"})
        self._give_up_consumers(managed)
        self._enter(managed, "running", "")
        if managed.is_trial:
            managed.is_trial = False
            for other in self.processes:  # those that read it have seen its edges ended
                if other.child is not None and any(one.producer == managed.spec.node for one in other.spec.upstreams):
                    other.child.try_order({"order": "look"})

    def _give_up_consumers(self, managed: ManagedProcess) -> None:
        """Tell a working producer which consumers have failed for good, so that it does not wait for them."""
        if managed.child is not None and managed.ready_ns is not None:
            for node in consumers_given_up(managed, self.processes):
                managed.child.try_order({"order": "give_up", "consumer": node})
            for relay in relays_given_up(managed, self.processes):
                managed.child.try_order({"order": "let_go", "replica": relay})

    def _take_log(self, managed: ManagedProcess) -> bool:
        """Take some output of a process; False: there is no more now."""
        assert managed.child is not None
        chunk = managed.child.read_log()
        if chunk:
            self._logbook.take(managed.name, chunk)
        elif chunk is None:
            self._watch.remove(managed.child.log_fd)
        return bool(chunk)

    def _take_messages(self, managed: ManagedProcess) -> bool:
        """Take some messages of a process; False: there are no more now."""
        assert managed.child is not None
        messages = managed.child.read_messages()
        if messages is None:
            self._watch.remove(managed.child.control_fd)
        for message in messages or ():
            for event in message.get("events", ()):
                self.record(event)
            if message.get("is_stateful"):
                self._homes.keep(managed.spec.node)
            if message.get("ready"):
                managed.ready_ns = self._watch.now_ns()
                if self.phase in ("running", "draining"):
                    self._go(managed)
            elif "refused" in message:
                managed.refusal = str(message["refused"])
            elif message.get("ends"):
                managed.farewell = message.get("code")
                managed.child.try_order({"order": "leave"})
        return bool(messages)

    def _take_end(self, managed: ManagedProcess) -> None:
        child = managed.child
        assert child is not None
        status = child.try_reap(self._groups)
        if status is None:
            return
        for _ in range(LOG_READS_MAX):
            if not (self._take_messages(managed) or self._take_log(managed)):
                break
        self._logbook.end(managed.name)
        self._watch.remove(child.control_fd, child.log_fd, child.end_fd)
        child.close()
        managed.child, managed.ended_ns = None, self._watch.now_ns()
        self._hangs.forget(managed.name)
        how = mask(managed.verdict or managed.refusal or describe_exit(status))
        if managed.farewell is not None and managed.farewell != status:  # its work was done: the user's code fell since
            _log.warning("%s: %s, on its way out after its work was done", managed.name, how)
            status = managed.farewell
        if self.phase == "starting":
            self._refuse(managed, how)
        elif self.phase == "aborting":
            self._enter(managed, "ended", "")
        elif not managed.is_wanted and self._has_left(managed):
            self._note_left(managed, how, is_clean=status == 0)
        elif managed.is_wanted and managed.is_told_to_retire and self.phase == "running":
            self._begin_again(managed, how)
        elif status == 0 and (self.phase == "cutting" or self._reader.is_ended(managed.journals(self._folder))):
            self._enter(managed, "ended", "")
            self.record(NodeExited(managed.name, how, False))
        elif managed.restart_by_ns is not None and self.phase == "running":
            self._begin_again(managed, how)
        else:
            self._judge(managed, how, is_clean=status == 0)

    def _refuse(self, managed: ManagedProcess, how: str) -> None:
        """Note why the run cannot begin."""
        why = managed.tell_start_failure(how, self._logbook)
        self._refusals.append((managed, why))
        self._enter(managed, "failed", why)

    def _has_left(self, managed: ManagedProcess) -> bool:
        """Whether a process that is gone has left nothing on its own edges; of a relay, only if it has ended them."""
        own = managed.journals(self._folder) if managed.spec.edges else []
        is_relay = any(edge.tombstones for edge in managed.spec.edges.values())
        return self._reader.is_ended(own) or (not is_relay and self._reader.is_empty(own))

    def _note_left(self, managed: ManagedProcess, how: str, *, is_clean: bool) -> None:
        """Note that a process has left which its node is not to have any more."""
        if managed.spec.edges and not self._reader.is_ended(managed.journals(self._folder)):
            end_unborn(self._folder, managed.spec)
        self.record(NodeExited(managed.name, how, False))
        level = logging.INFO if is_clean else logging.WARNING
        _log.log(level, "%s has left (%s): %s was scaled down", managed.name, how, managed.spec.node)
        self._enter(managed, "away", "")

    def _begin_again(self, managed: ManagedProcess, how: str) -> None:
        """Start the successor of a process that an operator restarts; that is no failure."""
        self.record(NodeExited(managed.name, how, True))
        _log.info("%s has ended (%s); its successor begins, as an operator asked for it", managed.name, how)
        self._try_restart(managed)

    def _judge(self, managed: ManagedProcess, how: str, *, is_clean: bool) -> None:
        """Plan the next life of a process whose work is not done, or give it up."""
        now_ns = self._watch.now_ns()
        verdict = managed.policy.judge("clean" if is_clean else "failure", managed.ready_ns, now_ns, random.random())
        is_needed = self.phase == "running" or (self.phase == "draining" and self._has_work(managed.spec.node))
        will_restart = verdict.restart_at_ns is not None and is_needed
        self.record(NodeExited(managed.name, how, will_restart, self._logbook.last(managed.name)))
        if will_restart:
            _log.warning("%s: %s; %s", managed.name, how, verdict.why)
            self._logbook.note(managed.name, f"{how}; {verdict.why}")
            managed.restart_at_ns = verdict.restart_at_ns
            self._enter(managed, "restarting", how)
            return
        if is_clean and self.phase == "draining":  # somebody's signal reached it before our order did
            end_edges(self._folder, managed.spec)
            self._enter(managed, "ended", "")
            return
        why = f"{how}; {verdict.why}" if self.phase in ("running", "draining") else how
        _log.error("%s: %s", managed.name, why)
        self._logbook.note(managed.name, why)
        if managed.is_trial and managed.is_wanted:
            self._operations.undo(managed, now_ns, how)
        managed.is_given_up = not managed.is_wanted
        self._enter(managed, "failed" if managed.is_wanted else "away", why)
        if self.phase in ("running", "draining"):
            end_edges(self._folder, managed.spec)
            for other in self.processes:
                self._give_up_consumers(other)
        if self.phase == "running" and managed.is_wanted and not managed.spec.options.optional:
            self._has_given_up = True
            self.stop(f"{managed.spec.node} has failed for good")

    def _has_work(self, node: str) -> bool:
        """Whether the edges of a node, to it or from it, still hold something."""
        edges = self._reader.read()[0]
        return any(edge.queued or edge.in_flight for edge in edges if node in (edge.producer, edge.consumer))

    def _condemn(self, managed: ManagedProcess, verdict: str) -> None:
        """Kill a process; its end is dealt with when the kernel reports it."""
        if managed.child is not None and managed.verdict is None:
            managed.verdict = verdict + self._hangs.place(managed)
            managed.child.kill()

    def _enter(self, managed: ManagedProcess, state: str, why: str) -> None:
        managed.state, managed.why = state, why
        self.record(NodeStateChanged(managed.name, state, why))
        self._change()
