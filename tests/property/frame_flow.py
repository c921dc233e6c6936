"""A pipeline without processes: real edges in memory, producers and consumers that act one step at a time."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

from detektr.config.graph.sizing import default_policy
from detektr.config.graph.topology import Graph
from detektr.config.plan import plan_processes
from detektr.edge.edge import Edge
from detektr.edge.ephemeral import Producer
from detektr.edge.fanout import Fanout
from detektr.edge.state.lease import SessionState
from detektr.memory.announcement import Announcement, FrameName
from detektr.memory.journal import Journal
from detektr.nodes.capturing.publish_queue import PENDING_MAX
from detektr.nodes.spec import NodeSpec
from detektr.options import BufferOptions, CaptureOptions, NodeOptions, WhenFull
from detektr.wire.message import Attach
from tests.property.journal_bytes import new_memory

PAYLOAD_BYTES = 24


class Holder:
    """One session on one edge: what it was leased and has not finished."""

    def __init__(self, flow: Flow, edge: Edge, name: str, window: int) -> None:
        self.flow, self.edge, self.name, self.window = flow, edge, name, window
        self.attach()

    def attach(self) -> None:
        self.session = self.flow.next_session()
        self.edge.attach(self.session, self.name, self.window, SessionState(), is_durable=False, now_ns=1)

    @property
    def leased(self) -> list[FrameName]:
        return list(self.edge.replicas[self.session].leases)

    def finish(self, name: FrameName) -> None:
        self.edge.finish(self.session, [(*name, 0)], 1)

    def die(self) -> None:
        """Be killed; what it held goes to others, and a successor attaches."""
        self.edge.evict(self.session, None)
        self.attach()


class Stage:
    """A capture or a buffer: the edges that it produces for."""

    def __init__(self, flow: Flow, spec: NodeSpec, graph: Graph) -> None:
        self.flow, self.spec, self.node = flow, spec, graph.nodes[spec.node]
        self.fanout = Fanout(lambda edge: None)
        for consumer, options in spec.edges.items():
            self.fanout.add(flow.make_edge(consumer, replace(options, payload_bytes=PAYLOAD_BYTES)))
        self.ephemeral: list[Holder] = []

    def admit(self, window: int, when_full: WhenFull | str) -> bool:
        """Let an ephemeral consumer attach, if there is room for it as there would be in a node."""
        options = self.spec.options
        assert isinstance(options, CaptureOptions | BufferOptions)
        producer = Producer(
            node=self.spec.node, replica=0, payload_bytes=PAYLOAD_BYTES, ephemeral_frames=self.spec.guests,
            ephemeral_policy=default_policy(options), ephemeral_mark=self.spec.mark,
        )  # fmt: skip
        name = f"other-{self.flow.next_session()}"
        asked = Attach(name, f"{name}.0", 1, 1, window, False, True, str(when_full), 0, (), (), (), (0, 0, 0, 0))
        answer = producer.admit_ephemeral(asked, [edge.options for edge in self.fanout.edges.values()])
        if isinstance(answer, str):
            return False
        edge = self.flow.make_edge(name, answer)
        self.fanout.add(edge)
        self.ephemeral.append(Holder(self.flow, edge, f"{name}.0", window))
        return True

    def dismiss(self, holder: Holder) -> None:
        self.ephemeral.remove(holder)
        self.fanout.remove(holder.edge.consumer)
        self.settle()

    def lease(self) -> None:
        for edge in self.fanout.edges.values():
            edge.lease_queued(1)
            edge.take_announced()
        self.settle()

    def settle(self) -> None:
        raise NotImplementedError

    def step(self) -> bool:
        raise NotImplementedError


class CaptureStage(Stage):
    """Writes frames into slots, and offers them."""

    def __init__(self, flow: Flow, spec: NodeSpec, graph: Graph, key: int) -> None:
        super().__init__(flow, spec, graph)
        self.key, self.sequence = key, 0
        self.slots_used: set[FrameName] = set()
        self.pending: list[FrameName] = []

    def write(self) -> bool:
        """Write a picture where the queue of written ones has room; then there must be a slot for it."""
        if self.spec.is_on_demand and (self.pending or not self.fanout.has_room(0)):
            return False
        if len(self.pending) >= PENDING_MAX:
            return False
        assert len(self.slots_used) < self.spec.slots, f"{self.spec.node} has no slot for its next frame"
        name = self.key, self.sequence
        self.sequence += 1
        self.slots_used.add(name)
        self.pending.append(name)
        return True

    def step(self) -> bool:
        moved = False
        while self.pending and self.fanout.has_room(0):
            key, sequence = self.pending.pop(0)
            self.fanout.fan_out(0, Announcement(key, sequence, 1, b""), 1)
            moved = True
        self.settle()
        return moved

    def settle(self) -> None:
        self.slots_used -= set(self.fanout.collect())


class BufferStage(Stage):
    """Holds what it was leased until its own edges have settled it."""

    def __init__(self, flow: Flow, spec: NodeSpec, graph: Graph) -> None:
        super().__init__(flow, spec, graph)
        self.inputs: list[Holder] = []
        self.taken: dict[FrameName, int] = {}
        self.settled: list[tuple[int, FrameName]] = []  # not yet reclaimed upstream

    def step(self) -> bool:
        moved = False
        for index, source in enumerate(self.inputs):
            for name in source.leased:
                if name not in self.taken and self.fanout.has_room(index):
                    self.taken[name] = index
                    self.fanout.fan_out(index, Announcement(*name, 1, b""), 1)
                    moved = True
        self.settle()
        return moved

    def settle(self) -> None:
        self.settled += [(self.taken[name], name) for name in self.fanout.collect()]

    def release(self) -> bool:
        """Let the producers hear of what is settled."""
        settled, self.settled = self.settled, []
        for index, name in settled:
            self.inputs[index].finish(name)
            del self.taken[name]
        return bool(settled)


class Flow:
    """All stages of a graph, and the workers at its ends."""

    def __init__(self, nodes: dict[str, NodeOptions], graph: Graph, chance: random.Random) -> None:
        self.chance, self._sessions = chance, 0
        specs = {
            spec.node: spec
            for spec in plan_processes("p", graph, nodes, Path())
            if isinstance(spec.options, CaptureOptions | BufferOptions)
        }
        names = [name for name in graph.nodes if name in specs]
        self.captures = {
            name: CaptureStage(self, specs[name], graph, key)
            for key, name in enumerate(names, start=1)
            if isinstance(nodes[name], CaptureOptions)
        }
        self.buffers = {name: BufferStage(self, specs[name], graph) for name in names if name not in self.captures}
        self.stages: dict[str, Any] = {**self.captures, **self.buffers}
        for name, buffer in self.buffers.items():
            for edge in graph.edges_to(name):
                upstream = self.stages[edge.producer].fanout.edges[name]
                buffer.inputs.append(Holder(self, upstream, f"{name}.0", edge.window))
        self.workers = [
            Holder(
                self, self.stages[edge.producer].fanout.edges[edge.consumer], f"{edge.consumer}.{replica}", edge.window
            )
            for edge in graph.edges
            if edge.producer in self.stages and edge.consumer not in self.stages
            for replica in range(edge.replicas)
        ]

    def next_session(self) -> int:
        self._sessions += 1
        return self._sessions

    def make_edge(self, consumer: str, options: Any) -> Edge:
        memory = new_memory(options.cells, PAYLOAD_BYTES, options.mark)
        return Edge(consumer, options, Journal(memoryview(memory)))

    def act(self) -> None:
        """Let somebody do something, whoever it is."""
        chance = self.chance
        what = chance.random()
        stage = chance.choice(list(self.stages.values()))
        if what < 0.35:
            capture = chance.choice(list(self.captures.values()))
            for _ in range(chance.choice((1, 1, 2, 8))):
                capture.write()
                if chance.random() < 0.8:
                    capture.step()
        elif what < 0.65:
            stage.step()
            stage.lease()
        elif what < 0.75 and self.buffers:
            chance.choice(list(self.buffers.values())).release()
        elif what < 0.93:
            worker = chance.choice(self.workers)
            if worker.leased:
                worker.finish(chance.choice(worker.leased))
        elif what < 0.95:
            chance.choice(self.workers).die()
        elif what < 0.98:
            stage.admit(chance.choice((1, 1, 2, 3)), chance.choice(("drop-oldest", "drop-newest", "", "block")))
        elif stage.ephemeral:
            holder = chance.choice(stage.ephemeral)
            if holder.leased and chance.random() < 0.6:
                holder.finish(chance.choice(holder.leased))
            else:
                stage.dismiss(holder)

    def drain(self) -> None:
        """Let all that is there flow out: no frame may be left behind, and then each camera writes once more."""
        for stage in self.stages.values():
            for holder in list(stage.ephemeral):
                stage.dismiss(holder)
        is_moving = True
        while is_moving:
            is_moving = False
            for stage in self.stages.values():
                is_moving |= stage.step()
                stage.lease()
            for worker in self.workers:
                for name in worker.leased:
                    worker.finish(name)
                    is_moving = True
            for stage in self.stages.values():
                stage.settle()
            for buffer in self.buffers.values():
                is_moving |= buffer.release()
            for stage in self.stages.values():
                stage.lease()
        for camera, capture in self.captures.items():
            assert not capture.slots_used and not capture.pending, (
                f"{camera} is stuck with {len(capture.slots_used)} frames"
            )
            assert capture.write(), f"{camera} cannot go on"
            capture.step()
