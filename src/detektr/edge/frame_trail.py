"""What one process tells of frames to the audit trail: which of them, and in which words. See decision 0037.

A producer tells what became of a frame on each of its edges, a consumer when its user's code began and ended with it.
"""

from __future__ import annotations

import time
from typing import Final

from detektr.edge.state.lease import Cell
from detektr.memory.announcement import Announcement, Lease
from detektr.memory.journal import DELIVERED, DROPPED
from detektr.memory.layout import TRAIL_NOBODY, TRAIL_WORKED
from detektr.memory.run_folder import RunFolder
from detektr.memory.trail_ring import TrailWriter

WHOLE: Final = 1 << 32  # the share of all frames
_STEP: Final = 0x9E3779B1  # 2^32 times the golden section: neighbours land far apart, and each stretch evenly
_MASK: Final = WHOLE - 1
_SEQUENCE_MASK: Final = WHOLE - 1
_DELIVERIES_MAX: Final = (1 << 24) - 1
ASKED_FOR: Final = ("thinned", "filtered")  # the file itself leaves these frames out
_KEY: Final = b"\xa5frame"


class FrameTrail:
    """All edges of one process, those that it writes and those that it reads."""

    def __init__(self, ring: TrailWriter, process: str, share: int) -> None:
        """Begin without edges.

        Args:
            ring: ours to write.
            process: our name, as in `buffer.0`.
            share: how many of 2^32 frames are in, whatever becomes of them; others only where they are lost.
        """
        self._ring, self._process, self._share = ring, process, share

    def of_edge(self, consumer: str, *, are_events: bool) -> EdgeTrail:
        """Return what tells of an edge of ours; `are_events`: it carries events, which are about frames."""
        return EdgeTrail(self._ring, self._ring.add_edge(self._process, consumer), self._share, are_events)

    def of_input(self, producer: str, *, are_events: bool) -> EdgeTrail:
        """Return what tells of our work on what comes from a process, as in `buffer.0`."""
        return EdgeTrail(self._ring, self._ring.add_edge(producer, self._process), self._share, are_events)

    def close(self, *, unlink: bool) -> None:
        """Close the ring; with `unlink` its file goes too."""
        self._ring.close(unlink=unlink)


def open_frame_trail(folder: RunFolder, node: str, replica: int, share: int | None) -> FrameTrail | None:
    """Open the trail of a process, also of a dead one whose edges somebody ends; None: none is wanted.

    Raises:
        NoRoomError: shared memory has no room for it.
    """
    if share is None:
        return None
    return FrameTrail(TrailWriter(folder.trail(node, replica)), f"{node}.{replica}", share)


class EdgeTrail:
    """One edge, seen from one of its ends."""

    def __init__(self, ring: TrailWriter, entry: int, share: int, are_events: bool) -> None:
        self._ring, self._entry, self._share, self._are_events = ring, entry, share, are_events

    def is_in(self, frame: Announcement) -> bool:
        """Whether a frame is in whatever becomes of it: the same on each edge."""
        share = self._share
        if share == 0:
            return False
        if share == WHOLE:
            return True
        sequence = about_of(frame.payload) & _SEQUENCE_MASK if self._are_events else frame.sequence
        return is_in_share(sequence, share)

    def queued(self, now_ns: int) -> int:
        """Return the monotonic time of an offer; `now_ns` is 0 where the producer has not looked at its clock."""
        return now_ns or time.monotonic_ns()

    def settled(self, frame: Cell, outcome: int, replica: int) -> None:
        """Tell what became of a frame that the edge held: the word that counts it, or `TRAIL_FAILED`, an attempt."""
        if self._entry < 0 or (outcome == DELIVERED and not self.is_in(frame)):
            return
        self._ring.append(
            outcome,
            self._entry,
            replica & TRAIL_NOBODY,
            min(frame.deliveries, _DELIVERIES_MAX),
            frame.key,
            frame.sequence,
            time.monotonic_ns(),
            frame.queued_ns,
            frame.leased_ns if replica != TRAIL_NOBODY else 0,
            1,
            about_of(frame.payload) if self._are_events else 0,
        )

    def dropped(self, key: int, last_sequence: int, count: int, reason: str, payload: bytes) -> None:
        """Tell of frames that the edge did not take; see `Edge.count_dropped`."""
        if self._entry < 0:
            return
        if reason in ASKED_FOR:
            sequence = about_of(payload) & _SEQUENCE_MASK if self._are_events else last_sequence
            if not is_in_share(sequence, self._share):
                return
        about = about_of(payload) if self._are_events else 0
        now_ns = time.monotonic_ns()
        outcome = DROPPED[reason]
        self._ring.append(outcome, self._entry, TRAIL_NOBODY, 0, key, last_sequence, now_ns, 0, 0, count, about)

    def worked(self, lease: Lease, begun_ns: int) -> None:
        """Tell that the user's code has ended with a frame, whatever came of it; before its lease is completed."""
        if self._entry < 0 or not self.is_in(lease):
            return
        now_ns = time.monotonic_ns()
        about = about_of(lease.payload) if self._are_events else 0
        delivery = min(lease.delivery, _DELIVERIES_MAX)
        self._ring.append(
            TRAIL_WORKED, self._entry, 0, delivery, lease.key, lease.sequence, now_ns, 0, begun_ns, 1, about
        )

    def leave(self) -> None:
        """Let another edge have the name's place."""
        if self._entry >= 0:
            self._ring.free_edge(self._entry)


def is_in_share(sequence: int, share: int) -> bool:
    """Whether the frame with this sequence is among `share` of 2^32."""
    return (sequence * _STEP & _MASK) < share


def about_of(payload: bytes) -> int:
    """Return the mark and the sequence of the frame that a packed event is about, in one number; 0: it does not say.

    They are the last parts of the frame's id (`Descriptor.id`), which stands first in the event.
    """
    at = payload.find(_KEY, 0, 16)
    if at < 0:
        return 0
    at += len(_KEY)
    kind = payload[at] if at < len(payload) else 0
    if 0xA0 <= kind <= 0xBF:
        begin, length = at + 1, kind & 0x1F
    elif kind == 0xD9 and at + 1 < len(payload):
        begin, length = at + 2, payload[at + 1]
    else:
        return 0
    parts = payload[begin : begin + length].rsplit(b"_", 2)
    if len(parts) != 3 or not parts[1].isdigit():
        return 0
    try:
        return int(parts[2], 16) << 32 | int(parts[1]) & _SEQUENCE_MASK
    except ValueError:
        return 0
