"""The consumer's side of an edge whose leases outlive their process: a successor goes on with the ones that it knows.

The producer keeps them, as those of a buffer. A successor says by name which of them it still holds and which are done;
what each of the held ones is about, and where it stands by now, it reads in the producer's journal.
"""

from __future__ import annotations

from typing import ClassVar

from detektr.edge.subscriber import EdgeSubscriber
from detektr.edge.work_progress import AnyOrderProgress, WorkProgress
from detektr.memory.announcement import FrameName
from detektr.wire.message import Announce, Refusal, Welcome


class KeepingSubscriber(EdgeSubscriber):
    """See the module's first lines."""

    progress_kind: ClassVar[type[WorkProgress]] = AnyOrderProgress
    stays: bool = False
    """Whether a successor follows, so that closing this end gives no lease back."""

    def handle(self, message: Welcome | Refusal | Announce, now_ns: int) -> None:
        """See `EdgeSubscriber.handle`."""
        was_attached = self.is_attached
        super().handle(message, now_ns)
        if self.is_attached and not was_attached:
            self._renew()

    def lost(self, known: set[FrameName]) -> list[FrameName]:
        """Return those of some frames whose leases the producer has ended; none of them unless we are attached."""
        return [name for name in known if name not in self.held] if self.is_attached else []

    def close(self, *, is_followed: bool = False) -> None:
        """See `EdgeSubscriber.close`."""
        super().close(is_followed=is_followed or self.stays)

    def _renew(self) -> None:
        """Look in the journal for the leases that we said we hold: they have other tags in another session."""
        journal = self._journal
        assert journal is not None, "it is opened before the producer's welcome counts"
        found = journal.all_leases(self._session, 0, journal.tag_before(self._place))
        standing = {lease.name: lease for lease in found}
        for name, lease in list(self.held.items()):
            if lease is not None and self.still_holds(lease):
                continue
            if (renewed := standing.get(name)) is not None:
                self.held[name] = renewed
            else:
                del self.held[name]
