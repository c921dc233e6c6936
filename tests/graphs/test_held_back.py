"""What a gate does with the leases that it holds back, where a moment decides: without processes."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, cast

import msgpack

from detektr.edge.gathering.gate import Gate, Input
from detektr.edge.gathering.order import Order
from detektr.edge.gathering.outlook import Outlook
from detektr.edge.partition.camera_map import CameraMap, Home
from detektr.edge.partition.map_reader import MapReader
from detektr.memory.announcement import FrameName, Lease
from detektr.memory.status_block import StatusBlock
from detektr.wire.message import FailureKind


class Intake:
    """An input; remembers what became of its leases."""

    branch = "detect"

    def __init__(self) -> None:
        self.leases: deque[Lease] = deque()
        self.held: dict[FrameName, Lease | None] = {}
        self.settled: list[FrameName] = []
        self.given_back: list[FrameName] = []

    def lease(self, sequence: int, camera: str = "door") -> Lease:
        lease = Lease(1, sequence, 0, msgpack.packb({"camera": camera}), 0, sequence + 1, 1)
        self.held[lease.name] = lease
        return lease

    def still_holds(self, lease: Lease) -> bool:
        return True

    def give_back(self, lease: Lease) -> None:
        del self.held[lease.name]
        self.given_back.append(lease.name)

    def settle(self, name: FrameName) -> None:
        del self.held[name]
        self.settled.append(name)

    def unbind(self, lease: Lease) -> list[tuple[Input, Lease]]:
        return []

    def let_go(self, lease: Lease) -> None:
        """Nothing is over here."""

    def fail(self, name: FrameName, why: str, kind: FailureKind = FailureKind.RETRYABLE) -> None:
        """No work is done here."""


class Frames:
    """An outlook; `waited_for` may come, until they are taken out."""

    def __init__(self, waited_for: Sequence[int] = ()) -> None:
        self.waited_for = set(waited_for)

    def look(self) -> None:
        """Nothing is kept between two looks."""

    def pending(self, key: int, first: int, last: int) -> set[int]:
        return {sequence for sequence in self.waited_for if first <= sequence < last}


class Status:
    """A status block; the first that it says of frames that are held is one moment too late for who ends one."""

    def __init__(self, frames: Frames) -> None:
        self.frames, self.is_holding = frames, False

    def note_holding(self, *, is_holding: bool) -> None:
        if not self.is_holding:
            self.frames.waited_for.clear()
        self.is_holding = is_holding


class Map:
    """A map of cameras."""

    def __init__(self) -> None:
        self.map, self.has_changed = CameraMap(1, 2, {"door": Home(0, 1)}), False

    def look(self, *, is_thorough: bool = False) -> bool:
        has_changed, self.has_changed = self.has_changed, False
        return has_changed


def gate_of(frames: Frames, status: object = None, camera_map: Map | None = None) -> Gate:
    return Gate(
        cast("Outlook", frames),
        cast("StatusBlock", status or Status(Frames())),
        0,
        cast("MapReader", camera_map),
        (),
        is_ordered=True,
    )


def admit(gate: Gate, intake: Intake, lease: Lease) -> None:
    gate.admit(cast("Any", intake), lease)


def test_a_frame_that_ends_before_anybody_knows_that_we_wait_for_it_is_seen_before_we_sleep() -> None:
    frames, intake = Frames([0]), Intake()
    gate = gate_of(frames, Status(frames))
    admit(gate, intake, intake.lease(1))
    gate.look()
    assert [lease.sequence for lease in intake.leases] == [1]
    assert not gate.must_look


def test_a_lease_that_is_put_aside_after_the_look_asks_for_another_one() -> None:
    frames, intake = Frames([0]), Intake()
    gate = gate_of(frames)
    failed, later = intake.lease(0), intake.lease(1)
    admit(gate, intake, failed)
    gate.look()
    gate.begun(intake.leases.popleft().name)
    gate.failed(failed.name)
    assert gate.puts_aside(cast("Any", intake), later)
    assert gate.must_look


def test_a_lease_of_a_camera_that_has_moved_is_given_back_also_when_it_comes_late() -> None:
    frames, intake, camera_map = Frames([0]), Intake(), Map()
    gate = gate_of(frames, camera_map=camera_map)
    admit(gate, intake, intake.lease(1))
    camera_map.map, camera_map.has_changed = CameraMap(2, 2, {"door": Home(1, 2)}), True
    gate.look()
    admit(gate, intake, intake.lease(2))  # its edge had not read the map when it leased the frame
    gate.look()
    assert intake.given_back == [(1, 1), (1, 2)]


def test_a_frame_that_two_replicas_have_passed_on_is_held_once_and_settled_for_the_other() -> None:
    frames, first, second = Frames([0]), Intake(), Intake()
    gate = gate_of(frames)
    admit(gate, first, first.lease(1))
    gate.look()
    admit(gate, second, second.lease(1))
    frames.waited_for.clear()
    gate.look()
    assert first.settled == [(1, 1)]
    assert [lease.sequence for lease in second.leases] == [1] and not first.leases


def test_frames_that_wait_for_each_other_only_count_for_a_batch_that_is_to_begin() -> None:
    waited_for = {0, 1, 2, 3, 4, 5}
    order = Order[str](lambda key, first, last: {one for one in waited_for if first <= one < last})
    for sequence in (0, 1, 2, 4, 5):
        order.hold((1, sequence), "")
    assert [name for name, _ in order.ready()] == [(1, 0)]
    assert order.following() == 2, "1 and 2, as 3 has not come"
    waited_for.remove(3)
    assert order.following() == 4
