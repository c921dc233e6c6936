"""Asks a node of the kind `pull` in the name of clients that pull over HTTP: one for each server and node.

It has the interface of `Puller`, and no lease: those are the node's own, and outlive this process. What is not answered
is asked again, under the same number, as the node may have been killed: its successor gives the same frames.
"""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import re
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, cast

from detektr.api.attachment import acquire_guest
from detektr.api.clearing import SilentError
from detektr.errors import RefusedError, WireError
from detektr.memory.announcement import Lease
from detektr.memory.run_folder import RunFolder
from detektr.memory.status_block import StatusBlock
from detektr.nodes.pulling.dispenser import Result
from detektr.nodes.working.frame_reader import FrameReader
from detektr.web.pulling.pulled import Handful, OverError, Pulled, Shot, copy_shot
from detektr.wire.link import Link, Outbox
from detektr.wire.message import Answered, Asked, Dequeue, Dequeued, Settle, Settled, Show, Shown

ANSWER_NS = 12_000_000_000  # beyond what an answer may wait for a frame: a node that was killed is back by then
AGAIN_NS = 500_000_000  # what is not answered is asked again
TICK_NS = 500_000_000
LOOK_S = 0.05  # how often it is looked whether a node that is not there has come
IDLE_NS = 60_000_000_000
ENDED_NS = 500_000_000  # without a node and without a supervisor, so long: the run has ended
_log = logging.getLogger(__name__)


@dataclass
class _Question:
    """One that waits for its answer."""

    ask: Callable[[str, int], Asked]
    take: Callable[[Answered], Any]
    future: Future[Any]
    wait_ns: int
    asked_ns: int
    told_ns: int = 0


class _Line:
    """The open parts of an asker: its status block, its inbox, and the way to the node."""

    def __init__(self, folder: RunFolder, node: str) -> None:
        self._folder = folder
        self.block: StatusBlock = acquire_guest(folder, node)
        own = re.sub(r"\.0$", "", self.block.path.stem)
        self.name = f"{own}.0"
        try:
            self.link = Link(folder.inbox(own, 0), folder.doorbell(own, 0))
        except RefusedError:
            self.block.close(unlink=True)
            raise
        self.outbox: Outbox = self.link.open_outbox(folder.inbox(node, 0), folder.doorbell(node, 0))
        self.reader = FrameReader(folder, own)
        self.block.set_state("running")

    def close(self) -> None:
        self.outbox.close()
        self.reader.close()
        self.link.close()
        self.block.close(unlink=True)
        self._folder.remove_if_empty()


class PullClient:
    """Asks one node; every method may be called from any thread."""

    def __init__(self, folder: RunFolder, node: str) -> None:
        """Begin to look for the node.

        Args:
            folder: the run's.
            node: of the kind `pull`.
        """
        self.node = node
        self._folder = folder
        self._orders: queue.SimpleQueue[tuple[int, _Question]] = queue.SimpleQueue()
        self._life = secrets.randbits(31) << 32
        self._count = 0
        self._numbering = threading.Lock()
        self._questions: dict[int, _Question] = {}
        self._line: _Line | None = None
        self._called_ns = time.monotonic_ns()
        self._missed_since_ns = 0
        self._stirred = threading.Event()
        self._changing = threading.Lock()  # held while the line is woken, or taken away
        self.is_over = False
        """Whether it has left; another one is needed then."""
        self.owes_an_end = False
        """Whether a client has been given frames, and was not told yet that no more will come."""
        self._is_closing, self._has_ended = False, False
        self._thread = threading.Thread(target=self._run, name=f"ask {node}", daemon=True)
        self._thread.start()

    # -- for other threads ------------------------------------------------------------------------------------------

    def dequeue(self, count: int, lease_ns: int, wait_ns: int) -> Future[Handful]:
        """Ask for at most `count` frames; answered at once, or when there is one, or when `wait_ns` is over.

        The future raises SilentError where the node does not answer.
        """

        def take(answer: Answered) -> Handful:
            assert isinstance(answer, Dequeued)
            frames = []
            for lease, _, expires_ns, packed in answer.frames:
                facts = json.loads(packed)
                frames.append(Pulled(lease, facts, int(facts["delivery"]), expires_ns))
            if frames or answer.is_ended:
                self.owes_an_end = not answer.is_ended
            return Handful(tuple(frames), answer.remaining, answer.is_ended, answer.full_until_ns or None)

        return self._ask(lambda own, number: Dequeue(own, number, count, lease_ns, wait_ns), take, wait_ns)

    def settle(self, leases: Sequence[str], *, is_done: bool, why: str) -> Future[list[Result]]:
        """End leases, as done or as failed; returns what became of each."""
        return self._settle(leases, "done" if is_done else "failed", why=why)

    def extend(self, leases: Sequence[str], for_ns: int) -> Future[list[Result]]:
        """Let leases end so long from now."""
        return self._settle(leases, "extended", for_ns=for_ns)

    def undo(self, leases: Sequence[str]) -> None:
        """Take back what never reached its client."""
        if leases:
            self._settle(leases, "undone")

    def copy(self, lease: str, frame: str) -> Future[Shot]:
        """Return a copy of the picture that is out under a lease; the future raises OverError if it is over."""

        def take(answer: Answered) -> Shot:
            assert isinstance(answer, Shown)
            if not answer.frame or self._line is None:
                raise OverError(f"{answer.why or 'the run has ended'}; dequeue again")
            return copy_shot(self._line.reader, Lease(0, 0, 0, answer.frame, 0, 0, 1), frame)

        return self._ask(lambda own, number: Show(own, number, lease), take)

    def close(self) -> None:
        """Leave; leases that are out stand until they expire."""
        self._is_closing = True
        self._stir()
        self._thread.join()

    def _settle(self, leases: Sequence[str], outcome: str, *, why: str = "", for_ns: int = 0) -> Future[list[Result]]:
        told = tuple(leases)

        def take(answer: Answered) -> list[Result]:
            assert isinstance(answer, Settled)
            return [cast("Result", one) for one in answer.results]

        return self._ask(lambda own, number: Settle(own, number, told, outcome, why, for_ns), take)

    def _ask(self, ask: Callable[[str, int], Asked], take: Callable[[Answered], Any], wait_ns: int = 0) -> Future[Any]:
        future: Future[Any] = Future()
        with self._numbering:
            self._count += 1
            number = self._life | self._count
        self._orders.put((number, _Question(ask, take, future, wait_ns, time.monotonic_ns())))
        self._stir()
        if self.is_over and not future.done():  # it left just now: nobody will take the order
            future.cancel()
        return future

    def _stir(self) -> None:
        self._stirred.set()
        with self._changing:
            if self._line is not None:
                self._line.link.wake()

    # -- its own thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        why = f"the way to {self.node} was closed; ask again"
        try:
            while not self._is_closing and not self._is_idle():
                self._turn()
        except Exception as fault:  # whoever waits is told, and the next call begins anew
            _log.warning("asking %s for frames ends: %s", self.node, fault)
            why = f"asking {self.node} for frames ended: {fault}; ask again"
        finally:
            self.is_over = True
            self._hang_up()
            self._take_orders()
            for question in self._questions.values():
                _fail(question, SilentError(why))
            self._questions.clear()

    def _is_idle(self) -> bool:
        is_used = self._questions or not self._orders.empty()
        return not is_used and time.monotonic_ns() - self._called_ns > IDLE_NS

    def _turn(self) -> None:
        self._stirred.clear()
        self._take_orders()
        line = self._line
        is_there = self._folder.inbox(self.node, 0).exists()
        now_ns = time.monotonic_ns()
        if line is None and is_there and self._questions:
            line = self._line = _Line(self._folder, self.node)
            self._has_ended, self._missed_since_ns = False, 0
        if line is not None:
            self._hear(line)
            self._look_for_end(now_ns, is_there=is_there)
        if self._has_ended or (line is None and not is_there and self._folder.lock_holder() is None):
            self._has_ended = True
            self._hang_up()
            self._end_all()
        elif self._line is not None:
            self._tell(self._line, now_ns)
        self._give_up(now_ns)
        self._sleep()

    def _take_orders(self) -> None:
        while not self._orders.empty():
            number, question = self._orders.get()
            self._questions[number] = question
            self._called_ns = time.monotonic_ns()

    def _hear(self, line: _Line) -> None:
        line.reader.drop_gone()
        for message in line.link.receive():
            if isinstance(message, WireError):
                line.block.count_wire_error()
            elif isinstance(message, Answered):
                self._take(message)

    def _take(self, message: Answered) -> None:
        if isinstance(message, Dequeued) and message.request == 0:
            self._has_ended = self._has_ended or message.is_ended
            return
        question = self._questions.pop(message.request, None)
        if question is not None and question.future.set_running_or_notify_cancel():
            try:
                question.future.set_result(question.take(message))
            except (OverError, WireError, ValueError, KeyError, AssertionError) as fault:
                question.future.set_exception(fault if isinstance(fault, OverError) else OverError(str(fault)))
        elif isinstance(message, Dequeued):  # nobody waits for it any more
            self.undo([lease for lease, *_ in message.frames])

    def _look_for_end(self, now_ns: int, *, is_there: bool) -> None:
        """Note that the run has ended, where the node could not say so."""
        if is_there or self._folder.lock_holder() is not None:
            self._missed_since_ns = 0
        else:
            self._missed_since_ns = self._missed_since_ns or now_ns
            self._has_ended |= now_ns - self._missed_since_ns > ENDED_NS

    def _tell(self, line: _Line, now_ns: int) -> None:
        """Ask what was not asked yet, and once more what is not answered."""
        has_told = False
        for number, question in list(self._questions.items()):
            if question.future.cancelled() and not question.told_ns:
                del self._questions[number]
            elif now_ns - question.told_ns >= AGAIN_NS and not question.future.cancelled():
                has_told = line.outbox.try_send(question.ask(line.name, number)) or has_told
                question.told_ns = now_ns
        if has_told:
            line.outbox.ring()

    def _give_up(self, now_ns: int) -> None:
        for number, question in list(self._questions.items()):
            if now_ns - question.asked_ns > question.wait_ns + ANSWER_NS:
                del self._questions[number]
                limit_s = (question.wait_ns + ANSWER_NS) / 1e9
                _fail(question, SilentError(f"{self.node} has not answered within {limit_s:g} s; see whether it runs"))

    def _end_all(self) -> None:
        """Answer whoever waits, as no more frames will come."""
        for number, question in self._questions.items():
            asked = question.ask("nobody.0", number)
            if isinstance(asked, Dequeue):
                answer: Answered = Dequeued(number, (), 0, True, 0)
            elif isinstance(asked, Settle):
                answer = Settled(number, ("unknown",) * len(asked.leases))
            else:
                answer = Shown(number, b"", "the run has ended")
            if question.future.set_running_or_notify_cancel():
                try:
                    question.future.set_result(question.take(answer))
                except OverError as fault:
                    question.future.set_exception(fault)
        self._questions.clear()

    def _sleep(self) -> None:
        if self._stirred.is_set() or not self._orders.empty():
            return
        line = self._line
        if line is None:
            self._stirred.wait(LOOK_S if self._questions else TICK_NS / 1e9)
        else:
            line.link.wait(AGAIN_NS if self._questions else TICK_NS)

    def _hang_up(self) -> None:
        with self._changing:
            line, self._line = self._line, None
        if line is not None:
            line.close()


def _fail(question: _Question, fault: Exception) -> None:
    with contextlib.suppress(RuntimeError):  # its client left just now
        if question.future.set_running_or_notify_cancel():
            question.future.set_exception(fault)
