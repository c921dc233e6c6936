from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from detektr.errors import RefusedError
from detektr.memory import layout
from detektr.memory.run_folder import RunFolder
from detektr.memory.segment import open_segment
from detektr.memory.status_block import AGE_BUCKETS_NS, StatusBlock, acquire_status_block
from detektr.memory.status_block_reader import StatusBlockReader, open_status_block


@pytest.fixture
def status_block(shm_dir: Path) -> Iterator[StatusBlock]:
    status_block = StatusBlock(shm_dir / "motion.0.status", "processor")
    yield status_block
    status_block.close(unlink=True)


@pytest.fixture
def reader(status_block: StatusBlock) -> Iterator[StatusBlockReader]:
    reader = open_status_block(status_block.path, "motion", 0)
    assert reader is not None
    yield reader
    reader.close()


def test_a_reader_sees_what_the_process_says(status_block: StatusBlock, reader: StatusBlockReader) -> None:
    status_block.set_state("connecting", "no route to the camera")
    status_block.words[layout.STATUS_WORD_FAILURES] = 3
    snapshot = reader.snapshot()
    assert (snapshot.state, snapshot.why, snapshot.kind) == ("connecting", "no route to the camera", "processor")
    assert (snapshot.failures, snapshot.is_alive) == (3, True)


def test_a_longer_reason_is_cut_and_a_shorter_one_leaves_nothing_of_it(
    status_block: StatusBlock, reader: StatusBlockReader
) -> None:
    status_block.set_state("connecting", "ä" * 1000)
    assert set(reader.snapshot().why) == {"ä"}
    status_block.set_state("running", "b")
    assert reader.snapshot().why == "b"


def test_a_reason_that_utf8_cannot_say_is_told_as_far_as_it_can(
    status_block: StatusBlock, reader: StatusBlockReader
) -> None:
    status_block.set_state("connecting", "clip\udcff.mp4")
    assert reader.snapshot().why == "clip?.mp4"


def test_a_state_has_a_beginning_which_another_reason_does_not_change(
    status_block: StatusBlock, reader: StatusBlockReader
) -> None:
    begun = reader.snapshot().since_utc_ns
    status_block.set_state("connecting", "no route to the camera")
    since = reader.snapshot().since_utc_ns
    assert begun < since
    status_block.set_state("connecting", "nobody listens there")
    assert reader.snapshot().since_utc_ns == since
    status_block.set_state("unauthorized", "401")
    assert reader.snapshot().since_utc_ns > since


def test_mode_and_what_was_left_out_stand_beside_the_state(
    status_block: StatusBlock, reader: StatusBlockReader
) -> None:
    status_block.set_mode("h264 over tcp, software decoder")
    status_block.set_state("running", "x" * 1000)
    status_block.words[layout.STATUS_WORD_STALE] = 7
    assert (reader.snapshot().mode, reader.snapshot().stale) == ("h264 over tcp, software decoder", 7)
    status_block.set_mode("m" * 1000)
    assert reader.snapshot().mode == "m" * layout.STATUS_MODE_BYTES_MAX
    assert reader.snapshot().why == "x" * layout.STATUS_WHY_BYTES_MAX


def test_progress_is_that_of_the_session_asked_for(status_block: StatusBlock, reader: StatusBlockReader) -> None:
    at = layout.STATUS_WORD_INPUTS + 2 * layout.STATUS_INPUT_WORDS
    status_block.words[at + layout.STATUS_INPUT_SESSION] = 77
    status_block.words[at + layout.STATUS_INPUT_WORKING] = 5
    status_block.words[at + layout.STATUS_INPUT_FINISHED] = 4
    status_block.words[at + layout.STATUS_INPUT_SUSPECT] = 3
    assert reader.progress(77) == (5, 4, 3)
    assert reader.progress(78) is None


@pytest.mark.parametrize(
    ("age_ns", "bucket"), [(-5, 0), (0, 0), (AGE_BUCKETS_NS[0], 0), (AGE_BUCKETS_NS[0] + 1, 1), (1 << 62, 40)]
)
def test_a_frames_age_is_counted_in_one_bucket(
    status_block: StatusBlock, reader: StatusBlockReader, age_ns: int, bucket: int
) -> None:
    status_block.count_frame(age_ns, 9)
    snapshot = reader.snapshot()
    assert snapshot.age_counts == tuple(int(place == bucket) for place in range(layout.STATUS_AGES))
    assert (snapshot.frames, snapshot.age_sum_ns) == (1, max(age_ns, 0))


def test_counters_go_on_in_a_successor(status_block: StatusBlock, reader: StatusBlockReader) -> None:
    status_block.words[layout.STATUS_WORD_FRAMES] = 10
    status_block.close(unlink=False)
    assert reader.snapshot().state == "stopped"
    successor = StatusBlock(status_block.path, "processor")
    successor.count_frame(1, 1)
    assert reader.snapshot().frames == 11
    successor.close(unlink=False)


def test_a_page_that_is_not_there_is_none(shm_dir: Path) -> None:
    assert open_status_block(shm_dir / "motion.1.status", "motion", 1) is None


def test_a_name_that_a_sweep_holds_for_a_moment_is_waited_for(shm_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder("demo")
    acquire_status_block(folder, "camera", 0, "capture").close(unlink=False)
    path = folder.status_block("camera", 0)
    found = open_segment(path, is_writable=True)
    assert found is not None and found.try_lock()
    sweep = found

    class Pause:
        def poll(self, milliseconds: int) -> None:
            path.unlink()
            sweep.close()

    monkeypatch.setattr("detektr.memory.status_block.select.poll", Pause)
    status_block = acquire_status_block(folder, "camera", 0, "capture")
    assert path.exists() and not status_block.segment.is_unlinked
    status_block.close(unlink=True)
    folder.remove_if_empty()


def test_a_page_that_many_want_at_once_is_one_ones(shm_dir: Path) -> None:
    taken: list[StatusBlock] = []
    refused: list[RefusedError] = []
    barrier, run_folder = threading.Barrier(8), RunFolder("demo")

    def want() -> None:
        barrier.wait()
        try:
            taken.append(acquire_status_block(run_folder, "guest-1", 0, "guest", wait_ns=0))
        except RefusedError as fault:
            refused.append(fault)

    for _ in range(30):
        threads = [threading.Thread(target=want) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(taken), len(refused)) == (1, 7)
        assert [path.name for path in run_folder.path.iterdir()] == ["guest-1.0.status"]
        taken.pop().close(unlink=True)
        refused.clear()
    run_folder.remove_if_empty()
