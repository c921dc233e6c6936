"""The queue between the reader and the decoder of a live stream: bounded, never a backlog. No clock, no thread.

A stream's newest packet says how late the others are. Those that are later than they need be are left out, up to a key
frame where there is one in the queue; the rest is decoded, marked as late. After the connection and after each stall
nothing is given out until packets come at the pace of the clock: before that, the newest is not known.
"""

from __future__ import annotations

from collections import deque
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

from detektr.options import SECOND_NS

if TYPE_CHECKING:
    from av import Packet
    from av.video.stream import VideoStream

LATE_NS_MAX = SECOND_NS // 2  # behind the newest packet, by the stream's time; later is old
BURST_NS_MAX = 12 * SECOND_NS  # the same where whole segments come at once: the longest that are usual, and spare
QUIET_NS = SECOND_NS // 10  # nothing comes for this long: then nothing was waiting
SETTLING_NS_MAX = 5 * SECOND_NS  # a stream that goes on faster than the clock is taken as it comes
TIMELESS_MAX = 3  # packets without a time that grows; then their times tell nothing
PACKETS_MAX = 512
BYTES_MAX = 64 << 20


class Arrival(NamedTuple):
    """One packet, and what is known of its time."""

    packet: Packet[VideoStream]
    received_ns: int
    """Monotonic time at which it was read."""
    moment_ns: int | None
    """Its time on the stream's line; None: it has none."""
    is_late: bool = False
    """Newer ones have come: its picture is old, and needed for those that follow alone."""


class PacketQueue:
    """The packets of one connection's video stream that nobody has decoded yet.

    Args:
        time_base: seconds of one unit of the packets' times; None: they have none.
        is_bursty: whole segments come at once (HLS): who reads waits for room, and the pace is set by who decodes.
    """

    def __init__(self, time_base: Fraction | None, *, is_bursty: bool = False) -> None:
        self.stale = 0
        """Packets left out."""
        self.count = 0
        """Packets put in."""
        self._time_base = time_base
        self._is_bursty = is_bursty
        self._late_ns_max = BURST_NS_MAX if is_bursty else LATE_NS_MAX
        self._queue: deque[Arrival] = deque()
        self._nbytes = 0
        self._keys = 0  # in the queue
        self._lacks_key = False
        self._newest: Arrival | None = None
        self._settling_since_ns: int | None = None
        self._timeless = 0

    @property
    def has_room(self) -> bool:
        """Whether who reads may go on; only a bursty stream is made to wait."""
        return not self._is_bursty or not self._is_over_full()

    def put(self, packet: Packet[VideoStream], received_ns: int) -> None:
        """Take a packet in; where that is too many, the oldest up to the next key frame are left out.

        Args:
            packet: of the video stream.
            received_ns: monotonic time at which it was read.
        """
        arrival = Arrival(packet, received_ns, self._moment_ns(packet))
        if not self._is_bursty:
            self._settle(arrival)
        self._newest, self.count = arrival, self.count + 1
        if self._lacks_key and not packet.is_keyframe:
            self.stale += 1
            return
        self._lacks_key = False
        self._queue.append(arrival)
        self._nbytes += packet.size
        self._keys += packet.is_keyframe
        while self._is_over_full() and not self._is_bursty:
            self._drop()
            while self._queue and not self._queue[0].packet.is_keyframe:
                self._drop()
            self._lacks_key = not self._queue

    def take(self, now_ns: int) -> Arrival | None:
        """Return the packet to be decoded next; None: there is none yet.

        Args:
            now_ns: now, monotonic.
        """
        if not self._queue or self.wait_ns(now_ns):
            return None
        self._settling_since_ns = None
        if self._is_late():
            while self._keys > self._queue[0].packet.is_keyframe:  # a newer key frame is in the queue
                self._drop()
        is_late = self._is_late()
        arrival = self._queue.popleft()
        self._forget(arrival.packet)
        return arrival._replace(is_late=is_late)

    def wait_ns(self, now_ns: int) -> int:
        """Return the nanoseconds until what is in the queue is given out though nothing more comes; 0: now.

        Args:
            now_ns: now, monotonic.
        """
        if self._settling_since_ns is None or self._newest is None or not self._queue:
            return 0
        end_ns = min(self._newest.received_ns + QUIET_NS, self._settling_since_ns + SETTLING_NS_MAX)
        return max(0, end_ns - now_ns)

    def _settle(self, arrival: Arrival) -> None:
        """Find out whether what comes now was waiting somewhere, or is live."""
        before = self._newest
        if before is None:
            self._settling_since_ns = arrival.received_ns
            return
        gap_ns = arrival.received_ns - before.received_ns
        step_ns = None
        if arrival.moment_ns is not None and before.moment_ns is not None:
            step_ns = arrival.moment_ns - before.moment_ns
        if step_ns is None or step_ns <= 0:
            self._timeless += 1
            if self._timeless >= TIMELESS_MAX:
                self._settling_since_ns = None
            return
        self._timeless = 0
        if gap_ns - step_ns > LATE_NS_MAX:
            self._settling_since_ns = arrival.received_ns
        elif 2 * gap_ns >= step_ns:
            self._settling_since_ns = None

    def _is_late(self) -> bool:
        """Tell whether the oldest packet is older than it need be; without a time it is as late as that behind it."""
        newest = self._newest
        if newest is None or newest.moment_ns is None:
            return False
        moment_ns = self._queue[0].moment_ns
        if moment_ns is None and len(self._queue) > 1:
            moment_ns = self._queue[1].moment_ns
        return moment_ns is not None and newest.moment_ns - moment_ns > self._late_ns_max

    def _is_over_full(self) -> bool:
        return len(self._queue) > PACKETS_MAX or (self._nbytes > BYTES_MAX and len(self._queue) > 1)

    def _drop(self) -> None:
        self._forget(self._queue.popleft().packet)
        self.stale += 1

    def _forget(self, packet: Packet[VideoStream]) -> None:
        self._nbytes -= packet.size
        self._keys -= packet.is_keyframe

    def _moment_ns(self, packet: Packet[VideoStream]) -> int | None:
        time = packet.pts if packet.dts is None else packet.dts
        base = self._time_base
        return None if time is None or base is None else time * base.numerator * SECOND_NS // base.denominator
