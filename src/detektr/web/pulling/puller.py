"""A consumer for clients that pull over HTTP: one for each server and node, in a thread of its own.

It is an ephemeral consumer that drops its oldest frames: nobody waits for it. It leaves when nobody has called it for a
minute and nothing is out.
"""

from __future__ import annotations

import logging
import queue
import re
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from detektr.api.attachment import Attachment
from detektr.errors import DetektrError, OverwrittenError, RefusedError, WireError
from detektr.memory.announcement import Lease
from detektr.memory.run_folder import RunFolder
from detektr.nodes.pulling.dispenser import Dispenser, Given, Result
from detektr.nodes.pulling.facts import facts_of
from detektr.nodes.pulling.run_end import brings_no_more
from detektr.web.pulling.pulled import Handful, OverError, Pulled, Shot, copy_shot
from detektr.wire.message import FailureKind

WINDOW = 16
IDLE_NS = 60_000_000_000
TICK_NS = 500_000_000
LOOK_S = 0.05  # how often it is looked whether a producer that is not there has come
FIRST_NS = 1_500_000_000  # what a first call waits for, as its consumer has only just come
QUIET_NS = 2_000_000_000  # without a call when no more frames will come: the end of the run waits for nobody longer
_ROOM = re.compile(r"keeps (\d+) frames for ephemeral consumers and (\d+) are taken")
T = TypeVar("T")
_log = logging.getLogger(__name__)


@dataclass
class _Wish:
    """One call that waits for frames."""

    count: int
    lease_ns: int
    until_ns: int
    future: Future[Handful]


class Puller:
    """Pulls the frames of one node; every method may be called from any thread."""

    def __init__(self, folder: RunFolder, node: str) -> None:
        """Begin to attach.

        Args:
            folder: the run's.
            node: whose frames.
        """
        self.node = node
        self._folder = folder
        self._orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._wishes: list[_Wish] = []
        self._dispenser: Dispenser[Lease] = Dispenser(f"{node}.{secrets.token_hex(4)}", WINDOW)
        self._facts: dict[tuple[int, int], dict[str, Any]] = {}
        self._attachment: Attachment | None = None
        self._window = WINDOW
        self._begun_ns = self._called_ns = time.monotonic_ns()
        self._refusal: DetektrError | None = None
        self._stirred = threading.Event()
        self._changing = threading.Lock()  # held while the attachment is woken, or taken away
        self.is_over = False
        """Whether it has left; another one is needed then."""
        self.owes_an_end = False
        """Whether a client has been given frames, and was not told yet that no more will come."""
        self._is_closing, self._has_ended, self._has_given = False, False, False
        self._thread = threading.Thread(target=self._run, name=f"pull {node}", daemon=True)
        self._thread.start()

    # -- for other threads ------------------------------------------------------------------------------------------

    def dequeue(self, count: int, lease_ns: int, wait_ns: int) -> Future[Handful]:
        """Ask for at most `count` frames; answered at once, or when there is one, or when `wait_ns` is over.

        The future raises RefusedError where the node gives no frames, or has no room for another consumer.
        """
        future: Future[Handful] = Future()

        def ask() -> None:
            now_ns = time.monotonic_ns()
            until_ns = now_ns + wait_ns
            if not self._has_given:
                until_ns = max(until_ns, self._begun_ns + FIRST_NS)
            self._wishes.append(_Wish(count, lease_ns, until_ns, future))

        self._order(ask, future)
        return future

    def settle(self, leases: Sequence[str], *, is_done: bool, why: str) -> Future[list[Result]]:
        """End leases, as done or as failed; returns what became of each."""
        return self._ask(lambda: [self._settle(lease, is_done=is_done, why=why) for lease in leases])

    def extend(self, leases: Sequence[str], for_ns: int) -> Future[list[Result]]:
        """Let leases end so long from now."""

        def extend() -> list[Result]:
            until_ns = time.monotonic_ns() + for_ns
            return [self._dispenser.extend(lease, until_ns) for lease in leases]

        return self._ask(extend)

    def undo(self, leases: Sequence[str]) -> None:
        """Take back what never reached its client."""
        self._ask(lambda: self._dispenser.undo(leases))

    def copy(self, lease: str, frame: str) -> Future[Shot]:
        """Return a copy of the picture that is out under a lease; the future raises OverError if it is over."""
        return self._ask(lambda: self._copy(lease, frame))

    def close(self) -> None:
        """Leave the edge; what is out goes back."""
        self._is_closing = True
        self._stir()
        self._thread.join()

    def _ask(self, what: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()

        def do() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(what())
                except DetektrError as fault:
                    future.set_exception(fault)

        self._order(do, future)
        return future

    def _order(self, order: Callable[[], None], future: Future[Any]) -> None:
        self._orders.put(order)
        self._stir()
        if self.is_over and not future.done():  # it left just now: nobody will take the order
            future.cancel()

    def _stir(self) -> None:
        self._stirred.set()
        with self._changing:
            if self._attachment is not None:
                self._attachment.wake()

    # -- its own thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._is_closing and not self._is_idle():
                self._turn()
        except Exception as fault:  # whoever waits is told, and the next call begins anew
            _log.warning("pulling from %s ends: %s", self.node, fault)
            self._refusal = RefusedError(f"the consumer of {self.node} ended: {fault}; try again")
        finally:
            self.is_over = True
            self._leave()
            self._turn_away()

    def _is_idle(self) -> bool:
        is_used = self._wishes or not self._orders.empty() or not self._dispenser.is_empty
        return not is_used and time.monotonic_ns() - self._called_ns > IDLE_NS

    def _turn(self) -> None:
        self._stirred.clear()
        while not self._orders.empty():
            self._called_ns = time.monotonic_ns()
            self._orders.get()()
        now_ns = time.monotonic_ns()
        attachment = self._attachment
        try:
            if attachment is None:
                self._try_open()
            else:
                self._tend(attachment, now_ns)
        except RefusedError as fault:
            self._leave()
            self._refusal = fault
            self._turn_away()
            self._refusal = None
        self._expire(now_ns)
        self._grant(time.monotonic_ns())
        self._sleep()

    def _try_open(self) -> None:
        if self._folder.inbox(self.node, 0).exists():
            self._attachment = Attachment(self._folder, self.node, None, self._window, "drop-oldest", "zmq")
            self._attachment.subscriber.tick(time.monotonic_ns())
            self._begun_ns, self._has_given, self._has_ended = time.monotonic_ns(), False, False

    def _tend(self, attachment: Attachment, now_ns: int) -> None:
        subscriber = attachment.subscriber
        attachment.hear(now_ns)
        subscriber.tick(now_ns)
        attachment.reader.drop_gone()
        room = _ROOM.search(subscriber.why)
        if room is not None and self._window > 1:  # room for fewer frames of guests: fewer can be out then
            left = int(room[1]) - int(room[2])
            self._window = self._dispenser.window = left if 0 < left < self._window else self._window // 2
            self._leave()
            return
        gone = self._dispenser.drop(lambda lease: not subscriber.still_holds(lease))
        if gone:
            _log.warning("%s has ended %d leases that were out at clients", self.node, gone)
        is_gone = not subscriber.is_attached and not attachment.inbox.exists()
        is_left_alone = now_ns - self._called_ns > QUIET_NS and brings_no_more(self._folder, QUIET_NS)
        if subscriber.is_ended or is_gone or is_left_alone:
            self._has_ended = True
            self._leave()

    def _expire(self, now_ns: int) -> None:
        late, lost = self._dispenser.expire(now_ns)
        attachment = self._attachment
        if attachment is not None:
            for _ in late:
                attachment.status_block.count_refused()
            for lease in lost:
                self._give_up(attachment, lease, f"its lease expired {lease.delivery} times")

    def _grant(self, now_ns: int) -> None:
        """Answer the calls that can be answered, and those whose time is over; in the order in which they came."""
        for wish in list(self._wishes):
            if wish.future.cancelled():
                self._wishes.remove(wish)
                continue
            is_full = not self._dispenser.free
            is_there = self._dispenser.waiting > 0 or bool(self._attachment and self._attachment.subscriber.leases)
            if not (is_there or is_full or self._has_ended or now_ns >= wish.until_ns):
                continue
            self._wishes.remove(wish)
            if wish.future.set_running_or_notify_cancel():
                wish.future.set_result(self._handful(wish, now_ns, is_full=is_full))

    def _handful(self, wish: _Wish, now_ns: int, *, is_full: bool) -> Handful:
        attachment = self._attachment
        if is_full:
            return Handful((), 0, full_until_ns=self._dispenser.due_ns())
        given = self._dispenser.give(wish.count, now_ns + wish.lease_ns, self._next)
        self._has_given |= bool(given)
        self.owes_an_end = (self.owes_an_end or bool(given)) and not (self._has_ended and not given)
        frames = [self._pulled(one) for one in given]
        remaining = self._dispenser.waiting
        if attachment is not None:
            ledger = attachment.subscriber.ledger()
            remaining += len(attachment.subscriber.leases) + (ledger.queued if ledger is not None else 0)
            attachment.subscriber.flush()
        return Handful(tuple(frames), remaining, is_ended=self._has_ended and not given)

    def _next(self) -> Lease | None:
        """Return the next frame that was never out, whose facts can be read."""
        attachment = self._attachment
        while attachment is not None:
            lease = attachment.subscriber.take_unnoted(time.monotonic_ns())
            if lease is None:
                return None
            try:
                frame, _ = attachment.reader.open(lease)
            except (OverwrittenError, WireError) as fault:
                attachment.subscriber.fail(lease.name, str(fault), FailureKind.OVERWRITTEN)
                continue
            self._facts[lease.name] = facts_of(frame)
            frame.close()
            return lease
        return None

    def _pulled(self, given: Given[Lease]) -> Pulled:
        facts = self._facts[given.item.name]
        return Pulled(given.lease, facts, given.delivery + facts["delivery"] - 1, given.expires_ns)

    def _settle(self, lease: str, *, is_done: bool, why: str) -> Result:
        result, item = (self._dispenser.ack if is_done else self._dispenser.fail)(lease)
        attachment = self._attachment
        if item is None or attachment is None:
            return result
        subscriber = attachment.subscriber
        if not is_done:
            self._give_up(attachment, item, why or "its client says that it failed")
        elif subscriber.still_holds(item):
            subscriber.finish(item.name)  # without its tag, which would say that all before it are done as well
            attachment.status_block.count_frame(time.monotonic_ns() - item.captured_ns, time.time_ns())
            self._facts.pop(item.name, None)
        else:
            subscriber.refuse(item)
            attachment.status_block.count_refused()
            self._facts.pop(item.name, None)
            result = "expired"
        subscriber.flush()
        return result

    def _give_up(self, attachment: Attachment, lease: Lease, why: str) -> None:
        """Tell the producer that a frame was tried often enough: it becomes a dead letter."""
        self._facts.pop(lease.name, None)
        attachment.subscriber.fail(lease.name, why, FailureKind.PERMANENT)
        attachment.subscriber.flush()

    def _copy(self, lease: str, frame_id: str) -> Shot:
        given, attachment = self._dispenser.get(lease), self._attachment
        if given is None or attachment is None or self._facts[given.item.name]["id"] != frame_id:
            raise OverError(f"no frame {frame_id} is out under lease {lease}; dequeue it again")
        if not attachment.subscriber.still_holds(given.item):
            raise OverError(f"the lease {lease} of frame {frame_id} is over; dequeue another frame")
        return copy_shot(attachment.reader, given.item, frame_id)

    def _sleep(self) -> None:
        if self._stirred.is_set() or not self._orders.empty():
            return
        times = [wish.until_ns for wish in self._wishes]
        due_ns = self._dispenser.due_ns()
        if due_ns is not None:
            times.append(due_ns)
        left_ns = min([TICK_NS, *(at_ns - time.monotonic_ns() for at_ns in times)])
        if self._attachment is None:
            self._stirred.wait(min(LOOK_S, max(0, left_ns) / 1e9))
        else:
            self._attachment.sleep(max(0, left_ns))

    def _leave(self) -> None:
        with self._changing:
            attachment, self._attachment = self._attachment, None
        self._dispenser.clear()
        self._facts.clear()
        if attachment is not None:
            attachment.close()

    def _turn_away(self) -> None:
        """Answer whoever waits, as nothing will come."""
        while not self._orders.empty():
            self._orders.get()()
        for wish in self._wishes:
            if wish.future.set_running_or_notify_cancel():
                if self._refusal is not None:
                    wish.future.set_exception(self._refusal)
                else:
                    wish.future.set_result(Handful((), 0, is_ended=self._has_ended))
        self._wishes.clear()
