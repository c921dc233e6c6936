"""One place in a pipeline that a process fills: what its supervisor knows of it, over all its lives."""

from __future__ import annotations

from collections.abc import Iterable

from detektr.memory.folder import RunFolder
from detektr.nodes.spec import NodeSpec
from detektr.pipeline.process import ChildProcess
from detektr.pipeline.restart import RestartPolicy

# From the best to the worst; a node is as its worst process is.
STATES = (
    *("ended", "running", "draining", "waiting", "connecting", "not_found", "forbidden", "unauthorized", "tls_failed"),
    *("stalled", "starting", "restarting", "stopped", "failed"),
)
SUPERVISED = ("starting", "restarting", "ended", "failed")  # states in which a page has nothing to add


class Post:
    """A node's replica: `starting`, `running`, `restarting`, `ended` or `failed`."""

    def __init__(self, spec: NodeSpec) -> None:
        """Begin without a process."""
        self.spec = spec
        self.name = f"{spec.node}.{spec.replica}"
        self.policy = RestartPolicy(spec.options.restart)
        self.child: ChildProcess | None = None
        self.state = "starting"
        self.why = ""
        self.restarts = 0
        self.started_ns = 0
        self.ready_ns: int | None = None
        self.restart_at_ns: int | None = None
        self.refusal: str | None = None
        """What the child said when it refused to begin."""
        self.verdict: str | None = None
        """Why the supervisor killed it."""

    def journals(self, folder: RunFolder) -> list[str]:
        """Return the journals that have ended when its work has: of its own edges; of its inputs, if it has none."""
        spec = self.spec
        if spec.edges:
            return [folder.journal(spec.node, spec.replica, consumer).name for consumer in spec.edges]
        return [
            folder.journal(upstream.producer, upstream.producer_replica, upstream.consumer).name
            for upstream in spec.upstreams
        ]

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes of it: no process, and none planned."""
        return self.child is None and self.restart_at_ns is None

    @property
    def pid(self) -> int | None:
        """Process number, while it has a process."""
        return None if self.child is None else self.child.pid


def consumers_given_up(post: Post, posts: Iterable[Post]) -> list[str]:
    """Return the consumers of a node of which no process lives or will."""
    failed: dict[str, bool] = {}
    for other in posts:
        failed[other.spec.node] = failed.get(other.spec.node, True) and other.state == "failed"
    return [node for node in post.spec.edges if failed.get(node)]


def worst(states: Iterable[str]) -> str:
    """Return the worst of some states."""
    return max(states, key=lambda state: STATES.index(state) if state in STATES else 0)


def node_state(supervised: str, page_states: Iterable[str], *, is_stalled: bool) -> str:
    """Return a node's state.

    Args:
        supervised: the supervisor's word.
        page_states: what the pages of its living processes say.
        is_stalled: whether one of its edges has frames and nobody to take them.
    """
    states = [] if supervised in SUPERVISED else [state for state in page_states if state != "stopped"]
    state = worst([supervised, *states])
    return "stalled" if is_stalled and state in ("running", "waiting", "draining") else state
