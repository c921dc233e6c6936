"""Writes deploy/grafana/*.json: Grafana's dashboards of a pipeline, as `python -m scripts.grafana`.

A dashboard is rows of panels, a panel a title, what it shows, its unit and its queries. Everything else is Grafana's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parents[1] / "deploy" / "grafana"
WIDTH, HEIGHT = 24, 8  # of Grafana's grid, and of a panel on it
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
P = 'pipeline="$pipeline"'
LOST = 'reason!~"thinned|filtered|absent"'


class Panel(NamedTuple):
    """One panel: its title, unit, and queries with their legends."""

    title: str
    unit: str
    queries: dict[str, str]
    """Legend: query."""
    kind: str = "timeseries"
    is_stacked: bool = False
    about: str = ""


EDGE, NODE, PROCESS = "{{from}} -> {{to}}", "{{node}}", "{{node}}.{{replica}}"
CHOSEN = 'from=~"$from", to=~"$to"'


def now(name: str, *labels: str) -> str:
    """Return the query for the present values of a metric of the pipeline."""
    return f"detektr_{name}{{{', '.join((P, *labels))}}}"


def rate(name: str, *labels: str, by: str = "") -> str:
    """Return the query for a counter's rate a second, over a minute; summed by labels where there are some."""
    found = f"rate({now(name, *labels)}[1m])"
    return f"sum by ({by}) ({found})" if by else found


def grown(name: str) -> str:
    """Return the query for what a counter has grown by in ten minutes."""
    return f"increase({now(name)}[10m])"


def age(share: float) -> str:
    """Return the query for the age that this share of a node's frames did not exceed."""
    return f"histogram_quantile({share}, {rate('frame_age_seconds_bucket', by='node, le')})"


IS_CAPTURE = f"and on (node, replica) {now('ring_slots', 'state=' + chr(34) + 'free' + chr(34))}"
BUSY = f"{rate('node_busy_seconds_total', by='node')} / {rate('node_worked_total', by='node')}"
LEDGER = "The ledger: offered = delivered + dropped + dead-lettered + queued + in flight"
LOST_BY = rate("edge_dropped_total", LOST, by="from, to, reason")
DROPPED = rate("edge_dropped_total", CHOSEN, by="reason")
NOT_LOST = "Without what the file asks for: thinned, filtered, absent. `detektr why` says whose fault it is."
ON_THE_WAY = "The difference between two nodes is the way from one to the other: waiting in the queue, and the work."
HOW_BUSY = "Near 100 %: more replicas, or less work. Near 0 with full queues: it waits for something."
LAST = f"time() - ({now('node_last_frame_timestamp_seconds')} {IS_CAPTURE})"
MARK = f"{now('edge_queued', CHOSEN)} / {now('edge_high_water_mark')}"
LEFT_OUT = {f"{NODE} {why}": f"{rate(f'node_{why}_total')} > 0" for why in ("thinned", "corrupt", "stale")}

DASHBOARDS: dict[str, list[list[Panel]]] = {
    "overview": [
        [
            Panel("Frames a second, by node", "cps", {NODE: rate("node_frames_total", by="node")}),
            Panel("Lost frames a second", "cps", {f"{EDGE}, {{{{reason}}}}": f"{LOST_BY} > 0"}, about=NOT_LOST),
        ],
        [
            Panel("State of each node", "none", {f"{NODE} {{{{state}}}}": f"{now('node_state')} == 1"}, kind="table"),
            Panel("Restarts in 10 minutes", "none", {NODE: f"{grown('node_restarts_total')} > 0"}),
            Panel("Time a frame takes", "s", {NODE: BUSY}),
        ],
        [
            Panel("Age of frames when their work is done, p95", "s", {NODE: age(0.95)}),
            Panel("Shared memory", "bytes", {"free": now("shm_free_bytes"), f"of {NODE}": now("shm_bytes")}),
        ],
    ],
    "cameras": [
        [
            Panel("Pictures a second", "cps", {NODE: f"{rate('node_frames_total')} {IS_CAPTURE}"}),
            Panel("Time since the last picture", "s", {NODE: LAST}),
        ],
        [
            Panel("Opened again in 10 minutes", "none", {NODE: f"{grown('node_reconnects_total')} > 0"}),
            Panel("Pictures left out a second", "cps", LEFT_OUT),
        ],
        [Panel("Slots of the rings", "none", {f"{NODE} {{{{state}}}}": now("ring_slots")}, is_stacked=True)],
    ],
    "edges": [
        [
            Panel(
                LEDGER,
                "cps",
                {
                    "offered": f"sum({rate('edge_offered_total', CHOSEN)})",
                    "delivered": f"sum({rate('edge_delivered_total', CHOSEN)})",
                    "dropped: {{reason}}": f"{DROPPED} > 0",
                    "dead-lettered": f"sum({rate('edge_dead_lettered_total', CHOSEN)})",
                },
            ),
            Panel("Frames in no term of the ledger: a defect", "none", {EDGE: now("edge_unaccounted")}),
        ],
        [
            Panel("Queues, as a part of their marks", "percentunit", {EDGE: MARK}),
            Panel("In flight", "none", {EDGE: now("edge_in_flight", CHOSEN)}),
            Panel("Age of the oldest queued frame", "s", {EDGE: now("edge_oldest_age_seconds", CHOSEN)}),
        ],
        [
            Panel("Further attempts a second", "cps", {EDGE: f"{rate('edge_redelivered_total')} > 0"}),
            Panel("Consumers attached", "none", {EDGE: now("edge_consumers")}),
            Panel("Stalled", "none", {EDGE: f"{now('edge_stalled')} == 1"}),
        ],
    ],
    "way": [
        [
            Panel("From capture to done, p50, by node along the way", "s", {NODE: age(0.5)}, about=ON_THE_WAY),
            Panel("From capture to done, p99", "s", {NODE: age(0.99)}),
        ],
        [
            Panel("Busy in your code", "percentunit", {PROCESS: rate("node_busy_seconds_total")}, about=HOW_BUSY),
            Panel("Failed attempts a second", "cps", {NODE: f"{rate('node_failures_total', by='node')} > 0"}),
        ],
    ],
}
TITLES = {"overview": "overview", "cameras": "cameras", "edges": "edges and ledger", "way": "a frame's way"}


def panel_json(panel: Panel, number: int, x: int, y: int, width: int) -> dict[str, Any]:
    """Return a panel as Grafana has it, at its place on the grid."""
    targets = [
        {"datasource": SOURCE, "expr": query, "legendFormat": legend, "refId": chr(ord("A") + place)}
        | ({"format": "table", "instant": True} if panel.kind == "table" else {})
        for place, (legend, query) in enumerate(panel.queries.items())
    ]
    custom = {"stacking": {"mode": "normal" if panel.is_stacked else "none"}} if panel.kind == "timeseries" else {}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "gridPos": {"x": x, "y": y, "w": width, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "custom": custom}, "overrides": []},
        "options": {},
        "targets": targets,
    }


def variable(name: str, label: str) -> dict[str, Any]:
    """Return a variable with all values of a label; of the edges' ends, any number may be chosen."""
    is_many = name != "pipeline"
    of = "" if name == "pipeline" else f"{{{P}}}"
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": f"label_values(detektr_edge_offered_total{of}, {name})", "refId": name},
        "refresh": 2,
        "includeAll": is_many,
        "multi": is_many,
        "allValue": ".*" if is_many else None,
        "sort": 1,
    }


def dashboard(name: str) -> dict[str, Any]:
    """Return a dashboard, ready to be imported or provisioned."""
    panels, number = [], 1
    for row, found in enumerate(DASHBOARDS[name]):
        width = WIDTH // len(found)
        for place, panel in enumerate(found):
            panels.append(panel_json(panel, number, place * width, row * HEIGHT, width))
            number += 1
    sources = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    edges = [variable("from", "from"), variable("to", "to")] if name == "edges" else []
    return {
        "uid": f"detektr-{name}",
        "title": f"detektr: {TITLES[name]}",
        "tags": ["detektr"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "time": {"from": "now-30m", "to": "now"},
        "refresh": "5s",
        "templating": {"list": [sources, variable("pipeline", "pipeline"), *edges]},
        "links": [
            {"type": "dashboards", "title": "detektr", "tags": ["detektr"], "asDropdown": False, "keepTime": True}
        ],
        "panels": panels,
    }


def texts() -> dict[str, str]:
    """Return the files, by their names."""
    return {f"{name}.json": json.dumps(dashboard(name), indent=1) + "\n" for name in DASHBOARDS}


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for file, text in texts().items():
        (FOLDER / file).write_text(text)
        print(FOLDER / file)
