"""How a node is: the supervisor's word and the status blocks of its processes, put together. Pure."""

from __future__ import annotations

from collections.abc import Iterable

# `hanging` is the supervisor's word: one frame takes a process longer than it may.
# From the best to the worst; a node is as its worst process is.
STATES = (
    *("ended", "running", "draining", "waiting", "connecting", "not_found", "forbidden", "unauthorized", "tls_failed"),
    *("stalled", "hanging", "starting", "restarting", "stopped", "failed"),
)
SUPERVISED = ("starting", "restarting", "ended", "failed")  # states in which a page has nothing to add


def worst(states: Iterable[str]) -> str:
    """Return the worst of some states."""
    return max(states, key=lambda state: STATES.index(state) if state in STATES else 0)


def node_state(supervised: str, block_states: Iterable[str], *, is_stalled: bool) -> str:
    """Return a node's state.

    Args:
        supervised: the supervisor's word.
        block_states: what the pages of its living processes say.
        is_stalled: whether one of its edges has frames and nobody to take them.
    """
    states = [] if supervised in SUPERVISED else [state for state in block_states if state != "stopped"]
    state = worst([supervised, *states])
    return "stalled" if is_stalled and state in ("running", "waiting", "draining") else state
