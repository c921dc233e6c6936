"""An announcement (of one frame or event, without pixels), and a lease: an announcement with the right to read."""

from __future__ import annotations

FrameName = tuple[int, int]  # stream key, sequence


class Announcement:
    """One frame, or one event, as a producer announces it: its name, its age and the packed descriptor. No pixels."""

    __slots__ = ("captured_ns", "key", "payload", "sequence")

    def __init__(self, key: int, sequence: int, captured_ns: int, payload: bytes) -> None:
        """Name the frame or event.

        Args:
            key: its stream; the sequences of a stream increase.
            sequence: its number in the stream.
            captured_ns: monotonic time of its capture.
            payload: the packed descriptor of a frame, or an event.
        """
        self.key, self.sequence, self.captured_ns, self.payload = key, sequence, captured_ns, payload

    @property
    def name(self) -> FrameName:
        """The frame's name everywhere: stream key and sequence."""
        return self.key, self.sequence


class Lease(Announcement):
    """The right to read one frame, with its announcement, as the holder sees it."""

    __slots__ = ("cell", "delivery", "delivery_tag")

    def __init__(
        self, key: int, sequence: int, captured_ns: int, payload: bytes, cell: int, delivery_tag: int, delivery: int
    ) -> None:
        """Hold an announcement.

        Args:
            key: see `Announcement`, as the next three.
            sequence: see there.
            captured_ns: see there.
            payload: see there.
            cell: where the lease stands in the edge's journal.
            delivery_tag: number of the lease within its session, from 1.
            delivery: how often the frame was leased to somebody, this time included.
        """
        super().__init__(key, sequence, captured_ns, payload)
        self.cell, self.delivery_tag, self.delivery = cell, delivery_tag, delivery
