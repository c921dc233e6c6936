"""`order: camera`: a producer, a relay in replicas that finish frames in any order, and a reader that orders them."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import settings

from detektr.edge.gathering.gate import Gate
from detektr.options import BufferOptions, CaptureOptions, EdgeInput, NodeOptions, ProcessorOptions
from tests.harness.effort import alike
from tests.property.gathering.world import Machine, Spec, Stuck, World, histories_until, replaced


def machine(chance: random.Random, **change: Any) -> Machine:
    cameras = [f"cam{number}" for number in range(chance.randint(1, 3))]
    nodes: dict[str, NodeOptions] = {name: CaptureOptions(source="clip.mp4", slots=400) for name in cameras}
    nodes["buffer"] = BufferOptions(input=list(cameras), high_water_mark=chance.randint(1, 4), when_full="block")
    nodes["detect"] = ProcessorOptions(
        input="buffer", use="m:C", replicas=chance.randint(2, 3), window=chance.randint(1, 3),
        max_deliveries=chance.choice((1, 2, 100)),
    )  # fmt: skip
    reads = EdgeInput(
        from_="detect", high_water_mark=chance.randint(1, 2), only="results" if chance.random() < 0.5 else None
    )
    nodes["track"] = ProcessorOptions(
        input=[reads], use="m:C", order="camera", window=chance.randint(1, 2), max_deliveries=chance.choice((1, 2, 100))
    )
    faults = {"detect": chance.choice((0, 0.1, 0.3)), "track": chance.choice((0, 0.1, 0.3))}
    return Machine(nodes, faults, ends=1.0, silent={"detect": 3}, **change)


def play(chance: random.Random, steps: int = 400, **change: Any) -> World:
    world = World(chance, machine(chance, **change))
    world.play(steps, may_die=chance.random() < 0.8)
    return world


@pytest.mark.parametrize("seed", [0, alike(1)])
def test_each_streams_frames_begin_in_order_whoever_dies_and_nothing_is_stuck(seed: int) -> None:
    for number in range(settings().max_examples):
        play(random.Random(1000 * seed + number))


def with_narrow_windows(spec: Spec) -> Spec:
    upstreams = tuple(replace(upstream, window=1) for upstream in spec.upstreams)
    changed: Spec = replaced(spec, upstreams=upstreams) if spec.node == "track" else spec
    return changed


def test_the_model_finds_that_windows_without_room_for_what_is_held_back_keep_an_earlier_frame_away() -> None:
    assert histories_until(play, Stuck, change=with_narrow_windows)


def test_the_model_finds_frames_out_of_order_where_a_gate_does_not_ask_what_may_still_come() -> None:
    def hurry(gate: Gate) -> None:
        assert gate._order is not None
        gate._order._pending = lambda key, first, last: set()

    assert histories_until(play, AssertionError, gate=hurry)
