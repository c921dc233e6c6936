"""The producer's side of all its edges: it announces and reclaims leases, takes messages, and evicts dead consumers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

from detektr.edge.connections import ConnectionTable, identify, is_there, session_state
from detektr.edge.edge import Edge, Progress
from detektr.edge.edge_options import EdgeOptions
from detektr.edge.ephemeral import Producer, change_lane, left_terms, rival, write_terms
from detektr.edge.fanout import Fanout
from detektr.edge.gathering.wake import wake_gatherers
from detektr.edge.lanes.lane import Announcer
from detektr.edge.lanes.shm_lane import ShmAnnouncer
from detektr.edge.lanes.zmq_lane import ZmqAnnouncer, ZmqConnection
from detektr.edge.outcomes import OutcomeReporter, stall_words
from detektr.edge.partitioned_edges import PartitionedEdges
from detektr.edge.relay.edge_file import open_edge
from detektr.edge.relay.fanout import RelayFanout
from detektr.edge.relay.look import passed_on
from detektr.edge.state.lease import Replica
from detektr.errors import NoRoomError, WireError
from detektr.events import ConsumerAttached, ConsumerLeft, EdgeResumed, EdgeStalled, RunEvent
from detektr.memory.announcement import FrameName
from detektr.memory.layout import EDGE_REPLICAS_MAX
from detektr.memory.run_folder import RunFolder
from detektr.memory.segment import Segment
from detektr.memory.status_block_reader import StatusBlockTable
from detektr.option_text import POLICIES, WhenFull
from detektr.wire.doorbell import ring_once
from detektr.wire.link import Link
from detektr.wire.message import Attach, Detach, Failure, Message, Refusal, Release, Welcome

_log = logging.getLogger(__name__)


class EdgePublisher:
    """Owns the edges of one process: their journals, the connections to their consumers, and ephemeral consumers."""

    def __init__(
        self,
        producer: Producer,
        folder: RunFolder,
        link: Link,
        report: Callable[[RunEvent], None],
        outcomes: OutcomeReporter,
        relayed_outcomes: OutcomeReporter,
    ) -> None:
        """Begin without edges.

        Args:
            producer: this node and process.
            folder: where the journals live.
            link: our sockets.
            report: takes events.
            outcomes: reports the outcomes of what `fanout` offers; `relayed_outcomes` of what `relayed` does.
        """
        self.producer = producer
        self._folder, self._link, self._report = folder, link, report
        self._outcomes, self._relayed_outcomes = outcomes, relayed_outcomes
        self.edges: dict[str, Edge] = {}  # all of them, by consumer
        self._segments: dict[str, Segment] = {}
        self._connections = ConnectionTable(link)
        self._status_blocks = StatusBlockTable(folder)
        self._zmq = ZmqAnnouncer(self._connections, self._status_blocks)
        self._shm = ShmAnnouncer(producer.name, folder, self._connections)
        self._partitioned = PartitionedEdges(folder)
        self.fanout = Fanout(self._announce_at_once)
        """Offers what comes in order: a capture's or a buffer's frames, a processor's events."""
        self.relayed = RelayFanout(self._announce_at_once)
        """Offers frames that come in any order: those that a processor passes on, also through a buffer below it."""
        self._first, self.is_blocked = 0, False
        """Whether this process, or the producer before it, can do nothing until leases are completed."""

    def add_edge(self, consumer: str, options: EdgeOptions) -> None:
        """Make an edge, or adopt the one that a predecessor left.

        Raises:
            NoRoomError: shared memory has no room for its journal.
        """
        path = self._folder.journal(self.producer.node, self.producer.replica, consumer)
        reporter = self._relayed_outcomes if options.tombstones else self._outcomes
        self._segments[consumer], edge = open_edge(path, consumer, options, reporter.keeper(consumer))
        self.edges[consumer], edge.trail = edge, reporter.trail_of(consumer)
        write_terms(edge.journal, options)
        self._announcer(edge).edges.append(edge)
        (self.relayed if options.tombstones else self.fanout).add(edge)
        self._partitioned.add(edge)

    def settle_policy(self, when_full: WhenFull) -> None:
        """Set the policy, known from the opened source, of edges without one of their own, guests to come included."""
        self.producer = replace(self.producer, ephemeral_policy=when_full)
        for edge in self.edges.values():
            if edge.options.is_policy_open:
                edge.options = replace(edge.options, when_full=when_full)
                edge.journal.set_policy(POLICIES.index(when_full))

    def adopt_ephemeral_edges(self) -> None:
        """Adopt the edges that a dead predecessor had made for ephemeral consumers."""
        for _, _, consumer, path in list(self._folder.journals(self.producer.node, self.producer.replica)):
            if consumer not in self._segments:
                terms = left_terms(path, self.producer.payload_bytes)
                if terms is not None:
                    self.add_edge(consumer, self.producer.adopted_edge(terms))
                else:
                    path.unlink()  # killed while it made the edge; no frame was offered to it

    def call_back(self) -> None:
        """Wake the replicas of a predecessor, so that they attach to us."""
        for edge in self.edges.values():
            for replica in edge.replicas.values():
                ring_once(self._folder.doorbell_of(replica.name))

    def handle(self, message: Message, now_ns: int) -> None:
        """Take one message of a consumer.

        Raises:
            WireError: the consumer asks for something that it cannot have.
        """
        if isinstance(message, Attach):
            self._attach(message, now_ns)
        elif isinstance(message, Failure):
            (edge := self._edge(message.consumer)).finish(message.session, (), now_ns)  # a sign of life
            for failed in message.failed:
                edge.fail(message.session, failed)
        elif isinstance(message, Release):
            self._hear(message, now_ns)
        elif isinstance(message, Detach):
            edge = self._edge(message.consumer)
            self._reclaim(edge, now_ns)
            if (replica := edge.replicas.get(message.session)) is not None:
                edge.detach(message.session, *self._passed_on(edge, replica.name))
                self._forget(message.session, replica.name, message.consumer, "left")

    def pump(self, now_ns: int) -> bool:
        """Lease queued frames, announce the leases, and reclaim completed ones; whether some were completed."""
        has_some = False
        edges = list(self.edges.values())
        self._first = (self._first + 1) % max(len(edges), 1)  # in turn: the last to be told waits for a core
        for edge in edges[self._first :] + edges[: self._first]:
            if edge.has_announced or edge.backlog.count:  # first, since a consumer waits for it; reclaiming can wait
                self._lease_queued(edge, now_ns)
            if (self.is_blocked or edge.needs_completions) and self._reclaim(edge, now_ns):
                has_some = True
                if edge.backlog.count:
                    self._lease_queued(edge, now_ns)
        return has_some

    def wake_up(self) -> None:
        """Note that we are awake, and look for completions ourselves."""
        self._shm.wake_up()
        self._partitioned.look()

    def fall_asleep(self) -> bool:
        """Tell consumers which completions we wait for; whether some came before they could see that."""
        has_news = self._shm.fall_asleep(is_blocked=self.is_blocked)
        return self._zmq.fall_asleep(is_blocked=self.is_blocked) or has_news

    def due_ns(self) -> int:
        """Return the monotonic time at which `tell_again` is due."""
        return self._zmq.due_ns()

    def tell_again(self, now_ns: int) -> None:
        """Tell consumers once more of what they have not acknowledged, and acknowledge what they told us."""
        self._zmq.tick(now_ns)

    def _lease_queued(self, edge: Edge, now_ns: int) -> None:
        edge.lease_queued(now_ns)
        self._announcer(edge).announce(edge, now_ns)

    def _announce_at_once(self, edge: Edge) -> None:
        self._announcer(edge).announce_at_once(edge)

    def _announcer(self, edge: Edge) -> Announcer:
        return self._shm if edge.options.lane == "shm" else self._zmq

    def _reclaim(self, edge: Edge, now_ns: int) -> bool:
        """Reclaim the leases that replicas have completed; whether there were some."""
        has_some = False
        for session in tuple(edge.replicas):
            connection = self._connections.get(session)
            if connection is None or not connection.has_news:
                continue
            has_some = True
            try:
                completed = connection.take()
            except WireError as fault:
                _log.error("%s", fault)
                edge.detach(session, *self._passed_on(edge, connection.replica))
                self._forget(session, connection.replica, edge.consumer, "broke its completion queue")
                continue
            edge.finish(session, completed, now_ns)
        return has_some

    def collect(self) -> list[FrameName]:
        """Report outcomes, then return what `fanout` offered and no edge needs any more; slots may be reused now."""
        for edge in self.edges.values():
            if edge.has_outcomes:
                self._reporter(edge).report(edge)
            if edge.options.gatherers and edge.take_losses():
                wake_gatherers(edge.options.gatherers, self._status_blocks, self._folder)
        return self.fanout.collect()

    def tick(self, now_ns: int) -> None:
        """Evict dead consumers, end leases that took too long, and report edges that have stalled."""
        self._partitioned.look(is_thorough=True)
        for edge in list(self.edges.values()):
            self._reclaim(edge, now_ns)
            if edge.options.relays_to:
                for replica in edge.overdue(now_ns):  # what these have passed on is not late
                    for names in self._passed_on(edge, replica.name):
                        edge.note_passed(replica.session, names)
            edge.expire(now_ns, self._progress_of)
            self._evict_dead(edge)
            if edge.consumer not in self.edges:
                continue  # an ephemeral consumer's edge, which went with it
            edge.note_full(now_ns)
            stalled = edge.note_stall(now_ns)
            if stalled is True:
                _log.warning("the edge to %s is stalled: %s", edge.consumer, stall_words(edge, now_ns))
                self._report(EdgeStalled(self.producer.name, edge.consumer, edge.queued))
            elif stalled is False:
                _log.info("the edge to %s flows again", edge.consumer)
                self._report(EdgeResumed(self.producer.name, edge.consumer))
            if edge.options.is_ephemeral and not edge.replicas:
                self._remove_ephemeral(edge.consumer)

    def forgive(self, unseen_ns: int) -> None:
        """Do not count the time in which our own process did not run against any consumer."""
        for edge in self.edges.values():
            edge.forgive(unseen_ns)

    @property
    def is_unserved(self) -> bool:
        """Whether an edge holds frames and, at the last tick, nobody could take them."""
        return any(edge.is_unserved and not edge.is_empty for edge in self.edges.values())

    def try_end(self) -> bool:
        """Tell consumers that no more frames will come, once every edge is empty; False: not yet."""
        if not self.is_empty:
            return False
        for edge in self.edges.values():
            edge.journal.end()
            self._announcer(edge).end(edge, time.monotonic_ns())
        return True

    def leave_optional(self, now_ns: int) -> bool:
        """At the end: drop optional consumers' frames, once their `drain` is over and all other edges are empty."""
        for told in (left := [*self.fanout.leave_optional(now_ns), *self.relayed.leave_optional(now_ns)]):
            _log.warning("%s is optional and too slow: %d frames dropped at the end", *told)
        return bool(left)

    def give_up(self, consumer: str) -> None:
        """Give up a consumer that has failed for good: its frames are dropped as `gone`."""
        edge = self._edge(consumer)
        if not edge.is_given_up:
            _log.warning("%s has failed for good: its frames are dropped (reason: gone)", consumer)
            self._evict_dead(edge)  # first: frames that it had finished are delivered
            edge.give_up()

    def let_go(self, relay: str) -> None:
        """Let go of what a relay had passed on that has failed for good: its own edges have ended."""
        self._evict_dead(edge := self._edge(relay.rpartition(".")[0]))
        edge.let_go(relay)

    @property
    def is_empty(self) -> bool:
        """Whether no edge holds anything."""
        return self.fanout.is_empty and self.relayed.is_empty

    def drop_rest(self, reason: str) -> int:
        """Drop all frames that are queued or in flight; returns how many."""
        count = 0
        for edge in self.edges.values():
            count += edge.queued + edge.in_flight
            edge.drop_all(reason)
            self._reporter(edge).report(edge)
        return count

    def close(self, *, unlink: bool, is_followed: bool = False) -> None:
        """Close every edge; with `unlink` the journals go too. Where we are followed, consumers keep leases."""
        for edge in self.edges.values():
            self._close_edge(edge, unlink=unlink, is_followed=is_followed)
        for session in tuple(self._connections):
            self._connections.close(session)
        self._partitioned.close()
        self._status_blocks.close()

    def _evict_dead(self, edge: Edge) -> None:
        for replica in list(edge.replicas.values()):
            is_alive = is_there(self._status_blocks.get(replica.name), self._connections.get(replica.session))
            if not is_alive and (replica.is_present or not (replica.is_durable or replica.is_waiting)):
                self._reclaim(edge, time.monotonic_ns())  # messages that it sent before it died
                edge.evict(replica.session, self._progress_of(replica), *self._passed_on(edge, replica.name))
                self._forget(replica.session, replica.name, edge.consumer, "died")

    def _progress_of(self, replica: Replica) -> Progress | None:
        status_block = self._status_blocks.get(replica.name)
        return None if status_block is None else status_block.progress(replica.session)

    def _passed_on(self, edge: Edge, replica: str) -> tuple[set[FrameName], set[FrameName]]:
        return passed_on(self._folder, replica, edge.options.relays_to)

    def _attach(self, message: Attach, now_ns: int) -> None:
        peer = identify(message, self._status_blocks, self._connections.get(message.session))
        outbox = self._link.open_outbox(self._folder.inbox(*peer), self._folder.doorbell(*peer))
        why = self._refusal(message)
        if why is not None:
            outbox.try_send(Refusal(message.session, why))
            outbox.close(linger_ms=100)
            raise WireError(f"{message.replica} cannot attach: {why}")
        edge = self.edges[message.consumer]
        self._reclaim(edge, now_ns)
        if message.lane != edge.options.lane:
            self._announcer(edge).edges.remove(edge)
            change_lane(edge, message)
            self._announcer(edge).edges.append(edge)
        status_block = self._status_blocks.get(message.replica)
        try:
            if status_block is None or message.consumer not in self.edges:
                raise WireError(f"{message.replica} cannot attach: its completion queue is broken")
            connection = self._announcer(edge).connect(message, status_block.pid, outbox)
        except WireError:
            outbox.close()
            raise
        self._partitioned.add(edge, is_asked=message.is_stateful)
        session, replica, state = message.session, message.replica, session_state(message)
        is_new = session not in edge.replicas
        if not edge.attach(session, replica, message.window, state, is_durable=message.is_durable, now_ns=now_ns):
            connection.close()
            raise WireError(f"{replica} cannot attach: {EDGE_REPLICAS_MAX} replicas are already attached, the maximum")
        for known, other in list(self._connections.items()):
            if known == session or (other.consumer == message.consumer and known not in edge.replicas):
                self._connections.close(known)
        self._connections.add(session, connection)
        outbox.try_send(Welcome(session, message.attach_epoch, edge.journal.producer_epoch))
        if is_new:
            _log.info("%s attached to the edge to %s", replica, message.consumer)
            self._report(ConsumerAttached(self.producer.name, message.consumer, replica))

    def _reporter(self, edge: Edge) -> OutcomeReporter:
        return self._relayed_outcomes if edge.options.tombstones else self._outcomes

    def _refusal(self, message: Attach) -> str | None:
        edge = self.edges.get(message.consumer)
        if not message.is_ephemeral and message.replica.rpartition(".")[0] != message.consumer:
            return f"{message.replica} is no replica of {message.consumer}"
        if edge is not None:
            return rival(edge, message)
        node = self.producer.node
        if not message.is_ephemeral:
            names = ", ".join(self.edges) or "none"
            return f"{node} has no edge to {message.consumer}; its edges: {names}"
        beside = self.relayed if self.producer.tombstones else self.fanout
        options = self.producer.admit_ephemeral(message, [other.options for other in beside.edges.values()])
        try:
            if not isinstance(options, str):
                self.add_edge(message.consumer, options)
        except NoRoomError as fault:
            return str(fault)
        return options if isinstance(options, str) else None

    def _remove_ephemeral(self, consumer: str) -> None:
        self._partitioned.forget(consumer)
        self._reporter(edge := self.edges.pop(consumer)).forget(edge)
        (self.relayed if edge.options.tombstones else self.fanout).remove(consumer)
        self._announcer(edge).edges.remove(edge)
        self._close_edge(edge, unlink=True)

    def _close_edge(self, edge: Edge, *, unlink: bool, is_followed: bool = False) -> None:
        if not is_followed:
            edge.journal.leave()
        edge.journal.close()
        segment = self._segments.pop(edge.consumer)
        if unlink:
            segment.path.unlink(missing_ok=True)
        segment.close()

    def _hear(self, message: Release, now_ns: int) -> None:
        connection = self._connections.get(message.session)
        if not isinstance(connection, ZmqConnection) or connection.consumer != message.consumer:
            return  # from a replica that has left, or will attach to us, and will say then which leases it completed
        connection.hear(message, now_ns)
        self._edge(message.consumer).finish(message.session, connection.take(), now_ns)

    def _edge(self, consumer: str) -> Edge:
        if (edge := self.edges.get(consumer)) is None:
            raise WireError(f"{self.producer.node} has no edge to {consumer}")
        return edge

    def _forget(self, session: int, replica: str, consumer: str, reason: str) -> None:
        self._connections.close(session)
        self._status_blocks.forget(replica)
        _log.info("%s left the edge to %s%s", replica, consumer, "" if reason == "left" else f": it {reason}")
        self._report(ConsumerLeft(self.producer.name, consumer, replica, reason))
        if (edge := self.edges.get(consumer)) is not None and edge.options.is_ephemeral and not edge.replicas:
            self._remove_ephemeral(consumer)
