"""Holds frames back until every branch has brought them, or is known not to. Pure: it has no clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from detektr.memory.announcement import FrameName
from detektr.memory.journal_reader import DELIVERED

Item = TypeVar("Item")


@dataclass(frozen=True)
class Joined(Generic[Item]):
    """A frame of which every branch has settled what it does with it."""

    name: FrameName
    items: tuple[Item, ...]
    """What came, in the order of the branches; at least one."""
    missing: dict[str, str]
    """Of each other branch, why it did not bring the frame."""
    is_done: bool
    """Whether the node was done with it already, and died before all branches had heard of that: no call is due."""


class Join(Generic[Item]):
    """The frames that have come to one node by some of its branches."""

    def __init__(self, branches: Sequence[str], outcome: Callable[[str, FrameName, Item], str]) -> None:
        """Begin without any.

        Args:
            branches: the node's inputs, in the file's order.
            outcome: tells why a frame that came by another branch (as the item) will not come by this one; empty: it
                may come.
        """
        self._branches, self._outcome = tuple(branches), outcome
        self._waiting: dict[FrameName, dict[str, Item]] = {}

    @property
    def is_holding(self) -> bool:
        """Whether some frame is held back."""
        return bool(self._waiting)

    def hold(self, name: FrameName, branch: str, item: Item) -> Item | None:
        """Take a frame that has come by a branch; returns the other lease of one that is held already."""
        items = self._waiting.setdefault(name, {})
        other = items.get(branch)
        items[branch] = item
        return other

    def ready(self) -> list[Joined[Item]]:
        """Return the frames that every branch has settled, in the order in which they came, and hold them no more."""
        found = []
        for name, items in list(self._waiting.items()):
            joined = self._joined(name, items)
            if joined is not None:
                del self._waiting[name]
                found.append(joined)
        return found

    def forget(self, is_over: Callable[[Item], bool]) -> None:
        """Let go of held frames whose leases are over."""
        for name, items in list(self._waiting.items()):
            for branch, item in list(items.items()):
                if is_over(item):
                    del items[branch]
            if not items:
                del self._waiting[name]

    def _joined(self, name: FrameName, items: dict[str, Item]) -> Joined[Item] | None:
        witness = next(iter(items.values()))
        reasons: dict[str, str] = {}
        for branch in self._branches:
            if branch not in items:
                reasons[branch] = self._outcome(branch, name, witness)
                if not reasons[branch]:
                    return None
        come = tuple([items[branch] for branch in self._branches if branch in items])
        missing = {branch: reason for branch, reason in reasons.items() if reason != DELIVERED}
        return Joined(name, come, missing, is_done=len(missing) < len(reasons))
