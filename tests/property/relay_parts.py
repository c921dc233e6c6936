"""The parts of `test_relay_machine`: a relay's place, its input on the producer's journal, and a reader below it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from detektr.edge.edge_options import EdgeOptions
from detektr.edge.relay.any_order import AnyOrderEdge
from detektr.edge.relay.fanout import RelayFanout
from detektr.edge.relay.look import merged
from detektr.memory.announcement import FrameName, Lease
from detektr.memory.completion_queue import PASSED_ON, Completion
from detektr.memory.journal_reader import JournalReader
from detektr.wire.message import FailedAttempt
from tests.harness.dying_memory import DyingMemory
from tests.property.consumer import Page
from tests.property.journal_bytes import read_journal

READERS = ("count", "track")  # the first takes only frames with results


class Subscriber:
    """A relay's input as `EdgeSubscriber` is one, on the producer's journal."""

    def __init__(self, upstream: JournalReader, replica: Replica) -> None:
        self.upstream, self.replica = upstream, replica
        self.held: dict[FrameName, Lease | None] = {}
        self.passed: set[FrameName] = set()
        self.leases: deque[Lease] = deque()
        self.session = self.received = self.entry = self.producer_epoch = 0
        self.is_attached = False
        self.failed: list[FailedAttempt] = []
        self.failed_lately: list[FailedAttempt] = []
        self.previous = (0, 0, 0, 0)

    def adopt(self, name: FrameName, *, is_passed: bool) -> None:
        self.held[name] = None
        if is_passed:
            self.passed.add(name)

    def pass_on(self, name: FrameName) -> None:
        lease = self.held.get(name)
        self.passed.add(name)
        self.replica.completions.append((*name, PASSED_ON | (0 if lease is None else lease.delivery_tag)))

    def settle(self, name: FrameName) -> None:
        lease = self.held.pop(name, None)
        self.passed.discard(name)
        self.replica.completions.append((*name, 0 if lease is None else lease.delivery_tag))

    def standing(self) -> set[FrameName] | None:
        return self.upstream.names_of(self.session) if self.is_attached else None

    def still_holds(self, lease: Lease) -> bool:
        return self.upstream.is_leased(lease.cell, self.session, lease.delivery_tag)


@dataclass
class Reader:
    """One consumer of one edge of the relay's: it outlives the relay, dies itself, and sees what it is leased."""

    name: str
    page: Page = field(default_factory=Page)
    session: int = 0


@dataclass
class Replica:
    """One place of the relay: its journals and its page stay when its process dies."""

    name: str
    memories: dict[str, DyingMemory]
    options: dict[str, EdgeOptions]
    page: Page = field(default_factory=Page)
    completions: deque[Completion] = field(default_factory=deque)
    readers: dict[str, Reader] = field(default_factory=dict)
    is_alive: bool = False
    is_noticed: bool = True
    is_over: bool = False
    edges: dict[str, AnyOrderEdge] = field(default_factory=dict)
    fanout: RelayFanout | None = None
    relay: Any = None
    subscriber: Subscriber | None = None
    emitting: tuple[Lease, bytes] | None = None

    def look(self) -> tuple[set[FrameName], set[FrameName]]:
        return merged([read_journal(self.memories[reader].memory).names() for reader in READERS])

    def set_stores_left(self, stores: int | None) -> None:
        self.memories[READERS[0]].stores_left = stores
