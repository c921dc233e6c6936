"""One process of a node as its supervisor sees it, over all its restarts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from detektr.edge.partition.assignment import ReplicaFact
from detektr.memory.run_folder import RunFolder
from detektr.nodes.spec import NodeSpec
from detektr.observe.logbook import Logbook
from detektr.observe.node_state import worst
from detektr.options import ProcessorOptions
from detektr.supervisor.child_process import ChildProcess
from detektr.supervisor.restart import RestartPolicy

LAST_LINES_SHOWN = 3


class ManagedProcess:
    """A node's replica: `starting`, `running`, `restarting`, `ended`, `failed`, or `away`: nobody wants it now."""

    def __init__(self, spec: NodeSpec, *, is_wanted: bool = True) -> None:
        """Begin without a process."""
        self.spec = spec
        self.name = f"{spec.node}.{spec.replica}"
        self.policy = RestartPolicy(spec.options.restart)
        self.child: ChildProcess | None = None
        self.state = "starting"
        self.why = ""
        self.restarts = 0
        self.lives = 0
        """How many processes it has had."""
        self.is_paused = self.is_told_to_pause = False
        """Whether an operator has paused it, and whether its process knows."""
        self.is_wanted = is_wanted
        """Whether its node is to have it, as the file says or an operator has scaled it."""
        self.is_trial = False
        """Whether it was begun because a node was scaled up, and was not ready yet."""
        self.is_told_to_retire = self.is_given_up = False
        """Whether its process knows that it is to leave; whether it left frames to nobody."""
        self.leave_by_ns: int | None = None
        """Monotonic time until which it may take for the next step of leaving; None: it does not leave."""
        self.restart_by_ns: int | None = None
        """Monotonic time until which it must have ended, as an operator restarts it; None: none does."""
        self.started_ns = 0
        self.ready_ns: int | None = None
        self.ended_ns = 0
        """When its last process ended, as seen."""
        self.restart_at_ns: int | None = None
        self.refusal: str | None = None
        """The child's message when it refused to begin."""
        self.verdict: str | None = None
        """Why the supervisor killed it."""
        self.farewell: int | None = None
        """The exit code of its work, once that is done."""

    def journals(self, folder: RunFolder) -> list[str]:
        """Return the journals that tell the end of its work: of its own edges or, if it has none, of its inputs."""
        spec = self.spec
        if spec.edges:
            return [folder.journal(spec.node, spec.replica, consumer).name for consumer in spec.edges]
        return [
            folder.journal(upstream.producer, upstream.producer_replica, upstream.consumer).name
            for upstream in spec.upstreams
        ]

    @property
    def ready_by_ns(self) -> int:
        """Monotonic time until which the process must be ready."""
        return self.started_ns + self.spec.options.start_timeout_ns

    @property
    def due_ns(self) -> int | None:
        """Monotonic time at which we must look at it without being woken; None: none."""
        if self.restart_at_ns is not None:
            return self.restart_at_ns
        if self.verdict is not None:
            return None
        is_awaited = self.child is not None and self.ready_ns is None
        return self.ready_by_ns if is_awaited else self.restart_by_ns

    @property
    def as_replica(self) -> ReplicaFact:
        """What is known of it as an owner of cameras; one that has ended with its inputs gives none away."""
        if self.child is not None and self.ready_ns is not None:
            return ReplicaFact(True, self.ready_ns, is_leaving=not self.is_wanted)
        return ReplicaFact(self.state == "ended", self.ended_ns, self.is_over, is_leaving=not self.is_wanted)

    @property
    def is_over(self) -> bool:
        """Whether it is over: no process, and none planned."""
        return self.child is None and self.restart_at_ns is None

    @property
    def pid(self) -> int | None:
        """Process number, while it has a process."""
        return None if self.child is None else self.child.pid

    def tell_start_failure(self, how: str, logbook: Logbook) -> str:
        """Return why it never began: its own message; else `how` it ended, its last lines and its log file."""
        if self.refusal is not None and self.verdict is None:
            return how
        last = [line.partition(f" {self.name}: ")[2] or line for line in logbook.last(self.name)]
        said = " / ".join(last[-LAST_LINES_SHOWN:])
        what = how if self.verdict is not None else f"its process {how} before it was ready"
        return f"{what}{f'; it said: {said}' if said else ''}; its log: {logbook.path(self.name)}"


def is_begun_with(spec: NodeSpec) -> bool:
    """Whether a run begins with a process; the others are for an operator who scales its node."""
    return not isinstance(spec.options, ProcessorOptions) or spec.replica < spec.options.replicas


def describe(processes: Sequence[ManagedProcess]) -> dict[str, dict[str, Any]]:
    """Return the state of each node, in the order of the frames.

    Returns:
        By name `kind`, `state`, `pids`, `replicas` (how many it is to have now), `max_replicas` (that it may have),
        `restarts` and `why`. A process that is to leave does not change the state.
    """
    nodes: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(managed.spec.node for managed in reversed(processes)):
        own = [managed for managed in processes if managed.spec.node == name]
        wanted = [managed for managed in own if managed.is_wanted]
        state = worst(managed.state for managed in wanted)
        nodes[name] = {
            "kind": own[0].spec.options.kind,
            "state": state,
            "pids": [managed.pid for managed in own if managed.pid is not None],
            "replicas": len(wanted),
            "max_replicas": len(own),
            "restarts": sum(managed.restarts for managed in own),
            "why": next((managed.why for managed in wanted if managed.state == state and managed.why), ""),
        }
    return nodes


def consumers_given_up(managed: ManagedProcess, processes: Iterable[ManagedProcess]) -> list[str]:
    """Return the consumers of a node that have no process, and will have none."""
    failed: dict[str, bool] = {}
    for other in processes:
        if other.is_wanted:
            failed[other.spec.node] = failed.get(other.spec.node, True) and other.state == "failed"
    return [node for node in managed.spec.edges if failed.get(node)]


def relays_given_up(managed: ManagedProcess, processes: Iterable[ManagedProcess]) -> list[str]:
    """Return the processes that read a node's frames, pass them on, and have failed for good while others go on."""
    return [
        other.name
        for other in processes
        if (other.state == "failed" or other.is_given_up)
        and (edge := managed.spec.edges.get(other.spec.node))
        and edge.relays_to
    ]


def optional_rest(processes: Iterable[ManagedProcess]) -> list[ManagedProcess]:
    """Return the optional processes, if a run waits only for them; empty: it waits for others too.

    Consumers of an optional process, direct or not, wait for it, so they count as waited for too.
    """
    live = [managed for managed in processes if not managed.is_over]
    waits = {managed.spec.node for managed in live if managed.spec.options.optional}
    for managed in reversed(live):  # producers first
        if any(upstream.producer in waits for upstream in managed.spec.upstreams):
            waits.add(managed.spec.node)
    if any(managed.spec.options.kind == "capture" or managed.spec.node not in waits for managed in live):
        return []
    return [managed for managed in live if managed.spec.options.optional]
