"""The header of a journal: the options that the edge was made with, its state, and its counts."""

from __future__ import annotations

from typing import NamedTuple

from detektr.memory import layout
from detektr.memory.layout import CAMERA_WORDS, EDGE_WORD_CAMERAS, EDGE_WORD_REDO, EDGE_WORD_REDO_COUNT, WORD_BYTES


class EdgeTerms(NamedTuple):
    """The options that an edge was made with, as its journal has them."""

    mark: int
    window_total: int
    policy: int
    lane: str
    max_deliveries: int
    timeout_ns: int


class JournalHeader:
    """One word each, with one writer, so each is read before or after its change."""

    _words: memoryview

    # -- the edge: its options, readers and state ----------------------------------------------------------

    def write_terms(
        self,
        *,
        policy: int,
        lane: str,
        is_ephemeral: bool,
        max_deliveries: int,
        timeout_ns: int,
        window_total: int,
        max_age_ns: int = 0,
    ) -> None:
        """Record the edge's options, so that a successor can make it again."""
        words = self._words
        words[layout.EDGE_WORD_POLICY] = policy
        words[layout.EDGE_WORD_LANE] = layout.LANES.index(lane)
        words[layout.EDGE_WORD_IS_EPHEMERAL] = is_ephemeral
        words[layout.EDGE_WORD_MAX_DELIVERIES] = max_deliveries
        words[layout.EDGE_WORD_TIMEOUT_NS] = timeout_ns
        words[layout.EDGE_WORD_MAX_AGE_NS] = max_age_ns
        words[layout.EDGE_WORD_WINDOW] = window_total  # last: without it the words above are not all there

    def set_policy(self, policy: int) -> None:
        """Record another policy than the edge was made with."""
        self._words[layout.EDGE_WORD_POLICY] = policy

    def terms(self) -> EdgeTerms | None:
        """Return the edge's options; None: its producer was killed before it had recorded them."""
        words = self._words
        if not words[layout.EDGE_WORD_WINDOW]:
            return None
        return EdgeTerms(
            mark=words[layout.EDGE_WORD_MARK],
            window_total=words[layout.EDGE_WORD_WINDOW],
            policy=words[layout.EDGE_WORD_POLICY],
            lane=layout.LANES[words[layout.EDGE_WORD_LANE]],
            max_deliveries=words[layout.EDGE_WORD_MAX_DELIVERIES],
            timeout_ns=words[layout.EDGE_WORD_TIMEOUT_NS],
        )

    @property
    def producer_epoch(self) -> int:
        """How many processes have been this edge's producer, this one included."""
        return self._words[layout.EDGE_WORD_PRODUCER_EPOCH]

    def open(self) -> None:
        """Begin another life of the producer: consumers attach again."""
        self._words[layout.EDGE_WORD_STATE] = layout.EDGE_OPEN
        self._words[layout.EDGE_WORD_IS_AWAKE] = True
        self._words[layout.EDGE_WORD_PRODUCER_EPOCH] += 1

    def end(self) -> None:
        """Say that everything was delivered and no more frames will come."""
        self._words[layout.EDGE_WORD_NOTIFY] = layout.NOTIFY_NONE
        self._words[layout.EDGE_WORD_STATE] = layout.EDGE_ENDED

    def leave(self) -> None:
        """Say that the producer leaves, unless the edge has ended."""
        if self._words[layout.EDGE_WORD_STATE] == layout.EDGE_OPEN:
            self._words[layout.EDGE_WORD_STATE] = layout.EDGE_CLOSED

    @property
    def notify(self) -> int:
        """Which consumers are to wake the producer while it sleeps: `NOTIFY_NONE`, `NOTIFY_SHORT` or `NOTIFY_EACH`."""
        return self._words[layout.EDGE_WORD_NOTIFY]

    def set_notify(self, notify: int) -> None:
        """Say which consumers are to wake the producer while it sleeps."""
        self._words[layout.EDGE_WORD_NOTIFY] = notify

    def set_producer_awake(self, is_awake: bool) -> None:
        """Say whether the producer looks at completions itself, so that nobody need wake it."""
        self._words[layout.EDGE_WORD_IS_AWAKE] = is_awake

    def set_attached(self, count: int) -> None:
        """Say how many replicas are attached."""
        self._words[layout.EDGE_WORD_ATTACHED] = count

    @property
    def stalled_since_ns(self) -> int:
        """Monotonic time since which frames wait and nobody takes them; 0: the edge flows."""
        return self._words[layout.EDGE_WORD_STALLED_SINCE_NS]

    def set_stalled_since(self, since_ns: int) -> None:
        """Say since when the edge is stalled; 0: it flows."""
        self._words[layout.EDGE_WORD_STALLED_SINCE_NS] = since_ns

    @property
    def map_epoch(self) -> int:
        """Epoch of the map of cameras to which every lease of this edge keeps; 0: it is not partitioned by camera."""
        return self._words[layout.EDGE_WORD_MAP_EPOCH]

    def set_map_epoch(self, epoch: int) -> None:
        """Say that every lease keeps to the map of this epoch."""
        self._words[layout.EDGE_WORD_MAP_EPOCH] = epoch

    # -- counting -----------------------------------------------------------------------------------------------------

    @property
    def full_since_ns(self) -> int:
        """Monotonic time since which the producer waits for room on this edge; 0: it does not."""
        return self._words[layout.EDGE_WORD_FULL_SINCE_NS]

    def set_full_since(self, since_ns: int) -> None:
        """Say since when the producer waits for room; 0: it does not."""
        self._words[layout.EDGE_WORD_FULL_SINCE_NS] = since_ns

    @property
    def offered(self) -> int:
        """Frames offered to this edge so far."""
        return self._words[layout.EDGE_WORD_OFFERED]

    def count_redelivered(self) -> None:
        """Count a lease on a frame that was leased before."""
        self._words[layout.EDGE_WORD_REDELIVERED] += 1

    def count_refused(self) -> None:
        """Count a result whose lease was over."""
        self._words[layout.EDGE_WORD_REFUSED] += 1


def read_cameras(memory: memoryview, count: int) -> list[str]:
    """Return the names in the first entries for cameras of a journal."""
    begins = [(EDGE_WORD_CAMERAS + entry * CAMERA_WORDS) * WORD_BYTES for entry in range(count)]
    names = [bytes(memory[begin : begin + layout.CAMERA_NAME_BYTES]) for begin in begins]
    return [name.rstrip(b"\0").decode(errors="replace") for name in names]


def apply_redo(words: memoryview | list[int]) -> None:
    """Finish a declared change, in a journal or in a copy of one."""
    for pair in range(words[EDGE_WORD_REDO_COUNT]):
        at = EDGE_WORD_REDO + 2 * pair
        words[words[at]] = words[at + 1]
