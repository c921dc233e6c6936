"""The state of a node, from the supervisor's view and the status blocks of its processes. Pure."""

from __future__ import annotations

from collections.abc import Iterable

# A node has the state of its worst process. `hanging` is said by the supervisor: a frame takes too long; `suspended` by
# the kernel.
BEST_TO_WORST = (
    *(
        "ended",
        "running",
        "draining",
        "waiting",
        "paused",
        "connecting",
        "not_found",
        "forbidden",
        "unauthorized",
        "tls_failed",
    ),
    *("retrying", "stalled", "hanging", "suspended", "starting", "restarting", "stopped", "failed"),
)
SUPERVISED = ("starting", "restarting", "ended", "failed")  # states to which a status block adds nothing


def worst(states: Iterable[str]) -> str:
    """Return the worst of some states."""
    return max(states, key=lambda state: BEST_TO_WORST.index(state) if state in BEST_TO_WORST else 0)


def node_state(supervised: str, block_states: Iterable[str], *, is_stalled: bool) -> str:
    """Return a node's state.

    Args:
        supervised: the state that the supervisor says.
        block_states: the states in the status blocks of its living processes.
        is_stalled: whether one of its edges holds frames and has no consumer to take them.
    """
    states = [] if supervised in SUPERVISED else [state for state in block_states if state != "stopped"]
    state = worst([supervised, *states])
    return "stalled" if is_stalled and state in ("running", "waiting", "draining") else state
