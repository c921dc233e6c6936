"""The queue between the thread that writes frames and the owner of the edges; it also tells the thread of room.

One thread puts frames in; the owner of the node's edges takes them out, oldest first, perhaps late. The queue stays
short: `has_room` limits the frames with a slot, and consecutive frames without one share an entry.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import replace

from detektr.nodes.capturing.frame_writer import WrittenFrame

PENDING_MAX = 4  # frames in the queue; the ring has as many slots to spare
TOGETHER = 8  # a file at full speed is offered so many frames at once (0018), unless they take longer than this ...
TOGETHER_NS = 50_000_000
LONGEST_NS = 100_000_000  # ... or the file pauses: no frame waits longer than this
FAST_NS = 2_000_000  # frames that come sooner after each other than this ...
FAST_STREAK = 16  # ... for so many in a row are offered together too, unless their source keeps a pace
ROOM_CHECK_S = 0.2


class PublishQueue:
    """Bounded and ordered. Each method says which side calls it."""

    def __init__(self, *, is_on_demand: bool = False) -> None:
        """Begin empty, without batches and without readers.

        Args:
            is_on_demand: True: there is room for a frame only while the edges have room for it, see `demand`.
        """
        self.is_wanted = False
        """For the writing side: whether anybody reads the frames."""
        self.is_waiting = False
        """For the taking side: whether the writing side waits for room."""
        self._frames: deque[WrittenFrame] = deque()
        self._order = threading.Lock()  # of `_frames`: its last entry may grow while another one is taken
        self._put_back: WrittenFrame | None = None
        self._room = threading.Event()
        self._pending_max, self._is_batch, self._is_paced = PENDING_MAX, False, True
        self._is_on_demand, self._is_demanded = is_on_demand, False
        self._served_ns = self._put_ns = 0
        self._streak = 0  # frames in a row that came fast

    # -- the side that writes ---------------------------------------------------------------------------------------

    def begin(self, *, is_batch: bool, is_paced: bool) -> None:
        """Take frames of a newly opened source; with `is_batch`, several are offered at a time."""
        self._is_batch, self._is_paced = is_batch and not self._is_on_demand, is_paced
        self._pending_max = TOGETHER if self._is_batch else PENDING_MAX

    @property
    def has_room(self) -> bool:
        """Whether one more frame with a slot may be put in."""
        if self._is_on_demand:
            return self._is_demanded and not self._frames
        return len(self._frames) < self._pending_max

    def put(self, frame: WrittenFrame, now_ns: int) -> bool:
        """Put a frame in; whether to offer the queue now, instead of together with the next frames."""
        if frame.payload:
            self._frames.append(frame)
        else:
            self._put_without_slot(frame)
        is_fast = now_ns - self._put_ns < FAST_NS and not self._is_paced and not self._is_on_demand
        self._streak = self._streak + 1 if is_fast else 0
        self._put_ns = now_ns
        may_wait = self._is_batch or self._streak >= FAST_STREAK
        self._pending_max = TOGETHER if may_wait else PENDING_MAX
        if may_wait and len(self._frames) < self._pending_max and now_ns - self._served_ns < TOGETHER_NS:
            return False
        self._served_ns = now_ns
        return True

    def start_waiting(self) -> None:
        """Note that the writer waits for room; from now on, making room is signalled."""
        self.is_waiting = True

    def forget_room(self) -> None:
        """Forget signals of room up to now: the writer is about to look for itself."""
        self._room.clear()

    def wait_room(self) -> None:
        """Wait until room is made, but not long: a slot may become free without a signal."""
        self._room.wait(ROOM_CHECK_S)

    def end_waiting(self) -> None:
        """Note that the writer no longer waits for room."""
        self.is_waiting = False

    # -- the side that owns the edges -------------------------------------------------------------------------------

    def want(self, *, is_wanted: bool) -> None:
        """Say whether anybody reads; if not, a live source's pictures are not even written."""
        self.is_wanted = is_wanted

    def demand(self, *, is_demanded: bool) -> None:
        """Say whether the edges have room for one more frame, before one is taken and after it was offered."""
        self._is_demanded = is_demanded

    @property
    def is_on_demand(self) -> bool:
        """Whether frames are put in only while the edges have room."""
        return self._is_on_demand

    @property
    def has_frames(self) -> bool:
        """Whether there is a frame to take."""
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
        """Put back the frame that was taken last: it is the oldest again, and counts against no limit."""
        self._put_back = frame

    def epochs(self) -> set[int]:
        """Return the epochs of the frames in the queue."""
        with self._order:
            frames = self._frames.copy()  # one atomic copy: the writer does not wait for us
        epochs = {frame.epoch for frame in frames}
        if self._put_back is not None:
            epochs.add(self._put_back.epoch)
        return epochs

    def note_room(self) -> None:
        """Signal that a slot has become free or a frame was taken, if the writer waits for room."""
        if self.is_waiting:
            self._room.set()

    def announce_room(self) -> None:
        """Signal that there is memory for another ring, or that the writer must not wait any more."""
        self._room.set()

    def _put_without_slot(self, frame: WrittenFrame) -> None:
        """Add a frame without a slot to the entry of such frames before it."""
        with self._order:
            last = self._frames[-1] if self._frames else None
            if last is not None and not last.payload:
                self._frames[-1] = replace(frame, frames=last.frames + 1)
            else:
                self._frames.append(frame)
