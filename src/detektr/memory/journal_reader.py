"""A read-only view of an edge for any process: its ledger, a replica's leases, and whether a lease still stands."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

from detektr.errors import WireError
from detektr.ledger import DROP_REASONS, EdgeLedger
from detektr.memory import layout
from detektr.memory.announcement import Announcement, FrameName, Lease
from detektr.memory.journal_header import apply_redo, read_cameras
from detektr.memory.layout import (
    ANNOUNCED_BASE_TAG,
    ANNOUNCED_CELLS,
    ANNOUNCED_LAST_TAG,
    ANNOUNCED_ROOM,
    ANNOUNCED_WORDS,
    CAMERA_DROPPED,
    CAMERA_WORDS,
    CELL_CAPTURED_NS,
    CELL_DELIVERIES,
    CELL_DELIVERY_TAG,
    CELL_FREE,
    CELL_KEY,
    CELL_LEASED,
    CELL_LEASED_NS,
    CELL_OWNER,
    CELL_PAYLOAD,
    CELL_QUEUED,
    CELL_SEQUENCE,
    CELL_SETTLED,
    CELL_STATE,
    EDGE_WORD_ANNOUNCED,
    EDGE_WORD_CAMERAS,
    EDGE_WORD_CHANGE,
    EDGE_WORD_FIRST_CELL,
    EDGE_WORD_REDO_COUNT,
    EDGE_WORD_REPLICAS,
    EDGE_WORD_SEEN,
    REPLICA_NAME,
    REPLICA_NAME_BYTES,
    REPLICA_SESSION,
    REPLICA_WORDS,
    STATE_COUNTER_SHIFT,
    STATE_MASK,
    WORD_BYTES,
)
from detektr.memory.segment import Segment, open_segment
from detektr.option_text import POLICIES

LIVE, DELIVERED, DEAD_LETTERED = "", "delivered", "dead_lettered"
_OUTCOMES = {layout.EDGE_WORD_DELIVERED: DELIVERED, layout.EDGE_WORD_DEAD_LETTERED: DEAD_LETTERED} | {
    layout.EDGE_WORD_DROPPED + place: reason for place, reason in enumerate(DROP_REASONS)
}
_SNAPSHOT_TRIES = 1000
_Words = memoryview | list[int]
_FRAME = struct.Struct(f"={CELL_PAYLOAD - CELL_DELIVERIES}Q")


class JournalReader:
    """See the module's first lines."""

    def __init__(self, segment: Segment, producer: str, consumer: str) -> None:
        """Read the mapped journal of the edge `producer` -> `consumer`."""
        self.producer, self.consumer = producer, consumer
        self._segment = segment
        self._words, self._bytes = segment.words, segment.bytes
        self._cell_words = self._words[layout.EDGE_WORD_CELL_WORDS]
        self._end = EDGE_WORD_FIRST_CELL + self._words[layout.EDGE_WORD_CELLS] * self._cell_words

    @property
    def payload_bytes_max(self) -> int:
        """The longest payload that its cells have room for."""
        return (self._cell_words - layout.CELL_PAYLOAD) * layout.WORD_BYTES

    @property
    def producer_epoch(self) -> int:
        """Lives of the producer; when it grows, consumers attach again."""
        return self._words[layout.EDGE_WORD_PRODUCER_EPOCH]

    @property
    def is_ended(self) -> bool:
        """Whether everything was delivered and no more frames will come."""
        return self._words[layout.EDGE_WORD_STATE] == layout.EDGE_ENDED

    @property
    def is_left(self) -> bool:
        """Whether the producer has left, with frames that its successor may still deliver."""
        return self._words[layout.EDGE_WORD_STATE] == layout.EDGE_CLOSED

    @property
    def notify(self) -> int:
        """Which consumers are to wake the producer while it sleeps: a `NOTIFY_` word of `layout`."""
        return self._words[layout.EDGE_WORD_NOTIFY]

    @property
    def map_epoch(self) -> int:
        """Epoch of the map of cameras to which every lease of this edge keeps; 0: it is not partitioned by camera."""
        return self._words[layout.EDGE_WORD_MAP_EPOCH]

    @property
    def is_producer_awake(self) -> bool:
        """Whether the producer looks at completions itself."""
        return self._words[layout.EDGE_WORD_IS_AWAKE] != 0

    @property
    def is_unlinked(self) -> bool:
        """Whether the journal's name is gone: its producer's run is over."""
        return self._segment.is_unlinked

    def is_leased(self, cell: int, session: int, delivery_tag: int) -> bool:
        """Whether `session` still holds the lease with this delivery tag, in `cell`."""
        at, words = EDGE_WORD_FIRST_CELL + cell * self._cell_words, self._words
        return (
            at < self._end
            and words[at + CELL_DELIVERY_TAG] == delivery_tag
            and words[at + CELL_STATE] == CELL_LEASED
            and words[at + CELL_OWNER] == session
        )

    def entry_of(self, session: int) -> int | None:
        """Return the entry of an attached session in the journal; None: it is not attached."""
        sessions = self._words[EDGE_WORD_REPLICAS + REPLICA_SESSION : EDGE_WORD_ANNOUNCED : REPLICA_WORDS].tolist()
        return sessions.index(session) if session in sessions else None

    def last_tag(self, entry: int) -> int:
        """Return the delivery tag of the last lease that was announced to the replica of an entry."""
        return self._words[EDGE_WORD_ANNOUNCED + entry * ANNOUNCED_WORDS + ANNOUNCED_LAST_TAG]

    def tag_before(self, entry: int) -> int:
        """Return the delivery tag of the last lease that was settled when the replica of an entry attached."""
        return self._words[EDGE_WORD_ANNOUNCED + entry * ANNOUNCED_WORDS + ANNOUNCED_BASE_TAG]

    def leases(self, entry: int, session: int, after: int, last: int) -> list[Lease]:
        """Return the leases that a session was given and still holds, in order.

        Args:
            entry: the session's, see `entry_of`.
            session: whose leases.
            after: delivery tag of the last one that is known.
            last: delivery tag of the last one that is wanted, see `last_tag`.
        """
        words, at = self._words, EDGE_WORD_ANNOUNCED + entry * ANNOUNCED_WORDS
        leases = []
        if last - after < ANNOUNCED_ROOM:
            for delivery_tag in range(after + 1, last + 1):
                lease = self._lease(words[at + ANNOUNCED_CELLS + delivery_tag % ANNOUNCED_ROOM], session, delivery_tag)
                if lease is not None:
                    leases.append(lease)
        # Read afterwards: meanwhile more leases than there is room for may have come, one of them not counted yet.
        return (
            leases if words[at + ANNOUNCED_LAST_TAG] - after < ANNOUNCED_ROOM else self.all_leases(session, after, last)
        )

    def all_leases(self, session: int, after: int, last: int) -> list[Lease]:
        """Return the same, by a look at each cell: so many leases as the journal holds, and of any age."""
        words, end, step = self._words, self._end, self._cell_words
        owners = words[EDGE_WORD_FIRST_CELL + CELL_OWNER : end : step].tolist()
        last_tag = words[EDGE_WORD_FIRST_CELL + CELL_DELIVERY_TAG : end : step].tolist()
        mine = sorted((delivery_tag, cell) for cell, delivery_tag in enumerate(last_tag) if owners[cell] == session)
        found = [
            self._lease(cell, session, delivery_tag) for delivery_tag, cell in mine if after < delivery_tag <= last
        ]
        return [lease for lease in found if lease is not None]

    def _lease(self, cell: int, session: int, delivery_tag: int) -> Lease | None:
        """Read what is leased in a cell; None: that lease is over, or was never announced there."""
        at, words = EDGE_WORD_FIRST_CELL + cell * self._cell_words, self._words
        if at >= self._end:
            return None
        delivery, _, _, key, sequence, _, captured_ns, length = _FRAME.unpack_from(
            self._bytes, (at + CELL_DELIVERIES) * WORD_BYTES
        )
        begin = (at + CELL_PAYLOAD) * WORD_BYTES
        payload = self._bytes[begin : begin + length].tobytes()
        # Afterwards, in this order: if the lease ended while we read, we may have read another frame's words.
        if (
            words[at + CELL_STATE] != CELL_LEASED
            or words[at + CELL_DELIVERY_TAG] != delivery_tag
            or words[at + CELL_OWNER] != session
        ):
            return None
        return Lease(key, sequence, captured_ns, payload, cell, delivery_tag, delivery)

    @property
    def max_age_ns(self) -> int:
        """Oldest age at which work on a frame still begins, counted from its capture; 0: any."""
        return self._words[layout.EDGE_WORD_MAX_AGE_NS]

    def ledger(self) -> EdgeLedger:
        """Return the counts of one moment; their sum holds whether the edge's writer is alive, stopped or dead."""
        header, states, captured, cameras = self._look(self._counts)
        queued = [at_ns for state, at_ns in zip(states, captured, strict=True) if state == CELL_QUEUED]
        dropped = dict(zip(DROP_REASONS, header[layout.EDGE_WORD_DROPPED :], strict=False))
        by_camera: dict[str, dict[str, int]] = {}
        for entry, camera in enumerate(read_cameras(self._bytes, len(cameras) // CAMERA_WORDS)):
            counts = cameras[entry * CAMERA_WORDS + CAMERA_DROPPED :]
            by_camera[camera] = {reason: count for reason, count in zip(DROP_REASONS, counts, strict=False) if count}
        return EdgeLedger(
            producer=self.producer,
            consumer=self.consumer,
            offered=header[layout.EDGE_WORD_OFFERED],
            delivered=header[layout.EDGE_WORD_DELIVERED],
            dropped=dropped,
            dropped_by_camera=by_camera,
            dead_lettered=header[layout.EDGE_WORD_DEAD_LETTERED],
            queued=len(queued),
            in_flight=states.count(CELL_LEASED),
            redelivered=header[layout.EDGE_WORD_REDELIVERED],
            refused=header[layout.EDGE_WORD_REFUSED],
            mark=header[layout.EDGE_WORD_MARK],
            window=header[layout.EDGE_WORD_WINDOW],
            when_full=POLICIES[header[layout.EDGE_WORD_POLICY] % len(POLICIES)],
            attached=header[layout.EDGE_WORD_ATTACHED],
            lane=layout.LANES[header[layout.EDGE_WORD_LANE] % len(layout.LANES)],
            announced=header[layout.EDGE_WORD_ANNOUNCED_COUNT],
            is_stalled=header[layout.EDGE_WORD_STALLED_SINCE_NS] != 0,
            full_since_ns=header[layout.EDGE_WORD_FULL_SINCE_NS],
            oldest_ns=min(queued, default=0),
        )

    def names(self) -> tuple[set[FrameName], set[FrameName]]:
        """Return the names of the frames that are queued or leased, and of the tombstones, at one moment."""
        states, keys, sequences = self._look(self._cells)
        live, settled = set[FrameName](), set[FrameName]()
        for state, key, sequence in zip(states, keys, sequences, strict=True):
            if state != CELL_FREE:
                (settled if state & STATE_MASK == CELL_SETTLED else live).add((key, sequence))
        return live, settled

    def outcomes(self) -> dict[FrameName, str]:
        """Return what became of each frame that the edge knows by name, at one moment.

        Returns:
            `LIVE` for one that is queued or leased, and of each tombstone `DELIVERED`, `DEAD_LETTERED` or the reason
            why it was dropped.
        """
        states, keys, sequences = self._look(self._cells)
        found: dict[FrameName, str] = {}
        for state, key, sequence in zip(states, keys, sequences, strict=True):
            if state != CELL_FREE:
                found[key, sequence] = _OUTCOMES.get(state >> STATE_COUNTER_SHIFT, LIVE)
        return found

    def expected(self) -> dict[int, int]:
        """Return the next sequence that the edge expects of each stream; nothing where its frames come in any order."""
        keys = self._words[EDGE_WORD_SEEN:EDGE_WORD_REPLICAS:2].tolist()
        sequences = self._words[EDGE_WORD_SEEN + 1 : EDGE_WORD_REPLICAS : 2].tolist()
        return {key: sequence for key, sequence in zip(keys, sequences, strict=True) if key}

    def replicas(self) -> dict[int, str]:
        """Return the names of the replicas that are attached (`motion.1`), by session."""
        found: dict[int, str] = {}
        for at in range(EDGE_WORD_REPLICAS, EDGE_WORD_ANNOUNCED, REPLICA_WORDS):
            session, begin = self._words[at + REPLICA_SESSION], (at + REPLICA_NAME) * WORD_BYTES
            if session:
                name = bytes(self._bytes[begin : begin + REPLICA_NAME_BYTES]).rstrip(b"\0")
                found[session] = name.decode(errors="replace")
        return found

    def given(self) -> list[tuple[int, int, Lease]]:
        """Return the leases that are out: session, monotonic time at which it began, and the lease.

        A look cell by cell, without stopping the edge: a lease that begins or ends meanwhile may be in it or not.
        """
        words, found = self._words, list[tuple[int, int, Lease]]()
        for cell, at in enumerate(range(EDGE_WORD_FIRST_CELL, self._end, self._cell_words)):
            if words[at + CELL_STATE] == CELL_LEASED:
                session, since_ns = words[at + CELL_OWNER], words[at + CELL_LEASED_NS]
                lease = self._lease(cell, session, words[at + CELL_DELIVERY_TAG])
                if lease is not None:
                    found.append((session, since_ns, lease))
        return found

    def waiting(self) -> list[Announcement]:
        """Return the frames that are queued; a look cell by cell, as `given`."""
        words, found = self._words, list[Announcement]()
        for at in range(EDGE_WORD_FIRST_CELL, self._end, self._cell_words):
            if words[at + CELL_STATE] == CELL_QUEUED:
                _, _, _, key, sequence, _, captured_ns, length = _FRAME.unpack_from(
                    self._bytes, (at + CELL_DELIVERIES) * WORD_BYTES
                )
                begin = (at + CELL_PAYLOAD) * WORD_BYTES
                payload = self._bytes[begin : begin + length].tobytes()
                # Afterwards: meanwhile the frame may have gone, and another may have come.
                is_it = words[at + layout.CELL_KEY] == key and words[at + layout.CELL_SEQUENCE] == sequence
                if is_it and words[at + CELL_STATE] == CELL_QUEUED:
                    found.append(Announcement(key, sequence, captured_ns, payload))
        return found

    def names_of(self, session: int) -> set[FrameName]:
        """Return the names of the frames that are leased to a session that is attached."""
        states, keys, sequences = self._cells(self._words)
        owners = list(self._words[EDGE_WORD_FIRST_CELL + CELL_OWNER : self._end : self._cell_words])
        cells = zip(states, owners, keys, sequences, strict=True)
        return {(key, number) for state, owner, key, number in cells if owner == session and state == CELL_LEASED}

    def close(self) -> None:
        """Unmap the journal."""
        self._segment.close()

    def _look(self, read: Callable[[_Words], tuple[list[int], ...]]) -> tuple[list[int], ...]:
        """Return what `read` finds at one moment, whether the edge's writer is alive, stopped or dead."""
        words = self._words
        for tried in range(_SNAPSHOT_TRIES):
            change = words[EDGE_WORD_CHANGE]
            if change & 1 == 0:
                found = read(words)
            elif tried < _SNAPSHOT_TRIES // 2:
                continue  # the writer is in the middle of a change; it takes a microsecond
            else:  # the writer was stopped, or died, in mid-change: finish it on a copy
                image = words[: self._end].tolist()
                if words[EDGE_WORD_REDO_COUNT] != image[EDGE_WORD_REDO_COUNT]:
                    continue  # declared while we copied
                apply_redo(image)
                found = read(image)
            if words[EDGE_WORD_CHANGE] == change:
                return found
        raise WireError(f"journal {self._segment.path.name} changed under each of {_SNAPSHOT_TRIES} looks")

    def _counts(self, words: _Words) -> tuple[list[int], ...]:
        """Return the header, state and time of capture of each cell, and the entries of cameras that lost something."""
        header = list(words[:EDGE_WORD_SEEN])
        states = list(words[EDGE_WORD_FIRST_CELL : self._end : self._cell_words])
        captured = list(words[EDGE_WORD_FIRST_CELL + CELL_CAPTURED_NS : self._end : self._cell_words])
        return header, states, captured, list(words[EDGE_WORD_CAMERAS : _cameras_end(header)])

    def _cells(self, words: _Words) -> tuple[list[int], ...]:
        """Return state, stream key and sequence of each cell."""
        fields = (CELL_STATE, CELL_KEY, CELL_SEQUENCE)
        return tuple([list(words[EDGE_WORD_FIRST_CELL + field : self._end : self._cell_words]) for field in fields])


def _cameras_end(header: list[int]) -> int:
    return EDGE_WORD_CAMERAS + min(header[layout.EDGE_WORD_CAMERAS_COUNT], layout.EDGE_CAMERAS_MAX) * CAMERA_WORDS


def open_journal(path: Path, producer: str, consumer: str) -> JournalReader | None:
    """Map a journal for reading; None when it is not there."""
    segment = open_segment(path)
    return None if segment is None else JournalReader(segment, producer, consumer)
