"""The page of the metrics: each series of a scrape, with its labels and what it counts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from detektr.ledger import EdgeLedger
from detektr.memory.status_block import AGE_BUCKETS_NS
from detektr.memory.status_block_reader import NodeSnapshot
from detektr.telemetry.metrics import NodeSupervision, PipelineCollector
from scripts.reference.markdown import code, document, sentence, table

GROUPS = (
    ("detektr_edge_", "Edges", "In each scrape, the ledger of each edge adds up."),
    (
        "frame_buffer_consumer_",
        "Edges from buffers",
        "These have the names of an older system; the counts are those of the ledger.",
    ),
    ("detektr_node_", "Nodes and their processes", ""),
    ("detektr_frame_", "Ages", ""),
    ("detektr_", "Shared memory, and what your code counts", ""),
)


def page() -> str:
    """Return the page."""
    left = {family.name: family for family in families()}
    parts = [
        "All series also have the label `pipeline`. Counters go on counting when a process is restarted. How to scrape"
        " them, and what to build on them: [watch with Prometheus](../metrics.md)."
    ]
    for prefix, title, text in GROUPS:
        here = [left.pop(name) for name in [*left] if name.startswith(prefix)]
        rows = [_row(family) for family in here]
        if prefix == "detektr_":
            rows.append(_of_the_user())
        parts.append(
            f"## {title}\n\n{text}\n\n{table(('series', 'type', 'labels', 'what'), rows)}".replace("\n\n\n", "\n")
        )
    if left:
        raise ValueError(f"scripts/reference/series.py has no group for {', '.join(left)}; add one to GROUPS")
    return document("Metrics", *parts)


def families() -> Iterable[Metric]:
    """Return the families of a pipeline that has something of everything."""
    edge = EdgeLedger("cam", "look", offered=1, oldest_ns=1, dropped={"queue_full": 1})
    facts: dict[str, Any] = {"is_alive": True, "last_frame_utc_ns": 1, "slots_total": 2, "slots_free": 1}
    ages = (1,) * len(AGE_BUCKETS_NS)
    pages = [
        NodeSnapshot("cam", 0, kind="capture", age_counts=ages, **facts),
        NodeSnapshot("buffer", 0, kind="buffer", age_counts=ages, **facts),
    ]
    edges = [edge, EdgeLedger("buffer", "look", offered=1, dropped_by_camera={"cam": {"queue_full": 1}})]
    registry = CollectorRegistry(auto_describe=False)
    registry.register(PipelineCollector(lambda: (edges, pages), "demo", lambda: {"cam": NodeSupervision()}))
    return list(registry.collect())


def _row(family: Metric) -> tuple[str, str, str, str]:
    name = {"counter": f"{family.name}_total", "histogram": f"{family.name}"}.get(family.type, family.name)
    labels = list(dict.fromkeys(label for sample in family.samples for label in sample.labels))
    labels = labels or list(getattr(family, "_labelnames", ()))
    told = ", ".join(code(label) for label in labels if label not in ("pipeline", "le"))
    return code(name), family.type, told, sentence(family.documentation)


def _of_the_user() -> tuple[str, str, str, str]:
    text = "What your own code counts: [count your own](../how-to/count-your-own.md)."
    return code("detektr_user_..."), "counter, gauge or histogram", "`node`, `replica`, and yours", text
