"""Who holds what on one edge: frames as cells of its journal, replicas with their leases, and what they say of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

FrameName = tuple[int, int]
Completion = tuple[int, int, int]  # stream key, sequence, running number of the lease (0: not known)
HOPELESS = "no attempt can succeed: "
"""How the reason of a failure begins that another attempt would only repeat."""


class Cell:
    """A frame that is queued or leased."""

    __slots__ = (
        "attempts",
        "captured_ns",
        "deliveries",
        "delivery_tag",
        "index",
        "input_index",
        "key",
        "leased_ns",
        "ordinal",
        "owner",
        "payload",
        "sequence",
    )

    def __init__(
        self, index: int, ordinal: int, key: int, sequence: int, input_index: int, captured_ns: int, payload: bytes
    ) -> None:
        self.index, self.ordinal, self.key, self.sequence = index, ordinal, key, sequence
        self.input_index, self.captured_ns, self.payload = input_index, captured_ns, payload
        self.attempts = self.deliveries = self.owner = self.delivery_tag = self.leased_ns = 0

    @property
    def name(self) -> FrameName:
        """The frame's name: stream key and sequence."""
        return self.key, self.sequence


class Replica:
    """One consumer process. It is granted leases while it is present and not suspended."""

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
        """Orders replicas by who should get the next frame: fewest leases first, then who has waited longest."""
        return len(self.leases), self.last_ordinal


@dataclass(frozen=True, kw_only=True)
class SessionState:
    """What an attaching replica says of the leases that it, or its predecessor, may hold."""

    received: int = 0
    """Running number of the last lease that reached it in this session."""
    held: Collection[FrameName] = ()
    seen: Mapping[int, int] = field(default_factory=dict)
    """A durable one's: per stream, the next sequence that it expects."""
    failed: Sequence[tuple[int, int, str]] = ()
    previous: tuple[int, int, int] = (0, 0, 0)
    """Its predecessor's session, and the leases that it worked on last and finished last."""
