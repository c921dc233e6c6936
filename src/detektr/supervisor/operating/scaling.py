"""Changes how many replicas a running node has: new ones begin, and those with the highest numbers leave in order.

a replica that is wanted      what is done
was away                      it begins, as after a restart
is told to leave              it hands over to a successor, which goes on with what it left

a replica that is not wanted  what is done
owns cameras                  they move to others; it goes on working meanwhile, for `drain` at most
works                         it is told to retire: it finishes what is in work, gives back what it has not begun, and
                              ends when its own edges are empty; who still works on it after `drain` is killed
has died                      nothing waits on its own edges: it is away; else a successor empties them, and retires
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from detektr.events import NodeScaled, RunEvent
from detektr.options import NodeOptions, ProcessorOptions
from detektr.supervisor.managed_process import ManagedProcess
from detektr.supervisor.operating.line import REPLICAS_MAX, OperatorError

END_NS = 3_000_000_000  # from the drain's end until a process that still works is killed
_log = logging.getLogger(__name__)


class Homes(Protocol):
    """Where the cameras of nodes that keep state live."""

    def scale(self, node: str, replicas: int) -> None:
        """Share a node's cameras among so many replicas."""
        ...

    def is_free(self, node: str, replica: int) -> bool:
        """Whether a replica has no camera, and none is on the way to it or from it."""
        ...


def check_scale(node: str, options: NodeOptions, replicas: int) -> None:
    """Check that a node may have so many replicas.

    Args:
        node: its name.
        options: its options.
        replicas: how many are asked for.
    Raises:
        OperatorError: it may not; says which number it has to be, or which key sets the limit.
    """
    if not isinstance(options, ProcessorOptions):
        why = {
            "capture": "one process reads its source",
            "buffer": "one process has its queues",
            "sink": "one process writes, in order",
            "pull": "one process knows what is out at clients",
        }[options.kind]
        text = f"{node} is a {options.kind} and always has 1 process, as {why}"
        raise OperatorError("no_scale", f"{text}; scale a processor")
    most = options.replicas_max
    if not 1 <= replicas <= most:
        key = "replicas" if options.max_replicas is None else "max_replicas"
        what = f"{node} cannot have {replicas} replicas: it may have 1 to {most} (`{key}: {most}`)"
        next_ = (
            f"ask for 1 to {most}, or write `max_replicas: {replicas}` at the node, and start the pipeline again"
            if most < replicas <= REPLICAS_MAX
            else f"ask for 1 to {most}; `detektr pause` lets a node rest"
            if replicas < 1
            else f"ask for 1 to {most}"
        )
        raise OperatorError("no_scale", f"{what}; {next_}")


def split(wanted: Sequence[bool], replicas: int) -> tuple[list[int], list[int]]:
    """Return the numbers of the replicas that begin, lowest first, and of those that leave, highest first.

    Args:
        wanted: of each replica that there may be, whether the node has it so far.
        replicas: how many it is to have: those with the lowest numbers.
    """
    begin = [number for number in range(replicas) if not wanted[number]]
    leave = [number for number in reversed(range(replicas, len(wanted))) if wanted[number]]
    return begin, leave


class Scaling:
    """See the module's first lines."""

    def __init__(self, processes: Sequence[ManagedProcess], record: Callable[[RunEvent], None], homes: Homes) -> None:
        """Begin with what each process is wanted for; `record` is told of changes."""
        self._processes, self._record, self._homes = processes, record, homes

    def scale(self, node: str, replicas: int, now_ns: int, why: str = "") -> list[ManagedProcess]:
        """Have a node with so many replicas from now on; returns those that begin or leave.

        Args:
            node: its name.
            replicas: how many; `check_scale` has no objection.
            now_ns: now, as seen.
            why: what forces it; empty: an operator asked for it.
        """
        own = [one for one in self._processes if one.spec.node == node]
        before = sum(one.is_wanted for one in own)
        begin, leave = split([one.is_wanted for one in own], replicas)
        is_paused = any(one.is_paused for one in own if one.is_wanted)
        for number in begin:
            own[number].is_wanted, own[number].is_paused, own[number].leave_by_ns = True, is_paused, None
        for number in leave:
            own[number].is_wanted, own[number].leave_by_ns = False, now_ns + own[number].spec.options.drain_ns
        if begin or leave:
            self._homes.scale(node, replicas)
            self._record(NodeScaled(node, replicas, before, why))
        return [own[number] for number in [*begin, *leave]]

    def do_due(self, now_ns: int) -> list[ManagedProcess]:
        """Tell processes to leave where their time has come; returns those that are to begin."""
        begin = []
        for one in self._processes:
            if one.is_wanted:
                if one.state == "away":
                    begin.append(one)
                elif one.is_told_to_retire and one.restart_by_ns is None and _is_told(one, "hand_over"):
                    one.restart_by_ns = now_ns + one.spec.options.drain_ns + END_NS
            elif one.child is not None and one.ready_ns is not None and not one.is_told_to_retire:
                self._retire(one, now_ns)
        return begin

    def due_ns(self, now_ns: int) -> int | None:
        """Return when `do_due` has to be asked again though nothing happens; None: never."""
        leaving = [one for one in self._processes if not one.is_wanted and not one.is_told_to_retire]
        times = [one.leave_by_ns for one in leaving if one.leave_by_ns is not None and one.leave_by_ns > now_ns]
        return min(times, default=None)

    def is_late(self, one: ManagedProcess, working_since_ns: int, now_ns: int) -> bool:
        """Whether a process that was told to leave has worked on one frame for so long that it is to be killed."""
        is_leaving = one.is_told_to_retire and one.leave_by_ns is not None and not one.is_wanted
        return is_leaving and working_since_ns > 0 and now_ns >= (one.leave_by_ns or 0)

    def undo(self, one: ManagedProcess, now_ns: int, why: str) -> None:
        """Have a node with the replicas before one that cannot begin."""
        _log.error("%s cannot begin (%s), so %s has %d replicas", one.name, why, one.spec.node, one.spec.replica)
        self.scale(one.spec.node, one.spec.replica, now_ns, why)

    def _retire(self, one: ManagedProcess, now_ns: int) -> None:
        is_over_due = one.is_paused or one.leave_by_ns is None or now_ns >= one.leave_by_ns
        if not (is_over_due or self._homes.is_free(one.spec.node, one.spec.replica)):
            return
        if _is_told(one, "retire"):
            one.is_told_to_retire = True
            one.leave_by_ns = now_ns + one.spec.options.drain_ns + END_NS


def _is_told(one: ManagedProcess, order: str) -> bool:
    """Tell a process; False: it has none, or its line is full or cut."""
    return one.child is not None and one.child.try_order({"order": order})
