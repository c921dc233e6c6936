"""Frames on their way from the thread that writes them to whoever owns the edges, and word of room on its way back.

One thread puts frames in. Whoever owns the node's edges takes them out, oldest first. It may take them late: what is
put in without a slot grows no longer than one entry, and what has a slot is as much as there is `has_room` for.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import replace

from detektr.nodes.capturing.frame_writer import WrittenFrame

PENDING_MAX = 4  # put in and not yet taken; the ring has as many slots to spare
TOGETHER = 8  # so many of a file at full speed are offered at once (0018), unless they take longer than this ...
TOGETHER_NS = 50_000_000
LONGEST_NS = 100_000_000  # ... or the file pauses: none waits for longer
ROOM_CHECK_S = 0.2


class PublishQueue:
    """Bounded and ordered. Each method says which side calls it."""

    def __init__(self) -> None:
        """Begin empty, for a source of which each frame is offered at once, and with nobody to offer it to."""
        self.is_wanted = False
        """For the writing side: whether anybody reads what would be put in."""
        self.is_waiting = False
        """For the taking side: whether the writing side waits for room."""
        self._frames: deque[WrittenFrame] = deque()
        self._order = threading.Lock()  # of `_frames`: its last entry may grow while another one is taken
        self._put_back: WrittenFrame | None = None
        self._room = threading.Event()
        self._pending_max, self._is_batch = PENDING_MAX, False
        self._served_ns = 0

    # -- the side that writes ---------------------------------------------------------------------------------------

    def begin(self, *, is_batch: bool) -> None:
        """Take frames of a source that was just opened; of a batch, several are offered at a time."""
        self._is_batch = is_batch
        self._pending_max = TOGETHER if is_batch else PENDING_MAX

    @property
    def has_room(self) -> bool:
        """Whether one more frame with a slot may be put in."""
        return len(self._frames) < self._pending_max

    def put(self, frame: WrittenFrame, now_ns: int) -> bool:
        """Put a frame in; whether what is here is to be offered now, rather than with those that follow."""
        if frame.payload:
            self._frames.append(frame)
        else:
            self._put_without_slot(frame)
        if self._is_batch and len(self._frames) < self._pending_max and now_ns - self._served_ns < TOGETHER_NS:
            return False
        self._served_ns = now_ns
        return True

    def start_waiting(self) -> None:
        """Say that room is waited for; whoever makes some from now on says so."""
        self.is_waiting = True

    def forget_room(self) -> None:
        """Forget what room was made up to now: it is about to be looked for."""
        self._room.clear()

    def wait_room(self) -> None:
        """Wait until room is made, for a moment at most: a slot may come back without a word."""
        self._room.wait(ROOM_CHECK_S)

    def end_waiting(self) -> None:
        """Say that room is no longer waited for."""
        self.is_waiting = False

    # -- the side that owns the edges -------------------------------------------------------------------------------

    def want(self, *, is_wanted: bool) -> None:
        """Say whether anybody reads: a live source's pictures are not even written otherwise."""
        self.is_wanted = is_wanted

    @property
    def has_frames(self) -> bool:
        """Whether something is there to be taken."""
        return bool(self._frames) or self._put_back is not None

    def take(self) -> WrittenFrame | None:
        """Take the oldest frame; None: there is none."""
        if self._put_back is not None:
            frame, self._put_back = self._put_back, None
            return frame
        if not self._frames:
            return None
        with self._order:
            return self._frames.popleft()

    def put_back(self, frame: WrittenFrame) -> None:
        """Take nothing after all: this frame, which was taken last, is the oldest again, and takes no room."""
        self._put_back = frame

    def epochs(self) -> set[int]:
        """Return the epochs of what is here."""
        with self._order:
            frames = self._frames.copy()  # at one stroke: whoever puts more in does not wait for us
        epochs = {frame.epoch for frame in frames}
        if self._put_back is not None:
            epochs.add(self._put_back.epoch)
        return epochs

    def note_room(self) -> None:
        """Say that a slot has become free, or that a frame was taken, if that is waited for."""
        if self.is_waiting:
            self._room.set()

    def announce_room(self) -> None:
        """Say that there is memory for another ring, or that nothing is to be waited for any more."""
        self._room.set()

    def _put_without_slot(self, frame: WrittenFrame) -> None:
        """Count it in with those before it that have no slot either, however long nobody takes them."""
        with self._order:
            last = self._frames[-1] if self._frames else None
            if last is not None and not last.payload:
                self._frames[-1] = replace(frame, frames=last.frames + 1)
            else:
                self._frames.append(frame)
