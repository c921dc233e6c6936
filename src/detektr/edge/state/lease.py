"""The holders of leases on one edge: a frame is a cell of the journal, a replica has its leases."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from detektr.memory.announcement import Announcement, FrameName
from detektr.wire.message import AnnouncedLease, FailedAttempt

_LEASE_BYTES = 160  # of a lease in a message without its frame, at most


class Cell(Announcement):
    """A frame that is queued or leased."""

    __slots__ = (
        "attempts",
        "deliveries",
        "delivery_tag",
        "index",
        "input_index",
        "is_passed",
        "leased_ns",
        "ordinal",
        "owner",
        "queued_ns",
    )

    def __init__(self, index: int, ordinal: int, input_index: int, announcement: Announcement) -> None:
        super().__init__(announcement.key, announcement.sequence, announcement.captured_ns, announcement.payload)
        self.index, self.ordinal, self.input_index = index, ordinal, input_index
        self.attempts = self.deliveries = self.owner = self.delivery_tag = self.leased_ns = 0
        self.queued_ns = 0  # when it was offered, where the trail has it
        self.is_passed = False  # its holder, a relay, has done its work and passed the frame on

    def announced(self) -> AnnouncedLease:
        """Return what a message says of its lease."""
        return (
            self.delivery_tag,
            self.deliveries,
            self.key,
            self.sequence,
            self.captured_ns,
            self.index,
            self.payload,
        )


class Replica:
    """One consumer process. The edge leases frames to it while it is present and not suspended."""

    __slots__ = (
        "entry",
        "head_since_ns",
        "is_durable",
        "is_present",
        "is_suspended",
        "is_waiting",
        "last_ordinal",
        "last_tag",
        "leases",
        "limit",
        "name",
        "number",
        "passed",
        "session",
        "window",
    )

    def __init__(
        self, entry: int, session: int, name: str, window: int, *, is_durable: bool, passed_max: int = 0
    ) -> None:
        self.entry, self.session, self.name, self.window, self.is_durable = entry, session, name, window, is_durable
        number = name.rpartition(".")[2]
        self.number = int(number) if number.isdecimal() else 0
        """Which replica of its node it is."""
        self.limit = window + passed_max  # of its leases, those that it has passed on included
        self.passed = 0  # leases that it has passed on
        self.is_waiting = False  # it is dead, and its successor will settle what it had passed on
        self.leases: dict[FrameName, Cell] = {}
        self.last_tag = self.last_ordinal = 0
        self.head_since_ns = 0
        self.is_present = self.is_suspended = False

    @property
    def has_credit(self) -> bool:
        """Whether it can take a frame now."""
        leases = len(self.leases)
        is_short = leases - self.passed >= self.window or leases >= self.limit
        return self.is_present and not self.is_suspended and not is_short

    def may_take_oldest(self, *, is_gathering: bool) -> bool:
        """Whether it can take the oldest frame of a stream, for which others are held back: here, or further below.

        Args:
            is_gathering: whether it holds back itself, so that its window says nothing of its work.
        """
        is_busy = not is_gathering and len(self.leases) - self.passed >= self.window
        return self.is_present and not self.is_suspended and not is_busy

    @property
    def busyness(self) -> tuple[int, int]:
        """Sort key for the next frame: the replica with the least work first, then the one that waited longest."""
        return len(self.leases) - self.passed, self.last_ordinal

    def announcements(self, after: int, bytes_max: int) -> Iterator[tuple[int, tuple[AnnouncedLease, ...]]]:
        """Return what it was leased beyond a delivery tag and still holds, in order, in parts of about `bytes_max`.

        Each part says the tag that it goes up to; the last one, which may have no lease, goes up to `last_tag`.
        """
        found: list[AnnouncedLease] = []
        for cell in reversed(self.leases.values()):  # the newest are the last
            if cell.delivery_tag <= after:
                break
            found.append(cell.announced())
        part: list[AnnouncedLease] = []
        nbytes = 0
        for lease in reversed(found):
            lease_bytes = _LEASE_BYTES + len(lease[-1])
            if part and nbytes + lease_bytes > bytes_max:
                yield part[-1][0], tuple(part)
                part, nbytes = [], 0
            part.append(lease)
            nbytes += lease_bytes
        yield self.last_tag, tuple(part)


@dataclass(frozen=True, kw_only=True)
class SessionState:
    """The leases of an attaching replica and of its predecessor, as the replica reports them."""

    received: int = 0
    """Delivery tag of the last lease that it received in this session."""
    held: Collection[FrameName] = ()
    passed: Collection[FrameName] = ()
    """Of a relay: what of `held` it has passed on."""
    done: Collection[FrameName] = ()
    """Frames that all its edges know and are done with, where those know frames by name."""
    seen: Mapping[int, int] = field(default_factory=dict)
    """Of a durable replica: the next sequence that it expects, per stream."""
    failed: Sequence[FailedAttempt] = ()
    previous: tuple[int, int, int, int] = (0, 0, 0, 0)
    """The predecessor's session, the delivery tags that it began last and finished last, and the suspect's."""
