"""The producer's side of all its edges: messages in, leases out, and a look at who is still alive."""

from __future__ import annotations

import logging
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import get_args

from detektr.errors import NoRoomError, WireError
from detektr.events import (
    ConsumerAttached,
    ConsumerLeft,
    EdgeResumed,
    EdgeStalled,
    Event,
    FrameDeadLettered,
    FrameDropped,
    FrameRedelivered,
    ResultRefused,
)
from detektr.memory import layout
from detektr.memory.folder import RunFolder
from detektr.memory.journal import adopt_journal
from detektr.memory.page import PageReader, open_page
from detektr.memory.segment import Segment
from detektr.nodes.edge import Edge, EdgeOptions, Fact
from detektr.nodes.fanout import Fanout
from detektr.nodes.lease import Claim, FrameName
from detektr.nodes.options import WhenFull
from detektr.wire.link import Link, Outbox
from detektr.wire.message import Attach, Detach, Grant, Lease, Message, Refusal, Return, Welcome

GRANT_BYTES_MAX = 1 << 20  # payload of one message, unless a single lease has more
LETTERS_MAX = 10  # dead letters ...
LETTERS_NS = 10_000_000_000  # ... within this time
LOOK_NS = 200_000_000  # how often the kernel is asked who lives
GUEST_MARK = 3
_POLICIES: tuple[WhenFull, ...] = get_args(WhenFull)
_REPLICA = re.compile(r"^([A-Za-z][A-Za-z0-9_-]{0,31})\.([0-9]{1,3})\Z")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Producer:
    """Who produces, and what its guests may have."""

    node: str
    replica: int
    guest_frames: int
    guest_policy: WhenFull
    guest_mark: int
    payload_bytes: int
    max_age_ns: int | None = None
    lanes: int = 1

    @property
    def name(self) -> str:
        """Node and replica: `camera.0`."""
        return f"{self.node}.{self.replica}"


class Outlet:
    """Owns the edges of one process: their journals, their consumers' outboxes and their guests."""

    def __init__(
        self,
        producer: Producer,
        folder: RunFolder,
        link: Link,
        report: Callable[[Event], None],
        *,
        identify: Callable[[bytes], str],
        save_letter: Callable[[bytes, str], str],
    ) -> None:
        """Begin without edges.

        Args:
            producer: who we are.
            folder: where the journals live.
            link: our sockets.
            report: takes what happened.
            identify: reads a frame's id out of an edge's payload.
            save_letter: keeps a dead-lettered frame and the reason; returns where.
        """
        self.producer, self.fanout = producer, Fanout()
        self._folder, self._link, self._report = folder, link, report
        self._identify, self._save_letter = identify, save_letter
        self._segments: dict[str, Segment] = {}
        self._outboxes: dict[int, tuple[str, Outbox, int]] = {}  # session: consumer, way, round
        self._pages: dict[str, PageReader] = {}
        self._next_look_ns = self._letters = 0
        self._saved_ns: deque[int] = deque()
        self._pids: dict[int, int] = {}  # process that attached, by session

    def add_edge(self, consumer: str, options: EdgeOptions) -> None:
        """Make an edge, or adopt the one that a predecessor left.

        Raises:
            NoRoomError: shared memory has no room for its journal.
        """
        path = self._folder.journal(self.producer.node, self.producer.replica, consumer)
        segment, journal = adopt_journal(path, options.cells, options.payload_bytes, options.mark * options.lanes)
        journal[layout.EDGE_WORD_WINDOW] = options.window_total
        journal[layout.EDGE_WORD_POLICY] = _POLICIES.index(options.when_full)
        journal[layout.EDGE_WORD_IS_GUEST] = options.is_guest
        journal[layout.EDGE_WORD_MAX_DELIVERIES] = options.max_deliveries
        journal[layout.EDGE_WORD_TIMEOUT_NS] = options.timeout_ns or 0
        self._segments[consumer] = segment
        self.fanout.add(Edge(consumer, options, journal))

    def adopt_guests(self) -> None:
        """Take over the edges of guests that a dead predecessor had."""
        for _, _, consumer, path in list(self._folder.journals(self.producer.node, self.producer.replica)):
            if consumer not in self._segments:
                segment = adopt_journal(path, 1, self.producer.payload_bytes, 1)[0]
                words = segment.words
                options = self._guest_options(
                    mark=words[layout.EDGE_WORD_MARK],
                    window=words[layout.EDGE_WORD_WINDOW],
                    when_full=_POLICIES[words[layout.EDGE_WORD_POLICY]],
                    max_deliveries=words[layout.EDGE_WORD_MAX_DELIVERIES],
                    timeout_ns=words[layout.EDGE_WORD_TIMEOUT_NS],
                )
                segment.close()
                self.add_edge(consumer, options)

    def handle(self, message: Message, now_ns: int) -> None:
        """Take one message of a consumer.

        Raises:
            WireError: it asks for what it may not have.
        """
        if isinstance(message, Attach):
            self._attach(message, now_ns)
        elif isinstance(message, Return):
            edge = self._edge(message.consumer)
            edge.finish(message.session, message.finished, now_ns)
            for key, sequence, why in message.failed:
                edge.fail(message.session, key, sequence, why)
        elif isinstance(message, Detach):
            edge = self._edge(message.consumer)
            replica = edge.replicas.get(message.session)
            if replica is not None:
                edge.detach(message.session)
                self._forget(message.session, replica.name, message.consumer, "left")

    def pump(self, now_ns: int) -> None:
        """Lease what can be leased and tell the replicas."""
        for edge in list(self.fanout.edges.values()):
            for session, cells in edge.grant(now_ns).items():
                consumer, outbox, attached = self._outboxes[session]
                leases = tuple(
                    Lease(
                        cell.key,
                        cell.sequence,
                        cell.captured_ns,
                        cell.index,
                        cell.grant,
                        cell.deliveries,
                        cell.payload,
                    )
                    for cell in cells
                )
                grants = (Grant(session, attached, self.producer.name, part) for part in _parts(leases))
                if not all(map(outbox.try_send, grants)):
                    name = edge.replicas[session].name
                    edge.detach(session)
                    self._forget(session, name, consumer, "stopped listening")

    def collect(self) -> list[FrameName]:
        """Tell what became of frames, then return those that no edge needs any more; their slots may be reused now."""
        for edge in self.fanout.edges.values():
            if edge.facts:
                self._tell(edge)
        return self.fanout.collect()

    def tick(self, now_ns: int) -> None:
        """Look who is alive, whose time is over, and which edges nobody reads."""
        if now_ns < self._next_look_ns:
            return
        self._next_look_ns = now_ns + LOOK_NS
        for edge in list(self.fanout.edges.values()):
            edge.expire(now_ns)
            self._bury_dead(edge)
            if edge.consumer not in self.fanout.edges:
                continue  # a guest's, which went with it
            stalled = edge.note_stall(now_ns)
            if stalled is True:
                _log.warning("edge to %s is stalled: %d frames and nobody to take them", edge.consumer, edge.queued)
                self._report(EdgeStalled(self.producer.name, edge.consumer, edge.queued))
            elif stalled is False:
                _log.info("edge to %s flows again", edge.consumer)
                self._report(EdgeResumed(self.producer.name, edge.consumer))
            if edge.options.is_guest and not edge.replicas:
                self._remove_guest(edge.consumer)

    def try_end(self) -> bool:
        """Tell consumers that nothing more will come, once every edge is empty; False: not yet."""
        if not self.fanout.is_empty:
            return False
        for edge in self.fanout.edges.values():
            edge.journal[layout.EDGE_WORD_STATE] = layout.EDGE_ENDED
        return True

    def give_up(self, consumer: str) -> None:
        """Wait for a consumer no longer, as it has failed for good: its frames are dropped as `gone`."""
        edge = self._edge(consumer)
        if not edge.is_given_up:
            _log.warning("%s has failed for good: what it would get is dropped as gone", consumer)
            self._bury_dead(edge)  # first: what it had finished is delivered
            edge.give_up()

    def drop_rest(self, reason: str) -> int:
        """Drop what is still queued or in flight; returns how many frames."""
        count = 0
        for edge in self.fanout.edges.values():
            count += edge.queued + edge.in_flight
            edge.drop_all(reason)
            self._tell(edge)
        return count

    def close(self, *, unlink: bool) -> None:
        """Close every edge; with `unlink` the journals go too."""
        for consumer, edge in self.fanout.edges.items():
            journal, segment = edge.journal, self._segments[consumer]
            if journal[layout.EDGE_WORD_STATE] == layout.EDGE_OPEN:
                journal[layout.EDGE_WORD_STATE] = layout.EDGE_CLOSED
            journal.close()
            if unlink:
                segment.path.unlink(missing_ok=True)
            segment.close()
        for _, outbox, _ in self._outboxes.values():
            outbox.close()
        for page in self._pages.values():
            page.close()

    def _bury_dead(self, edge: Edge) -> None:
        for replica in list(edge.replicas.values()):
            page = self._page(replica.name)
            is_alive = page is not None and page.is_alive
            if page is not None and page.pid != self._pids.get(replica.session, page.pid):
                is_alive = False  # its successor has the page already, and may take long to get ready
            if not is_alive and (replica.is_present or not replica.is_durable):
                edge.bury(replica.session, None if page is None else page.progress(replica.session))
                self._forget(replica.session, replica.name, edge.consumer, "died")

    def _attach(self, message: Attach, now_ns: int) -> None:
        parts = _REPLICA.match(message.replica)
        if parts is None:
            raise WireError(f"Attach.replica {message.replica!r} is not a node and a number, as in motion.0")
        page = self._page(message.replica)
        if page is None or not page.is_alive or page.progress(message.session) is None:
            raise WireError(f"Attach: session {message.session} is not on the page of a living {message.replica}")
        known = self._outboxes.get(message.session)
        if known is not None and message.round <= known[2]:
            raise WireError(f"Attach: round {message.round} of {message.replica} is over, it is at {known[2]}")
        outbox = self._link.open_outbox(self._folder.inbox(parts[1], int(parts[2])))
        why = self._refusal(message)
        if why is not None:
            outbox.try_send(Refusal(message.session, why))
            outbox.close(linger_ms=100)
            raise WireError(f"{message.replica} may not attach: {why}")
        edge = self.fanout.edges[message.consumer]
        claim = Claim(
            received=message.received,
            held=frozenset(message.held),
            seen=dict(message.seen),
            failed=message.failed,
            previous=message.previous,
        )
        is_new = message.session not in edge.replicas
        if not edge.attach(
            message.session, message.replica, message.window, claim, is_durable=message.is_durable, now_ns=now_ns
        ):
            outbox.close()
            raise WireError(f"{message.replica} may not attach: {layout.EDGE_REPLICAS_MAX} replicas are")
        for session, (consumer, old, _) in list(self._outboxes.items()):
            if session == message.session or (consumer == message.consumer and session not in edge.replicas):
                old.close()
                del self._outboxes[session]
        self._pids[message.session] = page.pid
        self._outboxes[message.session] = message.consumer, outbox, message.round
        outbox.try_send(Welcome(message.session, message.round, edge.journal[layout.EDGE_WORD_INCARNATION]))
        if is_new:
            _log.info("%s attached to the edge to %s", message.replica, message.consumer)
            self._report(ConsumerAttached(self.producer.name, message.consumer, message.replica))

    def _refusal(self, message: Attach) -> str | None:
        edge = self.fanout.edges.get(message.consumer)
        if not message.is_guest and message.replica.rpartition(".")[0] != message.consumer:
            return f"{message.replica} is no replica of {message.consumer}"
        if edge is not None:
            return _rival(edge, message)
        node, room = self.producer.node, self.producer.guest_frames
        if not message.is_guest:
            names = ", ".join(self.fanout.edges) or "none"
            return f"{node} has no edge to {message.consumer}; its edges: {names}"
        if message.when_full == "block" and self.producer.guest_policy != "block":
            return f"{node} drops when it is full, so a guest cannot make it wait: leave when_full out"
        # Who asks for a policy of its own looks on, and needs no long queue; who leaves it to us works as all do.
        wanted = GUEST_MARK if message.when_full else max(GUEST_MARK, self.producer.guest_mark)
        options = self._guest_options(
            mark=wanted,
            window=message.window,
            when_full=next((one for one in _POLICIES if one == message.when_full), self.producer.guest_policy),
            max_deliveries=message.max_deliveries,
            timeout_ns=message.timeout_ns,
        )
        guests = [other.options for other in self.fanout.edges.values() if other.options.is_guest]
        while frames_held([*guests, options]) > room and options.mark > GUEST_MARK:
            options = replace(options, mark=options.mark - 1, low=options.mark - 2)
        needed, taken = frames_held([*guests, options]), frames_held(guests)
        if needed > room:
            return (
                f"{node} keeps {room} frames for guests and {taken} are taken; with this one it would be {needed}:"
                f" raise `guests` of {node} in the file, or its --slots or --high-water-mark where it was started alone"
            )
        try:
            self.add_edge(message.consumer, options)
        except NoRoomError as fault:
            return str(fault)
        return None

    def _guest_options(
        self, *, mark: int, window: int, when_full: WhenFull, max_deliveries: int, timeout_ns: int
    ) -> EdgeOptions:
        return EdgeOptions(
            mark=mark,
            low=mark - 1,
            when_full=when_full,
            lanes=1,
            window_total=window,
            payload_bytes=self.producer.payload_bytes,
            max_deliveries=max_deliveries,
            timeout_ns=timeout_ns or None,
            max_age_ns=self.producer.max_age_ns,
            is_guest=True,
        )

    def _remove_guest(self, consumer: str) -> None:
        edge = self.fanout.edges[consumer]
        self.fanout.remove(consumer)
        edge.journal[layout.EDGE_WORD_STATE] = layout.EDGE_CLOSED
        edge.journal.close()
        segment = self._segments.pop(consumer)
        segment.path.unlink(missing_ok=True)
        segment.close()

    def _edge(self, consumer: str) -> Edge:
        edge = self.fanout.edges.get(consumer)
        if edge is None:
            raise WireError(f"{self.producer.node} has no edge to {consumer}")
        return edge

    def _forget(self, session: int, replica: str, consumer: str, reason: str) -> None:
        self._pids.pop(session, None)
        way = self._outboxes.pop(session, None)
        if way is not None:
            way[1].close()
        page = self._pages.pop(replica, None)
        if page is not None:
            page.close()
        _log.info("%s %s the edge to %s", replica, "left" if reason == "left" else f"{reason}: off", consumer)
        self._report(ConsumerLeft(self.producer.name, consumer, replica, reason))
        edge = self.fanout.edges.get(consumer)
        if edge is not None and edge.options.is_guest and not edge.replicas:
            self._remove_guest(consumer)

    def _page(self, replica: str) -> PageReader | None:
        page = self._pages.get(replica)
        if page is not None and page.segment.is_unlinked:
            self._pages.pop(replica).close()
            page = None
        if page is None:
            node, _, number = replica.rpartition(".")
            page = open_page(self._folder.page(node, int(number)), node, int(number))
            if page is not None:
                self._pages[replica] = page
        return page

    def _tell(self, edge: Edge) -> None:
        facts, edge.facts = edge.facts, []
        for fact in facts:
            self._report(self._event(edge, fact))

    def _may_save(self, now_ns: int) -> bool:
        """Whether one more letter may be written: a fault on every frame must not turn into a storm on the disk."""
        while self._saved_ns and now_ns - self._saved_ns[0] > LETTERS_NS:
            self._saved_ns.popleft()
        if len(self._saved_ns) >= LETTERS_MAX:
            return False
        self._saved_ns.append(now_ns)
        return True

    def _event(self, edge: Edge, fact: Fact) -> Event:
        name, consumer = self.producer.name, edge.consumer
        frame = self._identify(fact.payload) if fact.payload else ""
        if fact.what == "dropped":
            return FrameDropped(name, consumer, frame, fact.sequence, fact.reason, fact.frames)
        if fact.what == "refused":
            return ResultRefused(name, consumer, frame, fact.sequence)
        if fact.what == "redelivered":
            first = fact.reason.strip().splitlines()[-1] if fact.reason.strip() else ""
            return FrameRedelivered(name, consumer, frame, fact.sequence, fact.attempts, first)
        try:
            is_storm = not self._may_save(time.monotonic_ns())
            saved = "nowhere: too many at once" if is_storm else self._save_letter(fact.payload, fact.reason)
        except (OSError, WireError) as fault:  # a full disk must not stop the frames that are well
            saved = f"nowhere: {fault}"
        self._letters += 1
        if self._letters.bit_count() == 1:  # 1, 2, 4, 8, ...: a fault on every frame must not drown the others
            last = fact.reason.strip().splitlines()[-1]
            tries, all_ = fact.attempts, self._letters
            _log.error(
                "%s: %s gave up after %d attempts (%s); saved: %s; %d so far", frame, consumer, tries, last, saved, all_
            )
        return FrameDeadLettered(name, consumer, frame, fact.sequence, fact.reason, saved)


def frames_held(guests: list[EdgeOptions]) -> int:
    """Return the most frames that these edges hold together.

    Queues of drop-oldest and block hold the same newest frames, so the longest counts; those of drop-newest add up, as
    all leases do.
    """
    same = max((guest.mark for guest in guests if guest.when_full != "drop-newest"), default=0)
    own = sum(guest.mark for guest in guests if guest.when_full == "drop-newest")
    return same + own + sum(guest.window_total for guest in guests)


def _rival(edge: Edge, message: Attach) -> str | None:
    """Say why a consumer may not join an edge that is there; None: it may."""
    if message.is_guest and not edge.options.is_guest:
        return f"{edge.consumer} is a node of this pipeline's file; choose another name"
    others = [replica.name for replica in edge.replicas.values() if replica.name != message.replica]
    if edge.options.is_guest and others:
        return f"{edge.consumer} is attached already, as {others[0]}; choose another name"
    return None


def _parts(leases: tuple[Lease, ...]) -> Iterator[tuple[Lease, ...]]:
    """Yield the leases in order, in parts that one message can carry."""
    begin = nbytes = 0
    for place, lease in enumerate(leases):
        nbytes += len(lease.payload)
        if nbytes > GRANT_BYTES_MAX and place > begin:
            yield leases[begin:place]
            begin, nbytes = place, len(lease.payload)
    yield leases[begin:]
