"""What became of frames, as rows: one for each frame and edge, one for each second of drops; and their lines. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from detektr.descriptor import stream_key

DELIVERED: Final = "delivered"
DEAD_LETTERED: Final = "dead_lettered"
FAILED: Final = "failed"  # an attempt; the frame goes on
PLACES: Final = {"capture": "metadata", "buffer": "buffered", "processor": "results"}
"""By kind of the producer: what a row is filed under, in the words of Redis's streams."""
DROPS_MAX: Final = 1500  # in one row, so that its line is not too long ...
SPAN_MAX: Final = 4096  # ... and from its first sequence to its last, so that readers find it


class Stream(NamedTuple):
    """The frames of one camera, as one capture numbers them in one of its runs."""

    node: str
    camera: str
    run: int

    @property
    def key(self) -> int:
        """Key of the stream."""
        return stream_key(self.node, self.run)


class LifeRow(NamedTuple):
    """One frame on one edge, when it left that edge; of an attempt that failed, when that was known. Times follow on
    each other: offered, queued, leased, waited, begun, worked, ended, kept, left."""

    t_us: int
    """When it left the edge, UTC in microseconds."""
    place: str
    stream: Stream
    sequence: int
    producer: str
    """The process, as in `buffer.0`."""
    consumer: str
    """The node."""
    outcome: str
    queued_us: int | None
    waited_us: int | None
    """None: no user's code has begun with it."""
    worked_us: int | None
    kept_us: int | None
    """Of a frame that no code worked on: all the time since it was leased."""
    replica: int | None
    """Of the consumer; None: none had it."""
    delivery: int
    event: int | None = None
    """Of an event that the frame led to: its number."""

    def line(self) -> str:
        """Return the row as a line of ASCII."""
        return json.dumps(("life", *self), separators=(",", ":"))


class Drop(NamedTuple):
    """Some frames of a stream that were dropped together."""

    last: int
    """The last one's sequence."""
    frames: int
    ms: int
    """Milliseconds of the row's second that had passed."""


class DropRow(NamedTuple):
    """All drops of one stream on one edge, for one reason, in one second."""

    t_s: int
    """UTC, in seconds."""
    place: str
    stream: Stream
    producer: str
    consumer: str
    reason: str
    first: int
    """The first sequence."""
    last: int
    frames: int
    """How many were dropped."""
    packed: bytes
    """Which: see `pack_drops`."""

    def line(self) -> str:
        """Return the row as a line of ASCII."""
        packed = base64.b64encode(self.packed).decode()
        return json.dumps(("drops", *self[:-1], packed), separators=(",", ":"))

    def drops(self) -> list[Drop]:
        """Return the single drops, in order of their sequences."""
        return unpack_drops(self.packed)


Row = LifeRow | DropRow


def is_row(line: str) -> bool:
    """Whether a line of the trail's spool is a row, and no record of an operation."""
    return line.startswith("[")


def decode_row(line: str) -> Row | None:
    """Read a line back; None: it is damaged."""
    try:
        kind, *values = json.loads(line)
        values[2] = Stream(*values[2])
        if kind == "life":
            return LifeRow(*values)
        if kind == "drops":
            values[-1] = base64.b64decode(values[-1])
            return DropRow(*values)
    except (ValueError, TypeError, IndexError):
        pass
    return None


def drop_rows(
    t_s: int, place: str, stream: Stream, edge: tuple[str, str], reason: str, drops: Iterable[Drop]
) -> list[DropRow]:
    """Return drops of one second as rows, one unless they are very many or far apart."""
    rows, part = list[DropRow](), list[Drop]()

    def end() -> None:
        if part:
            first = part[0].last - part[0].frames + 1
            count = sum(drop.frames for drop in part)
            rows.append(DropRow(t_s, place, stream, *edge, reason, first, part[-1].last, count, pack_drops(part)))
            part.clear()

    for drop in sorted(drops):
        if part and (len(part) >= DROPS_MAX or drop.last - part[0].last + part[0].frames > SPAN_MAX):
            end()
        part.append(drop)
    end()
    return rows


def pack_drops(drops: Iterable[Drop]) -> bytes:
    """Return drops, in order of their sequences, as three numbers each: gap to the one before, count, milliseconds."""
    packed, before = bytearray(), 0
    for drop in drops:
        for number in (drop.last - before, drop.frames, drop.ms):
            while number > 0x7F:
                packed.append(number & 0x7F | 0x80)
                number >>= 7
            packed.append(number)
        before = drop.last
    return bytes(packed)


def unpack_drops(packed: bytes) -> list[Drop]:
    """Read back what `pack_drops` returned."""
    numbers, number, shift = list[int](), 0, 0
    for byte in packed:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers.append(number)
            number = shift = 0
    drops, last = list[Drop](), 0
    for gap, count, ms in zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True):
        last += gap
        drops.append(Drop(last, count, ms))
    return drops


def as_fields(row: Row) -> dict[str, Any]:
    """Return a row as flat values, for a stream of Redis; what is not known is empty."""
    stream = row.stream
    about = {"node": stream.node, "camera": stream.camera, "run": stream.run}
    edge = {"from": row.producer, "to": row.consumer}
    if isinstance(row, DropRow):
        packed = base64.b64encode(row.packed).decode()
        seen = {"t": row.t_s * 1_000_000, "sequence": row.last, "first": row.first, "frames": row.frames}
        return {**seen, **about, **edge, "outcome": row.reason, "packed": packed}
    times = {name: getattr(row, name) for name in ("queued_us", "waited_us", "worked_us", "kept_us")}
    fields = {"t": row.t_us, "sequence": row.sequence, **about, **edge, "outcome": row.outcome, **times}
    fields |= {"replica": row.replica, "delivery": row.delivery, "event": row.event}
    return {name: "" if value is None else value for name, value in fields.items()}


def from_fields(place: str, fields: dict[str, str]) -> Row:
    """Read back what `as_fields` returned.

    Raises:
        ValueError, KeyError: they are of something else.
    """
    stream = Stream(fields["node"], fields["camera"], int(fields["run"]))
    edge = fields["from"], fields["to"]
    if "packed" in fields:
        counts = int(fields["first"]), int(fields["sequence"]), int(fields["frames"])
        packed = base64.b64decode(fields["packed"])
        return DropRow(int(fields["t"]) // 1_000_000, place, stream, *edge, fields["outcome"], *counts, packed)

    def number(name: str) -> int | None:
        return int(fields[name]) if fields[name] else None

    times = number("queued_us"), number("waited_us"), number("worked_us"), number("kept_us")
    seen = int(fields["t"]), place, stream, int(fields["sequence"])
    return LifeRow(*seen, *edge, fields["outcome"], *times, number("replica"), int(fields["delivery"]), number("event"))
