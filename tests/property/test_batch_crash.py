"""A replica that works on batches dies at any store into its status block: only who was worked on alone is blamed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from detektr.edge.edge_options import OutcomeKind
from detektr.memory import layout
from detektr.memory.announcement import Lease
from detektr.memory.run_folder import RunFolder
from detektr.nodes.working.batch import PartQueue
from tests.harness.dying_memory import Died, DyingMemory
from tests.unit.edge.attached import Bench

FRAMES = 4


class Worker:
    """Works on batches as the node does, with the real end of an edge, on a status block that can die."""

    def __init__(self, folder: RunFolder) -> None:
        self.bench = Bench(folder)
        self.memory = DyingMemory(bytearray(layout.STATUS_WORDS * layout.WORD_BYTES))
        words = self.bench.status_block.words
        self.bench.status_block.words = self.memory.view.cast("Q")
        for at in range(layout.STATUS_INPUT_WORDS):  # of the session that has attached
            self.bench.status_block.words[layout.STATUS_WORD_INPUTS + at] = words[layout.STATUS_WORD_INPUTS + at]
        self.begun_alone: int | None = None
        self.done: list[int] = []
        self.failed: set[int] = set()  # alone, and the producer has not heard of it

    def work(self, poison: set[int], *, is_heard: bool) -> None:
        """Work on all that is leased; `is_heard`: the producer hears of a failure at once."""
        parts: PartQueue[Lease] = PartQueue()
        subscriber, batch = self.bench.subscriber, list[Lease]()
        while (lease := subscriber.take_unnoted(1)) is not None:
            batch.append(lease)
        parts.add(batch)
        while part := parts.take():
            guilty = [lease for lease in part if lease.sequence in poison]
            if len(part) > 1:
                self.begun_alone = None
                subscriber.progress.begin_batch()
                if guilty:
                    parts.split(part)
                    continue
            else:
                self.begun_alone = part[0].sequence
                subscriber.begin_alone(part[0])
            for lease in part:
                if lease in guilty:
                    subscriber.fail((lease.key, lease.sequence), "raised")
                    self.failed |= set() if is_heard else {lease.sequence}
                    if is_heard:
                        [failed] = self.bench.told().failed
                        self.bench.edge.fail(self.bench.session, failed)
                        self.begun_alone = None
                else:
                    subscriber.finish((lease.key, lease.sequence), lease.delivery_tag)
                    self.done.append(lease.sequence)
                    self.begun_alone = None

    def blamed(self) -> set[int]:
        """Let the producer find the death; returns the frames whose attempt it counts."""
        progress = (0, 0, 0)
        session, *numbers = self.bench.status_block.progress(0)
        if session == self.bench.session:
            progress = numbers[0], numbers[1], numbers[2]
        self.bench.edge.take_outcomes()
        self.bench.edge.evict(self.bench.session, progress)
        kinds = (OutcomeKind.REDELIVERED, OutcomeKind.DEAD_LETTERED)
        return {told.sequence for told in self.bench.edge.take_outcomes() if told.kind in kinds}

    def close(self) -> None:
        self.bench.subscriber.close()
        self.bench.journal.close()
        self.bench.segment.close()


@pytest.fixture
def folder(shm_dir: Path) -> Iterator[RunFolder]:
    folder = RunFolder("demo")
    folder.make()
    yield folder
    for path in folder.path.iterdir():
        path.unlink()
    folder.remove_if_empty()


def begun(folder: RunFolder) -> Worker:
    for path in folder.path.iterdir():
        path.unlink()
    worker = Worker(folder)
    worker.bench.offer(*range(FRAMES))
    worker.bench.lease_queued()
    return worker


@pytest.mark.parametrize("is_heard", [True, False])
@pytest.mark.parametrize("poison", [set(), {0}, {1}, {3}, {0, 2}, {0, 1, 2, 3}], ids=str)
def test_at_each_store_only_the_frame_in_work_alone_is_blamed(
    folder: RunFolder, poison: set[int], is_heard: bool
) -> None:
    whole = begun(folder)
    before = whole.memory.stores
    whole.work(poison, is_heard=is_heard)
    stores = whole.memory.stores - before
    whole.close()
    assert stores > 0
    for left in range(stores + 1):
        worker = begun(folder)
        worker.memory.stores_left = left
        has_died = False
        try:
            worker.work(poison, is_heard=is_heard)
        except Died:
            has_died = True
        assert has_died is (left < stores)
        worker.memory.stores_left = None
        told = f"{left} of {stores} stores, done {worker.done}, alone {worker.begun_alone}"
        assert worker.blamed() <= {worker.begun_alone, *worker.failed}, told
        ledger = worker.bench.subscriber.ledger()
        assert ledger is not None
        delivered = ledger.delivered
        assert delivered <= len(worker.done) + has_died, "what was not done counts as done: " + told
        if not poison:
            assert delivered >= len(worker.done), "what was done is done again: " + told
        worker.close()


def test_the_frame_that_is_in_work_alone_is_blamed(folder: RunFolder) -> None:
    worker = begun(folder)
    leases = [lease for _ in range(FRAMES) if (lease := worker.bench.subscriber.take_unnoted(1)) is not None]
    worker.bench.subscriber.progress.begin_batch()
    worker.bench.subscriber.begin_alone(leases[2])
    assert worker.blamed() == {2}
    assert worker.bench.edge.queued == FRAMES
    worker.close()


def test_a_batch_that_takes_too_long_is_no_attempt_and_a_frame_alone_is(folder: RunFolder) -> None:
    worker = begun(folder)
    bench = worker.bench

    def progress_of(replica: object) -> tuple[int, int, int]:
        _, working, finished, suspect = bench.status_block.progress(0)
        return working, finished, suspect

    bench.subscriber.progress.begin_batch()
    bench.edge.expire(500, progress_of)
    assert bench.edge.take_outcomes() == [] and bench.edge.queued == FRAMES
    bench.edge.finish(bench.session, (), 501)
    bench.lease_queued(502)
    repeated = [lease for _ in range(FRAMES) if (lease := bench.subscriber.take_unnoted(1)) is not None]
    assert [(lease.sequence, lease.delivery) for lease in repeated] == [(number, 2) for number in range(FRAMES)]
    bench.subscriber.begin_alone(repeated[1])
    bench.edge.expire(1000, progress_of)
    assert [(told.kind, told.sequence) for told in bench.edge.take_outcomes()] == [(OutcomeKind.REDELIVERED, 1)]
    worker.close()
