"""`join: frame`: a producer where branches part, relays that drop, dead-letter and filter, and who joins them."""

from __future__ import annotations

import random
from typing import Any, Literal

import pytest
from hypothesis import settings

from detektr.edge.gathering.gate import Gate
from detektr.memory.announcement import FrameName
from detektr.memory.journal_reader import DELIVERED, LIVE
from detektr.options import BufferOptions, CaptureOptions, EdgeInput, NodeOptions, ProcessorOptions, WhenFull, inputs_of
from tests.harness.effort import alike
from tests.property.gathering.process import Process
from tests.property.gathering.world import Attempt, Machine, Spec, Stuck, World, histories_until, replaced


class JoinWorld(World):
    def ends(self, branch: str, name: FrameName) -> list[str]:
        """Return what became of a frame on each edge of a branch, from above; empty: not known."""
        way, node = [(branch, "merge")], branch
        while node != "buffer":
            source = inputs_of(self.machine.nodes[node])[0]
            way.insert(0, (source, node))
            node = source
        found = []
        for producer, consumer in way:
            places = [place for place in self.fates if (place[0], place[2]) == (producer, consumer)]
            known = [self.fates[place][name] for place in places if name in self.fates[place]]
            assert len(known) < 2, (branch, name, known)
            found.append(known[0] if known else "?")
        return found

    def reason(self, branch: str, name: FrameName) -> str:
        """Return why a frame did not come by a branch, and will not; empty: it came, or may come."""
        return next((end for end in self.ends(branch, name) if end not in (LIVE, DELIVERED, "?")), "")

    def check_begun(self, process: Process, name: FrameName, attempt: Attempt, before: list[Attempt]) -> None:
        if process.spec.node != "merge":
            return
        self.check()
        for branch in inputs_of(process.spec.options):
            reason = self.reason(branch, name)
            if self.has_over and branch in attempt.results:
                reason = ""
            assert attempt.missing.get(branch, "") == reason, (name, branch, attempt, self.ends(branch, name))
            if branch != "buffer":
                assert (branch in attempt.results) == (not reason), (name, branch, attempt, self.ends(branch, name))
        for node, returned in attempt.results.items():
            assert returned in ([], [{"by": node, "frame": list(name)}]), (name, node, returned)

    def check_end(self) -> None:
        for key in self.streams:
            for sequence in range(self.top.following(key)):
                name = key, sequence
                if name not in self.log["merge"]:
                    for branch in inputs_of(self.machine.nodes["merge"]):
                        assert self.reason(branch, name), (name, branch, self.ends(branch, name))


def machine(chance: random.Random, **change: Any) -> Machine:
    cameras = [f"cam{number}" for number in range(chance.randint(1, 3))]
    nodes: dict[str, NodeOptions] = {name: CaptureOptions(source="clip.mp4", slots=900) for name in cameras}
    nodes["buffer"] = BufferOptions(input=list(cameras), high_water_mark=chance.randint(1, 4), when_full="block")

    def attempts() -> int:
        return chance.choice((1, 2, 100))

    nodes["detect"] = ProcessorOptions(
        input="buffer", use="m:C", replicas=2, window=chance.randint(1, 3), max_deliveries=attempts()
    )
    policies: tuple[WhenFull, ...] = ("block", "drop-oldest", "drop-newest")
    policy = chance.choice(policies)
    nodes["pose"] = ProcessorOptions(
        input=[EdgeInput(from_="buffer", when_full=policy, high_water_mark=chance.randint(1, 2))], use="m:C",
        window=chance.randint(1, 3), replicas=chance.choice((1, 1, 2)), max_deliveries=attempts(),
    )  # fmt: skip
    wanted: tuple[Literal["results"] | None, ...] = ("results", None)
    only = chance.choice(wanted)
    reads: list[str | EdgeInput] = [EdgeInput(from_="detect", high_water_mark=chance.randint(1, 2)),
             EdgeInput(from_="pose", high_water_mark=chance.randint(1, 2), only=only)]  # fmt: skip
    shape = chance.random()
    if shape < 0.2:  # the camera's own frames are a branch
        reads.insert(0, EdgeInput(from_="buffer", high_water_mark=chance.randint(1, 2)))
    if shape > 0.6:  # a branch has two relays
        nodes["face"] = ProcessorOptions(
            input=["detect"],
            use="m:C",
            replicas=chance.randint(1, 2),
            window=chance.randint(1, 2),
            max_deliveries=attempts(),
        )
        reads[0] = EdgeInput(from_="face", high_water_mark=chance.randint(1, 2))
    orders: tuple[Literal["camera"] | None, ...] = ("camera", None)
    order = chance.choice(orders)
    nodes["merge"] = ProcessorOptions(
        input=reads, use="m:C", join="frame", window=chance.randint(1, 2), max_deliveries=attempts(), order=order
    )
    if chance.random() < 0.4:
        nodes["last"] = ProcessorOptions(
            input=["merge"],
            use="m:C",
            window=chance.randint(1, 2),
            max_deliveries=attempts(),
            order=chance.choice(orders),
        )
    faults = {node: chance.choice((0, 0.1, 0.3)) for node in ("detect", "pose", "face", "merge", "last")}
    return Machine(nodes, faults, ends=1.0, silent={"pose": 3}, **change)


def play(chance: random.Random, steps: int = 400, **change: Any) -> JoinWorld:
    world = JoinWorld(chance, machine(chance, **change))
    world.play(steps, may_die=chance.random() < 0.8)
    world.check_end()
    return world


@pytest.mark.parametrize("seed", [0, alike(1)])
def test_each_frame_comes_to_the_join_whole_whoever_dies_and_nothing_is_kept(seed: int) -> None:
    for number in range(settings().max_examples):
        play(random.Random(1000 * seed + number))


def test_the_model_finds_frames_that_are_not_whole_where_a_join_does_not_wait_for_a_branch() -> None:
    def hurry(gate: Gate) -> None:
        if gate._join is not None:
            gate._join._outcome = lambda branch, name, held: "dead_lettered"

    assert histories_until(play, AssertionError, gate=hurry)


def test_the_model_finds_what_a_join_never_hears_where_edges_do_not_keep_what_became_of_frames() -> None:
    def forgetting(spec: Spec) -> Spec:
        edges = {name: replaced(options, keeps_settled=0) for name, options in spec.edges.items()}
        changed: Spec = replaced(spec, edges=edges)
        return changed

    assert histories_until(play, AssertionError, change=forgetting)


def test_the_model_finds_that_without_a_reserve_nobody_is_given_the_frame_that_is_awaited() -> None:
    def without(spec: Spec) -> Spec:
        edges = {
            name: replaced(options, reserve=0, window_total=options.window_total - options.reserve)
            for name, options in spec.edges.items()
        }
        changed: Spec = replaced(spec, edges=edges)
        return changed

    assert histories_until(play, Stuck, change=without)
