from __future__ import annotations

import enum
import logging
import math
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from detektr import metrics
from detektr.metrics import registry
from detektr.metrics.declaration import LABEL_CHARS_MAX, METRICS_MAX, OVERFLOW
from detektr.testing import clear_metrics, event, run_sink


@pytest.fixture(autouse=True)
def own(monkeypatch: pytest.MonkeyPatch) -> Iterator[registry.Registry]:
    """Give each test metrics of its own."""
    fresh = registry.Registry()
    monkeypatch.setattr(metrics, "process_metrics", fresh)
    monkeypatch.setattr("detektr.testing.process_metrics", fresh)
    yield fresh


def test_the_three_kinds_count_as_they_are_told() -> None:
    seen = metrics.counter("plates_seen", "Plates read.", labels=["camera"])
    seen.inc(camera="door")
    seen.inc(2.5, camera="door")
    seen.inc(0, camera="yard")
    assert (seen.value(camera="door"), seen.value(camera="yard"), seen.value(camera="gate")) == (3.5, 0, 0)

    level = metrics.gauge("level", "How bright it is.")
    assert math.isnan(level.value())
    level.set(4)
    level.inc(2)
    level.dec()
    assert level.value() == 5

    latency = metrics.histogram("latency", "Of the model.", buckets=[0.1, 1])
    for value in (0.05, 0.1, 0.5, 7):
        latency.observe(value)
    assert latency.value() == metrics.HistogramValue(4, 7.65, {0.1: 2, 1.0: 3, math.inf: 4})


def test_who_asks_twice_gets_the_same_one() -> None:
    first = metrics.counter("plates_seen", "Plates read.", labels=["camera"])
    assert metrics.counter("plates_seen_total", "Said in other words.", labels=("camera",)) is first
    assert metrics.histogram("t", "T.", buckets=[1, 2]) is metrics.histogram("t", "T.", buckets=(1.0, 2.0))


@pytest.mark.parametrize(
    ("again", "told"),
    [
        (lambda: metrics.gauge("plates", "P.", ["camera"]), r"plates was to be a gauge with the labels camera; plates"),
        (lambda: metrics.counter("plates", "P."), r"was to be a counter without labels; plates is a counter with the"),
        (
            lambda: metrics.gauge("plates_total", "P."),
            r"plates_total was to be a gauge .* give one of them another name",
        ),
        (lambda: metrics.gauge("took_sum", "P."), r"took is a histogram without labels and the buckets 1, 2 already"),
        (lambda: metrics.histogram("took", "P.", buckets=[1, 3]), r"and the buckets 1, 3; took is a histogram"),
    ],
)
def test_a_name_that_is_taken_is_refused(again: Callable[[], Any], told: str) -> None:
    metrics.counter("plates", "P.", ["camera"])
    metrics.histogram("took", "P.", buckets=[1, 2])
    with pytest.raises(ValueError, match=told):
        again()


@pytest.mark.parametrize(
    ("declare", "told"),
    [
        (lambda: metrics.counter("plates-seen", "P."), "'plates-seen' is not a metric's name; use at most 64 of"),
        (lambda: metrics.counter("x" * 65, "P."), "is not a metric's name"),
        (lambda: metrics.counter("x", "P.", labels="camera"), r"the text 'camera' as labels; write a list: labels="),
        (lambda: metrics.counter("x", "P.", labels=["node"]), "label node, which detektr writes itself; choose"),
        (lambda: metrics.counter("x", "P.", labels=["_x"]), "label '_x'; use a-z"),
        (lambda: metrics.counter("x", "P.", labels=["a", "a"]), "labels a, a; use at most 8, each once"),
        (lambda: metrics.counter("x", "P.", labels=list("abcdefghi")), "use at most 8"),
        (lambda: metrics.counter("x", "P.", series_max=0), "series_max=0; use 1 to 10000"),
        (lambda: metrics.histogram("x", "P.", buckets=[]), "use 1 to 40 finite numbers that rise"),
        (lambda: metrics.histogram("x", "P.", buckets=[2, 1]), "numbers that rise"),
        (lambda: metrics.histogram("x", "P.", buckets=[1, math.inf]), "finite"),
    ],
)
def test_what_is_no_metric_is_refused_in_words(declare: Callable[[], Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        declare()


def test_more_metrics_than_there_may_be_are_refused() -> None:
    for number in range(METRICS_MAX):
        metrics.gauge(f"m{number}", "One of many.")
    with pytest.raises(ValueError, match="more is one more than the 100 that a process may have; use one metric with"):
        metrics.gauge("more", "One too many.")
    assert metrics.gauge("m0", "One of many.")


def test_wrong_use_raises_what_is_to_be_done() -> None:
    seen = metrics.counter("seen", "Seen.", labels=["camera", "kind"])
    with pytest.raises(ValueError, match=r"seen was given the labels camera; expected camera=..., kind=...: name the"):
        seen.inc(camera="door")
    with pytest.raises(ValueError, match=r"the labels camera, sort; expected camera=..., kind=..."):
        seen.inc(camera="door", sort="car")
    with pytest.raises(ValueError, match=r"the labels \(none\); expected"):
        seen.value()
    with pytest.raises(ValueError, match=r"seen was given -1, and counts up only; use a gauge"):
        seen.inc(-1, camera="door", kind="car")
    with pytest.raises(TypeError, match=r"seen was given '3', a str; pass a number"):
        seen.inc("3", camera="door", kind="car")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"level was given the labels camera; expected no labels"):
        metrics.gauge("level", "Level.").set(1, camera="door")
    with pytest.raises(TypeError, match=r"level was given None, a NoneType; pass a number"):
        metrics.gauge("level", "Level.").set(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"t was given \[\], a list; pass a number"):
        metrics.histogram("t", "T.").observe([])  # type: ignore[arg-type]
    assert seen.value(camera="door", kind="car") == 0


class Colour(enum.StrEnum):
    RED = "red"


def test_labels_are_told_apart_by_their_text_in_any_order() -> None:
    seen = metrics.counter("seen", "Seen.", labels=["a", "b"])
    seen.inc(b="2", a="1")
    seen.inc(a=1, b=np.int64(2))
    seen.inc(a=True, b=[])
    seen.inc(a="True", b="[]")
    seen.inc(a=Colour.RED, b="\udce9")
    seen.inc(a="red", b="?")
    assert seen.value(a=1, b=2) == seen.value(a="True", b="[]") == seen.value(a="red", b="?") == 2


def test_a_label_may_be_called_as_an_argument_is() -> None:
    seen = metrics.counter("seen", "Seen.", labels=["self", "amount"])
    seen.inc(3, self="me", amount="much")
    assert seen.value(self="me", amount="much") == 3


def test_a_long_label_is_cut() -> None:
    seen = metrics.counter("seen", "Seen.", labels=["plate"])
    seen.inc(plate="x" * 1000)
    assert seen.value(plate="x" * (LABEL_CHARS_MAX - 3) + "...") == 1


def test_label_sets_beyond_the_limit_are_counted_in_one_series_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    seen = metrics.counter("seen", "Seen.", labels=["plate"], series_max=3)
    for number in range(10):
        seen.inc(plate=f"p{number}")
        seen.inc(plate="p0")
    assert [seen.value(plate=plate) for plate in ("p0", "p1", "p2", "p3", OVERFLOW)] == [11, 1, 1, 0, 7]
    [line] = caplog.messages
    assert line.startswith(
        "the metric seen has 3 label sets, and no room for more; its series with the label (overflow)"
    )
    assert "such as plate='p3'" in line


def test_what_cannot_be_added_up_is_left_out_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    latency, seen = metrics.histogram("latency", "L."), metrics.counter("seen", "S.")
    for value in (math.nan, math.inf, 1.0, -math.inf):
        latency.observe(value)
    seen.inc(math.nan)
    seen.inc(math.inf)
    assert (latency.value().count, latency.value().sum, seen.value()) == (1, 1.0, 0)
    assert [line.split(",")[0] for line in caplog.messages] == [
        "the metric latency was given nan",
        "the metric seen was given nan",
    ]


def test_threads_lose_no_count() -> None:
    seen, latency = metrics.counter("seen", "S.", ["camera"]), metrics.histogram("latency", "L.", buckets=[1])
    level = metrics.gauge("level", "L.")
    for camera in ("c0", "c1"):  # else a thread that begins late finds all series taken
        seen.inc(0, camera=camera)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def work(camera: str) -> None:
        for number in range(2000):
            seen.inc(camera=camera)
            seen.inc(camera=f"{number}")
            latency.observe(number % 2)
            level.inc()

    try:
        threads = [threading.Thread(target=work, args=(f"c{number % 2}",)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert seen.value(camera="c0") == seen.value(camera="c1") == 4000
    labels = ("c0", "c1", OVERFLOW, *map(str, range(2000)))
    assert sum(seen.value(camera=camera) for camera in labels) == 4 * 4000
    assert (latency.value().count, latency.value().sum, level.value()) == (8000, 4000, 8000)


def test_a_forked_child_counts_for_itself_even_if_a_thread_held_the_lock() -> None:
    seen = metrics.counter("seen", "S.", ["camera"])
    seen.inc(camera="door")
    reading, writing = os.pipe()
    with seen._lock:
        child = os.fork()
    if not child:
        try:
            seen.inc(camera="door")
            seen.inc(camera="new")
            os.write(writing, f"{seen.value(camera='door')} {seen.value(camera='new')}".encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 100) == b"2.0 1.0"
    os.close(reading)
    os.close(writing)
    assert (seen.value(camera="door"), seen.value(camera="new")) == (1, 0)


def test_a_test_of_a_sink_reads_its_numbers_and_begins_anew() -> None:
    class Webhook:
        def __init__(self) -> None:
            self.sent = metrics.counter("sent", "Events sent.", ["camera"])

        def write(self, event: dict[str, Any]) -> None:
            self.sent.inc(camera=event["camera"])

    sink, other = Webhook(), Webhook()
    run_sink(sink, [event({"n": 1}), event({"n": 2})])
    assert sink.sent.value(camera="door") == other.sent.value(camera="door") == 2
    clear_metrics()
    assert sink.sent.value(camera="door") == 0
    run_sink(other, [event({"n": 1})])
    assert sink.sent.value(camera="door") == 1


def test_after_clearing_a_warning_is_given_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    seen = metrics.counter("seen", "Seen.", labels=["plate"], series_max=1)
    for _ in range(2):
        seen.inc(plate="a")
        seen.inc(plate="b")
        clear_metrics()
    assert len(caplog.messages) == 2
