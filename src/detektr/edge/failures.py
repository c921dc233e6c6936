"""What a replica knows of its failed attempts on one edge, until its producer has heard of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from detektr.memory.announcement import FrameName, Lease
from detektr.wire.message import FailedAttempt

FAILED_MAX = 64
WHYS_CHARS_MAX = 1 << 18  # of all failures that one attach tells of: a message has room for four bytes of each


class Failures:
    """Failed attempts, and the leases that wait because of them."""

    def __init__(self, window: int, still_holds: Callable[[Lease], bool]) -> None:
        """Begin without any.

        Args:
            window: most leases that the replica works on at once.
            still_holds: whether a lease stands, as the producer's journal says.
        """
        self._still_holds = still_holds
        self.untold: list[FailedAttempt] = []
        """Those that the producer was not told of."""
        self.lately: deque[FailedAttempt] = deque(maxlen=FAILED_MAX + window)
        """Those that it was told of, and may not have heard."""
        self.unheard: list[Lease] = []
        """Leases whose attempt has failed, and that stand: the producer has not heard of it."""
        self._retried: list[Lease] = []  # those of them that are to be tried again, of stateful code
        self._aside: list[Lease] = []  # behind a failed frame of their stream, whose lease still stands

    @property
    def are_heard(self) -> bool:
        """Whether the producer knows of all of them."""
        return not self.unheard and not self.untold

    def add(self, failed: FailedAttempt, lease: Lease | None, *, is_retried: bool) -> None:
        """Note a failed attempt.

        Args:
            failed: what the producer is to be told.
            lease: which was worked on; None: it is not known any more.
            is_retried: whether the frame is tried again before later ones of its stream.
        """
        if lease is not None:
            self.unheard.append(lease)
            if is_retried:
                self._retried.append(lease)
        self.untold.append(failed)

    def note_told(self) -> None:
        """Note that the producer was told of all of them."""
        self.lately.extend(self.untold)
        self.untold.clear()

    def to_tell(self) -> tuple[FailedAttempt, ...]:
        """Return those that the producer may not have heard of, for an attach: of many, the end of each reason."""
        chars_max = WHYS_CHARS_MAX // max(1, len(self.lately))
        return tuple([(*failed[:3], failed[3][-chars_max:]) for failed in self.lately])

    def forget(self, name: FrameName) -> None:
        """Forget what has failed with a frame that is leased again: the producer knows it."""
        kept = [failed for failed in self.lately if failed[:2] != name]
        self.lately.clear()
        self.lately.extend(kept)

    def look(self) -> None:
        """Look of which failures the producer has heard by now."""
        if self.unheard:
            self.unheard = [lease for lease in self.unheard if self._still_holds(lease)]

    def puts_aside(self, lease: Lease) -> bool:
        """Whether a lease is put aside, as an attempt at an earlier frame of its stream has failed, unheard so far.

        When the producer hears, it takes the later frames of the stream back too, before the failed one: so they come
        again in order, and none is begun here before the one that failed.
        """
        if not self._retried:
            return False
        self._retried = [failed for failed in self._retried if self._still_holds(failed)]
        is_behind = any([failed.key == lease.key for failed in self._retried])
        if is_behind:
            self._aside.append(lease)
        return is_behind

    def take_up(self) -> list[Lease]:
        """Return the leases that were put aside, the last first, once the producer has heard of all failures."""
        if not self._aside:
            return []
        self._retried = [failed for failed in self._retried if self._still_holds(failed)]
        if self._retried:
            return []
        found = self._aside[::-1]
        self._aside.clear()
        return found

    def clear(self) -> list[Lease]:
        """Forget all, at the end of a session; return the leases that were put aside."""
        found, self._aside = self._aside, []
        self.lately.clear()
        self.unheard.clear()
        self._retried.clear()
        return found
