"""What somebody asks the trail for: a frame, by its id or its number; rows of a node, edge or outcome. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from detektr.errors import DetektrError
from detektr.telemetry.trail.harvest import mark_of
from detektr.telemetry.trail.rows import DropRow, Row, Stream

_ID: Final = re.compile(r"^(\d{1,15})_(.+)_(\d{1,19})_([0-9a-f]{8})\Z")
_NUMBER: Final = re.compile(r"^(.+)/(\d{1,19})\Z")


@dataclass(frozen=True)
class WantedFrame:
    """One frame."""

    text: str
    names: str
    """`node_camera`, or the camera alone."""
    sequence: int
    mark: int | None = None
    """The last part of its id; None: the newest run's frame of that number is meant."""
    captured_ms: int | None = None
    """When it was captured, UTC; None: not known."""

    def is_of(self, stream: Stream) -> bool:
        """Whether it is one of a stream's frames."""
        if self.mark is None:
            return stream.camera == self.names
        return f"{stream.node}_{stream.camera}" == self.names and mark_of(stream, self.sequence) == self.mark

    def has(self, row: Row) -> bool:
        """Whether a row is about it."""
        if not self.is_of(row.stream):
            return False
        if isinstance(row, DropRow):
            return row.first <= self.sequence <= row.last and any(
                drop.last - drop.frames < self.sequence <= drop.last for drop in row.drops()
            )
        return row.sequence == self.sequence


def wanted_frame(text: str) -> WantedFrame:
    """Read what a user calls a frame: its id, or `CAMERA/SEQUENCE`.

    Raises:
        DetektrError: it is neither.
    """
    if (found := _ID.match(text)) is not None:
        captured_ms, names, sequence, mark = found.groups()
        return WantedFrame(text, names, int(sequence), int(mark, 16), int(captured_ms))
    if (found := _NUMBER.match(text)) is not None:
        return WantedFrame(text, found[1], int(found[2]))
    raise DetektrError(
        f"{text!r:.80} is no frame; write its id, as events have it in `frame`, or CAMERA/SEQUENCE, e.g. door/120"
    )


@dataclass(frozen=True)
class WantedRows:
    """Rows of some time, the newest ones where they are too many."""

    since_us: int
    """UTC, in microseconds."""
    until_us: int
    rows_max: int
    node: str = ""
    """Only of edges from or to this node, or process; empty: of any."""
    edge: str = ""
    """Only of this edge (`buffer->detect`)."""
    outcome: str = ""
    """Only with this outcome: `delivered`, `failed`, `dead_lettered`, the reason of a drop, or `dropped`."""

    def is_edge(self, producer: str, consumer: str) -> bool:
        """Whether rows of an edge are wanted.

        Args:
            producer: the process.
            consumer: the node.
        """
        node = producer.rpartition(".")[0]
        wanted_node = self.node.rpartition(".")[0] if self.node.rpartition(".")[2].isdigit() else self.node
        is_node = not self.node or self.node == producer or wanted_node in (node, consumer)
        names = tuple(part.strip() for part in self.edge.split("->"))
        return is_node and (not self.edge or names in ((node, consumer), (producer, consumer)))

    def is_outcome(self, outcome: str, *, is_drop: bool) -> bool:
        """Whether rows with an outcome are wanted."""
        return self.outcome in ("", outcome) or (is_drop and self.outcome == "dropped")

    def has(self, row: Row) -> bool:
        """Whether a row is wanted, but for its time."""
        is_drop = isinstance(row, DropRow)
        outcome = row.reason if isinstance(row, DropRow) else row.outcome
        return self.is_edge(row.producer, row.consumer) and self.is_outcome(outcome, is_drop=is_drop)


def time_us(row: Row) -> int:
    """Return the time of a row, UTC in microseconds."""
    return row.t_s * 1_000_000 if isinstance(row, DropRow) else row.t_us
