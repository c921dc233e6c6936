"""The journal of one edge: what is queued, leased and counted, in words that outlive their process.

A SIGKILL ends the writer between two stores. Changes of more than one word are therefore written down first
(the redo record), then declared, then applied; whoever opens the journal next applies what was declared. So every
frame is in exactly one term of the ledger at every kill point, and for every reader at every moment.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from detektr.errors import WireError
from detektr.ledger import DROP_REASONS, EdgeLedger
from detektr.memory import layout
from detektr.memory.layout import (
    CELL_DELIVERIES,
    CELL_FREE,
    CELL_GRANT,
    CELL_GRANTED_NS,
    CELL_LEASED,
    CELL_OWNER,
    CELL_PAYLOAD,
    CELL_QUEUED,
    CELL_STATE,
    EDGE_REDO_PAIRS_MAX,
    EDGE_REPLICAS_MAX,
    EDGE_SEEN_MAX,
    EDGE_WORD_CHANGE,
    EDGE_WORD_FIRST_CELL,
    EDGE_WORD_GRANTS,
    EDGE_WORD_REDO,
    EDGE_WORD_REDO_COUNT,
    EDGE_WORD_REPLICAS,
    EDGE_WORD_SEEN,
    GRANTS_BASE,
    GRANTS_CELLS,
    GRANTS_COUNT,
    GRANTS_ROOM,
    GRANTS_WORDS,
    REPLICA_NAME,
    REPLICA_NAME_BYTES,
    REPLICA_SESSION,
    REPLICA_WINDOW,
    REPLICA_WORDS,
    WORD_BYTES,
)
from detektr.memory.segment import Segment, create_segment, open_segment

NO_LEASE = (0, 0, 0, 0)
_SNAPSHOT_TRIES = 1000
_REDO_BYTE = EDGE_WORD_REDO * WORD_BYTES
_RECORDS = [struct.Struct(f"={length}Q") for length in range(2 * EDGE_REDO_PAIRS_MAX + 1)]
_FRAME = struct.Struct(f"={CELL_PAYLOAD - CELL_OWNER}Q")


class CellRecord(NamedTuple):
    """What a journal says about one frame that is queued or leased; in the order of the cell's words."""

    cell: int
    state: int
    owner: int
    grant: int
    granted_ns: int
    deliveries: int
    attempts: int
    ordinal: int
    key: int
    sequence: int
    lane: int
    captured_ns: int
    payload: bytes


class Lease(NamedTuple):
    """The right to read one frame, and what was announced about it, as its holder reads it."""

    key: int
    sequence: int
    captured_ns: int
    cell: int
    grant: int
    delivery: int
    payload: bytes


class ReplicaRecord(NamedTuple):
    """What a journal says about one replica that was attached."""

    entry: int
    session: int
    is_durable: bool
    window: int
    name: str


class Journal:
    """The only writer of an edge's words. Works on any bytes: shared memory in a node, a bytearray in a test."""

    def __init__(self, memory: memoryview) -> None:
        """Take over a formatted journal: apply a declared change that was not finished."""
        self._words = memory.cast("B").cast("Q")
        self._bytes = memory.cast("B")
        words = self._words
        if words[layout.EDGE_WORD_MAGIC] != layout.EDGE_MAGIC or words[layout.EDGE_WORD_VERSION] != layout.VERSION:
            raise WireError(f"not an edge journal of version {layout.VERSION}")
        self.cells = words[layout.EDGE_WORD_CELLS]
        self._cell_words = words[layout.EDGE_WORD_CELL_WORDS]
        self.payload_bytes_max = (self._cell_words - CELL_PAYLOAD) * WORD_BYTES
        _apply_redo(words)
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

    def __getitem__(self, word: int) -> int:
        """Read one word of the header."""
        return self._words[word]

    def __setitem__(self, word: int, value: int) -> None:
        """Write one word of the header, atomically."""
        self._words[word] = value

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

    def fill_cell(
        self,
        cell: int,
        ordinal: int,
        key: int,
        sequence: int,
        lane: int,
        captured_ns: int,
        payload: bytes,
        lease: tuple[int, int, int, int] = NO_LEASE,
    ) -> int:
        """Write a frame into a free cell; it counts as nothing until its state word says otherwise.

        Args:
            cell: where.
            ordinal: its place in the order of offers.
            key: of its stream.
            sequence: in its stream.
            lane: which queue it belongs to.
            captured_ns: monotonic time of its capture.
            payload: what is announced.
            lease: owner, running number, time and count of deliveries, where it is to be leased at once.
        Returns:
            The number of the state word.
        Raises:
            WireError: the payload is longer than a cell.
        """
        if len(payload) > self.payload_bytes_max:
            raise WireError(
                f"frame {sequence}: its announcement has {len(payload)} bytes and this edge's cells"
                f" {self.payload_bytes_max}; run the same detektr, from the same file, everywhere"
            )
        at = EDGE_WORD_FIRST_CELL + cell * self._cell_words
        begin = (at + CELL_OWNER) * WORD_BYTES
        frame = _FRAME.pack(*lease, 0, ordinal, key, sequence, lane, captured_ns, len(payload)) + payload
        self._bytes[begin : begin + len(frame)] = frame
        return at + CELL_STATE

    def lease_cell(self, cell: int, owner: int, grant: int, granted_ns: int, deliveries: int) -> None:
        """Turn a queued cell into a leased one, or hand a leased one to another owner."""
        at = EDGE_WORD_FIRST_CELL + cell * self._cell_words
        words = self._words
        words[at + CELL_DELIVERIES] = deliveries
        words[at + CELL_GRANTED_NS] = granted_ns
        words[at + CELL_GRANT] = grant
        words[at + CELL_OWNER] = owner
        words[at + CELL_STATE] = CELL_LEASED

    def announce(self, entry: int, grant: int, cell: int) -> None:
        """Tell a replica of a lease: who looks next sees it."""
        at, words = EDGE_WORD_GRANTS + entry * GRANTS_WORDS, self._words
        words[at + GRANTS_CELLS + grant % GRANTS_ROOM] = cell
        words[at + GRANTS_COUNT] = grant

    def begin_grants(self, entry: int, grant: int) -> None:
        """Let a replica that attached read on behind the lease with this number."""
        at = EDGE_WORD_GRANTS + entry * GRANTS_WORDS
        self._words[at + GRANTS_COUNT] = grant
        self._words[at + GRANTS_BASE] = grant

    def records(self) -> Iterator[CellRecord]:
        """Return every frame that is queued or leased, oldest first."""
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


class JournalReader:
    """Anybody's read-only look at an edge: its ledger, what a replica is granted, and whether a lease still stands."""

    def __init__(self, segment: Segment, producer: str, consumer: str) -> None:
        """Read the mapped journal of the edge `producer` -> `consumer`."""
        self.producer, self.consumer = producer, consumer
        self._segment = segment
        self._words, self._bytes = segment.words, segment.bytes
        self._cell_words = self._words[layout.EDGE_WORD_CELL_WORDS]
        self._end = EDGE_WORD_FIRST_CELL + self._words[layout.EDGE_WORD_CELLS] * self._cell_words

    @property
    def incarnation(self) -> int:
        """Lives of the producer; when it grows, consumers attach again."""
        return self._words[layout.EDGE_WORD_INCARNATION]

    @property
    def state(self) -> int:
        """EDGE_OPEN, EDGE_ENDED (all was delivered, nothing more will come) or EDGE_CLOSED (the producer left)."""
        return self._words[layout.EDGE_WORD_STATE]

    @property
    def is_wanted(self) -> bool:
        """Whether the producer sleeps, and is to be woken when leases come back."""
        return self._words[layout.EDGE_WORD_WANTED] != 0

    @property
    def is_unlinked(self) -> bool:
        """Whether the journal's name is gone: its producer's run is over."""
        return self._segment.is_unlinked

    def is_leased(self, cell: int, session: int, key: int, sequence: int) -> bool:
        """Whether `session` still holds the lease on a frame that was granted to it in `cell`."""
        at = EDGE_WORD_FIRST_CELL + cell * self._cell_words
        words = self._words
        return bool(
            at < self._end
            and words[at + CELL_STATE] == CELL_LEASED
            and words[at + CELL_OWNER] == session
            and words[at + layout.CELL_SEQUENCE] == sequence
            and words[at + layout.CELL_KEY] == key
        )

    def entry_of(self, session: int) -> int | None:
        """Return where the producer has this session written down as attached; None: it has not."""
        sessions = self._words[EDGE_WORD_REPLICAS + REPLICA_SESSION : EDGE_WORD_GRANTS : REPLICA_WORDS].tolist()
        return sessions.index(session) if session in sessions else None

    def granted(self, entry: int) -> int:
        """Return the running number of the last lease that the replica of an entry was granted."""
        return self._words[EDGE_WORD_GRANTS + entry * GRANTS_WORDS + GRANTS_COUNT]

    def granted_before(self, entry: int) -> int:
        """Return the running number of the last lease that was settled when the replica attached."""
        return self._words[EDGE_WORD_GRANTS + entry * GRANTS_WORDS + GRANTS_BASE]

    def leases(self, entry: int, session: int, after: int, last: int) -> list[Lease]:
        """Return the leases that a session was granted and still has, in order.

        Args:
            entry: where the session is written down.
            session: whose leases.
            after: running number of the last one that is known.
            last: running number of the last one that is wanted: `granted`.
        """
        words, at = self._words, EDGE_WORD_GRANTS + entry * GRANTS_WORDS
        leases = []
        if last - after < GRANTS_ROOM:
            for grant in range(after + 1, last + 1):
                lease = self._lease(words[at + GRANTS_CELLS + grant % GRANTS_ROOM], session, grant)
                if lease is not None:
                    leases.append(lease)
        # Looked at afterwards: meanwhile there may have been more than there is room for, one of them not counted yet.
        return leases if words[at + GRANTS_COUNT] - after < GRANTS_ROOM else self._all_leases(session, after, last)

    def _all_leases(self, session: int, after: int, last: int) -> list[Lease]:
        words, end, step = self._words, self._end, self._cell_words
        owners = words[EDGE_WORD_FIRST_CELL + CELL_OWNER : end : step].tolist()
        grants = words[EDGE_WORD_FIRST_CELL + CELL_GRANT : end : step].tolist()
        mine = sorted((grant, cell) for cell, grant in enumerate(grants) if owners[cell] == session)
        found = [self._lease(cell, session, grant) for grant, cell in mine if after < grant <= last]
        return [lease for lease in found if lease is not None]

    def _lease(self, cell: int, session: int, grant: int) -> Lease | None:
        """Read what is leased in a cell; None: that lease is over, or was never announced there."""
        at, words = EDGE_WORD_FIRST_CELL + cell * self._cell_words, self._words
        if at >= self._end:
            return None
        state, owner, number, _, delivery, _, _, key, sequence, _, captured_ns, length = words[
            at : at + CELL_PAYLOAD
        ].tolist()
        begin = (at + CELL_PAYLOAD) * WORD_BYTES
        payload = self._bytes[begin : begin + length].tobytes()
        if state != CELL_LEASED or owner != session or number != grant:
            return None
        # Once more, in this order: if the lease was ended while we read, the rest may be of another frame.
        if words[at + CELL_STATE] != CELL_LEASED or words[at + CELL_GRANT] != grant:
            return None
        return Lease(key, sequence, captured_ns, cell, grant, delivery, payload)

    def ledger(self) -> EdgeLedger:
        """Return the counts of one moment; their sum holds whenever the edge's writer is alive, stopped or dead."""
        words = self._words
        for tried in range(_SNAPSHOT_TRIES):
            change = words[EDGE_WORD_CHANGE]
            if change & 1 == 0:
                header = words[:EDGE_WORD_SEEN].tolist()
                states = words[EDGE_WORD_FIRST_CELL : self._end : self._cell_words].tolist()
            elif tried < _SNAPSHOT_TRIES // 2:
                continue  # the writer is in the middle of a change; it takes a microsecond
            else:  # the writer was stopped, or died, in mid-change: finish it on a copy
                image = words[: self._end].tolist()
                if words[EDGE_WORD_REDO_COUNT] != image[EDGE_WORD_REDO_COUNT]:
                    continue  # declared while we copied
                _apply_redo(image)
                header, states = image[:EDGE_WORD_SEEN], image[EDGE_WORD_FIRST_CELL :: self._cell_words]
            if words[EDGE_WORD_CHANGE] == change:
                break
        else:
            raise WireError(f"journal {self._segment.path.name} changed under each of {_SNAPSHOT_TRIES} looks")
        dropped = dict(zip(DROP_REASONS, header[layout.EDGE_WORD_DROPPED :], strict=False))
        return EdgeLedger(
            producer=self.producer,
            consumer=self.consumer,
            offered=header[layout.EDGE_WORD_OFFERED],
            delivered=header[layout.EDGE_WORD_DELIVERED],
            dropped=dropped,
            dead_lettered=header[layout.EDGE_WORD_DEAD_LETTERED],
            queued=states.count(CELL_QUEUED),
            in_flight=states.count(CELL_LEASED),
            redelivered=header[layout.EDGE_WORD_REDELIVERED],
            refused=header[layout.EDGE_WORD_REFUSED],
            mark=header[layout.EDGE_WORD_MARK],
            attached=header[layout.EDGE_WORD_ATTACHED],
            is_stalled=header[layout.EDGE_WORD_STALLED_SINCE_NS] != 0,
        )

    def close(self) -> None:
        """Unmap the journal."""
        self._segment.close()


def open_journal(path: Path, producer: str, consumer: str) -> JournalReader | None:
    """Map a journal for reading; None when it is not there."""
    segment = open_segment(path)
    return None if segment is None else JournalReader(segment, producer, consumer)


def adopt_journal(path: Path, cells: int, payload_bytes: int, mark: int) -> tuple[Segment, Journal]:
    """Map an edge's journal for its (only) writer: the one that a predecessor left, or a fresh one.

    Raises:
        NoRoomError: shared memory has no room for a fresh one.
    """
    segment = open_segment(path, is_writable=True)
    if segment is None:
        nbytes = layout.journal_bytes(cells, payload_bytes)
        segment = create_segment(path, nbytes, lambda new: Journal.format(new.bytes, cells, payload_bytes, mark))
    journal = Journal(segment.bytes)
    journal[layout.EDGE_WORD_STATE] = layout.EDGE_OPEN
    journal[layout.EDGE_WORD_INCARNATION] += 1
    return segment, journal


def _apply_redo(words: memoryview | list[int]) -> None:
    for pair in range(words[EDGE_WORD_REDO_COUNT]):
        at = EDGE_WORD_REDO + 2 * pair
        words[words[at]] = words[at + 1]


assert EDGE_WORD_REDO + 2 * EDGE_REDO_PAIRS_MAX <= layout.EDGE_WORD_OFFERED
