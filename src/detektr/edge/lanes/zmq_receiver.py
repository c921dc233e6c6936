"""The consumer's end of the lane `zmq`: it takes announced leases from messages, and sends completed ones back.

`zmq_lane` says what the messages mean, and has the producer's end.
"""

from __future__ import annotations

import time
from collections import deque

from detektr.edge.lanes.lane import NEVER_NS, Receiver
from detektr.edge.lanes.zmq_lane import COMPANY_NS
from detektr.errors import WireError
from detektr.memory.announcement import FrameName, Lease
from detektr.memory.completion_queue import Completion
from detektr.memory.journal_reader import JournalReader
from detektr.memory.layout import NOTIFY_EACH, NOTIFY_NONE, NOTIFY_SHORT
from detektr.wire.link import Outbox
from detektr.wire.message import Announce, Release

AWAKE_COMPANY_NS = 20_000_000  # ... or so long, where its sender is awake for another reason
LOST_NS = 250_000_000  # a producer that does not acknowledge completed leases is asked after this, then after twice ...
LOST_NS_MAX = 1_000_000_000  # ... and at last so often: it may be stopped


class ZmqReceiver(Receiver):
    """The consumer's end."""

    def __init__(self, consumer: str, window: int) -> None:
        """Begin unattached.

        Args:
            consumer: whose edge it is.
            window: most leases that may be held.
        """
        self._consumer, self._window = consumer, window
        self._session = self._producer_epoch = self._received = 0
        self._journal: JournalReader | None = None
        self._entry = 0
        self._notify = NOTIFY_NONE
        self._leases: list[Lease] = []
        self._has_ended = False  # whether a lease had ended before its announcement came
        self._completed = 0  # in all of this session
        self._unsent: list[Completion] = []
        self._unsent_since_ns = 0
        self._unacknowledged: deque[Completion] = deque()
        self._acknowledged = 0
        self._unacknowledged_since_ns = 0
        self._lost_ns = LOST_NS
        self._is_asked = self._is_behind = False  # the producer, what has arrived; it has missed some
        self._owes_since_ns = 0  # since when a received lease waits to be acknowledged
        self._owes_answer = False

    @property
    def received(self) -> int:
        """See `Receiver.received`."""
        return self._received

    @property
    def is_settled(self) -> bool:
        """See `Receiver.is_settled`."""
        return not self._leases and not self._unsent and not self._unacknowledged

    def attached(self, journal: JournalReader, entry: int, session: int, producer_epoch: int) -> None:
        """See `Receiver.attached`."""
        self._journal, self._entry, self._session, self._producer_epoch = journal, entry, session, producer_epoch
        self._received = journal.tag_before(entry)
        self._owes_since_ns, self._owes_answer = 0, False
        self.is_out_of_step = False

    def left(self) -> None:
        """See `Receiver.left`."""
        self._journal, self._notify = None, NOTIFY_NONE
        self._leases.clear()
        self.look()

    def begin_session(self) -> None:
        """See `Receiver.begin_session`."""
        self._received = 0

    def restate(self) -> int:
        """See `Receiver.restate`: the leases that an attach says are held tell the completed ones too."""
        self._acknowledged = self._completed
        self._unacknowledged.clear()
        self._unsent.clear()
        self._unsent_since_ns = 0
        self._lost_ns, self._is_asked, self._is_behind = LOST_NS, False, False
        return self._completed

    def deliver(self, message: Announce, now_ns: int) -> None:
        """See `Receiver.deliver`.

        Raises:
            WireError: it announces leases that the journal does not have, or acknowledges what was not sent.
        """
        journal = self._journal
        if journal is None or message.producer_epoch != self._producer_epoch:
            return  # from a producer that has died since, or for a session that has ended
        last, sent = journal.last_tag(self._entry), self._completed - len(self._unsent)
        if message.last > last:
            raise WireError(f"Announce to {message.consumer}: lease {message.last}; its journal has {last} so far")
        if message.acknowledged > sent:  # it counts what somebody else said in our name
            self.is_out_of_step = True
            raise WireError(f"Announce to {message.consumer} acknowledges {message.acknowledged} leases of {sent} sent")
        self._notify = message.notify
        while self._unacknowledged and self._acknowledged < message.acknowledged:
            self._unacknowledged.popleft()
            self._acknowledged += 1
            self._unacknowledged_since_ns, self._lost_ns = now_ns, LOST_NS
        if self._is_asked:
            self._is_asked = False
            self._is_behind = self._owes_answer = bool(self._unacknowledged)
        self._owes_answer |= message.asks
        if message.after > self._received or message.last <= self._received:
            self._owes_answer |= message.after > self._received or bool(message.leases)  # a gap, or known already
            return
        leases = [
            Lease(key, sequence, captured_ns, payload, cell, tag, delivery)
            for tag, delivery, key, sequence, captured_ns, cell, payload in message.leases
            if tag > self._received and journal.is_leased(cell, self._session, tag)
        ]
        count = message.last - self._received
        if len(leases) != count:  # some have ended; or the message is not our producer's, and they stand
            leases = journal.leases(self._entry, self._session, self._received, message.last)
        self._has_ended |= len(leases) != count
        self._leases += leases
        self._received = message.last
        self._owes_since_ns = self._owes_since_ns or now_ns

    def receive(self) -> tuple[list[Lease], bool]:
        """See `Receiver.receive`."""
        self.look()
        leases, self._leases = self._leases, []
        has_ended, self._has_ended = self._has_ended, False
        return leases, has_ended

    def look(self) -> None:
        """See `Receiver.look`."""
        self.is_awaited = self._notify != NOTIFY_NONE
        self.is_needed = self._notify == NOTIFY_EACH

    def complete(self, name: FrameName, delivery_tag: int) -> None:
        """See `Receiver.complete`."""
        if not self._unsent:
            self._unsent_since_ns = time.monotonic_ns()
        self._unsent.append((*name, delivery_tag))
        self._completed += 1

    def flush(self, outbox: Outbox | None, work_left: int) -> None:
        """See `Receiver.flush`."""
        if outbox is None or self._journal is None:
            return
        if self._unsent:
            is_short = self._notify == NOTIFY_SHORT and 2 * work_left <= self._window
            if self._notify == NOTIFY_EACH or is_short or 2 * len(self._unsent) >= self._window:
                self._send(outbox, time.monotonic_ns())
                return
        if self._owes_answer:
            self._send(outbox, time.monotonic_ns())
        elif self._unsent or self._unacknowledged or self._owes_since_ns:
            now_ns = time.monotonic_ns()
            if now_ns >= self._company_ns() - (COMPANY_NS - AWAKE_COMPANY_NS) or now_ns >= self.due_ns():
                self._send(outbox, now_ns)

    def tell_all(self, outbox: Outbox | None) -> bool:
        """See `Receiver.tell_all`."""
        has_some = outbox is not None and self._journal is not None and bool(self._unsent)
        if has_some and outbox is not None:
            self._send(outbox, time.monotonic_ns())
        return has_some

    def fall_asleep(self, work_left: int) -> bool:
        """See `Receiver.fall_asleep`: a message wakes us, whenever it comes."""
        return False

    def due_ns(self) -> int:
        """See `Receiver.due_ns`."""
        if self._journal is None:
            return NEVER_NS
        due_ns = self._company_ns()
        return min(due_ns, self._unacknowledged_since_ns + self._lost_ns) if self._unacknowledged else due_ns

    def close(self) -> None:
        """See `Receiver.close`."""

    def _company_ns(self) -> int:
        """Return until when completions and acknowledgements wait to travel together."""
        company_ns = self._unsent_since_ns + COMPANY_NS if self._unsent else NEVER_NS
        return min(company_ns, self._owes_since_ns + COMPANY_NS) if self._owes_since_ns else company_ns

    def _send(self, outbox: Outbox, now_ns: int) -> None:
        asks = bool(self._unacknowledged) and now_ns >= self._unacknowledged_since_ns + self._lost_ns
        first, completed = self._completed - len(self._unsent), tuple(self._unsent)
        if self._is_behind:
            first, completed = self._acknowledged, (*self._unacknowledged, *self._unsent)
        is_sent = outbox.try_send(Release(self._consumer, self._session, self._received, first, completed, asks))
        if asks or not is_sent:
            self._lost_ns = min(2 * self._lost_ns, LOST_NS_MAX)
        if asks or not self._unacknowledged or not is_sent:
            self._unacknowledged_since_ns = now_ns
        if is_sent:
            self._is_asked |= asks
            self._unacknowledged.extend(self._unsent)
            self._unsent.clear()
            self._owes_since_ns, self._owes_answer, self._is_behind = 0, False, False
        else:  # later: who does not read now is not asked all the time
            self._unsent_since_ns = now_ns
            self._owes_since_ns = now_ns if self._owes_since_ns else 0
