"""The work of processors and sinks: the user's code on one lease at a time, and the consequences of its failures."""

from __future__ import annotations

import functools
import gc
import logging
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from detektr.edge.frame_trail import EdgeTrail
from detektr.edge.subscriber import EdgeSubscriber
from detektr.errors import OverwrittenError, RefusedError, ResultError
from detektr.memory.announcement import Lease
from detektr.nodes.node import TICK_NS, Node
from detektr.options import ProcessorOptions, SinkOptions
from detektr.process.fault_text import fault_line, fault_place, fault_traceback
from detektr.process.user_boundary import call_user, flush_files
from detektr.redaction import mask
from detektr.registry.node_kinds import NODE_KINDS
from detektr.registry.user_code import build_worker, told
from detektr.tracing import HERE, InWork
from detektr.wire.message import FailureKind

WHY_CHARS_MAX = 8000
ALIVE_EVERY_NS = 10_000_000  # signs of life are sent at most this often, however short the time-out of a frame
STINT_NS = 1_000_000  # the loop's other duties wait at most this long for quick work
_log = logging.getLogger(__name__)
Worker = TypeVar("Worker", bound=ProcessorOptions | SinkOptions, covariant=True)


class WorkerNode(Node[Worker]):
    """Takes leases from its inputs in turn and works on each in place."""

    method: ClassVar[str]
    _user: Any = None
    _working: tuple[EdgeSubscriber, Lease] | None = None
    _trails: Sequence[EdgeTrail] = ()  # by input; none where the audit trail has no frames
    _alive_ns = 0  # when the last sign of life was sent
    alive_every_ns = TICK_NS  # how often one keeps our leases

    def prepare(self) -> None:
        """Import and construct the user's code, and let it open what it needs."""
        options = self.spec.options
        self.alive_every_ns = max(ALIVE_EVERY_NS, min(TICK_NS, options.timeout_ns // 4))
        super().prepare()
        HERE.node, HERE.share = self.spec.node, self.spec.trail_share or 0
        HERE.is_sink, HERE.in_work = self.kind == "sink", self._in_work
        group, folder = NODE_KINDS[options.kind].plugins, Path(self.spec.folder)
        self._user, method = build_worker(options.use, options.with_, self.method, group, folder)
        self._call: Callable[[Any], Any] = functools.partial(call_user, method)
        if self.trail is not None:
            self._trails = [
                self.trail.of_input(
                    f"{one.upstream.producer}.{one.upstream.producer_replica}", are_events=self.kind == "sink"
                )
                for one in self.subscribers
            ]
        self._hook("open")
        self._turn = 0
        self._faults: dict[str, int] = {}

    @abstractmethod
    def describe(self, lease: Lease) -> str:
        """Return the id of the frame that a lease is about."""

    @abstractmethod
    def work(self, lease: Lease, subscriber: EdgeSubscriber) -> None:
        """Do the user's work on one lease.

        Args:
            lease: what to work on.
            subscriber: the input that it came from.
        Raises:
            OverwrittenError: the slot held another frame; no result was used.
            BaseException: raised by the user's code.
        """

    def hand_on(self, lease: Lease, subscriber: EdgeSubscriber) -> None:
        """Finish after successful work: release the lease."""
        subscriber.finish((lease.key, lease.sequence), lease.delivery_tag)  # first: the producer may wait for it
        self.status_block.count_frame(time.monotonic_ns() - lease.captured_ns, time.time_ns())

    def step(self, now_ns: int) -> bool:
        """Work on leases, inputs in turn, for a millisecond or one frame, whichever takes longer."""
        self.worked_ns = 0
        if self.is_paused:
            self.note_alive(now_ns)
        if self.is_stopping and not self.is_final:
            return False  # leases that are not begun yet go back upstream when we leave
        begun_ns, end_ns = now_ns, now_ns + STINT_NS
        subscribers, count = self.subscribers, len(self.subscribers)
        idle, has_worked = 0, False  # inputs in a row that had no lease
        while idle < count and now_ns < end_ns and self.may_work():
            subscriber = subscribers[self._turn]
            self._turn = (self._turn + 1) % count
            lease = self.next_lease(subscriber, now_ns)
            if lease is None:
                idle += 1
                continue
            now_ns = self._work_on(subscriber, lease, now_ns)
            idle, has_worked = 0, True
        self.worked_ns = now_ns - begun_ns
        return has_worked

    def next_lease(self, subscriber: EdgeSubscriber, now_ns: int) -> Lease | None:
        """Return the next lease of an input that is to be worked on; None: there is none now."""
        return subscriber.take(now_ns) if subscriber.leases else None

    def has_work(self) -> bool:
        """Whether leases wait to be worked on."""
        is_restarting = self.is_stopping and not self.is_final
        if not is_restarting:
            for subscriber in self.subscribers:  # at each turn: a loop, not a generator
                if subscriber.leases:
                    return self.may_work()
        return False

    def is_blocked(self) -> bool:
        """Whether there is no room for results. The producer before us does not wait for our own edges."""
        return not self.may_work()

    def may_work(self) -> bool:
        """Whether nobody has paused us, and there is room for results."""
        return not self.is_paused

    def note_alive(self, now_ns: int) -> None:
        """Send a sign of life, not too often: a lack of room, or a pause, keeps our leases; a lack of progress not."""
        if now_ns - self._alive_ns > self.alive_every_ns:
            self._alive_ns = now_ns
            for subscriber in self.subscribers:
                subscriber.note_alive()

    def tick_ns(self) -> int:
        """Return when to look next: while we are paused, often enough to send a sign of life in time."""
        return min(super().tick_ns(), self.alive_every_ns) if self.is_paused else super().tick_ns()

    def is_done(self) -> bool:
        """Done when every input has ended (or only we stop) and our own edges are empty."""
        if self.is_retiring and self.may_leave_inputs():
            for subscriber in self.subscribers:  # now: our own edges may be long in emptying
                subscriber.close()
            self.subscribers.clear()
        is_restarting = self.is_stopping and not self.is_final
        return (is_restarting or all(subscriber.is_ended for subscriber in self.subscribers)) and self.try_end()

    def may_leave_inputs(self) -> bool:
        """Whether all that we have begun is finished, so that we hold only what goes to others as we leave."""
        return True

    def died(self, why: str) -> None:
        """Count the attempt at the current frame; else it would be leased again as if nobody had tried."""
        if self._working is not None:
            subscriber, lease = self._working
            subscriber.fail((lease.key, lease.sequence), why)

    def close_user_code(self) -> None:
        """Let the user's code close, and let go of its object, which may have a `__del__` and open files."""
        if self._user is None:
            return
        try:
            self._hook("close")
        except BaseException as fault:  # the user's code; the node ends either way
            _log.error("%s.close() raised %s", type(self._user).__name__, fault_line(fault))
        call_user(self._let_go)

    def _in_work(self) -> InWork | None:
        if self._working is None:
            return None
        subscriber, lease = self._working
        return InWork(self.describe(lease), subscriber.upstream.producer, lease.sequence, lease.delivery)

    def _let_go(self) -> None:
        self._user, self._call, HERE.in_work = None, _ended, None
        flush_files()
        gc.collect()

    def _work_on(self, subscriber: EdgeSubscriber, lease: Lease, now_ns: int) -> int:
        """Work on a lease from now on, and say what came of it; returns the time of its end."""
        status_block = self.status_block
        status_block.note_work(now_ns)
        self._working = subscriber, lease
        try:
            call_user(self.work, lease, subscriber)  # once more: the returned object may be the user's code
        except OverwrittenError:
            self.refuse(subscriber, lease)
        except BaseException as fault:  # sys.exit() too: one frame's failure, not this process's end
            self.tell_worked(subscriber, lease, now_ns)
            status_block.count_failure()
            self.failed(subscriber, lease, fault)
        else:
            self.tell_worked(subscriber, lease, now_ns)
            self.hand_on(lease, subscriber)
        self._working = None
        now_ns = time.monotonic_ns()
        status_block.note_worked(1, now_ns)
        return now_ns

    def tell_worked(self, subscriber: EdgeSubscriber, lease: Lease, begun_ns: int) -> None:
        """Tell the trail that the user's code has ended with a lease; before its producer hears of it."""
        if self._trails:
            self._trails[subscriber.entry].worked(lease, begun_ns)

    def refuse(self, subscriber: EdgeSubscriber, lease: Lease) -> None:
        """Refuse a result, as the slot was written again, or the lease was over: then the frame is leased once more."""
        self.status_block.count_refused()
        if subscriber.is_wanted(lease):
            subscriber.fail((lease.key, lease.sequence), "overwritten", FailureKind.OVERWRITTEN)
        else:
            subscriber.refuse(lease)

    def failed(self, subscriber: EdgeSubscriber, lease: Lease, fault: BaseException) -> None:
        """Fail a lease whose work has raised: it is leased again, or given up where another attempt cannot help."""
        why = fault_traceback(fault)[-WHY_CHARS_MAX:]
        kind = FailureKind.PERMANENT if isinstance(fault, ResultError) else FailureKind.RETRYABLE
        what, place = fault_line(fault), f"{type(fault).__name__}:{fault_place(fault)}"
        self.status_block.set_fault(mask(what))
        times = self._faults[place] = self._faults.get(place, 0) + 1
        if times.bit_count() == 1:  # 1, 2, 4, 8, ... of a kind: a fault on every frame must not drown the others
            again = f"; {times} of this kind so far" if times > 1 else ""
            _log.error("%s, attempt %d: %s%s", self.describe(lease), lease.delivery, what, again)
        subscriber.fail((lease.key, lease.sequence), why, kind)
        subscriber.flush()

    def _hook(self, name: str) -> None:
        hook = getattr(self._user, name, None)
        if callable(hook):
            try:
                call_user(hook)
            except Exception as fault:
                if name == "close":
                    raise
                use = self.spec.options.use
                raise RefusedError(f"use: {use}: {name}() raised {told(fault)}; mend it, then start again") from fault


def _ended(item: Any) -> Any:
    """Stand in for the user's code after it was closed."""
    raise RuntimeError("the user's code was let go of, as its node ends")
