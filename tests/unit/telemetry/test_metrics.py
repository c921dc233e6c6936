from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import choose_encoder
from prometheus_client.parser import text_string_to_metric_families

from detektr.ledger import DROP_REASONS, EdgeLedger
from detektr.memory.status_block import AGE_BUCKETS_NS
from detektr.memory.status_block_reader import NodeSnapshot
from detektr.telemetry.metrics import AGE_STEPS, EXPORTED_STATES, NodeSupervision, PipelineCollector, age_buckets

EDGES = [
    EdgeLedger(
        "camera", "buffer", 100, 80, {"queue_full": 5, "odd": 1}, 2, 8, 4, redelivered=3, refused=1, mark=8, attached=1
    ),
    EdgeLedger("motion", "events", offered=3, delivered=3, attached=1),
    EdgeLedger("motion", "events", offered=4, queued=4, is_stalled=True),
]
AGES = tuple(1 for _ in range(len(AGE_BUCKETS_NS) + 1))
PAGES = [
    NodeSnapshot("camera", 0, "capture", 4711, True, "running", slots_total=16, slots_free=5, ring_bytes=1 << 20),
    NodeSnapshot("motion", 0, "processor", 4712, True, "running", frames=7, age_counts=AGES, age_sum_ns=2_500_000_000),
    NodeSnapshot("motion", 1, "processor", 4713, False, "waiting", failures=2, last_frame_utc_ns=1_500_000_000),
]
Key = tuple[str, tuple[tuple[str, str], ...]]


def scrape(
    edges: list[EdgeLedger] = EDGES,
    snapshots: list[NodeSnapshot] = PAGES,
    supervision: Mapping[str, NodeSupervision] | None = None,
) -> dict[Key, float]:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(PipelineCollector(lambda: (edges, snapshots), "demo", lambda: supervision or {}))
    text = generate_latest(registry).decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    values: dict[Key, float] = {}
    for sample in samples:
        labels = dict(sample.labels)
        assert labels.pop("pipeline") == "demo"
        key = sample.name, tuple(sorted(labels.items()))
        assert key not in values, f"{key} stands twice in a scrape"
        values[key] = sample.value
    return values


def key(name: str, **labels: str) -> Key:
    return f"detektr_{name}", tuple(sorted((label.rstrip("_"), value) for label, value in labels.items()))


def test_ledger_of_every_edge_adds_up_in_one_scrape() -> None:
    values = scrape()
    for producer, consumer in (("camera", "buffer"), ("motion", "events")):
        edge = {"from_": producer, "to": consumer}
        names = ("delivered_total", "dead_lettered_total", "queued", "in_flight")
        terms = sum(values[key(f"edge_{name}", **edge)] for name in names)
        dropped = sum(values[key("edge_dropped_total", **edge, reason=reason)] for reason in DROP_REASONS)
        odd = values.get(key("edge_dropped_total", **edge, reason="odd"), 0)
        assert values[key("edge_offered_total", **edge)] == terms + dropped + odd
        assert values[key("edge_unaccounted", **edge)] == 0


def test_parts_of_an_edge_are_one_series() -> None:
    values = scrape()
    edge = {"from_": "motion", "to": "events"}
    assert values[key("edge_offered_total", **edge)] == 7
    assert values[key("edge_stalled", **edge)] == 1
    assert values[key("edge_consumers", **edge)] == 1
    assert values[key("edge_redelivered_total", from_="camera", to="buffer")] == 3
    assert values[key("edge_refused_total", from_="camera", to="buffer")] == 1
    assert values[key("edge_high_water_mark", from_="camera", to="buffer")] == 8


def test_drops_say_their_camera_where_it_is_known_and_still_add_up() -> None:
    edge = EdgeLedger(
        *("buffer", "look"),
        offered=9,
        dropped={"queue_full": 7, "too_old": 2},
        dropped_by_camera={"door": {"queue_full": 4}, "yard": {"queue_full": 2, "too_old": 2}},
    )
    values = scrape([edge])
    of = {"from_": "buffer", "to": "look"}
    assert values[key("edge_dropped_total", **of, reason="queue_full", camera="door")] == 4
    assert values[key("edge_dropped_total", **of, reason="queue_full", camera="yard")] == 2
    assert values[key("edge_dropped_total", **of, reason="queue_full")] == 1
    assert values[key("edge_dropped_total", **of, reason="too_old")] == 0
    assert sum(count for (name, _), count in values.items() if name == "detektr_edge_dropped_total") == 9


def test_the_time_that_a_frame_takes_and_the_age_of_the_oldest_that_waits_can_be_told() -> None:
    edge = EdgeLedger("buffer", "look", offered=3, queued=1, delivered=2, oldest_ns=time.monotonic_ns() - 2 * 10**9)
    registry = CollectorRegistry(auto_describe=False)
    snapshots = [NodeSnapshot("look", 0, kind="processor", is_alive=True, worked=8, busy_ns=500_000_000)]
    registry.register(PipelineCollector(lambda: ([edge], snapshots), "demo"))

    def value(name: str, **labels: str) -> float:
        found = registry.get_sample_value(name, {"pipeline": "demo", **labels})
        assert found is not None, name
        return found

    of = {"node": "look", "replica": "0"}
    assert value("detektr_node_busy_seconds_total", **of) / value("detektr_node_worked_total", **of) == 0.5 / 8
    assert value("detektr_edge_oldest_age_seconds", **{"from": "buffer", "to": "look"}) >= 2


def test_every_series_stands_in_its_page() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "metrics.md").read_text()
    names = {re.sub(r"_(bucket|sum|count)$", "", name) for name, _ in scrape()}
    assert {name for name in names if f"`{name}`" not in page} == set()


def test_each_scrape_reads_once() -> None:
    readings = 0

    def read() -> tuple[list[EdgeLedger], list[NodeSnapshot]]:
        nonlocal readings
        readings += 1
        return EDGES, PAGES

    registry = CollectorRegistry(auto_describe=False)
    registry.register(PipelineCollector(read, "demo"))
    assert readings == 0
    generate_latest(registry)
    assert readings == 1


def test_node_series_come_from_its_pages() -> None:
    values = scrape()
    assert values[key("node_frames_total", node="motion", replica="0")] == 7
    assert values[key("node_failures_total", node="motion", replica="1")] == 2
    assert values[key("node_up", node="motion", replica="1")] == 0
    assert values[key("node_last_frame_timestamp_seconds", node="motion", replica="1")] == 1.5
    assert values[key("ring_slots", node="camera", replica="0", state="free")] == 5
    assert values[key("ring_slots", node="camera", replica="0", state="used")] == 11
    assert values[key("shm_bytes", node="camera", replica="0")] == 1 << 20
    assert key("shm_bytes", node="motion", replica="0") not in values


def test_no_label_holds_a_pid() -> None:
    assert {label for _, labels in scrape() for label, _ in labels} == {
        *("from", "to", "reason", "lane"),
        *("node", "replica", "state", "le"),
    }


def test_age_histogram_is_cumulative_and_ends_with_all_frames() -> None:
    values = scrape()
    node = {"node": "motion", "replica": "0"}
    assert values[key("frame_age_seconds_sum", **node)] == 2.5
    assert values[key("frame_age_seconds_count", **node)] == len(AGES)
    assert values[key("frame_age_seconds_bucket", **node, le="0.0004")] == 5
    assert values[key("frame_age_seconds_bucket", **node, le="+Inf")] == len(AGES)
    assert key("frame_age_seconds_count", node="camera", replica="0") not in values


@pytest.mark.parametrize("place", range(len(AGE_BUCKETS_NS) + 1))
def test_a_frame_is_in_every_bucket_that_its_age_is_not_above(place: int) -> None:
    counts = tuple(int(step == place) for step in range(len(AGE_BUCKETS_NS) + 1))
    limits_ns = [*(AGE_BUCKETS_NS[step] for step in AGE_STEPS), float("inf")]
    age_ns = AGE_BUCKETS_NS[place] if place < len(AGE_BUCKETS_NS) else AGE_BUCKETS_NS[-1] + 1
    assert [count for _, count in age_buckets(counts)] == [float(age_ns <= limit) for limit in limits_ns]


def test_state_is_one_hot_and_the_supervisor_s_word_counts() -> None:
    values = scrape(supervision={"motion": NodeSupervision(restarts=3, state="failed"), "late": NodeSupervision()})
    assert values[key("node_restarts_total", node="motion")] == 3
    for node, current in (("motion", "failed"), ("late", "starting"), ("camera", "running")):
        hot = {state for state in EXPORTED_STATES if values[key("node_state", node=node, state=state)] == 1}
        assert hot == {current}


def test_empty_pipeline_can_be_scraped() -> None:
    assert scrape([], []) == {}


def test_openmetrics_form_can_be_written_too() -> None:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(PipelineCollector(lambda: (EDGES, PAGES), "demo"))
    encode, content_type = choose_encoder("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert encode(registry).endswith(b"# EOF\n")


def test_health_names_stalled_edges_and_failed_nodes() -> None:
    collector = PipelineCollector(lambda: (EDGES, PAGES), "demo", lambda: {"motion": NodeSupervision(0, "failed")})
    assert collector.health() == (
        False,
        {
            "pipeline": "demo",
            "healthy": False,
            "stalled": [{"from": "motion", "to": "events", "queued": 4}],
            "failed": ["motion"],
        },
    )
    assert PipelineCollector(lambda: (EDGES[:1], PAGES), "demo").health()[0]
