"""The metrics of one process, by name, and where their numbers are kept."""

from __future__ import annotations

import os
import threading
import weakref
from typing import TypeVar

from detektr.metrics.declaration import METRICS_MAX, Declaration, OwnMemory, Store
from detektr.metrics.kinds import Metric

_Any = TypeVar("_Any", bound=Metric)


_registries: weakref.WeakSet[Registry] = weakref.WeakSet()


class Registry:
    """The metrics of this process, by name."""

    def __init__(self) -> None:
        """Begin without any, in memory of this process."""
        self._metrics: dict[str, Metric] = {}
        self._store: Store = OwnMemory()
        self._lock = threading.Lock()
        _registries.add(self)

    def declare(self, make: type[_Any], declaration: Declaration, series_max: int) -> _Any:
        """Return the metric of this name, made now or before.

        Raises:
            ValueError: another metric has the name, or there are too many.
        """
        with self._lock:
            for known in self._metrics.values():
                taken = declaration.samples & known.declaration.samples
                if known.declaration == declaration and isinstance(known, make):
                    return known
                if taken:
                    raise ValueError(
                        f"the metric {declaration.name} was to be {declaration.words}; {known.declaration.name} is"
                        f" {known.declaration.words} already: give one of them another name"
                    )
            if len(self._metrics) >= METRICS_MAX:
                raise ValueError(
                    f"the metric {declaration.name} is one more than the {METRICS_MAX} that a process may have; use one"
                    " metric with a label in place of many names"
                )
            metric = self._metrics[declaration.name] = make(declaration, series_max, self._store)
            return metric

    def publish(self, store: Store) -> None:
        """Keep all numbers, those of now included, where others can read them."""
        with self._lock:
            self._store = store
            for metric in self._metrics.values():
                metric.move(store)

    def leave(self) -> None:
        """Keep all numbers in memory of this process: it was forked, and those of its parent have one writer."""
        self._lock = threading.Lock()  # a thread that was not forked with us may hold the old one
        self.publish(OwnMemory())

    def clear(self) -> None:
        """Forget all values; the metrics stay."""
        with self._lock:
            for metric in self._metrics.values():
                metric.clear()


process_metrics = Registry()
"""The one of this process."""


def _in_child() -> None:
    for registry in list(_registries):
        registry.leave()


os.register_at_fork(after_in_child=_in_child)
