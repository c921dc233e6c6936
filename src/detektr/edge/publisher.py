"""The producer's side of all its edges: leases out and back, messages in, and a look at who is still alive."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from dataclasses import replace

from detektr.edge.connections import ConnectionTable, ConsumerConnection
from detektr.edge.edge import Edge
from detektr.edge.edge_options import EdgeOptions, ReclaimMode
from detektr.edge.ephemeral import POLICIES, Producer
from detektr.edge.fanout import Fanout
from detektr.edge.lease import FrameName, SessionState
from detektr.edge.outcomes import OutcomeReporter
from detektr.edge.wakeup import ReclaimSignal
from detektr.errors import NoRoomError, WireError
from detektr.events import ConsumerAttached, ConsumerLeft, EdgeResumed, EdgeStalled, Event
from detektr.memory import layout
from detektr.memory.completion_queue import open_completion_queue
from detektr.memory.journal import adopt_journal
from detektr.memory.run_folder import RunFolder
from detektr.memory.segment import Segment
from detektr.memory.status_block import StatusBlockReader, open_status_block
from detektr.options import WhenFull
from detektr.wire.doorbell import RemoteDoorbell
from detektr.wire.link import Link
from detektr.wire.message import Attach, Detach, Failure, Message, Refusal, Welcome

_REPLICA = re.compile(r"^([A-Za-z][A-Za-z0-9_-]{0,31})\.([0-9]{1,3})\Z")
_log = logging.getLogger(__name__)


class EdgePublisher:
    """Owns the edges of one process: their journals, the ways to their consumers, and their guests."""

    def __init__(
        self,
        producer: Producer,
        folder: RunFolder,
        link: Link,
        report: Callable[[Event], None],
        *,
        identify: Callable[[bytes], str],
        save_dead_letter: Callable[[bytes, str], str],
    ) -> None:
        """Begin without edges.

        Args:
            producer: who we are.
            folder: where the journals live.
            link: our sockets.
            report: takes what happened.
            identify: reads a frame's id out of an edge's payload.
            save_dead_letter: keeps a dead-lettered frame and the reason; returns where.
        """
        self.producer = producer
        self._folder, self._link, self._report = folder, link, report
        self._outcome_reporter = OutcomeReporter(producer.name, report, identify, save_dead_letter)
        self._segments: dict[str, Segment] = {}
        self._connections = ConnectionTable(link)
        self.fanout = Fanout()
        self.reclaim = ReclaimSignal(self.fanout, self._connections)
        self._status_blocks: dict[str, StatusBlockReader] = {}

    def add_edge(self, consumer: str, options: EdgeOptions) -> None:
        """Make an edge, or adopt the one that a predecessor left.

        Raises:
            NoRoomError: shared memory has no room for its journal.
        """
        path = self._folder.journal(self.producer.node, self.producer.replica, consumer)
        segment, journal = adopt_journal(path, options.cells, options.payload_bytes, options.mark * options.inputs)
        journal[layout.EDGE_WORD_POLICY] = POLICIES.index(options.when_full)
        journal[layout.EDGE_WORD_IS_EPHEMERAL] = options.is_ephemeral
        journal[layout.EDGE_WORD_MAX_DELIVERIES] = options.max_deliveries
        journal[layout.EDGE_WORD_TIMEOUT_NS] = options.timeout_ns or 0
        journal[layout.EDGE_WORD_WINDOW] = options.window_total  # last: without it the words above are not all there
        self._segments[consumer] = segment
        self.fanout.add(Edge(consumer, options, journal))
        self.reclaim.restate()

    def settle_policy(self, when_full: WhenFull) -> None:
        """Give this policy to all edges that were made before their source was known, and to guests that will come."""
        self.producer = replace(self.producer, ephemeral_policy=when_full)
        for edge in self.fanout.edges.values():
            if not edge.options.is_ephemeral or edge.options.is_policy_open:
                edge.options = replace(edge.options, when_full=when_full)
                edge.journal[layout.EDGE_WORD_POLICY] = POLICIES.index(when_full)

    def adopt_ephemeral_edges(self) -> None:
        """Take over the edges of guests that a dead predecessor had."""
        for _, _, consumer, path in list(self._folder.journals(self.producer.node, self.producer.replica)):
            if consumer not in self._segments:
                segment = adopt_journal(path, 1, self.producer.payload_bytes, 1)[0]
                words = segment.words
                if not words[layout.EDGE_WORD_WINDOW]:  # killed while it made the edge; no frame was offered to it
                    segment.close()
                    path.unlink()
                    continue
                options = self.producer.ephemeral_edge(
                    mark=words[layout.EDGE_WORD_MARK],
                    window=words[layout.EDGE_WORD_WINDOW],
                    when_full=POLICIES[words[layout.EDGE_WORD_POLICY]],
                    max_deliveries=words[layout.EDGE_WORD_MAX_DELIVERIES],
                    timeout_ns=words[layout.EDGE_WORD_TIMEOUT_NS],
                )
                segment.close()
                self.add_edge(consumer, options)

    def call_back(self) -> None:
        """Wake the replicas of a predecessor, so that they attach to us."""
        for edge in self.fanout.edges.values():
            for replica in edge.replicas.values():
                node, _, number = replica.name.rpartition(".")
                remote_doorbell = RemoteDoorbell(self._folder.doorbell(node, int(number)))
                remote_doorbell.ring()
                remote_doorbell.close()

    def handle(self, message: Message, now_ns: int) -> None:
        """Take one message of a consumer.

        Raises:
            WireError: it asks for what it may not have.
        """
        if isinstance(message, Attach):
            self._attach(message, now_ns)
        elif isinstance(message, Failure):
            edge = self._edge(message.consumer)
            edge.finish(message.session, (), now_ns)  # it works: its leases are not over for want of progress
            for key, sequence, why in message.failed:
                edge.fail(message.session, key, sequence, why)
        elif isinstance(message, Detach):
            edge = self._edge(message.consumer)
            self._harvest(edge, now_ns)
            replica = edge.replicas.get(message.session)
            if replica is not None:
                edge.detach(message.session)
                self._forget(message.session, replica.name, message.consumer, "left")

    def pump(self, now_ns: int) -> bool:
        """Lease what can be leased, tell the replicas, and take back what was returned; whether something was."""
        has_some = False
        for edge in tuple(self.fanout.edges.values()):
            if (
                edge.announced_to or edge.backlog.count
            ):  # first, as somebody waits for it; to look what came back can wait
                self._lease_queued(edge, now_ns)
            if (self.reclaim.reclaim_mode is not ReclaimMode.LAZY or edge.is_short) and self._harvest(edge, now_ns):
                has_some = True
                if edge.backlog.count:
                    self._lease_queued(edge, now_ns)
        return has_some

    def _lease_queued(self, edge: Edge, now_ns: int) -> None:
        self._connections.wake(edge.lease_queued(now_ns))

    def _harvest(self, edge: Edge, now_ns: int) -> bool:
        """Take back what replicas have returned; whether there was something."""
        has_some = False
        for session in tuple(edge.replicas):
            connection = self._connections.get(session)
            if connection is None or not connection.completions.has_news:
                continue
            has_some = True
            try:
                completed = connection.completions.take()
            except WireError as fault:
                _log.error("%s", fault)
                edge.detach(session)
                self._forget(session, connection.replica, edge.consumer, "broke its returns")
                continue
            edge.finish(session, completed, now_ns)
        return has_some

    def collect(self) -> list[FrameName]:
        """Tell what became of frames, then return those that no edge needs any more; their slots may be reused now."""
        for edge in self.fanout.edges.values():
            if edge.outcomes:
                self._outcome_reporter.tell(edge)
        return self.fanout.collect()

    def tick(self, now_ns: int) -> None:
        """Look who is alive, whose time is over, and which edges nobody reads."""
        for edge in list(self.fanout.edges.values()):
            self._harvest(edge, now_ns)
            edge.expire(now_ns)
            self._evict_dead(edge)
            if edge.consumer not in self.fanout.edges:
                continue  # a guest's, which went with it
            stalled = edge.note_stall(now_ns)
            if stalled is True:
                _log.warning("edge to %s is stalled: %d frames and nobody to take them", edge.consumer, edge.queued)
                self._report(EdgeStalled(self.producer.name, edge.consumer, edge.queued))
            elif stalled is False:
                _log.info("edge to %s flows again", edge.consumer)
                self._report(EdgeResumed(self.producer.name, edge.consumer))
            if edge.options.is_ephemeral and not edge.replicas:
                self._remove_ephemeral(edge.consumer)

    @property
    def is_unread(self) -> bool:
        """Whether an edge holds frames and, at the last tick, nobody could take them."""
        return any(edge.has_no_consumer and not edge.is_empty for edge in self.fanout.edges.values())

    def try_end(self) -> bool:
        """Tell consumers that nothing more will come, once every edge is empty; False: not yet."""
        if not self.fanout.is_empty:
            return False
        for edge in self.fanout.edges.values():
            edge.journal[layout.EDGE_WORD_WANTED] = 0
            edge.journal[layout.EDGE_WORD_STATE] = layout.EDGE_ENDED
        self._connections.wake(tuple(self._connections))
        return True

    def give_up(self, consumer: str) -> None:
        """Wait for a consumer no longer, as it has failed for good: its frames are dropped as `gone`."""
        edge = self._edge(consumer)
        if not edge.is_given_up:
            _log.warning("%s has failed for good: what it would get is dropped as gone", consumer)
            self._evict_dead(edge)  # first: what it had finished is delivered
            edge.give_up()

    def drop_rest(self, reason: str) -> int:
        """Drop what is still queued or in flight; returns how many frames."""
        count = 0
        for edge in self.fanout.edges.values():
            count += edge.queued + edge.in_flight
            edge.drop_all(reason)
            self._outcome_reporter.tell(edge)
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
        for session in tuple(self._connections):
            self._connections.close(session)
        for status_block in self._status_blocks.values():
            status_block.close()

    def _evict_dead(self, edge: Edge) -> None:
        for replica in list(edge.replicas.values()):
            status_block = self._status_block(replica.name)
            is_alive = status_block is not None and status_block.is_alive
            connection = self._connections.get(replica.session)
            if status_block is not None and connection is not None and status_block.pid != connection.pid:
                is_alive = False  # its successor has the page already, and may take long to get ready
            if not is_alive and (replica.is_present or not replica.is_durable):
                self._harvest(edge, time.monotonic_ns())  # its last words
                edge.evict(replica.session, None if status_block is None else status_block.progress(replica.session))
                self._forget(replica.session, replica.name, edge.consumer, "died")

    def _attach(self, message: Attach, now_ns: int) -> None:
        parts = _REPLICA.match(message.replica)
        if parts is None:
            raise WireError(f"Attach.replica {message.replica!r} is not a node and a number, as in motion.0")
        status_block = self._status_block(message.replica)
        if status_block is None or not status_block.is_alive or status_block.progress(message.session) is None:
            raise WireError(f"Attach: session {message.session} is not on the page of a living {message.replica}")
        known = self._connections.get(message.session)
        if known is not None and message.attach_epoch <= known.attach_epoch:
            raise WireError(
                f"Attach: round {message.attach_epoch} of {message.replica} is over, it is at {known.attach_epoch}"
            )
        peer = parts[1], int(parts[2])
        outbox = self._link.open_outbox(self._folder.inbox(*peer), self._folder.doorbell(*peer))
        why = self._refusal(message)
        if why is not None:
            outbox.try_send(Refusal(message.session, why))
            outbox.close(linger_ms=100)
            raise WireError(f"{message.replica} may not attach: {why}")
        edge = self.fanout.edges[message.consumer]
        self._harvest(edge, now_ns)
        status_block = self._status_block(message.replica)  # whose returns turned out to be broken, is forgotten by now
        try:
            if status_block is None or message.consumer not in self.fanout.edges:
                raise WireError(f"{message.replica} may not attach: what it gave back cannot be read")
            completions = open_completion_queue(
                self._folder.completions(message.replica, self.producer.name), message.completed
            )
            if completions is None:
                raise WireError(f"{message.replica} may not attach: there is no place where it gives back")
        except WireError:
            outbox.close()
            raise
        connection = ConsumerConnection(
            message.consumer, message.replica, message.attach_epoch, status_block.pid, outbox, completions
        )
        state = SessionState(
            received=message.received,
            held=frozenset(message.held),
            seen=dict(message.seen),
            failed=message.failed,
            previous=message.previous,
        )
        is_new = message.session not in edge.replicas
        if not edge.attach(
            message.session, message.replica, message.window, state, is_durable=message.is_durable, now_ns=now_ns
        ):
            connection.close()
            raise WireError(f"{message.replica} may not attach: {layout.EDGE_REPLICAS_MAX} replicas are")
        for session, other in list(self._connections.items()):
            if session == message.session or (other.consumer == message.consumer and session not in edge.replicas):
                self._connections.close(session)
        self._connections.add(message.session, connection)
        outbox.try_send(Welcome(message.session, message.attach_epoch, edge.journal[layout.EDGE_WORD_PRODUCER_EPOCH]))
        if is_new:
            _log.info("%s attached to the edge to %s", message.replica, message.consumer)
            self._report(ConsumerAttached(self.producer.name, message.consumer, message.replica))

    def _refusal(self, message: Attach) -> str | None:
        edge = self.fanout.edges.get(message.consumer)
        if not message.is_ephemeral and message.replica.rpartition(".")[0] != message.consumer:
            return f"{message.replica} is no replica of {message.consumer}"
        if edge is not None:
            return _rival(edge, message)
        node = self.producer.node
        if not message.is_ephemeral:
            names = ", ".join(self.fanout.edges) or "none"
            return f"{node} has no edge to {message.consumer}; its edges: {names}"
        guests = [other.options for other in self.fanout.edges.values() if other.options.is_ephemeral]
        options = self.producer.admit_ephemeral(message, guests)
        if isinstance(options, str):
            return options
        try:
            self.add_edge(message.consumer, options)
        except NoRoomError as fault:
            return str(fault)
        return None

    def _remove_ephemeral(self, consumer: str) -> None:
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
        self._connections.close(session)
        status_block = self._status_blocks.pop(replica, None)
        if status_block is not None:
            status_block.close()
        _log.info("%s %s the edge to %s", replica, "left" if reason == "left" else f"{reason}: off", consumer)
        self._report(ConsumerLeft(self.producer.name, consumer, replica, reason))
        edge = self.fanout.edges.get(consumer)
        if edge is not None and edge.options.is_ephemeral and not edge.replicas:
            self._remove_ephemeral(consumer)

    def _status_block(self, replica: str) -> StatusBlockReader | None:
        status_block = self._status_blocks.get(replica)
        if status_block is not None and status_block.segment.is_unlinked:
            self._status_blocks.pop(replica).close()
            status_block = None
        if status_block is None:
            node, _, number = replica.rpartition(".")
            status_block = open_status_block(self._folder.status_block(node, int(number)), node, int(number))
            if status_block is not None:
                self._status_blocks[replica] = status_block
        return status_block


def _rival(edge: Edge, message: Attach) -> str | None:
    """Say why a consumer may not join an edge that is there; None: it may."""
    if message.is_ephemeral and not edge.options.is_ephemeral:
        return f"{edge.consumer} is a node of this pipeline's file; choose another name"
    others = [replica.name for replica in edge.replicas.values() if replica.name != message.replica]
    if edge.options.is_ephemeral and others:
        return f"{edge.consumer} is attached already, as {others[0]}; choose another name"
    return None
