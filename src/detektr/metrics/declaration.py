"""What a metric is, where its numbers are kept, and what its name, labels and buckets may be."""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

PREFIX = "detektr_user_"
METRICS_MAX = 100  # in one process
SERIES_MAX = 1000  # label sets of one metric, unless it says otherwise
LABELS_MAX = 8
LABEL_CHARS_MAX = 128
NAME_CHARS_MAX = 64
HELP_CHARS_MAX = 500
BUCKETS_MAX = 40
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of a histogram that names none: for seconds, from a millisecond up."""
OVERFLOW = "(overflow)"
"""Stands in each label of the series that takes what found no room."""
_RESERVED = ("pipeline", "node", "replica", "le")
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_]*\Z")  # no _ first: Prometheus has uses of its own for some of these
Cells: TypeAlias = "memoryview[float]"
"""The numbers of one series. Of a histogram: the sum, then how many values each bucket has, the last one `+Inf`."""
Labels: TypeAlias = tuple[str, ...]


class Kind(enum.IntEnum):
    """What a metric is; the numbers stand in the files of metrics."""

    COUNTER = 1
    GAUGE = 2
    HISTOGRAM = 3


@dataclass(frozen=True)
class Declaration:
    """What one metric is; two that are equal are the same metric."""

    kind: Kind
    name: str
    """Without prefix and `_total`."""
    labels: Labels
    buckets: tuple[float, ...]
    """Upper bounds, in order, without `+Inf`; empty: no histogram."""
    help: str = field(compare=False)

    @property
    def cells(self) -> int:
        """How many numbers each series has."""
        return 2 + len(self.buckets) if self.kind is Kind.HISTOGRAM else 1

    @property
    def samples(self) -> set[str]:
        """The names that it takes on the endpoint, without prefix."""
        endings = {Kind.COUNTER: ("", "_total"), Kind.GAUGE: ("",), Kind.HISTOGRAM: ("", "_bucket", "_sum", "_count")}
        return {self.name + ending for ending in endings[self.kind]}

    @property
    def words(self) -> str:
        """What it is, for an error."""
        labels = f"with the labels {', '.join(self.labels)}" if self.labels else "without labels"
        buckets = f" and the buckets {', '.join(f'{bound:g}' for bound in self.buckets)}" if self.buckets else ""
        return f"a {self.kind.name.lower()} {labels}{buckets}"


class Store(Protocol):
    """Where the numbers are kept."""

    def declare(self, declaration: Declaration) -> dict[Labels, Cells]:
        """Take a metric, and return its series that are there already: those of a process that went before."""

    def add(self, declaration: Declaration, labels: Labels) -> Cells | None:
        """Make a series of a metric that was taken, all 0 (a gauge: not a number yet); None: there is no room."""

    def count_overflow(self) -> None:
        """Count a value that went to an overflow series, or was left out."""


class OwnMemory:
    """Keeps the numbers in this process."""

    def declare(self, declaration: Declaration) -> dict[Labels, Cells]:
        """See `Store`."""
        return {}

    def add(self, declaration: Declaration, labels: Labels) -> Cells:
        """See `Store`."""
        return blank_cells(declaration)

    def count_overflow(self) -> None:
        """Count nothing: nobody reads it."""


def blank_cells(declaration: Declaration) -> Cells:
    """Return the numbers of a new series, in memory of this process."""
    cells = memoryview(bytearray(8 * declaration.cells)).cast("d")
    if declaration.kind is Kind.GAUGE:
        cells[0] = math.nan
    return cells


def make_declaration(
    kind: Kind, name: str, help: str, labels: Iterable[str], buckets: tuple[float, ...], series_max: int
) -> Declaration:
    """Return what a metric is, or refuse it; see `detektr.metrics.counter` and `histogram`."""
    if isinstance(labels, str):
        raise ValueError(f"the metric {name!r} has the text {labels!r} as labels; write a list: labels=[{labels!r}]")
    names = tuple(labels)
    if not isinstance(name, str) or _NAME.match(name) is None or len(name) > NAME_CHARS_MAX:
        raise ValueError(
            f"{name!r:.80} is not a metric's name; use at most {NAME_CHARS_MAX} of a-z, A-Z, 0-9 and _, no digit first"
        )
    if len(names) > LABELS_MAX or len(set(names)) < len(names):
        raise ValueError(f"the metric {name} has the labels {', '.join(names)}; use at most {LABELS_MAX}, each once")
    for label in names:
        if not isinstance(label, str) or _NAME.match(label) is None or len(label) > NAME_CHARS_MAX:
            raise ValueError(f"the metric {name} has the label {label!r:.80}; use a-z, A-Z, 0-9 and _, no digit first")
        if label in _RESERVED:
            raise ValueError(f"the metric {name} has the label {label}, which detektr writes itself; choose another")
    if not 1 <= series_max <= SERIES_MAX * 10:
        raise ValueError(f"the metric {name} has series_max={series_max}; use 1 to {SERIES_MAX * 10}")
    is_rising = all(low < high for low, high in zip((-math.inf, *buckets), (*buckets, math.inf), strict=True))
    if kind is Kind.HISTOGRAM and not (1 <= len(buckets) <= BUCKETS_MAX and is_rising):
        raise ValueError(
            f"the histogram {name} has the buckets {buckets!r:.80}; use 1 to {BUCKETS_MAX} finite numbers that rise"
        )
    plain = name.removesuffix("_total") if kind is Kind.COUNTER else name
    return Declaration(kind, plain, names, buckets, clean_text(str(help))[:HELP_CHARS_MAX])


def clean_text(text: str) -> str:
    """Return a text that can be written as UTF-8; half characters become question marks."""
    return text.encode(errors="replace").decode()
