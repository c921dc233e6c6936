"""A node that clients pull from: it leases frames as any consumer does, and gives them out to who asks.

Who asks is the web server, by messages, in the name of its clients (`web/pulling/pull_client.py`). A frame that is out
stays leased here until it is acked, or given up; the table in the run folder says which are out, under which name and
until when. So a killed process has a successor that goes on with all of that: its clients' leases stand, an ack that
comes meanwhile counts, and what expired is given out again, marked.

At the end of a run, frames that nobody has asked for within `drain` are dropped as `stopped`.
"""

from __future__ import annotations

import logging
import time
from typing import ClassVar

from detektr.edge.subscriber import EdgeSubscriber
from detektr.edge.upstream import Upstream
from detektr.errors import OverwrittenError, WireError
from detektr.memory.announcement import FrameName, Lease
from detektr.memory.pull_table import BACK, DEAD, DONE, OUT, PullTable
from detektr.nodes.control import ControlLine
from detektr.nodes.node import Node
from detektr.nodes.pulling.askers import WISHES_MAX, Askers, Wish
from detektr.nodes.pulling.dispenser import Given, Result
from detektr.nodes.pulling.facts import FACTS_BYTES_MAX, pack_facts
from detektr.nodes.pulling.keeping_subscriber import KeepingSubscriber
from detektr.nodes.pulling.lease_book import LeaseBook, PulledFrame
from detektr.nodes.pulling.patience import Patience
from detektr.nodes.pulling.run_end import brings_no_more
from detektr.nodes.spec import NodeSpec
from detektr.nodes.working.frame_reader import FrameReader
from detektr.options import PullOptions
from detektr.wire.codec import ASKED_MAX
from detektr.wire.message import Asked, Dequeue, Dequeued, FailureKind, Settle, Settled, Show, Shown

_log = logging.getLogger(__name__)


class PullNode(Node[PullOptions]):
    """The one process of a node that clients pull from."""

    kind: ClassVar[str] = "pull"
    _book: LeaseBook | None = None

    def __init__(self, spec: NodeSpec[PullOptions], control: ControlLine | None = None) -> None:
        """See `Node`."""
        super().__init__(spec, control)
        self._frames = FrameReader(self.folder, spec.node)
        self._askers = Askers(self.folder, self.link)
        self._wishes: dict[tuple[str, int], Wish] = {}
        self._turn = 0
        self._patience = Patience()
        self._is_draining = False

    def subscriber_kind(self, upstream: Upstream) -> type[EdgeSubscriber]:
        """See `Node.subscriber_kind`."""
        return KeepingSubscriber

    def prepare(self) -> None:
        """Take over what a predecessor had given out."""
        super().prepare()
        options, upstreams = self.spec.options, self.spec.upstreams
        window = max(1, sum([upstream.window for upstream in upstreams]))
        table = PullTable(self.folder.pull(self.spec.node, self.spec.replica), window)
        book = self._book = LeaseBook(self.spec.node, table, window, options.max_deliveries, len(upstreams))
        held = 0
        for subscriber in self.subscribers:
            for name in book.names(subscriber.entry, (OUT, BACK, DEAD)):
                subscriber.adopt(name, is_passed=False)
                held += 1
        if held:
            _log.info("goes on with %d frames that a predecessor had given out", held)

    def done_frames(self, entry: int) -> list[FrameName]:
        """Return the acked frames of an input: our leases of them are over, whoever took the ack."""
        return list(self._the_book.names(entry, (DONE,)))

    # -- one turn ---------------------------------------------------------------------------------------------------

    def step(self, now_ns: int) -> bool:
        """End the leases whose time is over, and answer who waits for frames."""
        if self._is_leaving:
            return False
        has_moved = self._expire(now_ns)
        if not self._is_adopting:
            if self._patience.is_left_alone(now_ns, self.spec.options.drain_ns) and not self._wishes:
                has_moved = self._drop_waiting(now_ns) or has_moved
            has_moved = self._grant(now_ns) or has_moved
        return has_moved

    def due_ns(self) -> int:
        """Return when to look next: also when a lease expires, or somebody has waited long enough."""
        due_ns = super().due_ns()
        expires_ns = self._the_book.due_ns()
        if expires_ns is not None:
            due_ns = min(due_ns, expires_ns)
        for wish in self._wishes.values():
            due_ns = min(due_ns, wish.until_ns)
        return due_ns

    def state(self) -> tuple[str, str]:
        """Return the node's state, and why. Asked at each tick, so what is over is let go of here too."""
        now_ns = time.monotonic_ns()
        self._frames.drop_gone()
        self._sweep()
        self._forget_lost()
        waits, is_any_out = not self._wishes and self._count_waiting() > 0, self._the_book.is_any_out
        is_ending = self._is_draining or brings_no_more(self.folder)
        self._patience.look(now_ns, waits=waits, is_any_out=is_any_out, is_ending=is_ending)
        state, why = super().state()
        lonely_since_ns = self._patience.lonely_since_ns(now_ns)
        if state == "running" and lonely_since_ns is not None:
            since_s = (time.time_ns() - now_ns + lonely_since_ns) // 1_000_000_000
            since = time.strftime("%H:%M:%S", time.localtime(since_s))
            out = " (others are out at clients)" if is_any_out else ""
            why = f"no_puller: frames wait, and nobody has asked {self.spec.node} for any since {since}{out}"
            return "waiting", why
        return state, why

    def hasten(self) -> None:
        """Wait no longer than `drain` for somebody to ask: the run is being drained."""
        self._is_draining = True
        self.look_soon()

    def is_done(self) -> bool:
        """Done when every input has ended, or only we stop: a successor goes on with what is out."""
        return (self._is_leaving or self._has_ended_above) and self.try_end()

    def answer(self, message: Asked, now_ns: int) -> None:
        """See `Node.answer`.

        Raises:
            WireError: the process that asks is none.
        """
        self._askers.note(message.replica, message.request)
        if self._patience.note_call(now_ns):
            self.look_soon()  # so that the status says it
        if isinstance(message, Dequeue):
            key = message.replica, message.request
            if key not in self._wishes:
                wait_ns = message.wait_ns if len(self._wishes) < WISHES_MAX else 0
                self._wishes[key] = Wish(*key, message.most, message.lease_ns, now_ns + wait_ns)
        elif isinstance(message, Settle):
            results = self._settle_all(message, now_ns)
            self._askers.tell(message.replica, message.request, Settled(message.request, tuple(results)))
        elif isinstance(message, Show):
            shown = self._show(message)
            if shown is not None:
                self._askers.tell(message.replica, message.request, shown)

    # -- frames out -------------------------------------------------------------------------------------------------

    def _grant(self, now_ns: int) -> bool:
        """Answer the questions that can be answered, and those whose time is over; in the order in which they came."""
        book, has_moved = self._the_book, False
        for key, wish in list(self._wishes.items()):
            again = book.given_for(wish.request)
            is_full = not book.has_room
            has_frames = self._has_frames and not self.is_paused
            if not (again or is_full or has_frames or now_ns >= wish.until_ns):
                continue
            del self._wishes[key]
            if not self._askers.is_there(*key):
                continue  # nobody would take the frames
            has_moved = True
            if is_full and not again:
                answer = Dequeued(wish.request, (), 0, False, book.due_ns() or now_ns)
            else:
                answer = self._handful(wish, again, now_ns)
            self._askers.tell(*key, answer)
        return has_moved

    def _handful(self, wish: Wish, again: list[Given[PulledFrame]], now_ns: int) -> Dequeued:
        book, nbytes = self._the_book, 0
        frames: list[tuple[str, int, int, bytes]] = []
        left = 0 if self.is_paused and not again else min(wish.count, ASKED_MAX)
        while left > 0 and nbytes < FACTS_BYTES_MAX:
            if not book.has_free_row:
                self._sweep()
            given = again or book.give(1, now_ns + wish.lease_ns, lambda: self._fresh(now_ns), wish.request)
            if not given:
                break
            for one in given:
                facts = self._facts(one)
                if facts is not None:
                    left, nbytes = left - 1, nbytes + len(facts)
                    frames.append((one.lease, one.delivery, one.expires_ns, facts))
            if again:
                break
        return Dequeued(wish.request, tuple(frames), self._count_waiting(), False, 0)

    def _fresh(self, now_ns: int) -> PulledFrame | None:
        """Return the next frame that was never out, inputs in turn; None: there is none."""
        for _ in self.subscribers:
            subscriber = self.subscribers[self._turn]
            self._turn = (self._turn + 1) % len(self.subscribers)
            while (lease := subscriber.take_unnoted(now_ns)) is not None:
                frame = subscriber.entry, lease.key, lease.sequence
                state = self._the_book.state_of(frame)
                if state == DONE:  # its producer had not heard
                    subscriber.finish(lease.name)
                elif state == DEAD:
                    self._give_up(frame, "given up, before its process was killed")
                elif state:  # it is out, or waits to be given out again
                    continue
                elif self._is_readable(subscriber, lease):
                    return frame
        return None

    def _is_readable(self, subscriber: EdgeSubscriber, lease: Lease) -> bool:
        """Whether a frame's slot still holds it; else it is given back as overwritten."""
        try:
            found, _ = self._frames.open(lease)
        except (OverwrittenError, WireError) as fault:
            subscriber.fail(lease.name, str(fault), FailureKind.OVERWRITTEN)
            return False
        found.close()
        return True

    def _facts(self, given: Given[PulledFrame]) -> bytes | None:
        """Return what a client is told of a frame; None: it is not there any more, and is not out either."""
        lease, subscriber = self._lease_of(given.item), self.subscribers[given.item[0]]
        if lease is not None:
            try:
                frame, _ = self._frames.open(lease)
            except (OverwrittenError, WireError) as fault:
                subscriber.fail(lease.name, str(fault), FailureKind.OVERWRITTEN)
            else:
                # How often it was leased to us says nothing to a client: only how often somebody was given it does.
                delivery = frame.delivery - (lease.delivery - 1) + given.delivery - 1
                facts = pack_facts(frame, delivery)
                frame.close()
                return facts
        self._the_book.forget([given.item])
        return None

    def _lease_of(self, frame: PulledFrame) -> Lease | None:
        entry, key, sequence = frame
        return self.subscribers[entry].held.get((key, sequence)) if entry < len(self.subscribers) else None

    # -- what comes back --------------------------------------------------------------------------------------------

    def _settle_all(self, message: Settle, now_ns: int) -> list[Result]:
        book = self._the_book
        if message.outcome == "undone":
            return book.undo(message.leases)
        if message.outcome == "extended":
            return [book.extend(lease, now_ns + message.for_ns) for lease in message.leases]
        why = message.why or "its client says that it failed"
        if message.outcome == "failed":
            return [self._fail(lease, why) for lease in message.leases]
        return [self._ack(lease, now_ns) for lease in message.leases]

    def _ack(self, name: str, now_ns: int) -> Result:
        result, frame = self._the_book.ack(name)
        if frame is None:
            return result
        subscriber, lease = self.subscribers[frame[0]], self._lease_of(frame)
        if frame[1:] not in subscriber.held:  # its producer has ended the lease
            self.status_block.count_refused()
            self._the_book.forget([frame])
            return "expired"
        subscriber.finish((frame[1], frame[2]))
        if lease is not None:
            self.status_block.count_frame(now_ns - lease.captured_ns, time.time_ns())
        else:
            self.status_block.add_frames(1)
        return result

    def _fail(self, name: str, why: str) -> Result:
        result, lost = self._the_book.fail(name)
        if lost is not None:
            self._give_up(lost, why)
        return result

    def _expire(self, now_ns: int) -> bool:
        due_ns = self._the_book.due_ns()
        if due_ns is None or due_ns > now_ns:
            return False
        late, lost = self._the_book.expire(now_ns)
        for _ in late:
            self.status_block.count_refused()
        for frame in lost:
            self._give_up(frame, f"its lease expired, at delivery {self.spec.options.max_deliveries}, the last")
        return bool(late)

    def _give_up(self, frame: PulledFrame, why: str) -> None:
        """Tell the producer that a frame was tried often enough: it becomes a dead letter."""
        self.subscribers[frame[0]].fail((frame[1], frame[2]), why, FailureKind.PERMANENT)

    def _show(self, message: Show) -> Shown | None:
        """Say where the picture lies of a frame that is out; None: that is not known yet, and is asked again."""
        given = self._the_book.get(message.lease)
        lease = None if given is None else self._lease_of(given.item)
        if lease is None:
            if given is not None and given.item[1:] in self.subscribers[given.item[0]].held:
                return None
            return Shown(message.request, b"", f"no frame is out under lease {message.lease}")
        return Shown(message.request, lease.payload, "")

    # -- what is over -----------------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        """Let go of frames that are done, or given up, once their producer has heard of it."""
        book = self._the_book
        for subscriber in self.subscribers:
            over = book.names(subscriber.entry, (DONE, DEAD))
            standing = subscriber.standing() if over else None
            if standing is not None:
                book.forget([(subscriber.entry, *name) for name in over if name not in standing])

    def _forget_lost(self) -> None:
        """Let go of frames whose leases their producer has ended."""
        book, gone = self._the_book, list[PulledFrame]()
        for subscriber in self.subscribers:
            if isinstance(subscriber, KeepingSubscriber):
                known = book.names(subscriber.entry, (OUT, BACK))
                gone += [(subscriber.entry, *name) for name in subscriber.lost(known)]
                for name in book.names(subscriber.entry, (DEAD,)):  # a predecessor was killed before it could say so
                    if subscriber.held.get(name) is not None:
                        self._give_up((subscriber.entry, *name), "given up, before its process was killed")
        count = book.forget(gone)
        if count:
            _log.warning("the producers have ended %d leases that were out at clients, or waited for one", count)

    def _drop_waiting(self, now_ns: int) -> bool:
        """Drop what waits here, as the run ends and nobody asks; whether there was some."""
        book, why, count = self._the_book, "nobody has asked for it until the end", 0
        for subscriber in self.subscribers:
            back = book.names(subscriber.entry, (BACK,))
            book.forget([(subscriber.entry, *name) for name in back])
            for name in back:
                subscriber.fail(name, why, FailureKind.STOPPED)
            count += len(back)
            while (lease := subscriber.take_unnoted(now_ns)) is not None:
                subscriber.fail(lease.name, why, FailureKind.STOPPED)
                count += 1
        if count:
            drain = self.spec.options.drain
            _log.warning("nobody has asked for frames for %s; dropped %d frames (reason: stopped)", drain, count)
        return count > 0

    def _leave(self) -> None:
        """Tell who waits, and leave; with a successor, what is out stays out."""
        is_own = self.control is None or self.control.is_cut
        is_over = self._has_ended_above or (self.is_stopping and self.is_final)
        for subscriber in self.subscribers:
            if isinstance(subscriber, KeepingSubscriber):
                subscriber.stays = not (is_own or is_over)
        if is_over:
            for wish in self._wishes.values():
                self._askers.tell(wish.replica, wish.request, Dequeued(wish.request, (), 0, True, 0))
            self._askers.tell_all(Dequeued(0, (), 0, True, 0))
        self._askers.close()
        super()._leave()
        self._frames.close()
        if self._book is not None:
            self._book.close(unlink=is_own)

    @property
    def _the_book(self) -> LeaseBook:
        assert self._book is not None, "it is opened before frames flow"
        return self._book

    def _count_waiting(self) -> int:
        """Return how many frames wait to be given out, here and in the queues before us."""
        count = self._the_book.waiting
        for subscriber in self.subscribers:
            ledger = subscriber.ledger()
            count += len(subscriber.leases) + (0 if ledger is None else ledger.queued)
        return count

    @property
    def _has_frames(self) -> bool:
        """Whether frames wait here to be given out."""
        if self._the_book.waiting:
            return True
        return any([subscriber.leases for subscriber in self.subscribers])

    @property
    def _is_adopting(self) -> bool:
        """Whether a predecessor had given out frames of which we do not know yet where they lie."""
        return any([None in subscriber.held.values() for subscriber in self.subscribers])

    @property
    def _is_leaving(self) -> bool:
        """Whether only we stop, so that a successor goes on."""
        return self.is_stopping and not self.is_final

    @property
    def _has_ended_above(self) -> bool:
        """Whether everything was delivered, and no more frames will come."""
        return bool(self.subscribers) and all([subscriber.is_ended for subscriber in self.subscribers])
