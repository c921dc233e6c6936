"""The holders of leases on one edge: a frame is a cell of the journal, a replica has its leases."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from detektr.memory.announcement import Announcement, FrameName
from detektr.wire.message import FailedAttempt


class Cell(Announcement):
    """A frame that is queued or leased."""

    __slots__ = (
        "attempts",
        "deliveries",
        "delivery_tag",
        "index",
        "input_index",
        "leased_ns",
        "ordinal",
        "owner",
    )

    def __init__(self, index: int, ordinal: int, input_index: int, announcement: Announcement) -> None:
        super().__init__(announcement.key, announcement.sequence, announcement.captured_ns, announcement.payload)
        self.index, self.ordinal, self.input_index = index, ordinal, input_index
        self.attempts = self.deliveries = self.owner = self.delivery_tag = self.leased_ns = 0


class Replica:
    """One consumer process. The edge leases frames to it while it is present and not suspended."""

    __slots__ = (
        "entry",
        "head_since_ns",
        "is_durable",
        "is_present",
        "is_suspended",
        "last_ordinal",
        "last_tag",
        "leases",
        "name",
        "session",
        "window",
    )

    def __init__(self, entry: int, session: int, name: str, window: int, *, is_durable: bool) -> None:
        self.entry, self.session, self.name, self.window, self.is_durable = entry, session, name, window, is_durable
        self.leases: dict[FrameName, Cell] = {}
        self.last_tag = self.last_ordinal = 0
        self.head_since_ns = 0
        self.is_present = self.is_suspended = False

    @property
    def busyness(self) -> tuple[int, int]:
        """Sort key for the next frame: the replica with the fewest leases first, then the one that waited longest."""
        return len(self.leases), self.last_ordinal


@dataclass(frozen=True, kw_only=True)
class SessionState:
    """The leases of an attaching replica and of its predecessor, as the replica reports them."""

    received: int = 0
    """Delivery tag of the last lease that it received in this session."""
    held: Collection[FrameName] = ()
    seen: Mapping[int, int] = field(default_factory=dict)
    """Of a durable replica: the next sequence that it expects, per stream."""
    failed: Sequence[FailedAttempt] = ()
    previous: tuple[int, int, int] = (0, 0, 0)
    """The predecessor's session, and the delivery tags of the leases that it began last and finished last."""
