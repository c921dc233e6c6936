"""What has changed in a run from one look to the next, as events. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from detektr.ledger import EdgeLedger

Change = tuple[str, dict[str, Any]]
"""Type and content of an event."""


@dataclass(frozen=True)
class Look:
    """A run at one look."""

    run: str | None = None
    nodes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    edges: Mapping[tuple[str, str], EdgeLedger] = field(default_factory=dict)
    ready: Mapping[str, Any] = field(default_factory=dict)


def look_at(run: str | None, nodes: Mapping[str, Any], edges: Iterable[EdgeLedger], ready: Mapping[str, Any]) -> Look:
    """Return a look."""
    return Look(run, nodes, {(edge.producer, edge.consumer): edge for edge in edges}, ready)


def changes(before: Look, after: Look) -> list[Change]:
    """Return what happened between two looks at the same run: states, drops, dead letters, consumers, readiness."""
    found: list[Change] = []
    for name, facts in after.nodes.items():
        known = before.nodes.get(name)
        if known is None or known["state"] != facts["state"]:
            told = {"node": name, "state": facts["state"], "why": facts["why"]}
            found.append(("state", told | {"before": None if known is None else known["state"]}))
    for name in before.nodes.keys() - after.nodes.keys():
        found.append(("state", {"node": name, "state": "ended", "why": "", "before": before.nodes[name]["state"]}))
    for place, edge in after.edges.items():
        was, where = before.edges.get(place, EdgeLedger(*place)), {"from": place[0], "to": place[1]}
        for reason, count in edge.dropped.items():
            if count > was.dropped.get(reason, 0):
                found.append(("drop", {**where, "reason": reason, "count": count - was.dropped.get(reason, 0)}))
        if edge.dead_lettered > was.dead_lettered:
            found.append(("dead_letter", {**where, "count": edge.dead_lettered - was.dead_lettered}))
        if edge.attached != was.attached:
            found.append(("consumer", {**where, "consumers": edge.attached}))
    for place in before.edges.keys() - after.edges.keys():
        found.append(("consumer", {"from": place[0], "to": place[1], "consumers": 0}))
    codes = [[reason["code"], reason["text"]] for reason in after.ready.get("reasons", ())]
    was_codes = [[reason["code"], reason["text"]] for reason in before.ready.get("reasons", ())]
    if after.ready.get("ready") != before.ready.get("ready") or [c for c, _ in codes] != [c for c, _ in was_codes]:
        found.append(("ready", {key: after.ready.get(key) for key in ("ready", "since", "reasons")}))
    return found
