"""Counters, gauges and histograms as the user's code has them; any thread may use them."""

from __future__ import annotations

import logging
import math
import threading
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from detektr.metrics.declaration import (
    LABEL_CHARS_MAX,
    OVERFLOW,
    Cells,
    Declaration,
    Kind,
    Labels,
    Store,
    blank_cells,
    clean_text,
)

_log = logging.getLogger(__name__)


class Metric:
    """What all three kinds share: the series, by the values of their labels."""

    def __init__(self, declaration: Declaration, series_max: int, store: Store) -> None:
        """Begin with the series that the store has."""
        self.declaration, self._series_max = declaration, series_max
        self._names = declaration.labels
        self._has_told_overflow = self._has_told_left_out = False
        self._series: dict[Labels, Cells] = {}
        self.move(store)

    def move(self, store: Store) -> None:
        """Keep the numbers in another store from now on; it takes those that are here."""
        before, self._store = self._series, store
        self._lock = threading.Lock()  # in a forked child, a thread that was not forked may hold the old one
        self._series = store.declare(self.declaration)
        overflow = (OVERFLOW,) * len(self._names)  # first of all: for a new metric there always is room
        for labels, counted in {overflow: blank_cells(self.declaration), **before}.items():
            cells = self._series.get(labels) or store.add(self.declaration, labels)
            if cells is not None:
                self._series[labels] = cells
                _add_up(self.declaration.kind, cells, counted)
        self._overflow = self._series[overflow]

    def clear(self) -> None:
        """Forget all series and values, as if nothing had been counted."""
        with self._lock:
            self._has_told_overflow = self._has_told_left_out = False
            self._series.clear()
        self.move(self._store)

    def _cells(self, labels: dict[str, object]) -> Cells:
        """Return the numbers of a series, which is made when it is first asked for."""
        if not labels and not self._names:
            return self._overflow  # of a metric without labels it is the only one
        if tuple(labels) != self._names:
            labels = self._in_order(labels)
        values: tuple[Any, ...] = tuple(labels.values())
        try:
            return self._series[values]  # other values than text are not found
        except (KeyError, TypeError):
            return self._find_or_make(tuple(map(_label_text, values)))

    def _find_or_make(self, labels: Labels) -> Cells:
        with self._lock:
            cells = self._series.get(labels)
            if cells is None and len(self._series) <= self._series_max:  # the overflow series is not counted
                cells = self._store.add(self.declaration, labels)
            if cells is not None:
                self._series[labels] = cells
                return cells
        self._store.count_overflow()
        if not self._has_told_overflow:
            self._has_told_overflow = True
            _log.warning(
                "the metric %s has %d label sets, and no room for more; its series with the label %s counts the others,"
                " such as %s: use labels with few values, or raise its series_max",
                *(self.declaration.name, len(self._series) - 1, OVERFLOW, _shown(self._names, labels)),
            )
        return self._overflow

    def _peek(self, labels: dict[str, object]) -> Cells:
        """Return the numbers of a series for reading; those of none where there is none."""
        key = tuple(map(_label_text, self._in_order(labels).values()))
        return self._series.get(key) or blank_cells(self.declaration)

    def _in_order(self, labels: Mapping[str, object]) -> dict[str, object]:
        if set(labels) != set(self._names):
            expected = f"{', '.join(f'{name}=...' for name in self._names)}" if self._names else "no labels"
            raise ValueError(
                f"the metric {self.declaration.name} was given the labels {', '.join(labels) or '(none)'}; expected"
                f" {expected}: name the ones that it was made with"
            )
        return {name: labels[name] for name in self._names}

    def _leave_out(self, value: float) -> None:
        self._store.count_overflow()
        if not self._has_told_left_out:
            self._has_told_left_out = True
            _log.warning(
                "the metric %s was given %s, which cannot be added up: such values are left out; check where they come"
                " from",
                *(self.declaration.name, value),
            )

    def _no_number(self, value: object) -> TypeError:
        return TypeError(
            f"the metric {self.declaration.name} was given {value!r:.40}, a {type(value).__name__}; pass a number"
        )


class Counter(Metric):
    """Counts up; on the endpoint its name ends in `_total`."""

    def inc(self, amount: float = 1, /, **labels: object) -> None:
        """Count one more, or `amount` more.

        Args:
            amount: 0 or more; what is not finite is left out, and warned of once.
            labels: a value for each label, written as text; of a long one the first 128 characters count.
        Raises:
            ValueError: the amount is negative, or the labels are not those that the counter was made with.
            TypeError: the amount is not a number.
        """
        cells = self._cells(labels)
        try:
            is_good = 0 <= amount < math.inf
        except TypeError:
            raise self._no_number(amount) from None
        if is_good:
            with self._lock:
                cells[0] += amount
        elif amount < 0:
            name = self.declaration.name
            raise ValueError(f"the counter {name} was given {amount}, and counts up only; use a gauge for what falls")
        else:
            self._leave_out(amount)

    def value(self, /, **labels: object) -> float:
        """Return the count so far; 0 where nothing was counted."""
        return self._peek(labels)[0]


class Gauge(Metric):
    """Shows a number as it is now; the endpoint has it once it has been set."""

    def set(self, value: float, /, **labels: object) -> None:
        """Show this number from now on; one that is not a number takes the series off the endpoint.

        Raises:
            ValueError: the labels are not those that the gauge was made with.
            TypeError: the value is not a number.
        """
        try:
            self._cells(labels)[0] = value
        except TypeError:
            raise self._no_number(value) from None

    def inc(self, amount: float = 1, /, **labels: object) -> None:
        """Show more than before, by 1 or by `amount`; a gauge that was not set begins at 0. See `set` for `Raises`."""
        cells = self._cells(labels)
        try:
            with self._lock:
                cells[0] = amount + (0 if math.isnan(cells[0]) else cells[0])
        except TypeError:
            raise self._no_number(amount) from None

    def dec(self, amount: float = 1, /, **labels: object) -> None:
        """Show less than before, by 1 or by `amount`. See `set` for `Raises`."""
        try:
            fall = -amount
        except TypeError:
            raise self._no_number(amount) from None
        self.inc(fall, **labels)

    def value(self, /, **labels: object) -> float:
        """Return the number that is shown; nan where it was never set."""
        return self._peek(labels)[0]


@dataclass(frozen=True)
class HistogramValue:
    """The numbers of one label set of a histogram."""

    count: int
    sum: float
    buckets: dict[float, int]
    """How many values are not above each bound, the last one infinity."""


class Histogram(Metric):
    """Counts values by size."""

    def observe(self, value: float, /, **labels: object) -> None:
        """Count a value in its bucket.

        Args:
            value: any number; what is not finite is left out, and warned of once.
            labels: see `Counter.inc`.
        Raises:
            ValueError: the labels are not those that the histogram was made with.
            TypeError: the value is not a number.
        """
        cells = self._cells(labels)
        try:
            is_good = -math.inf < value < math.inf
        except TypeError:
            raise self._no_number(value) from None
        if is_good:
            place = 1 + bisect_left(self.declaration.buckets, value)
            with self._lock:
                cells[place] += 1
                cells[0] += value
        else:
            self._leave_out(value)

    def value(self, /, **labels: object) -> HistogramValue:
        """Return what was counted so far."""
        total, *counts = self._peek(labels).tolist()
        bounds = (*self.declaration.buckets, math.inf)
        buckets = {bound: int(below) for bound, below in zip(bounds, accumulate(counts), strict=True)}
        return HistogramValue(int(sum(counts)), total, buckets)


def _add_up(kind: Kind, cells: Cells, more: Cells) -> None:
    """Add what was counted elsewhere; of a gauge, the later number counts."""
    for place, number in enumerate(more):
        if kind is not Kind.GAUGE:
            cells[place] += number
        elif not math.isnan(number):
            cells[place] = number


def _label_text(value: object) -> str:
    """Return a label's value as it is written."""
    text = str.__str__(value) if isinstance(value, str) else str(value)
    text = clean_text(text)
    return text if len(text) <= LABEL_CHARS_MAX else f"{text[: LABEL_CHARS_MAX - 3]}..."


def _shown(names: Labels, values: Labels) -> str:
    return ", ".join(f"{name}={value!r:.40}" for name, value in zip(names, values, strict=True))
