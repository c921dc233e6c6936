from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from detektr.errors import RefusedError
from detektr.memory import layout
from detektr.memory.run_folder import RunFolder
from detektr.memory.segment import open_segment
from detektr.memory.status_block import AGE_BUCKETS_NS, NodePage, PageReader, open_page, take_page


@pytest.fixture
def page(shm_dir: Path) -> Iterator[NodePage]:
    page = NodePage(shm_dir / "motion.0.page", "processor")
    yield page
    page.close(unlink=True)


@pytest.fixture
def reader(page: NodePage) -> Iterator[PageReader]:
    reader = open_page(page.path, "motion", 0)
    assert reader is not None
    yield reader
    reader.close()


def test_a_reader_sees_what_the_process_says(page: NodePage, reader: PageReader) -> None:
    page.set_state("connecting", "no route to the camera")
    page[layout.PAGE_WORD_FAILURES] = 3
    snapshot = reader.snapshot()
    assert (snapshot.state, snapshot.why, snapshot.kind) == ("connecting", "no route to the camera", "processor")
    assert (snapshot.failures, snapshot.is_alive) == (3, True)


def test_a_longer_reason_is_cut_and_a_shorter_one_leaves_nothing_of_it(page: NodePage, reader: PageReader) -> None:
    page.set_state("connecting", "ä" * 1000)
    assert set(reader.snapshot().why) == {"ä"}
    page.set_state("running", "b")
    assert reader.snapshot().why == "b"


def test_a_reason_that_utf8_cannot_say_is_told_as_far_as_it_can(page: NodePage, reader: PageReader) -> None:
    page.set_state("connecting", "clip\udcff.mp4")
    assert reader.snapshot().why == "clip?.mp4"


def test_a_state_has_a_beginning_which_another_reason_does_not_change(page: NodePage, reader: PageReader) -> None:
    begun = reader.snapshot().since_utc_ns
    page.set_state("connecting", "no route to the camera")
    since = reader.snapshot().since_utc_ns
    assert begun < since
    page.set_state("connecting", "nobody listens there")
    assert reader.snapshot().since_utc_ns == since
    page.set_state("unauthorized", "401")
    assert reader.snapshot().since_utc_ns > since


def test_mode_and_what_was_left_out_stand_beside_the_state(page: NodePage, reader: PageReader) -> None:
    page.set_mode("h264 over tcp, software decoder")
    page.set_state("running", "x" * 1000)
    page[layout.PAGE_WORD_STALE] = 7
    assert (reader.snapshot().mode, reader.snapshot().stale) == ("h264 over tcp, software decoder", 7)
    page.set_mode("m" * 1000)
    assert reader.snapshot().mode == "m" * layout.PAGE_MODE_BYTES_MAX
    assert reader.snapshot().why == "x" * layout.PAGE_WHY_BYTES_MAX


def test_progress_is_that_of_the_session_asked_for(page: NodePage, reader: PageReader) -> None:
    at = layout.PAGE_WORD_INPUTS + 2 * layout.PAGE_INPUT_WORDS
    page[at + layout.PAGE_INPUT_SESSION] = 77
    page[at + layout.PAGE_INPUT_WORKING] = 5
    page[at + layout.PAGE_INPUT_FINISHED] = 4
    assert reader.progress(77) == (5, 4)
    assert reader.progress(78) is None


@pytest.mark.parametrize(
    ("age_ns", "bucket"), [(-5, 0), (0, 0), (AGE_BUCKETS_NS[0], 0), (AGE_BUCKETS_NS[0] + 1, 1), (1 << 62, 40)]
)
def test_a_frames_age_is_counted_in_one_bucket(page: NodePage, reader: PageReader, age_ns: int, bucket: int) -> None:
    page.count_frame(age_ns, 9)
    snapshot = reader.snapshot()
    assert snapshot.age_counts == tuple(int(place == bucket) for place in range(layout.PAGE_AGES))
    assert (snapshot.frames, snapshot.age_sum_ns) == (1, max(age_ns, 0))


def test_counters_go_on_in_a_successor(page: NodePage, reader: PageReader) -> None:
    page[layout.PAGE_WORD_FRAMES] = 10
    page.close(unlink=False)
    assert reader.snapshot().state == "stopped"
    successor = NodePage(page.path, "processor")
    successor.count_frame(1, 1)
    assert reader.snapshot().frames == 11
    successor.close(unlink=False)


def test_a_page_that_is_not_there_is_none(shm_dir: Path) -> None:
    assert open_page(shm_dir / "motion.1.page", "motion", 1) is None


def test_a_name_that_a_sweep_holds_for_a_moment_is_waited_for(shm_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder("demo")
    take_page(folder, "camera", 0, "capture").close(unlink=False)
    path = folder.page("camera", 0)
    found = open_segment(path, is_writable=True)
    assert found is not None and found.try_lock()
    sweep = found

    class Pause:
        def poll(self, milliseconds: int) -> None:
            path.unlink()
            sweep.close()

    monkeypatch.setattr("detektr.memory.status_block.select.poll", Pause)
    page = take_page(folder, "camera", 0, "capture")
    assert path.exists() and not page.segment.is_unlinked
    page.close(unlink=True)
    folder.remove_if_empty()


def test_a_page_that_many_want_at_once_is_one_ones(shm_dir: Path) -> None:
    taken: list[NodePage] = []
    refused: list[RefusedError] = []
    barrier, run_folder = threading.Barrier(8), RunFolder("demo")

    def want() -> None:
        barrier.wait()
        try:
            taken.append(take_page(run_folder, "guest-1", 0, "guest", wait_ns=0))
        except RefusedError as fault:
            refused.append(fault)

    for _ in range(30):
        threads = [threading.Thread(target=want) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(taken), len(refused)) == (1, 7)
        assert [path.name for path in run_folder.path.iterdir()] == ["guest-1.0.page"]
        taken.pop().close(unlink=True)
        refused.clear()
    run_folder.remove_if_empty()
