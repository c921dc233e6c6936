"""How a node is: the supervisor's word and the status blocks of its processes, put together. Pure."""

from __future__ import annotations

from collections.abc import Iterable

# A node is as its worst process is. `hanging` is the supervisor's word: a frame takes a process longer than it may.
BEST_TO_WORST = (
    *("ended", "running", "draining", "waiting", "connecting", "not_found", "forbidden", "unauthorized", "tls_failed"),
    *("stalled", "hanging", "starting", "restarting", "stopped", "failed"),
)
SUPERVISED = ("starting", "restarting", "ended", "failed")  # states in which a status block has nothing to add


def worst(states: Iterable[str]) -> str:
    """Return the worst of some states."""
    return max(states, key=lambda state: BEST_TO_WORST.index(state) if state in BEST_TO_WORST else 0)


def node_state(supervised: str, block_states: Iterable[str], *, is_stalled: bool) -> str:
    """Return a node's state.

    Args:
        supervised: the supervisor's word.
        block_states: what the status blocks of its living processes say.
        is_stalled: whether one of its edges has frames and nobody to take them.
    """
    states = [] if supervised in SUPERVISED else [state for state in block_states if state != "stopped"]
    state = worst([supervised, *states])
    return "stalled" if is_stalled and state in ("running", "waiting", "draining") else state
