"""The loop of every node process, with its status block, sockets, signals and the line to its supervisor."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from abc import ABC, abstractmethod
from typing import ClassVar, Generic

from detektr.descriptor import DESCRIPTOR_BYTES_MAX, unpack_descriptor
from detektr.edge.edge_options import FrameOutcome
from detektr.edge.ephemeral import Producer
from detektr.edge.frame_trail import open_frame_trail
from detektr.edge.gathering_subscriber import GatheringSubscriber
from detektr.edge.outcomes import OutcomeReporter
from detektr.edge.publisher import EdgePublisher
from detektr.edge.subscriber import EdgeSubscriber
from detektr.edge.upstream import Upstream
from detektr.errors import RefusedError, WireError
from detektr.events import MessageRefused, NodeStateChanged, RunEvent
from detektr.ledger import EdgeLedger
from detektr.memory import layout
from detektr.memory.journal_reader import open_journal
from detektr.memory.run_folder import RunFolder
from detektr.memory.status_block import acquire_status_block
from detektr.nodes.control import ControlLine, EventOutbox
from detektr.nodes.dead_letter import DeadLetters
from detektr.nodes.node_signals import NodeSignals
from detektr.nodes.spec import NodeSpec, Options
from detektr.nodes.stack_dump import offer_stacks
from detektr.process.seen_time import SeenClock
from detektr.process.user_boundary import leave_child
from detektr.wire.link import Link
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
_PAUSED = "an operator has paused it; `detektr resume {} {}` lets it go on"
_OF_FRAMES = (Failure, Announce, Release, Dequeue, Settle, Show)  # the other messages change who is attached
_log = logging.getLogger(__name__)


class Node(ABC, Generic[Options]):
    """One process of a node. `prepare` may refuse, `run` works until the end, `close` leaves nothing behind."""

    kind: ClassVar[str]
    is_stateful = False
    """Whether the user's code keeps state for each camera; known once it is prepared."""

    def __init__(self, spec: NodeSpec[Options], control: ControlLine | None = None) -> None:
        """Take the node's name: lock its status block and bind its socket.

        Raises:
            RefusedError: a process of this name runs already, the folder cannot be used, or it has too many inputs.
        """
        if len(spec.upstreams) > layout.STATUS_INPUTS_MAX:
            raise RefusedError(f"{spec.node} has {len(spec.upstreams)} inputs; use at most {layout.STATUS_INPUTS_MAX}")
        self.spec, self.control = spec, control
        self.folder = RunFolder(spec.pipeline)
        self.status_block = acquire_status_block(self.folder, spec.node, spec.replica, self.kind)
        offer_stacks(self.status_block)
        self.link = Link(self.folder.inbox(spec.node, spec.replica), self.folder.doorbell(spec.node, spec.replica))
        self.dead_letters = DeadLetters(self.folder, self.status_block.path.stem, spec.dead_letter_bytes)
        name, are_events = self.producer().name, self.kind == "processor"
        self.trail = open_frame_trail(self.folder, spec.node, spec.replica, spec.trail_share)
        self.publisher = EdgePublisher(
            self.producer(),
            self.folder,
            self.link,
            self.report,
            outcomes=OutcomeReporter(
                name, self.report, self.identify, self.save_dead_letter, self.trail, are_events=are_events
            ),
            relayed_outcomes=OutcomeReporter(name, self.report, _frame_id, self._save_frame, self.trail),
        )
        self.subscribers = [
            self.subscriber_kind(upstream)(
                upstream,
                entry,
                self.folder,
                self.link,
                self.status_block,
                seen=self.seen_streams,
                done=self.done_frames,
            )
            for entry, upstream in enumerate(spec.upstreams)
        ]
        self._owner = os.getpid()  # the process that all of this belongs to
        self._signals: NodeSignals | None = None
        self._leaving, self._has_left = threading.Lock(), False
        self.lock = threading.Lock()  # its holder owns the edges and the outboxes
        self.is_asleep = self.is_over = False
        self.is_stopping = self.is_final = False
        self.is_paused = self.is_handing_over = self.is_retiring = False
        self.stopped_by = 0  # the signal that began the stop
        self.stop_deadline_ns = 0
        self._outbox = None if control is None else EventOutbox(control)
        self._state = ("", "")
        self._next_tick_ns = self._wake_at_ns = 0
        self._clock = SeenClock(time.monotonic_ns())
        self.worked_ns = 0
        """Time that the user's code took in the last turn."""

    # -- for the kinds of nodes -------------------------------------------------------------------------------------

    def producer(self) -> Producer:
        """Return how ephemeral consumers may read this node; unless a kind of node says otherwise, not at all."""
        return Producer(
            node=self.spec.node,
            replica=self.spec.replica,
            payload_bytes=DESCRIPTOR_BYTES_MAX,
            ephemeral_frames=0,
            ephemeral_policy="drop-oldest",
            ephemeral_mark=0,
        )

    def subscriber_kind(self, upstream: Upstream) -> type[EdgeSubscriber]:
        """Return the class of our end of an edge that we read."""
        return GatheringSubscriber if upstream.is_gathering else EdgeSubscriber

    def prepare(self) -> None:
        """Do everything that can fail before frames flow: import, construct, open, reserve."""
        for consumer, options in self.spec.edges.items():
            self.publisher.add_edge(consumer, options)
        self.publisher.adopt_ephemeral_edges()

    @abstractmethod
    def step(self, now_ns: int) -> bool:
        """Do some work: move frames on, or work on one frame; whether there was some."""

    def has_work(self) -> bool:
        """Whether there is work that nothing will wake us for."""
        return False

    def is_blocked(self) -> bool:
        """Whether we, or a producer before us, can do nothing until leases are completed."""
        return any([subscriber.is_awaited for subscriber in self.subscribers])

    def is_ending(self) -> bool:
        """Whether no more frames will come, so that we end once those that are here are finished."""
        if self.is_stopping:
            return True
        for subscriber in self.subscribers:
            if not subscriber.is_ended:
                return False
        return bool(self.subscribers)

    def tick_ns(self) -> int:
        """Return the monotonic time of the next tick."""
        if not all(subscriber.is_attached or subscriber.is_ended for subscriber in self.subscribers):
            return ATTACH_TICK_NS
        return UNSERVED_TICK_NS if self.publisher.is_unserved else TICK_NS

    def due_ns(self) -> int:
        """Return the monotonic time at which to look next: a producer or a consumer must be told something then."""
        return min([self.publisher.due_ns(), *[subscriber.due_ns() for subscriber in self.subscribers]])

    def look_soon(self) -> None:
        """Let the next turn be one with a tick, as our state has changed."""
        self._next_tick_ns = 0

    def hasten(self) -> None:
        """Stop waiting for the world outside: the run is being drained."""

    def pause(self) -> None:
        """Begin no new work until `resume` or `stop`; what is in work is finished, and our leases stay ours."""
        if not self.is_stopping:
            self.is_paused = True
            self.look_soon()

    def resume(self) -> None:
        """Go on after `pause`."""
        self.is_paused = False
        self.look_soon()

    def hand_over(self) -> None:
        """Stop this process for a successor: what is in work is finished, what is queued stays in the journals."""
        if not self.is_stopping or self.is_retiring:
            self.is_handing_over = True
            self.stop(is_final=False)

    def retire(self) -> None:
        """Leave in order, for good: what is in work is finished, and our own edges end once they are empty.

        Only another order, or a signal, sets a time for that: nothing is dropped because we leave.
        """
        if not self.is_stopping:
            self.stop(is_final=False)
            self.is_retiring = True

    def drop_unoffered(self, reason: str) -> int:
        """Drop the frames that no journal has, as the time to hand over has expired; returns how many."""
        return 0

    @abstractmethod
    def is_done(self) -> bool:
        """Whether everything is finished, so that the process may end."""

    def state(self) -> tuple[str, str]:
        """Return the node's state, and why."""
        missing = next(
            (
                subscriber.why
                for subscriber in self.subscribers
                if not subscriber.is_attached and not subscriber.is_ended
            ),
            "",
        )
        return ("waiting", missing) if missing else ("running", "")

    def stop(self, *, is_final: bool, within_ns: int | None = None) -> None:
        """Begin to stop, within the drain's time unless told otherwise.

        Args:
            is_final: the whole pipeline stops: frames that our inputs still hold are worked off, and consumers are told
                that no more will come. Else only this process stops, and its consumers wait for its successor.
            within_ns: time after which remaining frames are dropped as `stopped`.
        """
        now_ns = time.monotonic_ns()
        limit_ns = self.spec.options.drain_ns if within_ns is None else within_ns
        deadline_ns = now_ns + limit_ns
        has_deadline = self.is_stopping and not self.is_retiring
        self.stop_deadline_ns = min(self.stop_deadline_ns, deadline_ns) if has_deadline else deadline_ns
        self.is_retiring = False
        self.is_stopping, self.is_final = True, self.is_final or is_final
        self.is_handing_over = self.is_handing_over and not self.is_final
        self.resume()

    def drop_rest(self, reason: str) -> int:
        """Drop all frames that are still here, as the drain timeout has expired; returns how many."""
        return self.publisher.drop_rest(reason)

    def try_end(self) -> bool:
        """End our edges when they are empty; consumers are told so unless only this process stops."""
        if self.is_stopping and not self.is_final and not self.is_retiring:
            return self.is_handing_over or self.publisher.is_empty
        return self.publisher.try_end()

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

    def seen_streams(self) -> list[tuple[int, int]]:
        """Return, for a durable consumer, the next sequence that it expects of each stream."""
        return []

    def done_frames(self, entry: int) -> list[tuple[int, int]]:
        """Return the frames of an input that our edges know by name and are done with."""
        return []

    def settle(self, names: list[tuple[int, int]]) -> None:
        """Note the step, and that no edge needs these frames any more; leases have been announced by then."""

    # -- the loop ---------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Work until everything is finished, or stopped and drained, or the drain timeout expires."""
        self._signals = NodeSignals()
        wakeup = self._signals.fd
        self.publisher.call_back()
        self._clock.look(time.monotonic_ns())
        watched = [wakeup] if self.control is None else [wakeup, self.control.fileno()]
        for fd in watched:
            self.link.watch(fd)
        while not self.is_over:
            may_sleep = self.turn()
            ready = self.link.wait(self._wake_at_ns - time.monotonic_ns() if may_sleep else 0)
            if ready:
                self._hear(ready, wakeup)
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

    def _forgive(self, unseen_ns: int) -> None:
        """Do not count time that we did not see: for no lease, and, except for the user's code, not for our drain."""
        self.publisher.forgive(unseen_ns)
        self.stop_deadline_ns += max(0, unseen_ns - self.worked_ns)

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

    def close(self) -> None:
        """Let the user's code end, then leave."""
        self.close_user_code()
        self.leave()

    def close_user_code(self) -> None:
        """Close the user's code, and let go of its objects; this may take long."""

    def died(self, why: str) -> None:
        """Note that an exception has ended the work: the attempt at the current frame has failed."""

    def leave(self, within_s: float = -1) -> bool:
        """Leave, once, from the thread that comes first; False: another thread has not finished that in this time."""
        if not self._leaving.acquire(timeout=within_s):
            return False
        try:
            if not self._has_left:
                self._has_left = True
                self._leave()
        finally:
            self._leaving.release()
        return True

    @property
    def signal_fd(self) -> int:
        """Descriptor at which ending signals arrive; -1: not yet."""
        return -1 if self._signals is None else self._signals.fd

    def _leave(self) -> None:
        """Leave the edges, and remove our files unless a living supervisor wants to read them."""
        is_own = self.control is None or self.control.is_cut
        is_followed = self.is_handing_over and not is_own
        for subscriber in self.subscribers:
            subscriber.close(is_followed=is_followed)
        self.publisher.close(unlink=is_own, is_followed=is_followed)
        if self.trail is not None:
            self.trail.close(unlink=is_own)
        if is_own:  # by name too: a signal may end us before the publisher knows the journal just made
            for _, _, _, path in self.folder.journals(self.spec.node, self.spec.replica):
                path.unlink(missing_ok=True)
            self.folder.user_metrics(self.spec.node, self.spec.replica).unlink(missing_ok=True)
        self.link.close()
        if self._outbox is not None:
            self._outbox.send()
        self.status_block.close(unlink=is_own)
        if self.control is not None and self.control.is_cut:
            self.folder.sweep_if_abandoned()  # files that earlier processes left and no supervisor removed
        elif is_own:
            self.folder.remove_if_empty()

    def ledgers(self) -> list[EdgeLedger]:
        """Return the ledgers of our edges as they are now, inputs first; to be asked before `close`."""
        found = [ledger for subscriber in self.subscribers if (ledger := subscriber.ledger()) is not None]
        for producer, _, consumer, path in self.folder.journals(self.spec.node, self.spec.replica):
            journal = open_journal(path, producer, consumer)
            if journal is not None:
                found.append(journal.ledger())
                journal.close()
        return found

    def report(self, event: RunEvent) -> None:
        """Remember what happened until it can be told; when that takes too long the oldest is lost, and counted."""
        if self._outbox is None or not self.spec.is_audited:
            return
        if not self._outbox.put(event):
            self.status_block.count_trail_lost()
        if self._outbox.is_filling:
            self._next_tick_ns = 0

    def identify(self, payload: bytes) -> str:
        """Return the id of the frame that an announcement is about."""
        return _frame_id(payload)

    def save_dead_letter(self, consumer: str, outcome: FrameOutcome) -> str:
        """Save a frame that a consumer could not do, with its picture and the reason; returns where."""
        return self._save_frame(consumer, outcome)

    def _save_frame(self, consumer: str, outcome: FrameOutcome) -> str:
        return self.dead_letters.save_frame(consumer, outcome)

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
                self._hand_over(message, now_ns)
            except WireError as fault:
                self._refuse(fault)
        return is_of_frames

    def _hand_over(self, message: Message, now_ns: int) -> None:
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
        if self.status_block.count_wire_error().bit_count() == 1:  # 1, 2, 4, 8, ... of them
            _log.warning("message refused: %s", fault)
        self.report(MessageRefused(self.status_block.path.stem, str(fault)))

    def _tick(self, now_ns: int) -> None:
        for subscriber in self.subscribers:
            subscriber.tick(now_ns)
        self.publisher.tick(now_ns)
        state = self.state()
        if self.is_stopping:
            state = "draining", state[1] if state[0] == "retrying" else ""
        elif self.is_paused:
            state = "paused", _PAUSED.format(self.spec.pipeline, self.spec.node)
        if state != self._state:
            self._state = state
            self.status_block.set_state(*state)
            _log.info("%s", state[1] if state[1].startswith(state[0]) else ": ".join(filter(None, state)))
            self.report(NodeStateChanged(self.status_block.path.stem, *state))
        if self._outbox is not None:
            self._outbox.send()

    def _has_ended(self, now_ns: int) -> bool:
        if self.is_done():
            return True
        if self.is_ending() and self.publisher.leave_optional(now_ns):
            self.settle(self.publisher.collect())
            if self.is_done():
                return True
        if self.is_stopping and now_ns > self.stop_deadline_ns and not self.is_retiring:
            count = self.drop_unoffered("stopped") if self.is_handing_over else self.drop_rest("stopped")
            self.settle(self.publisher.collect())
            if count:
                is_kept = any([options.is_retried for options in self.spec.edges.values()])
                kept = "; those for sinks with `retry` are dead letters" if is_kept else ""
                drain = self.spec.options.drain
                _log.warning("drain timeout (%s) expired; dropped %d frames (reason: stopped)%s", drain, count, kept)
            self.try_end()
            return True
        return False

    def _hear(self, ready: list[int], wakeup: int) -> None:
        for fd in ready:
            if fd not in (wakeup, -1 if self.control is None else self.control.fileno()):
                self.link.unwatch(fd)  # a consumer's process has ended; the tick finds out which
        if wakeup in ready:
            self._obey_signals()
        if self.control is not None and self.control.fileno() in ready:
            order = self.control.try_order()
            if order is not None and order.get("order") == "stop":
                self.stop(is_final=True, within_ns=order.get("within_ns"))
            elif order is not None and order.get("order") == "drain":
                self.hasten()
            elif order is not None and order.get("order") == "pause":
                self.pause()
            elif order is not None and order.get("order") == "resume":
                self.resume()
            elif order is not None and order.get("order") == "hand_over":
                self.hand_over()
            elif order is not None and order.get("order") == "retire":
                self.retire()
            elif order is not None and order.get("order") == "give_up":
                with self.lock:
                    self.publisher.give_up(order["consumer"])
            elif order is not None and order.get("order") == "let_go":
                with self.lock:
                    self.publisher.let_go(order["replica"])
            if self.control.is_cut:
                self.link.unwatch(self.control.fileno())
                _log.warning("the supervisor is gone: stopping")
                self.stop(is_final=True)

    def _obey_signals(self) -> None:
        assert self._signals is not None
        for number in self._signals.take():
            # A second signal ends the drain. But a terminal that closes sends SIGHUP once for each shell.
            is_impatient = self.stopped_by and number != signal.SIGHUP
            self.stop(is_final=False, within_ns=0 if is_impatient else None)
            self.stopped_by = self.stopped_by or number


def _frame_id(payload: bytes) -> str:
    return unpack_descriptor(payload).id
