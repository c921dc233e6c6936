from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import choose_encoder
from prometheus_client.parser import text_string_to_metric_families

from detektr.memory.user_metrics import UserMetrics, UserSeries
from detektr.metrics.declaration import Declaration, Kind, make_declaration
from detektr.telemetry.metrics import PipelineCollector


def metric(kind: Kind, name: str, *labels: str, buckets: tuple[float, ...] = ()) -> Declaration:
    return make_declaration(kind, name, f"Help of {name}.", labels, buckets, 1000)


def process(node: str, replica: int, *series: tuple[Declaration, tuple[Any, ...]], overflowed: int = 0) -> UserMetrics:
    found = tuple((declaration, tuple(UserSeries(*each) for each in those)) for declaration, those in series)
    return UserMetrics(node, replica, overflowed, found)


def collector(*processes: UserMetrics) -> PipelineCollector:
    return PipelineCollector(lambda: ([], []), "demo", user_metrics=lambda: list(processes))


def scrape(*processes: UserMetrics) -> str:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector(*processes))
    return generate_latest(registry).decode()


def values(text: str) -> dict[str, float]:
    """Return each sample, by its name and labels without the pipeline's."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()) if name != "pipeline")
            assert sample.labels["pipeline"] == "demo"
            assert f"{sample.name}{{{labels}}}" not in found, "a series stands twice in a scrape"
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


SEEN = metric(Kind.COUNTER, "seen", "camera")
LEVEL = metric(Kind.GAUGE, "level")
TOOK = metric(Kind.HISTOGRAM, "took", "camera", buckets=(0.1, 1.0))


def test_what_the_nodes_count_is_one_family_with_a_series_for_each_process() -> None:
    text = scrape(
        process("look", 1, (SEEN, ((("door",), (2.0,)),))),
        process(
            "look", 0, (SEEN, ((("door",), (3.0,)), (('ya"rd\n',), (1.0,)))), (LEVEL, (((), (-0.5,)),)), overflowed=4
        ),
        process("log", 0, (SEEN, ((("door",), (7.0,)),)), (TOOK, ((("door",), (2.5, 1.0, 0.0, 2.0)),))),
    )
    assert text.count("# TYPE detektr_user_seen_total counter") == 1
    assert "# HELP detektr_user_seen_total Help of seen.\n" in text
    assert "# TYPE detektr_user_took histogram" in text
    assert values(text) == {
        "detektr_user_seen_total{camera=door,node=look,replica=0}": 3,
        'detektr_user_seen_total{camera=ya"rd\n,node=look,replica=0}': 1,
        "detektr_user_seen_total{camera=door,node=look,replica=1}": 2,
        "detektr_user_seen_total{camera=door,node=log,replica=0}": 7,
        "detektr_user_level{node=look,replica=0}": -0.5,
        "detektr_user_took_bucket{camera=door,le=0.1,node=log,replica=0}": 1,
        "detektr_user_took_bucket{camera=door,le=1.0,node=log,replica=0}": 1,
        "detektr_user_took_bucket{camera=door,le=+Inf,node=log,replica=0}": 3,
        "detektr_user_took_count{camera=door,node=log,replica=0}": 3,
        "detektr_user_took_sum{camera=door,node=log,replica=0}": 2.5,
        "detektr_node_user_metrics_overflowed_total{node=look,replica=0}": 4,
        "detektr_node_user_metrics_overflowed_total{node=look,replica=1}": 0,
        "detektr_node_user_metrics_overflowed_total{node=log,replica=0}": 0,
    }


def test_openmetrics_form_can_be_written_too() -> None:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(
        collector(
            process("look", 0, (SEEN, ((("door",), (3.0,)),)), (LEVEL, (((), (1.0,)),))),
            process("look", 1, (TOOK, ((("door",), (2.5, 1.0, 0.0, 2.0)),))),
        )
    )
    encode, _ = choose_encoder("application/openmetrics-text; version=1.0.0")
    text = encode(registry).decode()
    assert 'detektr_user_seen_total{camera="door",node="look",pipeline="demo",replica="0"} 3.0' in text
    assert text.endswith("# EOF\n")


@pytest.mark.parametrize("other", [metric(Kind.GAUGE, "seen"), metric(Kind.GAUGE, "seen_total")])
def test_of_two_nodes_that_disagree_the_first_is_shown_and_the_other_told_of_once(
    other: Declaration, caplog: pytest.LogCaptureFixture
) -> None:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(
        collector(process("look", 0, (other, (((), (1.0,)),))), process("a", 0, (SEEN, ((("door",), (3.0,)),))))
    )
    for _ in range(2):
        found = values(generate_latest(registry).decode())
        assert found["detektr_user_seen_total{camera=door,node=a,replica=0}"] == 3
        assert not any("node=look" in name and "user_seen" in name for name in found)
    assert caplog.messages == [
        f"the metric {other.name} of node look is not shown: it is a gauge, and seen of node a is a counter;"
        " give one another name"
    ]


def test_no_metric_no_series() -> None:
    assert values(scrape()) == {}
