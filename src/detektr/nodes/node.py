"""What every node process has in common: page, sockets, signals, the line to its supervisor, and the loop."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from typing import ClassVar

from detektr.descriptor import DESCRIPTOR_BYTES_MAX, unpack_descriptor
from detektr.edge.edge_options import ReclaimMode
from detektr.edge.ephemeral import Producer
from detektr.edge.publisher import EdgePublisher
from detektr.edge.subscriber import EdgeSubscriber
from detektr.errors import RefusedError, WireError
from detektr.events import Event, MessageRefused, NodeStateChanged
from detektr.ledger import EdgeLedger
from detektr.memory import layout
from detektr.memory.journal_reader import open_journal
from detektr.memory.layout import WANTED_AWAKE, WANTED_EACH
from detektr.memory.run_folder import RunFolder
from detektr.memory.status_block import acquire_status_block
from detektr.nodes.control import EVENTS_MAX, ControlLine
from detektr.nodes.dead_letter import save_frame
from detektr.nodes.node_signals import NodeSignals
from detektr.nodes.spec import NodeSpec
from detektr.user_boundary import leave_child
from detektr.wire.link import Link
from detektr.wire.message import Failure, Refusal, Welcome

TICK_NS = 1_000_000_000  # a look at everything that nobody rings for ...
UNREAD_TICK_NS = 300_000_000  # ... while frames wait and nobody is there to take them ...
ATTACH_TICK_NS = 50_000_000  # ... and while a producer is missing
EVENTS_PENDING_MAX = 4096
_TO_CONSUMER = (Welcome, Refusal)
_log = logging.getLogger(__name__)


class Node(ABC):
    """One process of a node. `prepare` may refuse, `run` works until the end, `close` leaves nothing behind."""

    kind: ClassVar[str]

    def __init__(self, spec: NodeSpec, control: ControlLine | None = None) -> None:
        """Take the node's name: lock its page and bind its socket.

        Raises:
            RefusedError: a process of this name runs already, the folder cannot be used, or it has too many inputs.
        """
        if len(spec.upstreams) > layout.STATUS_INPUTS_MAX:
            raise RefusedError(f"{spec.node} has {len(spec.upstreams)} inputs; at most {layout.STATUS_INPUTS_MAX}")
        self.spec, self.control = spec, control
        self.folder = RunFolder(spec.pipeline)
        self.status_block = acquire_status_block(self.folder, spec.node, spec.replica, self.kind)
        self.link = Link(self.folder.inbox(spec.node, spec.replica), self.folder.doorbell(spec.node, spec.replica))
        self.publisher = EdgePublisher(
            self.producer(spec),
            self.folder,
            self.link,
            self.report,
            identify=self.identify,
            save_dead_letter=self.save_dead_letter,
        )
        self.subscribers = [
            EdgeSubscriber(upstream, entry, self.folder, self.link, self.status_block, seen=self.seen_streams)
            for entry, upstream in enumerate(spec.upstreams)
        ]
        self._owner = os.getpid()  # all of this is its
        self._signals: NodeSignals | None = None
        self._leaving, self._has_left = threading.Lock(), False
        self.lock = threading.Lock()  # whoever holds it owns the edges and the outboxes
        self.is_asleep = self.is_over = False
        self.is_stopping = self.is_final = False
        self.stopped_by = 0  # the signal that began the stop
        self.stop_deadline_ns = 0
        self._events: deque[Event] = deque(maxlen=EVENTS_PENDING_MAX)
        self._state = ("", "")
        self._next_tick_ns = 0

    # -- what kinds of nodes do -------------------------------------------------------------------------------------

    def producer(self, spec: NodeSpec) -> Producer:
        """Return what we are to those who read from us."""
        return Producer(
            node=spec.node,
            replica=spec.replica,
            payload_bytes=DESCRIPTOR_BYTES_MAX,
            ephemeral_frames=getattr(spec.options, "guests", 0),
            ephemeral_policy="drop-oldest",
            ephemeral_mark=getattr(spec.options, "high_water_mark", 0),
        )

    def prepare(self) -> None:
        """Do what may be refused before anything flows: import, construct, open, reserve."""
        for consumer, options in self.spec.edges.items():
            self.publisher.add_edge(consumer, options)
        self.publisher.adopt_ephemeral_edges()

    @abstractmethod
    def step(self, now_ns: int) -> bool:
        """Do some work: move what has come, or work on one frame; whether there was some."""

    def has_work(self) -> bool:
        """Whether there is something to do that no message will announce."""
        return False

    def reclaim_mode(self) -> ReclaimMode:
        """How much we, or who is before us, want leases back."""
        reclaim_mode = ReclaimMode.LAZY
        for subscriber in self.subscribers:  # at each turn, here and below: loops, not generators
            wanted = subscriber.wanted & ~WANTED_AWAKE
            if wanted == WANTED_EACH:
                reclaim_mode = ReclaimMode.RELAYED
            elif wanted:
                return ReclaimMode.BLOCKED
        return reclaim_mode

    def is_ending(self) -> bool:
        """Whether nothing more will come, so that we wait for what is here to be finished, and end then."""
        if self.is_stopping:
            return True
        for subscriber in self.subscribers:
            if not subscriber.is_ended:
                return False
        return bool(self.subscribers)

    def tick_ns(self) -> int:
        """Return when to look next at what nobody rings for."""
        if not all(subscriber.is_attached for subscriber in self.subscribers):
            return ATTACH_TICK_NS
        return UNREAD_TICK_NS if self.publisher.is_unread else TICK_NS

    @abstractmethod
    def is_done(self) -> bool:
        """Whether everything is finished, so that the process may end."""

    def state(self) -> tuple[str, str]:
        """How the node is, and why."""
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
            is_final: the whole pipeline stops: what our inputs still have is worked off, and consumers are told that
                nothing more will come. Else only this process stops, and its consumers wait for its successor.
            within_ns: time until the rest is dropped as `stopped`.
        """
        now_ns = time.monotonic_ns()
        limit_ns = self.spec.options.drain_ns if within_ns is None else within_ns
        deadline_ns = now_ns + limit_ns
        self.stop_deadline_ns = min(self.stop_deadline_ns, deadline_ns) if self.is_stopping else deadline_ns
        self.is_stopping, self.is_final = True, self.is_final or is_final
        self._next_tick_ns = 0

    def drop_rest(self, reason: str) -> int:
        """Drop what is still here, at the end of a drain whose time is over; returns how many frames."""
        return self.publisher.drop_rest(reason)

    def try_end(self) -> bool:
        """End our edges when they are empty; consumers are told so unless only this process stops."""
        if self.is_stopping and not self.is_final:
            return self.publisher.fanout.is_empty
        return self.publisher.try_end()

    def seen_streams(self) -> list[tuple[int, int]]:
        """For a durable consumer: per stream, the next sequence that it expects."""
        return []

    def settle(self, names: list[tuple[int, int]]) -> None:  # noqa: B027 -- workers' events hold nothing
        """Take note of the step, and that no edge needs these frames any more; consumers have been told by then."""

    # -- the loop ---------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Work until everything is finished, or stopped and drained, or the drain's time is over."""
        self._signals = NodeSignals()
        wakeup = self._signals.fd
        self.publisher.call_back()
        watched = [wakeup] if self.control is None else [wakeup, self.control.fileno()]
        for fd in watched:
            self.link.watch(fd)
        while not self.is_over:
            may_sleep = self.turn()
            ready = self.link.wait(self._next_tick_ns - time.monotonic_ns() if may_sleep else 0)
            if ready:
                self._hear(ready, wakeup)
                self._next_tick_ns = 0

    def turn(self) -> bool:
        """Do what there is to do; whether the loop may sleep now."""
        if os.getpid() != self._owner:  # forked where no call of ours was: in a signal handler, say
            leave_child()
        with self.lock:
            self.is_asleep = False
            if self.publisher.reclaim.has_asked:
                self.publisher.reclaim.wake()
            now_ns = time.monotonic_ns()
            if self.link.has_mail:
                self._receive(now_ns)
            has_news = is_outlived = False
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
            # Rung for no frame: something has ended, or somebody waits for us. At the end any news may be the last.
            is_due = (is_rung and (not has_news or is_outlived)) or (is_ending and (is_rung or has_news))
            if is_due or now_ns >= self._next_tick_ns:
                self._tick(now_ns)
                self._next_tick_ns = now_ns + self.tick_ns()
                self.is_over = self._has_ended(now_ns)
                return False  # what the tick has changed is for another turn
            self.is_asleep = True
            has_news = self._fall_asleep()
            if self.is_ending() and not is_ending:
                has_news, self._next_tick_ns = True, 0
        return not has_news and not self.has_work()

    def _fall_asleep(self) -> bool:
        """Tell those before and after us that we sleep; whether there is news that they could not know to ring for."""
        reclaim = self.publisher.reclaim
        has_edges = bool(self.publisher.fanout.edges)  # of most processors nobody reads
        has_news = has_edges and reclaim.fall_asleep()
        for subscriber in self.subscribers:
            if subscriber.fall_asleep():
                has_news = True
        return has_news or (
            has_edges
            and reclaim.reclaim_mode is not ReclaimMode.BLOCKED
            and self.reclaim_mode() is not reclaim.reclaim_mode
        )

    def serve(self) -> None:
        """Do the loop's work for the edges from another thread, which has news, if the loop sleeps; else it will."""
        if not self.is_asleep:
            return
        with self.lock:
            if self.is_ending():  # what is done here may be the last, and it is the loop that ends
                self.link.wake()
                return
            self._serve(time.monotonic_ns(), is_ending=False)
            while self.is_asleep and (self.publisher.reclaim.fall_asleep() or self.has_work()):
                self._serve(time.monotonic_ns(), is_ending=False)

    def _serve(self, now_ns: int, *, is_ending: bool) -> bool:
        """Work, and move leases; whether there was something to do."""
        has_moved, publisher = self.step(now_ns), self.publisher
        if publisher.fanout.edges:
            reclaim_mode = ReclaimMode.BLOCKED if is_ending else self.reclaim_mode()
            if reclaim_mode is not publisher.reclaim.reclaim_mode:
                publisher.reclaim.set_mode(reclaim_mode)
            has_moved |= publisher.pump(now_ns)
        self.settle(publisher.collect())
        return has_moved

    def close(self) -> None:
        """Let the user's code end, then leave."""
        self.close_user_code()
        self.leave()

    def close_user_code(self) -> None:  # noqa: B027 -- most kinds have none
        """Tell what is the user's that the work is over, and let go of it; it may take long."""

    def died(self, why: str) -> None:  # noqa: B027 -- who only passes frames on makes no attempt at any
        """Take note that an exception has ended the work: what was being worked on was attempted, and failed."""

    def leave(self, within_s: float = -1) -> bool:
        """Leave, once, from whatever thread comes first; False: another is at it and has not done so within that."""
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
        """Descriptor at which signals arrive that tell us to end; -1: they do not yet."""
        return -1 if self._signals is None else self._signals.fd

    def _leave(self) -> None:
        """Leave the edges and take away what is ours, unless a supervisor lives who wants to read it."""
        is_own = self.control is None or self.control.is_cut
        for subscriber in self.subscribers:
            subscriber.close()
        self.publisher.close(unlink=is_own)
        if is_own:  # by name too: a signal may have ended us before the outlet knew what had just been made
            for _, _, _, path in self.folder.journals(self.spec.node, self.spec.replica):
                path.unlink(missing_ok=True)
        self.link.close()
        self._tell()
        self.status_block.close(unlink=is_own)
        if self.control is not None and self.control.is_cut:
            self.folder.sweep_if_abandoned()  # what others left who went before us, and the supervisor did not take
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

    def report(self, event: Event) -> None:
        """Remember what happened until it can be told; when that takes too long the oldest is lost, and counted."""
        if self.control is None or not self.spec.is_audited:
            return
        if len(self._events) == EVENTS_PENDING_MAX:
            self.status_block[layout.STATUS_WORD_TRAIL_LOST] += 1
        self._events.append(event)
        if len(self._events) > EVENTS_PENDING_MAX // 4:
            self._next_tick_ns = 0

    def identify(self, payload: bytes) -> str:
        """Return the id of the frame that an announcement is about."""
        return unpack_descriptor(payload).id

    def save_dead_letter(self, payload: bytes, why: str) -> str:
        """Keep a dead-lettered frame's picture and the reason; returns where."""
        return save_frame(self.folder, payload, why)

    def _receive(self, now_ns: int) -> None:
        for message in self.link.receive():
            if isinstance(message, WireError):  # not raised: it would hold this frame, and the frame its bytes
                self._refuse(message)
                continue
            try:
                if not isinstance(message, Failure):  # the others change who is attached
                    self._next_tick_ns = 0
                if isinstance(message, _TO_CONSUMER):
                    if not self.subscribers:
                        raise WireError(f"{type(message).__name__} to a {self.kind}, which reads from nobody")
                    for subscriber in self.subscribers:
                        if subscriber.owns(message.session):
                            subscriber.handle(message, now_ns)
                else:
                    self.publisher.handle(message, now_ns)
            except WireError as fault:
                self._refuse(fault)

    def _refuse(self, fault: WireError) -> None:
        self.status_block[layout.STATUS_WORD_WIRE_ERRORS] += 1
        if self.status_block[layout.STATUS_WORD_WIRE_ERRORS].bit_count() == 1:  # 1, 2, 4, 8, ... of them
            _log.warning("message refused: %s", fault)
        self.report(MessageRefused(self.status_block.path.stem, str(fault)))

    def _tick(self, now_ns: int) -> None:
        for subscriber in self.subscribers:
            subscriber.tick(now_ns)
        self.publisher.tick(now_ns)
        state = self.state()
        if self.is_stopping:
            state = "draining", ""
        if state != self._state:
            self._state = state
            self.status_block.set_state(*state)
            _log.info("%s", state[1] if state[1].startswith(state[0]) else ": ".join(filter(None, state)))
            self.report(NodeStateChanged(self.status_block.path.stem, *state))
        self._tell()

    def _tell(self) -> None:
        while self._events and self.control is not None:
            batch = [self._events[place] for place in range(min(EVENTS_MAX, len(self._events)))]
            told = self.control.try_tell_events(batch)
            if not told:
                return
            for _ in range(told):
                self._events.popleft()

    def _has_ended(self, now_ns: int) -> bool:
        if self.is_done():
            return True
        if self.is_stopping and now_ns > self.stop_deadline_ns:
            count = self.drop_rest("stopped")
            self.settle(self.publisher.collect())
            if count:
                _log.warning("the drain's %s are over: %d frames dropped as stopped", self.spec.options.drain, count)
            self.try_end()
            return True
        return False

    def _hear(self, ready: list[int], wakeup: int) -> None:
        for fd in ready:
            if fd not in (wakeup, -1 if self.control is None else self.control.fileno()):
                self.link.unwatch(fd)  # a consumer's process has ended: the tick will see whose
        if wakeup in ready:
            self._obey_signals()
        if self.control is not None and self.control.fileno() in ready:
            order = self.control.try_order()
            if order is not None and order.get("order") == "stop":
                self.stop(is_final=True, within_ns=order.get("within_ns"))
            elif order is not None and order.get("order") == "give_up":
                with self.lock:
                    self.publisher.give_up(order["consumer"])
            if self.control.is_cut:
                self.link.unwatch(self.control.fileno())
                _log.warning("the supervisor is gone: stopping")
                self.stop(is_final=True)

    def _obey_signals(self) -> None:
        assert self._signals is not None
        for number in self._signals.take():
            # Who says it twice does not want to wait for the drain; but a terminal that closes says it for each shell.
            is_impatient = self.stopped_by and number != signal.SIGHUP
            self.stop(is_final=False, within_ns=0 if is_impatient else None)
            self.stopped_by = self.stopped_by or number
