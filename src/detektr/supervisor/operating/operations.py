"""What an operator asks of a running pipeline: nodes paused, resumed, scaled, restarted one process after the other."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from detektr.events import OperatorActed, RunEvent
from detektr.supervisor.managed_process import ManagedProcess, describe
from detektr.supervisor.operating.line import OperatorError
from detektr.supervisor.operating.scaling import END_NS, Homes, Scaling, check_scale

_log = logging.getLogger(__name__)


class Operations:
    """See the module's first line. A node stays paused over restarts of its processes, until the run is stopped."""

    def __init__(self, processes: Sequence[ManagedProcess], record: Callable[[RunEvent], None], homes: Homes) -> None:
        """Begin with nothing asked for; `record` is told what was done, `homes` where cameras are to live."""
        self._processes, self._record = processes, record
        self._scaling = Scaling(processes, record, homes)
        self.to_begin: list[ManagedProcess] = []
        """Those that are to begin, as their nodes were scaled up."""
        self._to_restart: deque[tuple[ManagedProcess, int]] = deque()  # with the number of its life when it was asked

    def answer(self, request: Mapping[str, Any], phase: str, now_ns: int) -> dict[str, Any]:
        """Do what is asked for, or begin to.

        Args:
            request: `do`, `node`, `replica` and `replicas`, see `line`.
            phase: the supervisor's.
            now_ns: now, as seen.
        Raises:
            OperatorError: it cannot be done, and why.
        """
        deed, node, replica = request["do"], request["node"], request.get("replica")
        wanted = self._wanted(deed, node, replica, phase)
        if deed == "scale":
            check_scale(node, wanted[0].spec.options, request["replicas"])
            changed = self._scaling.scale(node, request["replicas"], now_ns)
            wanted = [one for one in wanted if one.is_wanted]
        elif deed == "restart":
            known = [one for one, _ in self._to_restart]
            changed = [one for one in wanted if one not in known]
            self._to_restart.extend((one, one.lives) for one in changed)
        else:
            changed = [one for one in wanted if one.is_paused != (deed == "pause")]
            for one in changed:
                one.is_paused = deed == "pause"
        if changed:
            names = ", ".join(one.name for one in changed)
            to = f"; it is to have {request['replicas']}" if deed == "scale" else ""
            _log.warning("an operator asked for it: %s of %s%s", deed, names, to)
            self._record(OperatorActed(node, deed, tuple(one.name for one in changed)))
        self.do_due(now_ns)
        described = describe(self._processes)[node]
        return {
            "node": node,
            "did": deed,
            "processes": [one.name for one in wanted],
            "changed": bool(changed),
            "state": _state(wanted, deed, described["state"]),
        } | ({"replicas": described["replicas"]} if deed == "scale" else {})

    def do_due(self, now_ns: int) -> list[ManagedProcess]:
        """Tell processes what they do not know yet, and go on with restarts.

        Returns:
            The processes that did not end in time, and are to be killed.
        """
        for one in self._processes:
            if one.is_told_to_pause == one.is_paused or one.child is None or one.ready_ns is None:
                continue
            if one.child.try_order({"order": "pause" if one.is_paused else "resume"}):
                one.is_told_to_pause = one.is_paused
        self.to_begin = self._scaling.do_due(now_ns)
        while self._to_restart and _is_restarted(*self._to_restart[0]):
            self._to_restart.popleft()
        if self._to_restart:
            self._go_on(*self._to_restart[0], now_ns)
        return [one for one in self._processes if one.restart_by_ns is not None and now_ns >= one.restart_by_ns]

    def due_ns(self, now_ns: int) -> int | None:
        """Return when `do_due` has to be asked again though nothing happens; None: never."""
        return self._scaling.due_ns(now_ns)

    def is_late(self, one: ManagedProcess, working_since_ns: int, now_ns: int) -> bool:
        """Whether a process has taken too long to leave; see `Scaling.is_late`."""
        return self._scaling.is_late(one, working_since_ns, now_ns)

    def undo(self, one: ManagedProcess, now_ns: int, why: str) -> None:
        """Have a node with the replicas before one that cannot begin."""
        self._scaling.undo(one, now_ns, why)

    def forget(self, now_ns: int) -> None:
        """Let every node go on, and restart none but those that end already: the run is being stopped."""
        self._to_restart.clear()
        for one in self._processes:
            one.is_paused = False
        self.do_due(now_ns)

    def _go_on(self, one: ManagedProcess, life: int, now_ns: int) -> None:
        """Do the next step of a restart; the others wait until this process works again."""
        if one.lives != life or one.restart_by_ns is not None:
            return  # it begins, or ends
        if one.restart_at_ns is not None:  # it waits after a failure of its own
            one.restart_at_ns = now_ns
        elif one.child is not None and one.ready_ns is not None and one.child.try_order({"order": "hand_over"}):
            one.restart_by_ns = now_ns + one.spec.options.drain_ns + END_NS

    def _wanted(self, deed: str, node: str, replica: int | None, phase: str) -> list[ManagedProcess]:
        every = [one for one in self._processes if one.spec.node == node]
        own = every if deed == "scale" else [one for one in every if one.is_wanted]
        if not own:
            names = ", ".join(dict.fromkeys(one.spec.node for one in reversed(self._processes)))
            raise OperatorError("no_node", f"this pipeline has no node {node!r:.60}; it has: {names}")
        if phase != "running":
            what = "has not begun yet" if phase == "starting" else "is being stopped"
            raise OperatorError("not_now", f"the run {what}, so {node} cannot be told to {deed}; see `detektr status`")
        if replica is not None and (deed != "restart" or not 0 <= replica < len(own)):
            why = f"it has 0 to {len(own) - 1}" if deed == "restart" else f"a node is told to {deed} as a whole"
            raise OperatorError(
                "no_replica", f"replica {replica} of {node} is not there to {deed}: {why}; name another"
            )
        if replica is not None:
            own = [one for one in own if one.spec.replica == replica]
        if all(one.state in ("ended", "failed", "away") for one in own):
            how = "has failed for good" if own[0].state == "failed" else "has ended its work"
            raise OperatorError("over", f"{node} {how}; start the pipeline again: `detektr up`")
        return own


def _is_restarted(one: ManagedProcess, life: int) -> bool:
    """Whether a process that had this life works in another one, or will have none."""
    return not one.is_wanted or one.is_over or (one.lives != life and one.ready_ns is not None)


def _state(wanted: Sequence[ManagedProcess], deed: str, state: str) -> str:
    """Return the state that a node has now, or will have in a moment."""
    if deed == "pause" and state == "running":
        return "paused"
    if deed == "scale":
        return "starting" if any(one.state == "away" for one in wanted) else state
    return "restarting" if any(one.restart_by_ns is not None for one in wanted) else state
