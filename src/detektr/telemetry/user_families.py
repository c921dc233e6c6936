"""User metrics as Prometheus metrics; with `telemetry.metrics` the only module that knows prometheus_client."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.utils import floatToGoString

from detektr.memory.user_metrics import UserMetrics, UserSeries
from detektr.metrics.declaration import PREFIX, Declaration, Kind

_LABELS = ("pipeline", "node", "replica")
_log = logging.getLogger("detektr.metrics")


class UserFamilies:
    """Puts together what the nodes count under one name: one family, with a series for each process."""

    def __init__(self, pipeline: str) -> None:
        """Begin; the pipeline's name is a label."""
        self._pipeline = pipeline
        self._told: set[tuple[str, str]] = set()

    def collect(self, processes: Iterable[UserMetrics]) -> Iterator[Metric]:
        """Yield the families. Of two nodes that use one name for different kinds, the first by name has it."""
        overflowed = CounterMetricFamily(
            "detektr_node_user_metrics_overflowed",
            "Values of user metrics that went to an overflow series, or were left out.",
            labels=_LABELS,
        )
        families: dict[str, Metric] = {}
        taken: dict[str, tuple[Kind, str, str]] = {}  # by sample: kind and name of the metric, and whose it is
        for process in sorted(processes, key=lambda process: (process.node, process.replica)):
            key = (self._pipeline, process.node, str(process.replica))
            overflowed.add_metric(key, process.overflowed)
            for declaration, found in process.series:
                kind, name = declaration.kind, declaration.name
                holders = [taken[sample] for sample in declaration.samples if sample in taken]
                other = next((holder for holder in holders if holder[:2] != (kind, name)), None)
                if other is not None:
                    self._tell_clash(process.node, declaration, other)
                    continue
                taken.update(dict.fromkeys(declaration.samples, (kind, name, process.node)))
                family = families.setdefault(name, Metric(PREFIX + name, declaration.help, kind.name.lower()))
                for series in found:
                    _add(family, declaration, series, dict(zip(_LABELS, key, strict=True)))
        yield overflowed
        yield from families.values()

    def _tell_clash(self, node: str, declaration: Declaration, other: tuple[Kind, str, str]) -> None:
        if (node, declaration.name) not in self._told:
            self._told.add((node, declaration.name))
            _log.warning(
                "the metric %s of node %s is not shown: it is a %s, and %s of node %s is a %s; give one another name",
                *(declaration.name, node, declaration.kind.name.lower(), other[1], other[2], other[0].name.lower()),
            )


def _add(family: Metric, declaration: Declaration, series: UserSeries, labels: dict[str, str]) -> None:
    """Add the samples of one series."""
    labels |= dict(zip(declaration.labels, series.labels, strict=True))
    if declaration.kind is not Kind.HISTOGRAM:
        ending = "_total" if declaration.kind is Kind.COUNTER else ""
        family.add_sample(family.name + ending, labels, series.numbers[0])
        return
    total, *counts = series.numbers
    bounds = [*map(floatToGoString, declaration.buckets), "+Inf"]
    below = list(accumulate(counts))
    for bound, count in zip(bounds, below, strict=True):
        family.add_sample(f"{family.name}_bucket", {**labels, "le": bound}, count)
    family.add_sample(f"{family.name}_count", labels, below[-1])
    family.add_sample(f"{family.name}_sum", labels, total)
