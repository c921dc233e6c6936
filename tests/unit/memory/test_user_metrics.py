from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detektr.errors import NoRoomError
from detektr.memory import layout, user_metrics
from detektr.memory.run_folder import RunFolder
from detektr.memory.user_metrics import UserMetrics, UserMetricsFile, UserMetricsReader, open_user_metrics
from detektr.metrics import Counter, Gauge, Histogram
from detektr.metrics.declaration import METRICS_MAX, OVERFLOW, Kind, Labels, make_declaration
from detektr.metrics.registry import Registry

SEEN = make_declaration(Kind.COUNTER, "seen", "Plates read.", ["camera"], (), 1000)
ALL = make_declaration(Kind.COUNTER, "all", "All of them.", [], (), 1000)
LEVEL = make_declaration(Kind.GAUGE, "level", "Level.", ["camera"], (), 1000)
TOOK = make_declaration(Kind.HISTOGRAM, "took", "Took.", ["camera"], (1.0, 2.0), 1000)


class Process:
    """One life of a process whose metrics are published."""

    def __init__(self, path: Path, series_max: int = 1000) -> None:
        self.registry = Registry()
        self.registry.publish(UserMetricsFile(path))
        self.seen = self.registry.declare(Counter, SEEN, series_max)
        self.level = self.registry.declare(Gauge, LEVEL, series_max)
        self.took = self.registry.declare(Histogram, TOOK, series_max)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "look.1.metrics"


def read(path: Path) -> UserMetrics:
    reader = open_user_metrics(path, "look", 1)
    assert reader is not None
    found = reader.read()
    reader.close()
    return found


def numbers(found: UserMetrics) -> dict[tuple[str, Labels], tuple[float, ...]]:
    return {(declaration.name, one.labels): one.numbers for declaration, series in found.series for one in series}


def test_another_process_reads_what_is_counted(path: Path) -> None:
    process = Process(path)
    process.seen.inc(2, camera="door")
    process.level.set(-4.5, camera="yard")
    process.took.observe(1, camera="door")
    process.took.observe(9, camera="door")
    found = read(path)
    assert (found.node, found.replica, found.overflowed) == ("look", 1, 0)
    assert [declaration for declaration, _ in found.series] == [SEEN, LEVEL, TOOK]
    assert found.series[0][0].help == "Plates read."
    assert numbers(found) == {
        ("seen", ("door",)): (2,),
        ("level", ("yard",)): (-4.5,),
        ("took", ("door",)): (10, 1, 0, 1),
    }


def test_no_file_is_made_before_there_is_a_metric(path: Path) -> None:
    registry = Registry()
    registry.publish(UserMetricsFile(path))
    assert not path.exists()
    assert open_user_metrics(path, "look", 1) is None
    registry.declare(Counter, ALL, 1000)
    assert numbers(read(path)) == {("all", ()): (0,)}


def test_what_was_counted_before_it_is_published_is_published_too(path: Path) -> None:
    registry = Registry()
    seen = registry.declare(Counter, SEEN, 1000)
    seen.inc(camera="door")
    registry.publish(UserMetricsFile(path))
    seen.inc(camera="door")
    assert numbers(read(path)) == {("seen", ("door",)): (2,)}


def test_a_successor_counts_on_and_its_gauges_begin_anew(path: Path) -> None:
    first = Process(path)
    first.seen.inc(3, camera="door")
    first.took.observe(1, camera="door")
    first.level.set(7, camera="door")
    second = Process(path)
    assert numbers(read(path)) == {("seen", ("door",)): (3,), ("took", ("door",)): (1, 1, 0, 0)}
    second.seen.inc(camera="door")
    second.level.inc(camera="door")
    second.took.observe(2, camera="door")
    assert numbers(read(path)) == {
        ("seen", ("door",)): (4,),
        ("took", ("door",)): (3, 1, 1, 0),
        ("level", ("door",)): (1,),
    }
    assert second.seen.value(camera="door") == 4


def test_a_successor_with_another_metric_of_the_name_begins_it_anew(path: Path) -> None:
    Process(path).seen.inc(3, camera="door")
    registry = Registry()
    registry.publish(UserMetricsFile(path))
    other = make_declaration(Kind.COUNTER, "seen", "By kind now.", ["kind"], (), 1000)
    registry.declare(Counter, other, 1000).inc(kind="car")
    assert numbers(read(path)) == {("seen", ("car",)): (1,)}
    assert [declaration.labels for declaration, _ in read(path).series if declaration.name == "seen"] == [("kind",)]


def test_a_file_of_another_version_is_replaced(path: Path) -> None:
    Process(path).seen.inc(camera="door")
    with path.open("r+b") as file:
        file.seek(layout.METRICS_WORD_VERSION * layout.WORD_BYTES)
        file.write(b"\xff")
    assert open_user_metrics(path, "look", 1) is None
    Process(path).seen.inc(camera="yard")
    assert numbers(read(path)) == {("seen", ("yard",)): (1,)}


def test_a_record_that_its_writer_did_not_finish_is_not_there(path: Path) -> None:
    process = Process(path)
    process.seen.inc(camera="door")
    end_byte = layout.METRICS_WORD_END * layout.WORD_BYTES
    before = path.read_bytes()[end_byte : end_byte + 8]
    process.seen.inc(camera="yard")
    with path.open("r+b") as file:  # as if it had been killed before the last store of the record
        file.seek(end_byte)
        file.write(before)
    assert numbers(read(path)) == {("seen", ("door",)): (1,)}
    Process(path).seen.inc(camera="gate")
    assert numbers(read(path)) == {("seen", ("door",)): (1,), ("seen", ("gate",)): (1,)}


def test_a_file_grows_and_its_reader_with_it(path: Path) -> None:
    process = Process(path, series_max=10_000)
    process.seen.inc(camera="first")
    reader = open_user_metrics(path, "look", 1)
    assert reader is not None
    sizes = [path.stat().st_size]
    for number in range(5000):
        process.seen.inc(camera=f"camera {number}")
        if number % 1000 == 0:
            assert numbers(reader.read())["seen", (f"camera {number}",)] == (1,)
    process.seen.inc(camera="first")
    found = {labels: values[0] for (_, labels), values in numbers(reader.read()).items()}
    assert (len(found), found["first",]) == (5001, 2)
    sizes.append(path.stat().st_size)
    assert layout.METRICS_BYTES_MIN == sizes[0] < sizes[1] < layout.METRICS_BYTES_MAX
    reader.close()


def test_a_full_file_sends_the_rest_to_the_overflow_series_and_takes_more_metrics(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_metrics, "_SERIES_END_MAX", 32 << 10)
    process = Process(path)
    for number in range(900):
        process.seen.inc(camera=f"{number} {'x' * 100}")
        process.took.observe(1, camera=f"{number} {'x' * 100}")
    found = numbers(read(path))
    kept = [labels for name, labels in found if name == "seen" and labels != (OVERFLOW,)]
    assert 0 < len(kept) < 900
    assert found["seen", (OVERFLOW,)] == (900 - len(kept),)
    assert sum(values[0] for (name, _), values in found.items() if name == "seen") == 900
    assert sum(values[1] for (name, _), values in found.items() if name == "took") == 900
    assert read(path).overflowed == sum(found[name, (OVERFLOW,)][0] for name in ("seen", "took"))
    process.registry.declare(Counter, ALL, 1000).inc()
    assert numbers(read(path))["all", ()] == (1,)


def test_the_largest_metrics_have_room_after_all_series_have_taken_theirs(path: Path) -> None:
    registry = Registry()
    registry.publish(UserMetricsFile(path))
    seen = registry.declare(Counter, SEEN, 10_000)
    metrics = []
    for number in range(METRICS_MAX - 1):
        names = [f"{place}{'l' * 62}" for place in "abcdefgh"]
        buckets = tuple(number + step / 7 for step in range(40))
        declaration = make_declaration(Kind.HISTOGRAM, f"{'n' * 60}{number}", "\U0001f600" * 500, names, buckets, 9)
        if number == 1:
            for plate in range(10_000):
                seen.inc(camera=f"{plate}{chr(0x1F600) * 120}")
        metrics.append(registry.declare(Histogram, declaration, 9))
    assert read(path).overflowed > 0
    labels = dict.fromkeys(metrics[-1].declaration.labels, "x" * 128)
    metrics[-1].observe(1e9, **labels)
    found = numbers(read(path))
    assert found[metrics[-1].declaration.name, (OVERFLOW,) * 8][-1] == 1
    assert path.stat().st_size <= layout.METRICS_BYTES_MAX


def test_without_shared_memory_it_counts_all_the_same_and_says_so(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise NoRoomError("look.1.metrics needs 0.1 MiB of shared memory; use less")

    monkeypatch.setattr(user_metrics, "create_segment", refuse)
    process = Process(path)
    process.seen.inc(camera="door")
    process.seen.inc(camera="door")
    assert process.seen.value(camera="door") == 2
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("user metrics are counted, but not shown: their file cannot be made: look.1")


def test_a_forked_child_writes_nothing_into_its_parent_s_file(path: Path) -> None:
    process = Process(path)
    process.seen.inc(camera="door")
    process.level.set(1, camera="door")
    child = os.fork()
    if not child:
        try:
            process.seen.inc(5, camera="door")
            process.seen.inc(5, camera="child")
            process.level.set(5, camera="door")
            process.registry.declare(Counter, ALL, 1000).inc()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert numbers(read(path)) == {("seen", ("door",)): (1,), ("level", ("door",)): (1,)}


def test_the_files_of_a_run_are_found_with_their_owners() -> None:
    folder = RunFolder("shop")
    folder.make()
    Process(folder.user_metrics("look", 1))
    assert list(folder.all_user_metrics()) == [("look", 1, folder.user_metrics("look", 1))]
    assert folder.sweep() == ["look.1.metrics"]


cameras = st.sampled_from(["a", "b", "c", "d", "e"])
acts = st.one_of(
    st.tuples(st.just("seen"), cameras, st.integers(0, 9)),
    st.tuples(st.just("took"), cameras, st.integers(0, 9)),
    st.tuples(st.just("level"), cameras, st.integers(-9, 9)),
    st.tuples(st.just("dies"), cameras, st.just(0)),
)


@given(history=st.lists(acts, max_size=60))
def test_no_count_is_lost_over_any_number_of_lives(history: list[tuple[str, str, int]]) -> None:
    """A reader that stays sees what a plain model counts, with the sixth part going to the overflow series."""
    path = Path(os.environ["DETEKTR_SHM_DIR"]) / "look.0.metrics"
    process, reader = Process(path, series_max=3), open_user_metrics(path, "look", 0)
    assert isinstance(reader, UserMetricsReader)
    counted: dict[tuple[str, Labels], list[float]] = {}
    level: dict[tuple[str, Labels], list[float]] = {}
    known: dict[str, set[str]] = {"seen": set(), "took": set(), "level": set()}
    try:
        for name, camera, value in history:
            if name == "dies":
                process = Process(path, series_max=3)
                level.clear()
                continue
            if camera in known[name] or len(known[name]) < 3:
                known[name].add(camera)
            labels = (camera if camera in known[name] else OVERFLOW,)
            if name == "seen":
                process.seen.inc(value, camera=camera)
                counted.setdefault((name, labels), [0])[0] += value
            elif name == "took":
                process.took.observe(value, camera=camera)
                cells = counted.setdefault((name, labels), [0, 0, 0, 0])
                cells[0] += value
                cells[1 if value <= 1 else 2 if value <= 2 else 3] += 1
            else:
                process.level.set(value, camera=camera)
                level[name, labels] = [value]
            shown = {key: cells for key, cells in counted.items() if key[1] != (OVERFLOW,) or any(cells)}
            assert numbers(reader.read()) == {key: tuple(cells) for key, cells in {**shown, **level}.items()}
    finally:
        reader.close()
        path.unlink()
    assert not any(math.isnan(cell) for cells in counted.values() for cell in cells)
