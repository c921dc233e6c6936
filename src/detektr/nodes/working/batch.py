"""When a batch begins, and what of one that failed is worked on next. Pure: time comes in, nothing is opened."""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from typing import Final, Generic, TypeVar

NEVER_NS: Final = 1 << 62
ANSWER_NS: Final = 2_000_000  # so long a producer that waits for leases, and was told of some, has to bring frames
Item = TypeVar("Item")


class Supply(Enum):
    """Whether more frames may come while a batch waits for them."""

    NONE = auto()
    """None can: the inputs have ended, or have leased as much as they may."""
    STUCK = auto()
    """Those who could bring some said that they can do nothing until leases are completed."""
    OPEN = auto()


class BatchGate:
    """Says when a batch begins: when it is full, has waited long enough, or nobody could add to it."""

    def __init__(self, size: int, wait_ns: int) -> None:
        """Begin with nothing waiting.

        Args:
            size: most frames of a batch.
            wait_ns: how long a frame waits for others at most.
        """
        self.size, self.wait_ns = size, wait_ns
        self.since_ns = 0
        """Since when a frame waits, as it was seen first; 0: none does."""

    def due_ns(self, waiting: int, supply: Supply, now_ns: int, *, is_repeated: bool = False) -> int:
        """Return when the next batch begins: `now_ns` or before, at once; `NEVER_NS`: there is nothing.

        Args:
            waiting: frames that are here.
            supply: whether more may come.
            now_ns: the monotonic time.
            is_repeated: the first frame was delivered before, so it is worked on alone and waits for nobody.
        """
        if not waiting:
            self.since_ns = 0
            return NEVER_NS
        self.since_ns = self.since_ns or now_ns
        if waiting >= self.size or is_repeated or supply is Supply.NONE:
            return now_ns
        return self.since_ns + (self.wait_ns if supply is Supply.OPEN else min(self.wait_ns, ANSWER_NS))

    def begin(self, left: int, now_ns: int) -> None:
        """Note that a batch begins; `left` frames wait for the next one."""
        self.since_ns = now_ns if left else 0


class PartQueue(Generic[Item]):
    """Parts of batches that are still to be worked on, each a list of items, in their order.

    A part that fails is put back as its two halves, before all that waits. So what fails is found alone at last, after
    as many calls as the part can be halved; items stay in their order, and those before a part are done when it begins.
    """

    def __init__(self) -> None:
        """Begin without parts."""
        self._parts: deque[list[Item]] = deque()

    def __len__(self) -> int:
        """Return how many parts wait."""
        return len(self._parts)

    def add(self, part: list[Item]) -> None:
        """Put a part behind all others."""
        self._parts.append(part)

    def split(self, part: list[Item]) -> None:
        """Put back a part of two items or more that failed, as its halves."""
        assert len(part) > 1, f"a part of {len(part)} items cannot be split; the failure of one alone is its own"
        middle = (len(part) + 1) // 2
        self._parts.appendleft(part[middle:])
        self._parts.appendleft(part[:middle])

    def take(self) -> list[Item]:
        """Return the next part; empty: there is none."""
        return self._parts.popleft() if self._parts else []

    def clear(self) -> None:
        """Forget all parts."""
        self._parts.clear()
