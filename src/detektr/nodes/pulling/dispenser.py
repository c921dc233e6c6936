"""Gives frames out to clients that pull, each under a lease with a deadline, and takes them back. Pure.

At least once: a frame whose lease expires, or whose work failed, is given out again, marked by its count of deliveries;
after so many of them it is given up. A frame that never reached its client is given out again uncounted.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Generic, Literal, TypeVar

from detektr.options import PULL_DELIVERIES

SETTLED_MAX = 10_000  # leases whose end is remembered, so that a second ack of one is told from an unknown one
Result = Literal["acked", "already", "expired", "unknown"]
T = TypeVar("T")


@dataclass(frozen=True)
class Given(Generic[T]):
    """A frame that is out at a client."""

    lease: str
    item: T
    delivery: int
    """How often it was given out, this time included."""
    expires_ns: int
    request: int = 0
    """Number of the question that it was given out for; 0: it had none."""


class Dispenser(Generic[T]):
    """The frames that are out, and those that come back."""

    def __init__(self, prefix: str, window: int, *, deliveries_max: int = PULL_DELIVERIES, count: int = 0) -> None:
        """Begin without any.

        Args:
            prefix: of the names of its leases, so that those of an earlier server are not taken for ours.
            window: most frames that are out at once.
            deliveries_max: how often a frame is given out before it is given up.
            count: leases that were named before.
        """
        self.window = window
        self.count = count
        """Leases that were named so far."""
        self._prefix, self._deliveries_max = prefix, deliveries_max
        self._out: dict[str, Given[T]] = {}
        self._back: deque[tuple[T, int]] = deque()  # with the deliveries so far
        self._settled: OrderedDict[str, Result] = OrderedDict()

    @property
    def free(self) -> int:
        """How many more may be given out now."""
        return max(0, self.window - len(self._out))

    @property
    def waiting(self) -> int:
        """How many have come back, and are to be given out again."""
        return len(self._back)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is out, and nothing has come back."""
        return not self._out and not self._back

    def adopt(self, given: Given[T]) -> None:
        """Go on with a frame that a predecessor had given out."""
        self._out[given.lease] = given

    def adopt_back(self, item: T, deliveries: int) -> None:
        """Go on with a frame that a predecessor was to give out again."""
        self._back.append((item, deliveries))

    def remember(self, lease: str, result: Result) -> None:
        """Take over how a lease ended that a predecessor had named."""
        self._settle(lease, result)

    def name_of(self, number: int) -> str:
        """Return the name of a lease, by its number."""
        return f"{self._prefix}-{number}"

    def given_for(self, request: int) -> list[Given[T]]:
        """Return what is out because of a question that was asked before."""
        return [given for given in self._out.values() if given.request == request]

    def due_ns(self) -> int | None:
        """Return when the next lease expires; None: none is out."""
        return min((given.expires_ns for given in self._out.values()), default=None)

    def give(self, count: int, until_ns: int, fresh: Callable[[], T | None], request: int = 0) -> list[Given[T]]:
        """Give out frames: first those that came back.

        Args:
            count: how many at most; the free window counts, too.
            until_ns: when their leases expire.
            fresh: returns the next frame that was never out; None: there is none.
            request: number of the question that is answered.
        """
        given: list[Given[T]] = []
        while len(given) < count and self.free:
            if self._back:
                item, deliveries = self._back.popleft()
            elif (found := fresh()) is not None:
                item, deliveries = found, 0
            else:
                break
            self.count += 1
            one = Given(self.name_of(self.count), item, deliveries + 1, until_ns, request)
            self._out[one.lease] = one
            given.append(one)
        return given

    def get(self, lease: str) -> Given[T] | None:
        """Return what is out under a lease; None: nothing (any more)."""
        return self._out.get(lease)

    def ack(self, lease: str) -> tuple[Result, T | None]:
        """End a lease whose frame is done; returns what became of it, and the frame if it is to be settled."""
        given = self._out.pop(lease, None)
        if given is None:
            return self._settled.get(lease, "unknown"), None
        self._settle(lease, "already")
        return "acked", given.item

    def fail(self, lease: str) -> tuple[Result, T | None]:
        """End a lease whose work failed; returns what became of it, and the frame if it is to be given up."""
        given = self._out.pop(lease, None)
        if given is None:
            return self._settled.get(lease, "unknown"), None
        self._settle(lease, "already")
        return "acked", self._come_back(given)

    def extend(self, lease: str, until_ns: int) -> Result:
        """Let a lease end later, or earlier."""
        given = self._out.get(lease)
        if given is None:
            return self._settled.get(lease, "unknown")
        self._out[lease] = replace(given, expires_ns=until_ns)
        return "acked"

    def expire(self, now_ns: int) -> tuple[list[Given[T]], list[T]]:
        """End the leases whose time is over; returns them, and those of their frames that are to be given up."""
        late = [given for given in self._out.values() if given.expires_ns <= now_ns]
        for given in late:
            del self._out[given.lease]
            self._settle(given.lease, "expired")
        lost = [item for given in reversed(late) if (item := self._come_back(given)) is not None]
        return late, lost

    def undo(self, leases: Iterable[str]) -> list[Given[T]]:
        """Take back what never reached its client, as it was not given out; returns what was out."""
        undone: list[Given[T]] = []
        for lease in reversed(list(leases)):
            given = self._out.pop(lease, None)
            if given is not None:
                undone.append(given)
                self._settle(lease, "expired")
                self._back.appendleft((given.item, given.delivery - 1))
        return undone

    def drop(self, is_gone: Callable[[T], bool]) -> int:
        """Forget frames that are not ours any more; returns how many."""
        before = len(self._out) + len(self._back)
        for lease, given in list(self._out.items()):
            if is_gone(given.item):
                del self._out[lease]
                self._settle(lease, "expired")
        self._back = deque((item, count) for item, count in self._back if not is_gone(item))
        return before - len(self._out) - len(self._back)

    def clear(self) -> list[T]:
        """Take everything back for good; returns the frames."""
        items = [given.item for given in self._out.values()] + [item for item, _ in self._back]
        for lease in self._out:
            self._settle(lease, "expired")
        self._out.clear()
        self._back.clear()
        return items

    def _come_back(self, given: Given[T]) -> T | None:
        """Let a frame be given out again; returned instead if that was so often enough."""
        if given.delivery >= self._deliveries_max:
            return given.item
        self._back.appendleft((given.item, given.delivery))
        return None

    def _settle(self, lease: str, result: Result) -> None:
        self._settled[lease] = result
        if len(self._settled) > SETTLED_MAX:
            self._settled.popitem(last=False)
