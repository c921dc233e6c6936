"""What one process of a node holds: its status block, its inbox, and its ends of the edges that it reads and writes.

The ends ask a node here what its frames are called and which of them it knows, and tell it what became of them.
`node_life.py` leads the process from its first order to its end, `node.py` from turn to turn.
"""

from __future__ import annotations

import threading
from abc import ABC
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
from detektr.errors import RefusedError
from detektr.events import RunEvent
from detektr.ledger import EdgeLedger
from detektr.memory import layout
from detektr.memory.journal_reader import open_journal
from detektr.memory.run_folder import RunFolder
from detektr.memory.status_block import acquire_status_block
from detektr.nodes.control import ControlLine, EventOutbox
from detektr.nodes.dead_letter import DeadLetters
from detektr.nodes.spec import NodeSpec, Options
from detektr.nodes.stack_dump import offer_stacks
from detektr.wire.link import Link


class NodeProcess(ABC, Generic[Options]):
    """What every node has from the moment that it has its name."""

    kind: ClassVar[str]

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
        self.lock = threading.Lock()  # its holder owns the edges and the outboxes
        self._outbox = None if control is None else EventOutbox(control)
        self._next_tick_ns = 0
        """Monotonic time at which the loop looks next at everything that nothing wakes us for; 0: in its next turn."""

    def look_soon(self) -> None:
        """Let the next turn be one with a tick, as our state has changed."""
        self._next_tick_ns = 0

    def ledgers(self) -> list[EdgeLedger]:
        """Return the ledgers of our edges as they are now, inputs first; to be asked before `close`."""
        found = [ledger for subscriber in self.subscribers if (ledger := subscriber.ledger()) is not None]
        for producer, _, consumer, path in self.folder.journals(self.spec.node, self.spec.replica):
            journal = open_journal(path, producer, consumer)
            if journal is not None:
                found.append(journal.ledger())
                journal.close()
        return found

    # -- what our ends of the edges ask -------------------------------------------------------------------------------

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

    def seen_streams(self) -> list[tuple[int, int]]:
        """Return, for a durable consumer, the next sequence that it expects of each stream."""
        return []

    def done_frames(self, entry: int) -> list[tuple[int, int]]:
        """Return the frames of an input that our edges know by name and are done with."""
        return []

    def identify(self, payload: bytes) -> str:
        """Return the id of the frame that an announcement is about."""
        return _frame_id(payload)

    # -- what they tell -----------------------------------------------------------------------------------------------

    def settle(self, names: list[tuple[int, int]]) -> None:
        """Note the step, and that no edge needs these frames any more; leases have been announced by then."""

    def save_dead_letter(self, consumer: str, outcome: FrameOutcome) -> str:
        """Save a frame that a consumer could not do, with its picture and the reason; returns where."""
        return self._save_frame(consumer, outcome)

    def _save_frame(self, consumer: str, outcome: FrameOutcome) -> str:
        return self.dead_letters.save_frame(consumer, outcome)

    def report(self, event: RunEvent) -> None:
        """Remember what happened until it can be told; when that takes too long the oldest is lost, and counted."""
        if self._outbox is None or not self.spec.is_audited:
            return
        if not self._outbox.put(event):
            self.status_block.count_trail_lost()
        if self._outbox.is_filling:
            self._next_tick_ns = 0


def _frame_id(payload: bytes) -> str:
    return unpack_descriptor(payload).id
