"""The loop that all nodes share: what one turn does, in which order, and when it may sleep."""

from __future__ import annotations

import logging
import os
import time
from abc import abstractmethod

from detektr.errors import WireError
from detektr.events import MessageRefused
from detektr.nodes.control import ControlLine
from detektr.nodes.node_life import NodeLife
from detektr.nodes.spec import NodeSpec, Options
from detektr.process.seen_time import SeenClock
from detektr.process.user_boundary import leave_child
from detektr.wire.message import (
    Announce,
    Asked,
    Clear,
    Cleared,
    Dequeue,
    Dequeued,
    Failure,
    Message,
    Refusal,
    Release,
    Resend,
    Settle,
    Settled,
    Show,
    Shown,
    Welcome,
)

TICK_NS = 1_000_000_000  # the tick: a look at everything that nothing wakes us for ...
UNSERVED_TICK_NS = 300_000_000  # ... while frames wait and nobody is there to take them ...
ATTACH_TICK_NS = 50_000_000  # ... and while a producer is missing
_TO_CONSUMER = (Welcome, Refusal, Announce)
_ASKED = (Dequeue, Settle, Show)
_ANSWERS = (Cleared, Dequeued, Settled, Shown)
_OF_FRAMES = (Failure, Announce, Release, Dequeue, Settle, Show)  # the other messages change who is attached
_log = logging.getLogger(__name__)


class Node(NodeLife[Options]):
    """One process of a node. `prepare` may refuse, `run` works until the end, `close` leaves nothing behind."""

    def __init__(self, spec: NodeSpec[Options], control: ControlLine | None = None) -> None:
        """See `NodeProcess`."""
        super().__init__(spec, control)
        self._owner = os.getpid()  # the process that all of this belongs to
        self.is_asleep = self.is_over = False
        self._wake_at_ns = 0
        self._clock = SeenClock(time.monotonic_ns())
        self.worked_ns = 0
        """Time that the user's code took in the last turn."""

    # -- what a turn asks each kind of node ---------------------------------------------------------------------------

    @abstractmethod
    def step(self, now_ns: int) -> bool:
        """Do some work: move frames on, or work on one frame; whether there was some."""

    def has_work(self) -> bool:
        """Whether there is work that nothing will wake us for."""
        return False

    def is_blocked(self) -> bool:
        """Whether we, or a producer before us, can do nothing until leases are completed."""
        return any([subscriber.is_awaited for subscriber in self.subscribers])

    def tick_ns(self) -> int:
        """Return how long after one tick the next is due."""
        if not all(subscriber.is_attached or subscriber.is_ended for subscriber in self.subscribers):
            return ATTACH_TICK_NS
        return UNSERVED_TICK_NS if self.publisher.is_unserved else TICK_NS

    def due_ns(self) -> int:
        """Return the monotonic time at which to look next: a producer or a consumer must be told something then."""
        return min([self.publisher.due_ns(), *[subscriber.due_ns() for subscriber in self.subscribers]])

    def resend(self, message: Resend, now_ns: int) -> None:
        """Offer an event to a sink once more.

        Raises:
            WireError: this kind of node makes no events, or it has no such sink.
        """
        raise WireError(f"a {self.kind} makes no events and takes no Resend for {message.consumer}")

    def clear(self, message: Clear) -> None:
        """Drop what is queued, as an operator asks for, and answer.

        Raises:
            WireError: this kind of node queues no frames for others, or it has no such edge.
        """
        raise WireError(f"a {self.kind} takes no Clear from {message.replica}")

    def answer(self, message: Asked, now_ns: int) -> None:
        """Answer who asks in the name of clients that pull.

        Raises:
            WireError: this kind of node gives no frames to clients.
        """
        raise WireError(f"a {self.kind} gives no frames to clients and takes no {type(message).__name__}")

    # -- turn after turn ----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Work until everything is finished, or stopped and drained, or the drain timeout expires."""
        self._listen()
        self.publisher.call_back()
        self._clock.look(time.monotonic_ns())
        while not self.is_over:
            may_sleep = self.turn()
            ready = self.link.wait(self._wake_at_ns - time.monotonic_ns() if may_sleep else 0)
            if ready:
                self._hear(ready)
                self._next_tick_ns = 0

    def turn(self) -> bool:
        """Do one turn of work; whether the loop may sleep now."""
        if os.getpid() != self._owner:  # forked where no call of ours was: in a signal handler, say
            leave_child()
        with self.lock:
            self.is_asleep = False
            publisher = self.publisher
            publisher.wake_up()
            now_ns = time.monotonic_ns()
            if now_ns > self._clock.due_ns:
                self._forgive(self._clock.look(now_ns))
            has_news = is_outlived = False
            if self.link.has_mail:
                has_news = self._receive(now_ns)
            for subscriber in self.subscribers:
                if subscriber.receive():
                    has_news = True
                if subscriber.is_outlived:
                    is_outlived = True
            is_rung, is_ending = self.link.is_rung, self.is_ending()
            if self._serve(now_ns, is_ending=is_ending):
                has_news = True
            for subscriber in self.subscribers:
                subscriber.flush()
            woken_without_work = is_rung and not has_news  # a peer has exited, or waits for us
            producer_changed = is_rung and is_outlived  # it was restarted, and its successor waits for us to attach
            last_news_while_ending = is_ending and (is_rung or has_news)  # perhaps our end depends on it
            is_due = woken_without_work or producer_changed or last_news_while_ending
            if is_due or now_ns >= self._next_tick_ns:
                self._tick(now_ns)
                self._next_tick_ns = now_ns + self.tick_ns()
                self.is_over = self._has_ended(now_ns)
                self._clock.expect(now_ns, now_ns)
                return False  # changes by the tick are for another turn
            self.is_asleep = True
            has_news = self._fall_asleep()
            self._wake_at_ns = min(self._next_tick_ns, self.due_ns())
            if self.is_ending() and not is_ending:
                has_news, self._next_tick_ns = True, 0
            self._clock.expect(now_ns, max(now_ns, self._next_tick_ns))
        return not has_news and not self.has_work()

    def _serve(self, now_ns: int, *, is_ending: bool) -> bool:
        """Work, and move leases; whether there was something to do."""
        has_moved, publisher = self.step(now_ns), self.publisher
        if publisher.edges:
            publisher.is_blocked = is_ending or self.is_blocked()
            has_moved |= publisher.pump(now_ns)
            if now_ns >= publisher.due_ns():
                publisher.tell_again(now_ns)
        self.settle(publisher.collect())
        return has_moved

    def _tick(self, now_ns: int) -> None:
        """Look at everything that nothing wakes us for, and tell of our state and of what has happened."""
        for subscriber in self.subscribers:
            subscriber.tick(now_ns)
        self.publisher.tick(now_ns)
        self._show_state()
        if self._outbox is not None:
            self._outbox.send()

    def _fall_asleep(self) -> bool:
        """Tell producers and consumers that we sleep; whether news came before they could see that."""
        has_news = False
        publisher = self.publisher
        has_edges = bool(publisher.edges)  # most processors have no edge of their own
        if has_edges:
            has_news = publisher.fall_asleep()
        for subscriber in self.subscribers:
            if subscriber.fall_asleep():
                has_news = True
        return has_news or (has_edges and not publisher.is_blocked and self.is_blocked())

    def _forgive(self, unseen_ns: int) -> None:
        """Do not count time that we did not see: for no lease, and, except for the user's code, not for our drain."""
        self.publisher.forgive(unseen_ns)
        self.stop_deadline_ns += max(0, unseen_ns - self.worked_ns)

    # -- from other threads -------------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Do the loop's work for the edges from another thread, if the loop sleeps; else the loop does it."""
        if not self.is_asleep:
            return
        with self.lock:
            if self.is_ending():  # this may have been the last work, and only the loop can end the process
                self.link.wake()
                return
            publisher = self.publisher
            self._serve(time.monotonic_ns(), is_ending=False)
            while self.is_asleep and (publisher.fall_asleep() or self.has_work()):
                self._serve(time.monotonic_ns(), is_ending=False)
            if publisher.due_ns() < self._wake_at_ns:
                self.link.wake()  # the loop sleeps until later

    def wake(self) -> None:
        """Wake the loop from another thread, so that it looks for changes."""
        self.link.wake()

    # -- messages -----------------------------------------------------------------------------------------------------

    def _receive(self, now_ns: int) -> bool:
        """Take messages; whether leases or completions were among them."""
        is_of_frames = False
        for message in self.link.receive():
            if isinstance(message, WireError):  # not raised: it would hold this frame, and the frame its bytes
                self._refuse(message)
                continue
            if isinstance(message, _OF_FRAMES):
                is_of_frames = True
            else:
                self._next_tick_ns = 0
            try:
                self._deliver(message, now_ns)
            except WireError as fault:
                self._refuse(fault)
        return is_of_frames

    def _deliver(self, message: Message, now_ns: int) -> None:
        """Give a message to the end of an edge that it is for."""
        if isinstance(message, Resend):
            self.resend(message, now_ns)
            return
        if isinstance(message, Clear):
            self.clear(message)
            return
        if isinstance(message, _ANSWERS):
            what = type(message).__name__
            raise WireError(f"a {self.kind} has not asked for a {what} of request {message.request}")
        if isinstance(message, _ASKED):
            self.answer(message, now_ns)
            return
        if not isinstance(message, _TO_CONSUMER):
            self.publisher.handle(message, now_ns)
            return
        if not self.spec.upstreams:
            raise WireError(f"a {self.kind} reads from nobody and takes no {type(message).__name__}")
        for subscriber in self.subscribers:
            if subscriber.owns(message.session):
                subscriber.handle(message, now_ns)

    def _refuse(self, fault: WireError) -> None:
        """Count a message that nobody here can take, and tell of it."""
        if self.status_block.count_wire_error().bit_count() == 1:  # 1, 2, 4, 8, ... of them
            _log.warning("message refused: %s", fault)
        self.report(MessageRefused(self.status_block.path.stem, str(fault)))
