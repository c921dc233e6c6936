"""Played processes of one graph, as `config/graph` sizes and plans it, and what holds for them at every step."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgpack

from detektr.config.graph.checks import build_graph
from detektr.config.plan import plan_processes
from detektr.edge.edge_options import FrameOutcome
from detektr.edge.gathering.gate import Gate
from detektr.memory.announcement import Announcement, FrameName, Lease
from detektr.memory.journal_reader import LIVE, JournalReader
from detektr.nodes.spec import NodeSpec
from detektr.options import CaptureOptions, NodeOptions
from tests.property.gathering.lanes import sessions
from tests.property.gathering.process import Process

PAYLOAD_BYTES = 320
ROUNDS = 60  # without anything that changes: then nothing will
STINT = 40
TIMEOUT_NS = 30_000_000_000
Spec = NodeSpec[Any]
Place = tuple[str, int, str]  # producer, its part, consumer


TRIES = 300


class Stuck(AssertionError):
    """Nobody dies, everybody acts, and frames do not move."""


@dataclass
class Attempt:
    """One attempt of a node at one frame."""

    delivery: int
    """Which one it is, as the frame says."""
    results: Mapping[str, Any]
    missing: Mapping[str, str]
    highest: int
    """The highest sequence of the stream that the node had begun when this one ended."""
    state: str = "begun"
    """What became of it: done, failed, died or refused."""
    deaths: int = 0
    """How often the node had died when it was done."""


@dataclass
class Machine:
    """What is asked of one machine: its graph, how often its code fails, and who differs from the product."""

    nodes: dict[str, NodeOptions]
    faults: Mapping[str, float] = field(default_factory=dict)
    silent: Mapping[str, int] = field(default_factory=dict)
    """Of a node: it returns nothing for each frame whose number this divides."""
    timed: float = 0.0
    ends: float = 0.0
    change: Callable[[Spec], Spec] = lambda spec: spec
    gate: Callable[[Gate], None] = lambda gate: None


class World:
    def __init__(self, chance: random.Random, machine: Machine) -> None:
        graph, faults = build_graph(machine.nodes)
        assert graph is not None, faults
        self.chance, self.machine = chance, machine
        self.lane = chance.choice(("shm", "zmq"))
        self.now_ns, self.is_calm = 10_000_000_000, False
        self.is_timed, self.timeouts = chance.random() < machine.timed, 0
        captures = [name for name, node in machine.nodes.items() if isinstance(node, CaptureOptions)]
        self.cameras = {11 + number: name for number, name in enumerate(captures)}
        self.streams = list(self.cameras)
        sessions.last = 0
        specs = plan_processes("played", graph, machine.nodes, Path())
        self.specs = [machine.change(self.small(spec)) for spec in specs if spec.node not in captures]
        self.processes = {f"{spec.node}.{spec.replica}": Process(self, spec) for spec in self.specs}
        self.readers: dict[Place, JournalReader] = {}
        for process in self.processes.values():
            for consumer, memory in process.memories.items():
                view = memoryview(memory.memory).toreadonly()
                segment: Any = SimpleNamespace(words=view.cast("Q"), bytes=view, is_unlinked=False, close=lambda: None)
                place = process.spec.node, process.spec.replica, consumer
                self.readers[place] = JournalReader(segment, process.spec.node, consumer)
        self.top = next(process for process in self.processes.values() if not process.spec.upstreams)
        self.released = set[FrameName]()
        """What no edge of the top needs any more: its slots may be written again."""
        self.log: dict[str, dict[FrameName, list[Attempt]]] = defaultdict(lambda: defaultdict(list))
        self.highest: dict[tuple[str, int], int] = defaultdict(lambda: -1)
        self.working: dict[str, Attempt] = {}
        self.deaths: dict[str, int] = defaultdict(int)
        self.fates: dict[Place, dict[FrameName, str]] = defaultdict(dict)
        self.dead_letters: dict[tuple[str, str], set[FrameName]] = defaultdict(set)
        self._stores = dict.fromkeys(self.processes, -1)
        self._is_interrupted = False

    def small(self, spec: Spec) -> Spec:
        """Return a spec of small journals, without captures."""
        is_top = all(upstream.producer in self.cameras.values() for upstream in spec.upstreams)
        timeout_ns = TIMEOUT_NS if self.is_timed else None
        edges = {
            name: replaced(options, payload_bytes=PAYLOAD_BYTES, timeout_ns=timeout_ns)
            for name, options in spec.edges.items()
        }
        changed: NodeSpec[Any] = replaced(spec, edges=edges, upstreams=() if is_top else spec.upstreams)
        return changed

    # -- what processes ask -----------------------------------------------------------------------------------------

    def frame(self, key: int, sequence: int) -> Announcement:
        fields = {"node": self.cameras[key], "camera": self.cameras[key], "key": key, "sequence": sequence}
        payload = b"\xde\x00\x04" + b"".join(msgpack.packb(key) + msgpack.packb(one) for key, one in fields.items())
        return Announcement(key, sequence, self.now_ns, payload)

    def returned(self, node: str, name: FrameName) -> bytes:
        """Return what the code of a node returns for a frame."""
        silent = self.machine.silent.get(node)
        found: bytes = msgpack.packb([{"by": node, "frame": name}] if silent is None or name[1] % silent else [])
        return found

    def gate(self, process: Process, surroundings: Any) -> Gate:
        gate = process.open_gate(surroundings)
        self.machine.gate(gate)
        return gate

    def keep(self, node: str, consumer: str, outcome: FrameOutcome) -> None:
        fields = msgpack.unpackb(outcome.payload)
        self.dead_letters[node, consumer].add((fields["key"], fields["sequence"]))

    def begun(self, process: Process, lease: Lease) -> None:
        node, name = process.spec.node, lease.name
        assert self.has_over or name not in self.released, f"{node} begins {name}, whose slot may be written again"
        fields = msgpack.unpackb(lease.payload)
        results = msgpack.unpackb(fields["results"]) if "results" in fields else {}
        attempt = Attempt(fields.get("delivery", 1) + lease.delivery - 1, results, fields.get("missing", {}), -1)
        before = self.log[node][name]
        self.check_again(process, name, attempt, before)
        self.check_begun(process, name, attempt, before)
        self.highest[node, name[0]] = max(self.highest[node, name[0]], name[1])
        before.append(attempt)
        self.working[process.name] = attempt
        attempt.highest = self.highest[node, name[0]]

    def check_again(self, process: Process, name: FrameName, attempt: Attempt, before: list[Attempt]) -> None:
        """Check that a node may begin a frame now, as far as its attempts before and the order of its stream tell."""
        node, highest = process.spec.node, self.highest[process.spec.node, name[0]]
        if before:
            assert attempt.delivery > 1, f"{node} begins {name} once more, unmarked"
            last = before[-1]
            is_known = last.state == "done" and (bool(process.edges) or last.deaths == self.deaths[node])
            is_known = is_known and not self.timeouts
            assert not is_known, f"{node} begins {name} once more, and was done with it"
        if process.spec.is_ordered and not before:
            assert highest < name[1], f"{node} begins {name} after {highest}"
        elif process.spec.is_ordered and before[-1].state in ("failed", "died"):
            assert highest == before[-1].highest, f"{node} tries {name} again after {highest}"

    def check_begun(self, process: Process, name: FrameName, attempt: Attempt, before: list[Attempt]) -> None:
        """Check what else is asked of a frame that a node begins."""

    def fails(self, process: Process, lease: Lease) -> bool:
        return not self.is_calm and self.chance.random() < self.machine.faults.get(process.spec.node, 0)

    def ended(self, process: Process, state: str) -> None:
        """Note what became of the frame in work."""
        attempt = self.working.pop(process.name)
        attempt.state, attempt.deaths = state, self.deaths[process.spec.node]

    def died(self, process: Process) -> None:
        if process.name in self.working:
            self.working.pop(process.name).state = "died"
        self.deaths[process.spec.node] += 1
        process.kill()

    def interrupt(self, process: Process) -> None:
        """Let others go on while a process reads several journals."""
        if not self._is_interrupted and self.chance.random() < 0.2:
            self._is_interrupted = True
            other = self.chance.choice(list(self.processes.values()))
            if other is not process:
                other.act()
            self._is_interrupted = False

    # -- the play ---------------------------------------------------------------------------------------------------

    def play(self, steps: int, *, may_die: bool) -> None:
        """Let everybody act in any order, and die; then nobody dies any more, and all that is left is done."""
        processes, chance = list(self.processes.values()), self.chance
        victims = chance.sample(processes, chance.randint(1, len(processes))) if may_die else []
        ends_at = chance.randrange(steps) if chance.random() < self.machine.ends else -1
        rate = chance.choice((0.01, 0.03, 0.1))
        for step in range(steps):
            if step % STINT == 0:  # others are quick and slow from here on
                if self.is_timed and chance.random() < 0.3:
                    self.now_ns += TIMEOUT_NS + 1
                    self.timeouts += 1
                speeds = [chance.choice((0.1, 1, 4)) for _ in processes]
            process = chance.choices(processes, speeds)[0]
            if process in victims and chance.random() < rate:
                process.page.stores_left = chance.choice((0, 1, 2, 5, 30)) + chance.randrange(6)
            process.act()
            self.check()
            if step == ends_at:
                over = chance.choice([one for one in processes if one.spec.edges and one.spec.upstreams])
                if over.is_alive:
                    self.died(over)
                over.end_for_good()
                self.check()
        self.drain()

    def drain(self) -> None:
        processes = list(self.processes.values())
        for process in processes:
            process.page.stores_left = None
        for phase in ("fill", "empty"):
            self.is_calm = phase == "empty"
            stood, rounds = self.stand(), 0
            while rounds < ROUNDS and not (self.is_calm and self.is_over()):
                self.chance.shuffle(processes)
                for process in processes:
                    process.act()
                    self.check()
                stands = self.stand()
                stood, rounds = stands, rounds + 1 if stands == stood or not self.is_calm else 0
            if self.is_calm and not self.is_over():
                raise Stuck(self.words())

    def stand(self) -> list[object]:
        return [(ledger.offered, ledger.delivered, ledger.queued, ledger.in_flight, ledger.announced) for ledger in
                [reader.ledger() for reader in self.readers.values()]]  # fmt: skip

    @property
    def has_over(self) -> bool:
        return any(one.is_over for one in self.processes.values())

    def is_over(self) -> bool:
        """Whether nothing is held anywhere: no lease, no tombstone, no frame behind a gate."""
        for process in self.processes.values():
            if process.is_over:
                continue
            if not process.is_alive or any(subscriber.held for subscriber in process.subscribers):
                return False
            if process.gate is not None and process.gate.is_holding:
                return False
        return all(
            not (reader.names()[0] if self.has_over else any(reader.names()))
            for (node, part, _), reader in self.readers.items()
            if not self.processes[f"{node}.{part}"].is_over
        )

    def words(self) -> str:
        found = []
        for place, reader in self.readers.items():
            live, settled = reader.names()
            found.append(f"{place}: {sorted(live)}, tombstones {sorted(settled)}")
        for process in self.processes.values():
            for subscriber in process.subscribers if process.is_alive else ():
                found.append(f"{process.name} <- {subscriber.upstream.producer}: {sorted(subscriber.held)}")
        return "\n".join(found)

    # -- what must hold ---------------------------------------------------------------------------------------------

    def check(self) -> None:
        for process in self.processes.values():
            if self._stores[process.name] == process.page.stores:
                continue
            self._stores[process.name] = process.page.stores
            for consumer in process.memories:
                place = process.spec.node, process.spec.replica, consumer
                reader = self.readers[place]
                assert reader.ledger().unaccounted == 0, (place, reader.ledger())
                fates = self.fates[place]
                for name, outcome in reader.outcomes().items():
                    known = fates.get(name, LIVE)
                    assert known in (LIVE, outcome), f"{place}: {name} was {known}, and is {outcome or 'live'}"
                    fates[name] = outcome
                    is_kept = outcome == LIVE and name in self.released and not self.has_over
                    assert not is_kept, f"{place} holds {name}, whose slot may be written again"


def replaced(spec: Any, **changes: Any) -> Any:
    import dataclasses

    return dataclasses.replace(spec, **changes)


def histories_until(play: Callable[..., object], fault: type[AssertionError], **change: Any) -> int:
    """Return how many histories a model plays until it finds a fault that was made; that it finds none is a failure."""
    for number in range(TRIES):
        try:
            play(random.Random(number), **change)
        except AssertionError as found:
            assert isinstance(found, fault), found
            return number + 1
    raise AssertionError(f"a fault that was made was not found in {TRIES} histories")
