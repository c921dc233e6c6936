"""A processor with `batch`: the user's code gets lists of frames, of all inputs and cameras; each has its own outcome.

A batch is no attempt at its frames. If it raises, its halves are worked on, down to single frames, whose failure is
theirs. If the process dies in it, or it takes too long, its frames are delivered again; and a frame that was delivered
before is worked on alone. So whoever is blamed was alone.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from detektr.edge.subscriber import EdgeSubscriber
from detektr.errors import OverwrittenError
from detektr.frame import Frame
from detektr.memory.announcement import Lease
from detektr.nodes.control import ControlLine
from detektr.nodes.spec import NodeSpec
from detektr.nodes.working.batch import NEVER_NS, BatchGate, PartQueue, Supply
from detektr.nodes.working.event_stream import results_of
from detektr.nodes.working.processor import ProcessorNode
from detektr.nodes.working.worker import STINT_NS
from detektr.options import ProcessorOptions
from detektr.process.fault_text import fault_line, fault_place
from detektr.process.user_boundary import call_user

_log = logging.getLogger(__name__)
Begun = tuple[EdgeSubscriber, Lease]
"""A lease in work, and the input that it came from."""


class Opened:
    """One frame of a batch: open while the user's code runs, then with its outcome."""

    def __init__(self, subscriber: EdgeSubscriber, lease: Lease) -> None:
        """Take a lease that is not opened yet."""
        self.subscriber, self.lease = subscriber, lease
        self.frame: Frame | None = None
        self.is_intact: Callable[[], bool] | None = None
        self.events: Sequence[bytes] = ()
        self.passing: bytes | None = None
        """The announcement of the frame with its results, where others read our frames."""
        self.fault: BaseException | None = None
        """Why this frame alone has failed; None: its events are to be offered."""


class BatchProcessorNode(ProcessorNode):
    """One replica of a processor that works on several frames at once."""

    method: ClassVar[str] = "process_batch"

    def __init__(self, spec: NodeSpec[ProcessorOptions], control: ControlLine | None = None) -> None:
        """See `Node`."""
        super().__init__(spec, control)
        batch = spec.options.batch
        assert batch is not None, "the registry chooses this class where there is a `batch`"
        self._batching = BatchGate(batch.size, batch.wait_ns)
        self._parts: PartQueue[Begun] = PartQueue()
        self._outcomes: deque[Opened] = deque()  # in the order of delivery tags
        self._is_alone = False  # whether a lease is worked on alone, or its events wait

    def prepare(self) -> None:
        """Import the user's code; a single frame is a list of one for it."""
        super().prepare()
        self._call_batch = self._call
        self._call = self._call_alone

    def step(self, now_ns: int) -> bool:
        """Offer events that wait for room, then work on batches, for a millisecond or one batch, as it takes longer."""
        self.worked_ns = 0
        if self._relay is not None:
            self._relay.sweep(is_due=False)
        has_moved = self._is_emitting and self._emit()
        if self._settle_outcomes():
            has_moved = True
        if self.is_stopping and not self.is_final:
            self._parts.clear()  # their leases go back upstream when we leave
            return has_moved
        is_holding = self._look_at_gate()
        if is_holding or self._batching.since_ns or not self.may_work():
            self.note_alive(now_ns)
        begun_ns, end_ns = now_ns, now_ns + STINT_NS
        while now_ns < end_ns and self.may_work():
            part = self._next_part(now_ns)
            if not part:
                break
            self._work_on_part(part, now_ns)
            has_moved, now_ns = True, time.monotonic_ns()
        self.worked_ns = now_ns - begun_ns
        return has_moved

    def has_work(self) -> bool:
        """Whether a part, or a batch that has waited long enough, is to be worked on, or there is room for events."""
        if self._must_look_at_gate:
            return True
        if self._is_emitting:
            return self._may_emit()
        if (self.is_stopping and not self.is_final) or not self.may_work():
            return False
        now_ns = time.monotonic_ns()
        return len(self._parts) > 0 or self._begins_ns(now_ns) <= now_ns

    def may_work(self) -> bool:
        """Whether the last batch is out, and the first frame of the next one would find room."""
        return not self._outcomes and super().may_work()

    def is_done(self) -> bool:
        """See `Node`; but not before the last batch's events are out."""
        return not self._outcomes and super().is_done()

    def may_leave_inputs(self) -> bool:
        """See `WorkerNode`; a batch is finished when all its results are out."""
        return not self._outcomes and super().may_leave_inputs()

    def died(self, why: str) -> None:
        """Count the attempt at a frame that was worked on alone; those of a batch are not to blame."""
        if self._is_alone:
            super().died(why)

    def due_ns(self) -> int:
        """Return when something is due, the next batch included."""
        due_ns = super().due_ns()
        if not self.may_work() or self.is_stopping:
            return due_ns
        return min(due_ns, self._begins_ns(time.monotonic_ns()))

    def _begins_ns(self, now_ns: int) -> int:
        waiting, is_repeated = self._waiting(), False
        for subscriber in self.subscribers:
            leases = subscriber.leases
            if leases and leases[0].delivery > 1:
                is_repeated = True
        if not waiting:
            self._batching.since_ns = 0
            return NEVER_NS
        return self._batching.due_ns(waiting, self._supply(), now_ns, is_repeated=is_repeated)

    def _waiting(self) -> int:
        """Return how many leases there are for the next batch; in order, each lets the one behind it through."""
        waiting = sum([len(subscriber.leases) for subscriber in self.subscribers])
        if waiting and waiting < self._batching.size and self._gate is not None:
            waiting += self._gate.following()
        return waiting

    def _supply(self) -> Supply:
        supply = Supply.NONE
        if self.is_stopping:
            return supply
        for subscriber in self.subscribers:
            if subscriber.is_ended or not subscriber.has_credit:
                continue
            if not subscriber.is_needed:
                return Supply.OPEN
            supply = Supply.STUCK
        return supply

    def _next_part(self, now_ns: int) -> list[Begun]:
        """Return the leases to be worked on together now; empty: none yet."""
        while self._parts:
            part = [begun for begun in self._parts.take() if _is_held(*begun) and not self._keeps(*begun)]
            if part:
                return part
        return self._gather(now_ns) if self._begins_ns(now_ns) <= now_ns else []

    def _gather(self, now_ns: int) -> list[Begun]:
        """Take a batch; a frame that was delivered before is taken alone, and first."""
        part = self._take_repeated(now_ns) or self._take_in_turn(now_ns)
        self._batching.begin(self._waiting(), now_ns)
        return part

    def _take_repeated(self, now_ns: int) -> list[Begun]:
        for subscriber in self.subscribers:
            while subscriber.leases and subscriber.leases[0].delivery > 1:
                lease = subscriber.take_unnoted(now_ns)
                if lease is not None and not self._keeps(subscriber, lease):
                    return [(subscriber, lease)]
        return []

    def _take_in_turn(self, now_ns: int) -> list[Begun]:
        part: list[Begun] = []
        subscribers, count, idle = self.subscribers, len(self.subscribers), 0
        while idle < count and len(part) < self._batching.size:
            subscriber = subscribers[self._turn]
            self._turn = (self._turn + 1) % count
            is_next = subscriber.leases and subscriber.leases[0].delivery == 1
            lease = subscriber.take_unnoted(now_ns) if is_next else None
            if lease is None:
                idle += 1
                continue
            idle = 0
            if self._keeps(subscriber, lease):
                continue
            if lease.delivery > 1:  # it stood behind leases that were ended: alone, and next
                self._parts.add([(subscriber, lease)])
                break
            part.append((subscriber, lease))
        return part or self._parts.take()

    def _work_on_part(self, part: list[Begun], now_ns: int) -> None:
        """Run the user's code on one frame alone, or on a batch, which is no attempt at its frames."""
        self._is_alone = len(part) == 1
        for subscriber in self.subscribers:  # those of other inputs wait here, and are not to blame either
            if not self._is_alone or subscriber is not part[0][0]:
                subscriber.progress.begin_batch()
        if self._is_alone:
            subscriber, lease = part[0]
            subscriber.begin_alone(lease)
            self._work_on(subscriber, lease, now_ns)
            return
        self.status_block.note_work(now_ns)
        frames = [Opened(subscriber, lease) for subscriber, lease in part]
        try:
            call_user(self._run, frames)
        except BaseException as fault:  # sys.exit() too, and a lack of memory that half as many frames may not have
            self._tell_split(len(part), fault)
            self._parts.split(part)
            for subscriber in self.subscribers:  # the time-out is for one call
                subscriber.note_alive()
                subscriber.flush()
        else:
            for subscriber, lease in part:
                self.tell_worked(subscriber, lease, now_ns)
            self._outcomes.extend(frames)
        self.status_block.note_worked(len(part), time.monotonic_ns())
        self._settle_outcomes()

    def _run(self, batch: list[Opened]) -> None:
        """Open the frames, run the user's code on them, and put the outcome of each into `batch`.

        Raises:
            BaseException: raised by the user's code, or about all its results: no frame has an outcome.
        """
        frames: list[Frame] = []
        seen: set[int] = set()  # streams: each has one first frame, also where several come together
        try:
            for one in batch:
                try:
                    one.frame, one.is_intact = self._frames.open(one.lease)
                except OverwrittenError as fault:
                    one.fault = fault
                else:
                    frames.append(one.frame)
                    one.frame.is_first_here = one.frame.is_first_here and one.lease.key not in seen
                    seen.add(one.lease.key)
            results = iter(self._results(frames))
            for one in batch:
                if one.frame is not None:
                    if one.frame.is_first_here:
                        self._frames.note_begun(one.lease, one.frame)
                    self._pack(one, next(results))
        finally:
            for frame in frames:
                frame.close()
        for one in batch:
            if one.is_intact is not None and not one.is_intact():
                what = f"the slot of {self.describe(one.lease)} was written again while {self.method}() read it"
                one.fault = OverwrittenError(what)
            elif not one.subscriber.is_wanted(one.lease):
                what = f"the lease of {self.describe(one.lease)} was over before {self.method}() returned"
                one.fault = OverwrittenError(what)

    def _results(self, frames: list[Frame]) -> list[Any]:
        """Return the user's results for some frames, one for each.

        Raises:
            ResultError: it did not return as many.
            BaseException: raised by the user's code.
        """
        return results_of(self._call_batch(list(frames)), len(frames)) if frames else []

    def _call_alone(self, frame: Frame) -> Any:
        return self._results([frame])[0]

    def _pack(self, one: Opened, result: object) -> None:
        """Pack a frame's result; what is wrong with it is that frame's failure alone."""
        assert one.frame is not None
        try:
            one.events = self.events_of(one.frame, result)
            one.passing = None if self._relay is None else self._announcement(one.lease, one.frame, result)
        except BaseException as fault:  # of objects in the result too
            one.fault = fault

    def _settle_outcomes(self) -> bool:
        """Hand on the frames of the last batch in their order, while there is room; whether there were some."""
        has_moved = False
        while self._outcomes and not self._is_emitting:
            one, has_moved = self._outcomes.popleft(), True
            if self._keeps(one.subscriber, one.lease):  # it came by two inputs at once
                continue
            is_overwritten = isinstance(one.fault, OverwrittenError)
            if not is_overwritten and one.subscriber.puts_aside(one.lease):
                continue  # the result of a frame before it could not be packed: both come again, in order
            if is_overwritten:
                self.refuse(one.subscriber, one.lease)
            elif one.fault is None:
                self._unsent.extend(one.events)
                self._passing = one.passing
                self.hand_on(one.lease, one.subscriber)
            else:
                self.status_block.count_failure()
                self.failed(one.subscriber, one.lease, one.fault)
        return has_moved

    def _tell_split(self, count: int, fault: BaseException) -> None:
        """Log that a batch has failed; of failures in one place the 1st, 2nd, 4th, 8th, ... are told."""
        place = f"batch {type(fault).__name__}:{fault_place(fault)}"
        times = self._faults[place] = self._faults.get(place, 0) + 1
        if times.bit_count() == 1:
            again = f"; {times} of this kind so far" if times > 1 else ""
            _log.warning("a batch of %d failed, its halves come next: %s%s", count, fault_line(fault), again)

    def _let_go(self) -> None:
        self._call_batch = self._call
        self._parts.clear()
        super()._let_go()


def _is_held(subscriber: EdgeSubscriber, lease: Lease) -> bool:
    """Whether a lease that waited its turn is still to be worked on, and now: it is not behind a failure.

    In this order: a producer that hears of a failure ends the later leases first, and the failed one last. Who found
    the later one to stand, and then that the failure was heard of, would begin it before the failed one.
    """
    if subscriber.puts_aside(lease):
        return False
    if subscriber.held.get((lease.key, lease.sequence)) is lease and subscriber.still_holds(lease):
        return True
    subscriber.let_go(lease)
    return False
