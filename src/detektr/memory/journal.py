"""The journal of one edge: queued frames, leases and counts, in words that outlive their process.

A SIGKILL ends the writer between two stores. Changes of more than one word are therefore written down first
(the redo record), then declared, then applied; a successor that opens the journal applies a declared change. So every
frame is in exactly one term of the ledger at every kill point, and for every reader at every moment.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from detektr.errors import WireError
from detektr.ledger import DROP_REASONS
from detektr.memory import layout
from detektr.memory.announcement import Announcement
from detektr.memory.journal_header import JournalHeader, apply_redo, read_cameras
from detektr.memory.layout import (
    ANNOUNCED_BASE_TAG,
    ANNOUNCED_CELLS,
    ANNOUNCED_LAST_TAG,
    ANNOUNCED_ROOM,
    ANNOUNCED_WORDS,
    CAMERA_DROPPED,
    CAMERA_WORDS,
    CELL_DELIVERIES,
    CELL_DELIVERY_TAG,
    CELL_FREE,
    CELL_LEASED,
    CELL_LEASED_NS,
    CELL_OWNER,
    CELL_PAYLOAD,
    CELL_QUEUED,
    CELL_SETTLED,
    CELL_STATE,
    EDGE_REDO_PAIRS_MAX,
    EDGE_REPLICAS_MAX,
    EDGE_SEEN_MAX,
    EDGE_WORD_ANNOUNCED,
    EDGE_WORD_CAMERAS,
    EDGE_WORD_CHANGE,
    EDGE_WORD_FIRST_CELL,
    EDGE_WORD_OFFERED,
    EDGE_WORD_REDO,
    EDGE_WORD_REDO_COUNT,
    EDGE_WORD_REPLICAS,
    EDGE_WORD_SEEN,
    REPLICA_NAME,
    REPLICA_NAME_BYTES,
    REPLICA_SESSION,
    REPLICA_WINDOW,
    REPLICA_WORDS,
    STATE_MASK,
    WORD_BYTES,
)
from detektr.memory.segment import Segment, create_segment, open_segment

# The counters of settled frames.
DELIVERED = layout.EDGE_WORD_DELIVERED
DEAD_LETTERED = layout.EDGE_WORD_DEAD_LETTERED
DROPPED = {reason: layout.EDGE_WORD_DROPPED + place for place, reason in enumerate(DROP_REASONS)}
SETTLED_MAX = EDGE_REDO_PAIRS_MAX - 2  # frames settled in one change, beside their counters
_NO_LEASE = (0, 0, 0, 0)
_REDO_BYTE = EDGE_WORD_REDO * WORD_BYTES
_RECORDS = [struct.Struct(f"={length}Q") for length in range(2 * EDGE_REDO_PAIRS_MAX + 1)]
_FRAME = struct.Struct(f"={CELL_PAYLOAD - CELL_OWNER}Q")
_OFFER = struct.Struct("=6Q")  # the redo record of an offer: three pairs
_OFFER_END = _REDO_BYTE + _OFFER.size


class CellRecord(NamedTuple):
    """One frame in a journal; the fields are in the order of the cell's words."""

    cell: int
    state: int
    queued_ns: int
    owner: int
    delivery_tag: int
    leased_ns: int
    deliveries: int
    attempts: int
    ordinal: int
    key: int
    sequence: int
    input_index: int
    captured_ns: int
    payload: bytes

    @property
    def is_leased(self) -> bool:
        """Whether the frame is leased."""
        return self.state == CELL_LEASED

    @property
    def is_settled(self) -> bool:
        """Whether the cell is a tombstone: its frame is counted already. It is queued if it is neither."""
        return self.state & STATE_MASK == CELL_SETTLED


class ReplicaRecord(NamedTuple):
    """One replica that a journal has as attached."""

    entry: int
    session: int
    is_durable: bool
    window: int
    name: str


class Journal(JournalHeader):
    """The only writer of an edge's words. Works on any bytes: shared memory in a node, a bytearray in a test."""

    def __init__(self, memory: memoryview) -> None:
        """Take over a formatted journal: apply a declared change that was not finished."""
        self._words = memory.cast("B").cast("Q")
        self._bytes = memory.cast("B")
        words = self._words
        if words[layout.EDGE_WORD_MAGIC] != layout.EDGE_MAGIC or words[layout.EDGE_WORD_VERSION] != layout.VERSION:
            raise WireError(f"memory of {len(self._bytes)} bytes is not an edge journal of version {layout.VERSION}")
        self.cells = words[layout.EDGE_WORD_CELLS]
        self._cell_words = words[layout.EDGE_WORD_CELL_WORDS]
        self.payload_bytes_max = (self._cell_words - CELL_PAYLOAD) * WORD_BYTES
        apply_redo(words)
        words[EDGE_WORD_REDO_COUNT] = 0
        words[EDGE_WORD_CHANGE] += words[EDGE_WORD_CHANGE] & 1
        self._seen = {
            words[at]: at + 1 for at in range(EDGE_WORD_SEEN, EDGE_WORD_SEEN + 2 * EDGE_SEEN_MAX, 2) if words[at + 1]
        }

    @staticmethod
    def format(memory: memoryview, cells: int, payload_bytes: int, mark: int) -> None:
        """Write the header of a fresh journal into zeroed `memory` of `layout.journal_bytes(cells, payload_bytes)`."""
        words = memory.cast("B").cast("Q")
        words[layout.EDGE_WORD_CELLS] = cells
        words[layout.EDGE_WORD_CELL_WORDS] = layout.cell_words(payload_bytes)
        words[layout.EDGE_WORD_MARK] = mark
        words[layout.EDGE_WORD_VERSION] = layout.VERSION
        words[layout.EDGE_WORD_MAGIC] = layout.EDGE_MAGIC

    # -- frames --------------------------------------------------------------------------------------------------------

    def count_dropped(
        self, key: int, last_sequence: int, count: int, reason: str, offered: int, camera: int | None = None
    ) -> None:
        """Count frames that never came to this edge's queue, in one change.

        Args:
            key: their stream.
            last_sequence: the last one's; the edge expects the next one from now on.
            count: how many.
            reason: one of `ledger.DROP_REASONS`.
            offered: frames offered to this edge, these included.
            camera: entry of the one camera that they are of, see `take_camera`; None: not known.
        """
        counter = DROPPED[reason]
        dropped = self._words[counter] + count
        change = [self.seen_word(key), last_sequence + 1, counter, dropped, EDGE_WORD_OFFERED, offered]
        if camera is not None:
            change += self._of_camera(camera, counter, count)
        self.apply(change)

    def cameras(self) -> list[str]:
        """Return the cameras whose drops are counted each by itself, by entry."""
        return read_cameras(self._bytes, self._words[layout.EDGE_WORD_CAMERAS_COUNT])

    def take_camera(self, name: bytes) -> int | None:
        """Take the next entry for a camera; None: there is none left.

        Args:
            name: in UTF-8, at most `layout.CAMERA_NAME_BYTES`.
        """
        entry = self._words[layout.EDGE_WORD_CAMERAS_COUNT]
        if entry >= layout.EDGE_CAMERAS_MAX:
            return None
        begin = (EDGE_WORD_CAMERAS + entry * CAMERA_WORDS) * WORD_BYTES
        self._bytes[begin : begin + layout.CAMERA_NAME_BYTES] = name.ljust(layout.CAMERA_NAME_BYTES, b"\0")
        self._words[layout.EDGE_WORD_CAMERAS_COUNT] = entry + 1
        return entry

    def _of_camera(self, entry: int, counter: int, count: int) -> tuple[int, int]:
        """Return the change that counts drops for their camera too, beside one of `DROPPED`."""
        at = EDGE_WORD_CAMERAS + entry * CAMERA_WORDS + CAMERA_DROPPED + counter - layout.EDGE_WORD_DROPPED
        return at, self._words[at] + count

    def apply(self, pairs: Sequence[int]) -> None:
        """Change several words as one: `pairs` is word, value, word, ...; at most `EDGE_REDO_PAIRS_MAX` pairs."""
        words = self._words
        if len(pairs) == 2:
            words[pairs[0]] = pairs[1]
            return
        words[EDGE_WORD_CHANGE] += 1
        record = _RECORDS[len(pairs)].pack(*pairs)
        self._bytes[_REDO_BYTE : _REDO_BYTE + len(record)] = record
        words[EDGE_WORD_REDO_COUNT] = len(pairs) >> 1
        for place in range(0, len(pairs), 2):
            words[pairs[place]] = pairs[place + 1]
        words[EDGE_WORD_CHANGE] += 1
        words[EDGE_WORD_REDO_COUNT] = 0  # last: while a change is odd, its count only ever goes from 0 to declared

    def word_of(self, cell: int, field: int) -> int:
        """Number of the word that holds `field` of `cell`."""
        return EDGE_WORD_FIRST_CELL + cell * self._cell_words + field

    def seen(self, key: int) -> int:
        """Next sequence that this edge expects of a stream: all below it were offered."""
        at = self._seen.get(key)
        return 0 if at is None else self._words[at]

    def seen_all(self) -> dict[int, int]:
        """Return `seen` of every stream."""
        return {key: self._words[at] for key, at in self._seen.items()}

    def seen_word(self, key: int) -> int:
        """Number of the word that holds `seen(key)`; a new stream takes the place of the oldest when all are taken."""
        at = self._seen.get(key)
        if at is None:
            if len(self._seen) >= EDGE_SEEN_MAX:
                at = self._seen.pop(next(iter(self._seen)))
                self._words[at] = 0
            else:
                taken = set(self._seen.values())
                at = next(at for at in range(EDGE_WORD_SEEN + 1, EDGE_WORD_REPLICAS, 2) if at not in taken)
            self._words[at - 1] = key
            self._seen[key] = at
        return at

    def too_long(self, sequence: int, payload: bytes) -> WireError:
        """Return the error of a payload that no cell has room for, longer than `payload_bytes_max`."""
        return WireError(
            f"frame {sequence}: its announcement has {len(payload)} bytes and this edge's cells"
            f" {self.payload_bytes_max}; run the same detektr, from the same file, everywhere"
        )

    def record(
        self,
        cell: int,
        ordinal: int,
        input_index: int,
        announcement: Announcement,
        offered: int,
        lease: tuple[int, int, int, int] | None = None,
    ) -> None:
        """Write a frame into a free cell and count it, in one change. On every frame's way: spelled out, not `apply`.

        Args:
            cell: where.
            ordinal: its place in the order of offers.
            input_index: the producer's input from which it came.
            announcement: its payload must fit. The edge expects the next sequence from now on.
            offered: frames offered to this edge, this one included.
            lease: owner, delivery tag, time and count of deliveries, where it is leased at once; else it is queued.
        """
        key, sequence, payload = announcement.key, announcement.sequence, announcement.payload
        words, raw, seen = self._words, self._bytes, self._seen.get(key)
        if seen is None:
            seen = self.seen_word(key)
        at = EDGE_WORD_FIRST_CELL + cell * self._cell_words
        state = CELL_QUEUED if lease is None else CELL_LEASED
        begin = (at + CELL_OWNER) * WORD_BYTES
        frame = (
            _FRAME.pack(
                *(lease or _NO_LEASE), 0, ordinal, key, sequence, input_index, announcement.captured_ns, len(payload)
            )
            + payload
        )
        raw[begin : begin + len(frame)] = frame  # it counts as nothing until its state word says otherwise
        words[EDGE_WORD_CHANGE] += 1
        raw[_REDO_BYTE:_OFFER_END] = _OFFER.pack(seen, sequence + 1, EDGE_WORD_OFFERED, offered, at, state)
        words[EDGE_WORD_REDO_COUNT] = 3
        words[seen] = sequence + 1
        words[EDGE_WORD_OFFERED] = offered
        words[at] = state
        words[EDGE_WORD_CHANGE] += 1
        words[EDGE_WORD_REDO_COUNT] = 0

    def note_queued(self, cell: int, queued_ns: int) -> None:
        """Note when the frame that `record` is about to write into a cell was offered, in monotonic nanoseconds."""
        self._words[self.word_of(cell, layout.CELL_QUEUED_NS)] = queued_ns

    def lease_cell(self, cell: int, owner: int, delivery_tag: int, leased_ns: int, deliveries: int) -> None:
        """Lease a queued cell, or give a leased one to another owner."""
        at = EDGE_WORD_FIRST_CELL + cell * self._cell_words
        words = self._words
        words[at + CELL_DELIVERIES] = deliveries
        words[at + CELL_LEASED_NS] = leased_ns
        words[at + CELL_DELIVERY_TAG] = delivery_tag
        words[at + CELL_OWNER] = owner
        words[at + CELL_STATE] = CELL_LEASED

    def queue_cell(self, cell: int) -> None:
        """Turn a leased cell whose holder is not known into a queued one."""
        self._words[self.word_of(cell, CELL_STATE)] = CELL_QUEUED

    def requeue(self, cell: int, attempts: int) -> None:
        """Turn a leased cell into a queued one; `attempts` at its frame have failed so far."""
        self.apply((self.word_of(cell, layout.CELL_ATTEMPTS), attempts, self.word_of(cell, CELL_STATE), CELL_QUEUED))

    def settle(self, cells: Sequence[int], counter: int, camera: int | None = None) -> None:
        """Empty these cells, at most `SETTLED_MAX`, and count their frames, in one change.

        Args:
            cells: which.
            counter: `DELIVERED`, `DEAD_LETTERED` or one of `DROPPED`.
            camera: of drops: entry of the one camera that the frames are of, see `take_camera`; None: not known.
        """
        step = self._cell_words
        change = [counter, self._words[counter] + len(cells)]
        if camera is not None:
            change += self._of_camera(camera, counter, len(cells))
        for cell in cells:
            change += (EDGE_WORD_FIRST_CELL + cell * step + CELL_STATE, CELL_FREE)
        self.apply(change)

    def announce(self, entry: int, delivery_tag: int, cell: int) -> None:
        """Announce a lease: the replica sees it when it looks."""
        at, words = EDGE_WORD_ANNOUNCED + entry * ANNOUNCED_WORDS, self._words
        words[at + ANNOUNCED_CELLS + delivery_tag % ANNOUNCED_ROOM] = cell
        words[at + ANNOUNCED_LAST_TAG] = delivery_tag
        words[layout.EDGE_WORD_ANNOUNCED_COUNT] += 1

    def begin_tags(self, entry: int, delivery_tag: int) -> None:
        """Let an attached replica read on after the lease with this delivery tag."""
        at = EDGE_WORD_ANNOUNCED + entry * ANNOUNCED_WORDS
        self._words[at + ANNOUNCED_LAST_TAG] = delivery_tag
        self._words[at + ANNOUNCED_BASE_TAG] = delivery_tag

    def tag_before(self, entry: int) -> int:
        """Return the delivery tag of the last lease that was settled when the replica of an entry attached."""
        return self._words[EDGE_WORD_ANNOUNCED + entry * ANNOUNCED_WORDS + ANNOUNCED_BASE_TAG]

    def records(self) -> Iterator[CellRecord]:
        """Return every frame that is queued or leased, and every tombstone, oldest first."""
        words, found = self._words, []
        for cell in range(self.cells):
            at = EDGE_WORD_FIRST_CELL + cell * self._cell_words
            if words[at + CELL_STATE] == CELL_FREE:
                continue
            begin = (at + CELL_PAYLOAD) * WORD_BYTES
            payload = bytes(self._bytes[begin : begin + words[at + layout.CELL_LENGTH]])
            fields = words[at : at + layout.CELL_LENGTH].tolist()
            found.append(CellRecord._make((cell, *fields, payload)))
        return iter(sorted(found, key=lambda record: record.ordinal))

    def replicas(self) -> Iterator[ReplicaRecord]:
        """Return every replica that is written down as attached."""
        for entry in range(EDGE_REPLICAS_MAX):
            at = layout.EDGE_WORD_REPLICAS + entry * REPLICA_WORDS
            session = self._words[at + REPLICA_SESSION]
            if session:
                begin = (at + REPLICA_NAME) * WORD_BYTES
                name = bytes(self._bytes[begin : begin + REPLICA_NAME_BYTES]).rstrip(b"\0").decode()
                durable = bool(self._words[at + layout.REPLICA_IS_DURABLE])
                yield ReplicaRecord(entry, session, durable, self._words[at + REPLICA_WINDOW], name)

    def write_replica(self, entry: int, session: int, name: str, window: int, *, is_durable: bool) -> None:
        """Write down a replica that attached."""
        at = layout.EDGE_WORD_REPLICAS + entry * REPLICA_WORDS
        self._words[at + REPLICA_SESSION] = 0
        begin = (at + REPLICA_NAME) * WORD_BYTES
        self._bytes[begin : begin + REPLICA_NAME_BYTES] = name.encode().ljust(REPLICA_NAME_BYTES, b"\0")
        self._words[at + layout.REPLICA_IS_DURABLE] = is_durable
        self._words[at + REPLICA_WINDOW] = window
        self._words[at + REPLICA_SESSION] = session

    def clear_replica(self, entry: int) -> None:
        """Strike out a replica that left."""
        self._words[layout.EDGE_WORD_REPLICAS + entry * REPLICA_WORDS + REPLICA_SESSION] = 0

    def close(self) -> None:
        """Drop the views, so that the memory below can be unmapped."""
        self._words.release()
        self._bytes.release()


def map_journal(path: Path, cells: int, payload_bytes: int, mark: int) -> Segment:
    """Map an edge's journal for its (only) writer: the one that a predecessor left, or a fresh one.

    Raises:
        NoRoomError: shared memory has no room for a fresh one.
    """
    segment = open_segment(path, is_writable=True)
    if segment is not None:
        return segment
    nbytes = layout.journal_bytes(cells, payload_bytes)
    return create_segment(path, nbytes, lambda new: Journal.format(new.bytes, cells, payload_bytes, mark))


def adopt_journal(path: Path, cells: int, payload_bytes: int, mark: int) -> tuple[Segment, Journal]:
    """Map an edge's journal, see `map_journal`, and begin another life of its producer.

    Raises:
        NoRoomError: shared memory has no room for a fresh one.
    """
    segment = map_journal(path, cells, payload_bytes, mark)
    journal = Journal(segment.bytes)
    journal.open()
    return segment, journal
