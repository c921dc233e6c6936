"""What is wrong with a run, in words: who is to blame, what it costs, and what to do. The worst first. Pure.

The codes are those of `/ready`: `supervisor_dead`, `ledger`, `failed`, `hung`, `camera_down`, `failing`, `paused`,
`stalled`, `no_puller`, `losing`, `memory_low` (see `room`), `late`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from detektr.observe.why.blame import Blame, charge, work_of
from detektr.observe.why.finding import Finding, span
from detektr.observe.why.judges import JUDGES, JudgedNode, cost_of
from detektr.observe.why.terms import Terms
from detektr.telemetry.history.rows import NodeRow
from detektr.telemetry.history.window import Window

WORST_TO_BEST = (
    *("supervisor_dead", "ledger", "failed", "hung", "camera_down", "failing", "paused", "stalled", "no_puller"),
    *("losing", "memory_low", "late"),
)
LATE_MS = 2000


def find(window: Window, terms: Terms, *, is_over: bool = False, is_lately: bool = False) -> list[Finding]:
    """Return what is wrong in a window, the worst first.

    Args:
        window: what happened.
        terms: what was agreed.
        is_over: whether the run has ended with the window, so that nobody lives and nothing will change any more.
        is_lately: whether the window ends now, so that its numbers are told as of the last seconds.
    """
    blames = charge(window, terms)
    found: list[Finding] = [*_ledgers(window, terms)]
    for name in dict.fromkeys([*terms.nodes, *window.nodes, *blames]):
        blame = blames.get(name, Blame())
        finding = _of_node(name, blame, window, terms, is_over=is_over, is_lately=is_lately)
        if finding is not None:
            found.append(finding)
    found += _late(
        window, terms, {consumer for one in found for _, consumer in one.edges} | {one.culprit for one in found}
    )
    return sorted(found, key=lambda one: (WORST_TO_BEST.index(one.code), -one.lost))


def _of_node(
    name: str, blame: Blame, window: Window, terms: Terms, *, is_over: bool, is_lately: bool
) -> Finding | None:
    """Return what is wrong with one node; None: nothing."""
    rows, states = window.nodes.get(name, []), window.states.get(name, [])
    node = JudgedNode(
        name,
        terms.node(name),
        rows[-1][1] if rows else NodeRow(state=""),
        states,
        work_of(rows, window.begin_s + 1, window.end_s, window.step_s),
        blame,
        cost_of(blame, window, is_lately=is_lately),
    )
    found = next((one for judge in JUDGES if (one := judge(node, window, terms)) is not None), None)
    if found is None or (is_over and (found.code == "stalled" or (found.code == "no_puller" and not blame.lost))):
        return None
    since_s = found.since_s or blame.first_s or (states[-1].utc_s if states else window.begin_s)
    return replace(
        found,
        since_s=max(since_s, 0),
        victim=found.victim or _victim(blame),
        lost=blame.lost.total(),
        edges=found.edges or tuple(blame.lost),
        cameras=tuple(blame.cameras) or ((node.terms.camera,) if node.terms.camera else ()),
    )


def _victim(blame: Blame) -> str:
    """Return whom a node costs something: nodes and edges."""
    return ", ".join([*sorted(blame.held_up), *(f"{producer} -> {consumer}" for producer, consumer in blame.lost)])


def _late(window: Window, terms: Terms, known: Iterable[str]) -> list[Finding]:
    """Return consumers for which frames wait too long though none is lost; a file at full speed waits as it should."""
    found = []
    for edge, all_rows in window.edges.items():
        rows = [(utc_s, row) for utc_s, row in all_rows if utc_s > window.begin_s]
        late_s = [utc_s for utc_s, row in rows if row.oldest_ms >= LATE_MS]
        is_inside = edge in terms.edges  # who only looks on sees old frames, and nobody else does
        if late_s and is_inside and edge[1] not in known and terms.edge(edge).when_full != "block":
            worst_ms = max(row.oldest_ms for _, row in rows)
            text = f"frames were up to {span(worst_ms)} old before {edge[1]} began with them"
            next_ = f"set `max_age`, or `fresh: true`, at the input of {edge[1]}"
            found.append(Finding("late", edge[1], f"{edge[0]} -> {edge[1]}", late_s[0], text, next_, edges=(edge,)))
    return found


def _ledgers(window: Window, terms: Terms) -> list[Finding]:
    """Return the edges whose ledger does not add up."""
    found = []
    report = f"this is a defect of detektr: please report it, with `detektr status {terms.pipeline} --json`"
    for edge, rows in window.edges.items():
        utc_s, row = rows[-1]
        settled = row.delivered + sum(row.dropped.values()) + row.dead_lettered
        if missing := row.offered - settled - row.queued - row.in_flight:
            text = f"{abs(missing)} frames on {edge[0]} -> {edge[1]} stand in no term of its ledger, or in two"
            found.append(Finding("ledger", "", f"{edge[0]} -> {edge[1]}", utc_s, text, report, edges=(edge,)))
    return found
