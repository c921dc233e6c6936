"""From the records of all processes to rows: who worked when is joined to what became of the frame, drops are gathered.

A consumer tells of its work before it completes the lease, its producer of the outcome afterwards. So what a producer
told is joined at the next harvest: by then all that was told before it has been read. Pure: records and time come in.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from detektr.ledger import DROP_REASONS
from detektr.memory import layout
from detektr.memory.layout import TRAIL_FAILED, TRAIL_NOBODY, TRAIL_WORKED
from detektr.memory.trail_ring import TrailRecord
from detektr.telemetry.trail.rows import DEAD_LETTERED, DELIVERED, FAILED, Drop, LifeRow, Row, Stream, drop_rows

WORKS_MAX: Final = 200_000  # told by consumers, and by no producer yet
SETTLED_S: Final = 1  # a second is over when the next one is so old
UNKNOWN: Final = Stream("", "", 0)
_OUTCOMES = {TRAIL_FAILED: FAILED, layout.EDGE_WORD_DELIVERED: DELIVERED, layout.EDGE_WORD_DEAD_LETTERED: DEAD_LETTERED}
_REASONS = {layout.EDGE_WORD_DROPPED + place: reason for place, reason in enumerate(DROP_REASONS)}
_Edge = tuple[str, str]
_Work = tuple[str, str, int, int, int]  # producer, consumer, stream key, sequence, delivery


class Told(NamedTuple):
    """A record, and the edge that it is about."""

    edge: _Edge
    """Producer process and consumer; of work, the consumer's process."""
    record: TrailRecord


class Streams:
    """The streams of a run, by key, and by the marks in the ids of their frames."""

    def __init__(self) -> None:
        """Begin with none."""
        self._by_key: dict[int, Stream] = {}
        self._of_mark = functools.lru_cache(4096)(self._find)

    def add(self, stream: Stream) -> None:
        """Add a stream."""
        if stream.key not in self._by_key:
            self._by_key[stream.key] = stream
            self._of_mark.cache_clear()

    def get(self, key: int) -> Stream | None:
        """Return the stream with a key; None: it is not known."""
        return self._by_key.get(key)

    def of_event(self, about: int) -> Stream | None:
        """Return the stream of the frame that an event is about, see `TrailRecord.about`; None: it is not known."""
        return self._of_mark(about)

    def _find(self, about: int) -> Stream | None:
        mark, sequence = about >> 32, about & 0xFFFFFFFF
        for stream in self._by_key.values():
            if mark_of(stream, sequence) == mark:
                return stream
        return None


def mark_of(stream: Stream, sequence: int) -> int:
    """Return the mark in the id of a frame, as a number; see `Descriptor.id`."""
    text = f"{stream.node}/{stream.run:x}/{sequence}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big")


class Harvest:
    """See the module's first lines."""

    def __init__(self, streams: Streams, places: Mapping[str, str]) -> None:
        """Begin with nothing told.

        Args:
            streams: looked up, and filled by the caller.
            places: what the rows of a node's edges are filed under.
        """
        self._streams, self._places = streams, places
        self._works: dict[_Work, tuple[int, int]] = {}
        self._waiting: list[Told] = []
        self._drops: dict[tuple[int, str, Stream, _Edge, str], list[Drop]] = {}

    def unknown(self, told: Iterable[Told]) -> bool:
        """Whether some record is of a stream that is not known."""
        for _, record in told:
            known = self._streams.of_event(record.about) if record.about else self._streams.get(record.key)
            if known is None:
                return True
        return False

    def take(self, told: list[Told], utc_offset_ns: int, now_utc_s: int, *, is_last: bool = False) -> list[Row]:
        """Return the rows that are complete by now.

        Args:
            told: all records since the last call.
            utc_offset_ns: what is added to a monotonic time to make it UTC.
            now_utc_s: the time, UTC in seconds.
            is_last: nothing more will be told.
        """
        due, self._waiting = self._waiting, []
        for edge, record in told:
            if record.outcome == TRAIL_WORKED:
                self._works[*edge, record.key, record.sequence, record.delivery] = record.leased_ns, record.at_ns
            else:
                self._waiting.append(Told(edge, record))
        while len(self._works) > WORKS_MAX:
            self._works.pop(next(iter(self._works)))
        if is_last:
            due, self._waiting = due + self._waiting, []
        rows: list[Row] = []
        for edge, record in due:
            reason = _REASONS.get(record.outcome)
            if reason is not None:
                self._gather(edge, record, reason, utc_offset_ns)
            elif record.outcome in _OUTCOMES:
                rows.append(self._life(edge, record, utc_offset_ns))
        over = [key for key in self._drops if is_last or key[0] < now_utc_s - SETTLED_S]
        for key in over:
            rows += drop_rows(*key, self._drops.pop(key))
        return rows

    def _life(self, edge: _Edge, record: TrailRecord, utc_offset_ns: int) -> LifeRow:
        stream, sequence, event = self._named(record)
        queued_us = waited_us = worked_us = kept_us = None
        # A loop looks at its clock once a turn, so a lease or the begin of work may seem older than what led to it.
        leased_ns = max(record.leased_ns, record.queued_ns)
        at_ns = max(record.at_ns, leased_ns)
        if record.replica == TRAIL_NOBODY:
            leased_ns = at_ns
        else:
            name = edge[0], f"{edge[1]}.{record.replica}", record.key, record.sequence, record.delivery
            work = self._works.pop(name, None)
            ended_ns = leased_ns
            if work is not None:
                begun_ns = max(work[0], leased_ns)
                ended_ns = max(work[1], begun_ns)
                waited_us, worked_us = (begun_ns - leased_ns) // 1000, (ended_ns - begun_ns) // 1000
            at_ns = max(at_ns, ended_ns)
            kept_us = (at_ns - ended_ns) // 1000
        if record.queued_ns:
            queued_us = (leased_ns - record.queued_ns) // 1000
        return LifeRow(
            (at_ns + utc_offset_ns) // 1000,
            self._place(edge),
            stream,
            sequence,
            edge[0],
            edge[1],
            _OUTCOMES[record.outcome],
            queued_us,
            waited_us,
            worked_us,
            kept_us,
            None if record.replica == TRAIL_NOBODY else record.replica,
            record.delivery,
            event,
        )

    def _gather(self, edge: _Edge, record: TrailRecord, reason: str, utc_offset_ns: int) -> None:
        stream, sequence, _ = self._named(record)
        utc_ms = (record.at_ns + utc_offset_ns) // 1_000_000
        key = utc_ms // 1000, self._place(edge), stream, edge, reason
        self._drops.setdefault(key, []).append(Drop(sequence, record.frames, utc_ms % 1000))

    def _named(self, record: TrailRecord) -> tuple[Stream, int, int | None]:
        """Return the frame that a record is about, and the event's number where it is about one."""
        if record.about:
            return self._streams.of_event(record.about) or UNKNOWN, record.about & 0xFFFFFFFF, record.sequence
        return self._streams.get(record.key) or UNKNOWN, record.sequence, None

    def _place(self, edge: _Edge) -> str:
        return self._places.get(edge[0].rpartition(".")[0], "results")
