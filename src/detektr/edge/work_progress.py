"""What a status block says of the work on one input: if we die, the producer knows by it what was done.

Leases that are finished in the order of their delivery tags need two words for that: begun last, finished last. In any
other order only the suspect is said: the one lease in work, or nobody.
"""

from __future__ import annotations

from detektr.memory.layout import SUSPECT_NOBODY
from detektr.memory.status_block import StatusBlock


class WorkProgress:
    """Of one input whose leases are finished in order; but for batches, which nobody is to blame for."""

    def __init__(self, status_block: StatusBlock, entry: int) -> None:
        """Take the input's entry of our status block; the values of a predecessor stand until a session begins."""
        self._status_block, self._entry, self.suspect = status_block, entry, 0

    def last(self) -> tuple[int, int, int, int]:
        """Return the session and what is said of it: see `StatusBlock.progress`."""
        return self._status_block.progress(self._entry)

    def begin_session(self, session: int) -> None:
        """Begin another session, without any work begun."""
        self.suspect = 0
        self._status_block.begin_session(self._entry, session)

    def begun(self, delivery_tag: int) -> None:
        """Note that work on a lease begins; 0: on none, though the last one was not finished."""
        self._status_block.note_working(self._entry, delivery_tag)

    def finished(self, delivery_tag: int, *, are_failures_heard: bool) -> None:
        """Note that a lease is finished.

        Args:
            delivery_tag: the lease's; 0: its holder does not know it.
            are_failures_heard: whether the producer knows of all failed attempts before it.
        """
        if delivery_tag and are_failures_heard:  # else those would count as finished, should we die
            self._status_block.note_finished(self._entry, delivery_tag)
        elif delivery_tag and delivery_tag == self.suspect:
            self.begin_batch()  # nobody is in work; that this one is finished, a message says that may be lost

    def begin_batch(self) -> None:
        """Note that leases are worked on together: nobody is to blame if we die, or take too long."""
        self._note_suspect(SUSPECT_NOBODY)

    def begin_alone(self, delivery_tag: int) -> None:
        """Note that, among batches, a lease is worked on alone: it is to blame, and nobody else is."""
        self._note_suspect(delivery_tag)

    def _note_suspect(self, suspect: int) -> None:
        if self.suspect != suspect:
            self.suspect = suspect
            self._status_block.note_suspect(self._entry, suspect)


class AnyOrderProgress(WorkProgress):
    """Of one input whose leases are finished in any order."""

    def begin_session(self, session: int) -> None:
        """See `WorkProgress.begin_session`."""
        super().begin_session(session)
        self.begin_batch()

    def begun(self, delivery_tag: int) -> None:
        """See `WorkProgress.begun`."""
        self._note_suspect(delivery_tag or SUSPECT_NOBODY)

    def finished(self, delivery_tag: int, *, are_failures_heard: bool) -> None:
        """See `WorkProgress.finished`."""
        if delivery_tag and delivery_tag == self.suspect:
            self.begin_batch()
