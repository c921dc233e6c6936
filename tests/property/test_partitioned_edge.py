"""An edge that is partitioned by camera, through everything that can happen to an edge, and cameras that move besides.

The supervisor is played by `move`: a camera moves only when its owner holds none of its frames any more, as the edge
says, or is dead. The edge hears of a map sooner or later.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeVar

import msgpack
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from detektr.edge.edge import Edge
from detektr.edge.partition.camera_map import NOBODY, CameraMap, Home, first_map
from detektr.memory.announcement import FrameName, Lease
from detektr.options import WhenFull
from detektr.wire.message import FailureKind
from tests.harness.effort import SEEDS
from tests.property.consumer import Consumer, name_of
from tests.property.test_edge_machine import STREAMS, EdgeMachine, names, run_history

T = TypeVar("T")
CAMERAS = {key: chr(ord("a") + place) for place, key in enumerate(STREAMS)}
REPLICAS = 2


class PartitionedEdgeMachine(EdgeMachine):
    """`EdgeMachine` with stateful consumers: each camera's frames go to one of them, in order."""

    streams = len(STREAMS)
    is_stateful = True

    @initialize(
        when_full=st.sampled_from(("drop-oldest", "drop-newest", "block")),
        inputs=st.integers(1, 2),
        mark=st.integers(1, 4),
        window=st.integers(1, 3),
        max_deliveries=st.integers(1, 3),
        is_timed=st.booleans(),
        is_durable=st.just(False),
        is_aging=st.booleans(),
        is_thinned=st.booleans(),
        batch=st.sampled_from((1, 3)),
    )
    def begin(
        self,
        when_full: WhenFull,
        inputs: int,
        mark: int,
        window: int,
        max_deliveries: int,
        is_timed: bool,
        is_durable: bool,
        is_aging: bool = False,
        is_thinned: bool = False,
        is_retried: bool = False,
        batch: int = 1,
    ) -> None:
        """Begin; a sink, which retries, has no cameras of its own, and the model's batches know no order."""
        self.map = first_map(tuple(CAMERAS.values()), REPLICAS)
        self.moves: dict[str, tuple[int, int, int]] = {}  # owner, target, epoch
        self.known: dict[int, dict[int, int]] = {}  # by session and stream: since when, as the map said it
        self.begun_by: dict[int, int] = {}  # by stream: the session that worked on it last
        self.done: set[FrameName] = set()
        limits = when_full, inputs, mark, window, max_deliveries
        super().begin(*limits, is_timed, is_durable, is_aging, is_thinned, False, batch)  # only sinks try again

    def adopt(self) -> None:
        super().adopt()
        if self.edge.journal.map_epoch:
            self.edge.partition_by_camera(self.map)

    def payload(self, key: int, sequence: int) -> bytes:
        payload: bytes = msgpack.packb({"camera": CAMERAS[key], "n": sequence})
        return payload

    @rule(name=names, is_prompt=st.booleans())
    def attach(self, name: str, is_prompt: bool = False) -> None:
        """Attach; the first attach says that the edge is to be partitioned."""
        if name in self.consumers and self.edge.partition is None:
            self.do(lambda edge: edge.partition_by_camera(self.map))
        super().attach(name, is_prompt)

    @rule(camera=st.sampled_from(tuple(CAMERAS.values())), is_told=st.booleans())
    def move(self, camera: str, is_told: bool) -> None:
        """Let a camera move one step further, as a supervisor does."""
        home, epoch, homes = self.map.home(camera), self.map.epoch + 1, dict(self.map.homes)
        if home.owner == NOBODY:
            owner, target, since_epoch = self.moves[camera]
            if self.edge.journal.map_epoch < since_epoch and self.is_up(owner):
                return
            homes[camera] = Home(target, epoch) if self.is_up(target) else Home(owner, home.since)
        elif self.is_up(home.owner):
            self.moves[camera] = home.owner, 1 - home.owner, epoch
            homes[camera] = Home(NOBODY, home.since)
        elif self.is_up(1 - home.owner):
            homes[camera] = Home(1 - home.owner, epoch)
        self.map = CameraMap(epoch, REPLICAS, homes)
        if is_told:
            self.tell()

    @rule()
    def tell(self) -> None:
        """Bring the edge the map, as a supervisor does who has changed it, and each look once a second."""
        if self.edge.partition is not None:
            self.do(lambda edge: edge.partition_by_camera(self.map))

    def is_up(self, number: int) -> bool:
        return f"motion.{number}" in self.consumers

    def lease(self, act: Callable[[Edge], T]) -> T | None:
        before = {session: replica.last_tag for session, replica in self.edge.replicas.items()}
        answer = super().lease(act)
        partition = self.edge.partition
        if answer is not None and partition is not None:
            for session, replica in self.edge.replicas.items():
                for cell in replica.leases.values():
                    if cell.delivery_tag > before[session]:
                        assert partition.owner(cell) == replica.number, "leased to one who does not own the camera"
        return answer

    def note_begun(self, consumer: Consumer, lease: Lease) -> None:
        key, sequence = lease.key, lease.sequence
        failed = [*consumer.failed, *consumer.failed_lately]
        told = {one[1] for one in failed if one[0] == key and one[2] == FailureKind.TOO_OLD}  # given back for good
        told |= {one.sequence for one in consumer.batch if one.key == key}  # worked on together, in order
        for cell in self.edge.holds():
            if cell.key == key and cell.sequence < sequence:
                is_past = cell.name in self.done or cell.sequence in told
                assert is_past, f"{sequence} was begun before {cell.sequence}"
        for other in self.consumers.values():
            for one in () if other is consumer else in_work(other):
                assert one.key != key or not self.still_holds(other, one), "two replicas work on one camera"
        since = self.map.home(CAMERAS[key]).since
        known = self.known.setdefault(consumer.session, {})
        if self.begun_by.get(key) != consumer.session:
            assert known.get(key) != since, "a camera came back, and its replica was not told that it is first here"
        known[key], self.begun_by[key] = since, consumer.session

    def note_batch_begun(self, consumer: Consumer) -> None:
        begun = in_work(consumer)
        for key in STREAMS:
            order = [lease.sequence for lease in begun if lease.key == key]
            assert order == sorted(order), "a batch is out of order"
        for lease in begun:
            self.note_begun(consumer, lease)

    def work(self, name: str, is_good: bool, arrives: bool = True) -> None:
        consumer = self.consumers.get(name)
        if consumer is None:
            return
        held = {lease.delivery_tag: lease for lease in in_work(consumer) if self.still_holds(consumer, lease)}
        before = len(consumer.finished)
        super().work(name, is_good, arrives)
        self.done |= {name_of(held[tag]) for _, _, tag in consumer.finished[before:] if tag in held}

    def check(self) -> None:
        super().check()
        if hasattr(self, "edge") and self.edge.partition is not None:
            acknowledged = self.edge.journal.map_epoch
            if acknowledged == self.map.epoch:
                for replica in self.edge.replicas.values():
                    for cell in replica.leases.values():
                        assert self.map.home(CAMERAS[cell.key]).owner == replica.number, "acknowledged too early"

    def acts(self, chance: random.Random) -> list[tuple[int, Callable[[], object]]]:
        return [
            (3, lambda: self.move(chance.choice(tuple(CAMERAS.values())), is_told=chance.random() < 0.7)),
            (3, self.tell),
        ]

    def teardown(self) -> None:
        """Cameras come to rest, then everybody alive does the work that is left."""
        if hasattr(self, "edge"):
            self.memory.stores_left = None
            homes = {camera: Home(place % REPLICAS, self.map.epoch + 1) for place, camera in enumerate(self.map.homes)}
            self.map = CameraMap(self.map.epoch + 1, REPLICAS, homes)
            self.tell()
        super().teardown()


def in_work(consumer: Consumer) -> list[Lease]:
    """Return the leases that a consumer works on, alone or together."""
    return [*([] if consumer.working is None else [consumer.working]), *consumer.batch]


TestPartitionedEdge = PartitionedEdgeMachine.TestCase
TestPartitionedEdge.settings = settings(stateful_step_count=50)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", SEEDS)
def test_long_histories_keep_each_camera_in_order_with_one_replica_at_a_time(seed: int) -> None:
    for number in range(settings().max_examples):
        run_history(random.Random(1000 * seed + number), 250, PartitionedEdgeMachine(), may_be_durable=False)
