"""A ring under a writer that claims, publishes and releases as it likes: a reader accepts a slot only as announced."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from detektr.memory.ring import RingFacts, RingReader, RingWriter, open_ring
from detektr.picture import PictureLayout


class Announced(NamedTuple):
    """What a consumer was told."""

    slot: int
    generation: int
    sequence: int


class RingMachine(RuleBasedStateMachine):
    """One writer, one reader, and every announcement ever made."""

    @initialize(slots=st.integers(1, 4))
    def begin(self, slots: int) -> None:
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / "camera.1.ring"
        self.slots = slots
        self.writer = RingWriter(path, RingFacts("camera", "camera", 1, 1, PictureLayout("gray", 8, 2), None), slots)
        reader = open_ring(path)
        assert reader is not None
        self.reader: RingReader = reader
        self.announced: list[Announced] = []
        self.current: dict[int, Announced] = {}  # by slot: published, and neither released nor written since
        self.released: dict[int, Announced] = {}  # by slot: released, and not written since
        self.written: list[int] = []
        self.sequence = 0

    @rule()
    def state(self) -> None:
        slot = self.writer.try_claim()
        if slot is None:
            assert len(self.written) + len(self.current) == self.slots
            return
        assert slot not in self.current
        assert slot not in self.written
        self.released.pop(slot, None)
        self.written.append(slot)
        self.writer.memory(slot)[:] = b"\xff" * 16  # half a picture

    @rule()
    def publish(self) -> None:
        if self.written:
            slot = self.written.pop()
            self.writer.memory(slot)[:] = self.sequence.to_bytes(16, "big")
            announced = Announced(slot, self.writer.publish(slot, self.sequence), self.sequence)
            assert announced[:2] not in [old[:2] for old in self.announced]
            self.announced.append(announced)
            self.current[slot] = announced
            self.sequence += 1

    @rule()
    def give_up_what_was_claimed(self) -> None:
        if self.written:
            self.writer.release(self.written.pop())

    @rule(place=st.integers(0, 3))
    def release(self, place: int) -> None:
        if self.current:
            slot = sorted(self.current)[place % len(self.current)]
            self.released[slot] = self.current.pop(slot)
            self.writer.release(slot)

    @invariant()
    def check(self) -> None:
        if not hasattr(self, "reader"):
            return
        for announced in self.announced:
            is_there = announced in (self.current.get(announced.slot), self.released.get(announced.slot))
            assert self.reader.holds(announced.slot, announced.generation) is is_there
            if is_there:
                assert bytes(self.reader.memory(announced.slot)) == announced.sequence.to_bytes(16, "big")
        assert self.writer.free_slots == self.slots - len(self.written) - len(self.current)

    def teardown(self) -> None:
        if hasattr(self, "reader"):
            self.reader.close()
            self.writer.close(unlink=True)
            self.folder.cleanup()


TestRingMachine = RingMachine.TestCase
TestRingMachine.settings = settings(stateful_step_count=30)
