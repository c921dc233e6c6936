"""The packets from which all pictures that have not come out of a decoder yet can be decoded again. No clock."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from av import Packet
    from av.video.stream import VideoStream

PACKETS_MAX = 2048
BYTES_MAX = 64 << 20


class SentPacket(NamedTuple):
    """A packet that a decoder has seen, and what it was told of it."""

    packet: Packet[VideoStream]
    received_ns: int | None
    skip_frame: Literal["NONE", "DEFAULT", "NONREF", "BIDIR", "NONINTRA", "NONKEY", "ALL"]


class PacketHistory:
    """Begins at a key frame that no picture still to come is older than; empty where it cannot reach back so far."""

    def __init__(self) -> None:
        self._sent: list[SentPacket] = []
        self._nbytes = 0

    def __iter__(self) -> Iterator[SentPacket]:
        """Go over the packets in the order in which they were sent."""
        return iter(self._sent)

    def add(self, sent: SentPacket, owed: Collection[int]) -> None:
        """Add a packet; those that nothing still to come needs go.

        Args:
            sent: what the decoder sees next.
            owed: pts of the packets sent whose pictures have not come out, this one's included.
        """
        packet = sent.packet
        if packet.pts is None or (not self._sent and not packet.is_keyframe):
            self._forget(len(self._sent))
            return
        self._sent.append(sent)
        self._nbytes += packet.size
        if packet.is_keyframe:
            oldest = min(owed, default=packet.pts)
            begins = [place for place, one in enumerate(self._sent) if _can_begin(one, oldest)]
            self._forget(begins[-1] if begins else 0)
        if len(self._sent) > PACKETS_MAX or self._nbytes > BYTES_MAX:
            self._forget(len(self._sent))

    def _forget(self, count: int) -> None:
        self._nbytes -= sum(one.packet.size for one in self._sent[:count])
        del self._sent[:count]


def _can_begin(sent: SentPacket, oldest: int) -> bool:
    return sent.packet.is_keyframe and sent.packet.pts is not None and sent.packet.pts <= oldest
