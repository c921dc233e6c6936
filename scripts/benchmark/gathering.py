"""What a chain, `order: camera` and `join: frame` cost beside the same work without them: CPU a frame, and age."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from entrant import Entrant, Launch
from graph import STAGES, branch_nodes, chain_nodes, run_graph, stage_nodes
from pairing import run_paired
from run import Figures
from transport import COUNT_LEAST, SIZES
from trial import Trial

from detektr.options import Lane

RATE = 30.0
LANE: Lane = "shm"  # where a frame costs least, so that what is added shows most
STAGED = f"{STAGES} stages"
PAIRS: tuple[tuple[str, Callable[[Trial], dict[str, Any]], str, Callable[[Trial], dict[str, Any]]], ...] = (
    ("one class", partial(stage_nodes, is_chain=False), STAGED, partial(stage_nodes, is_chain=True)),
    ("chain", partial(chain_nodes, is_ordered=False), "chain, in order", partial(chain_nodes, is_ordered=True)),
    ("two branches", partial(branch_nodes, is_joined=False), "branches joined", partial(branch_nodes, is_joined=True)),
)
"""Graphs without and with what is measured, and their names."""


def gathering_rows(seconds: float, rounds: int) -> list[dict[str, Any]]:
    """Run each graph once a round, in turn.

    Raises:
        SystemExit: one of them ended well in no round.
    """
    entrants = [
        Entrant(name, _launch(nodes))
        for plain, plain_nodes, name_with, nodes_with in PAIRS
        for name, nodes in ((plain, plain_nodes), (name_with, nodes_with))
    ]
    height, width = SIZES["1080p"]
    count = max(int(seconds * RATE), COUNT_LEAST)

    def trial_in(folder: str) -> Trial:
        return Trial(folder=folder, count=count, rate=RATE, height=height, width=width)

    paired = run_paired(dict.fromkeys(entrants, sys.executable), trial_in, rounds)
    if len(paired.names) < len(entrants):
        sys.exit("scripts/bench graph: no round with order and join ended well; the reasons are above")
    beside: Mapping[str, str] = {name_with: plain for plain, _, name_with, _ in PAIRS}
    return [
        {
            "run": f"chain, order and join: 1080p at {RATE:g}/s, one camera, announced by {LANE}",
            "who": name,
            "cpu_ms": paired.median(name, "cpu_ms_per_frame"),
            "cpu_ms_more": paired.beyond(name, beside[name], "cpu_ms_per_frame") if name in beside else None,
            "p50_ms": paired.median(name, "p50_ms"),
            "p99_ms": paired.median(name, "p99_ms"),
            "lost": paired.most(name, "lost"),
            "cpu_ms_by_process": paired.by_process(name),
        }
        for name in paired.names
    ]


def _launch(nodes: Callable[[Trial], dict[str, Any]]) -> Launch:
    def launch(trial: Trial, python: str) -> Figures:
        return run_graph(trial, nodes(trial), announce=LANE, ends=2)  # the source and the meter

    return launch
