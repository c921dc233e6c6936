"""Numbers of your own: counters, gauges and histograms of your processors, sinks and sources, beside detektr's.

    from detektr import metrics

    seen = metrics.counter("plates_seen", "Plates read.", labels=["camera"])
    seen.inc(camera=frame.camera)

Each stands on the pipeline's endpoint, this one as `detektr_user_plates_seen_total{pipeline,node,replica,camera}`. All
of it is bounded, and any thread may use it. Without a pipeline, as in a unit test, it counts too: ask for its `value`.
"""

from __future__ import annotations

from collections.abc import Iterable

from detektr.metrics.declaration import BUCKETS, SERIES_MAX, Kind, make_declaration
from detektr.metrics.kinds import Counter, Gauge, Histogram, HistogramValue
from detektr.metrics.registry import process_metrics

__all__ = ["BUCKETS", "Counter", "Gauge", "Histogram", "HistogramValue", "counter", "gauge", "histogram"]


def counter(name: str, help: str, labels: Iterable[str] = (), *, series_max: int = SERIES_MAX) -> Counter:
    """Return the counter of this name; a second call with the name returns the same one.

    Args:
        name: letters, digits and `_`; the endpoint shows `detektr_user_NAME_total`.
        help: what it counts, in a sentence.
        labels: names of its labels, as `["camera"]`; `pipeline`, `node` and `replica` are there anyway.
        series_max: most label sets; what comes with more is counted in one overflow series.
    Raises:
        ValueError: the name, a label or a limit is none, or another metric has the name; says what to do.
    """
    return process_metrics.declare(
        Counter, make_declaration(Kind.COUNTER, name, help, labels, (), series_max), series_max
    )


def gauge(name: str, help: str, labels: Iterable[str] = (), *, series_max: int = SERIES_MAX) -> Gauge:
    """Return the gauge of this name, shown as `detektr_user_NAME`; see `counter` for the rest."""
    return process_metrics.declare(Gauge, make_declaration(Kind.GAUGE, name, help, labels, (), series_max), series_max)


def histogram(
    name: str,
    help: str,
    labels: Iterable[str] = (),
    *,
    buckets: Iterable[float] = BUCKETS,
    series_max: int = SERIES_MAX,
) -> Histogram:
    """Return the histogram of this name, shown as `detektr_user_NAME_bucket`, `_sum` and `_count`.

    Args:
        name: see `counter`, as `help`, `labels` and `series_max`.
        help: see there.
        labels: see there.
        buckets: upper bounds, rising; one for all larger values is added.
        series_max: see there.
    Raises:
        ValueError: see `counter`; or the buckets do not rise, are not finite, none or more than 40.
    """
    declaration = make_declaration(Kind.HISTOGRAM, name, help, labels, tuple(map(float, buckets)), series_max)
    return process_metrics.declare(Histogram, declaration, series_max)
