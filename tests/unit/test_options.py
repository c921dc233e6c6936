from __future__ import annotations

from typing import Any

import pytest

from detektr.options import (
    BufferOptions,
    CaptureOptions,
    ProcessorOptions,
    RestartOptions,
    SinkOptions,
    duration_ns,
    inputs_of,
)


@pytest.mark.parametrize(
    ("text", "expected_ns"),
    [
        ("500ms", 500_000_000),
        ("10s", 10_000_000_000),
        ("2m", 120_000_000_000),
        ("1h", 3_600_000_000_000),
        ("0.5 s", 500_000_000),
        ("0s", 0),
        (" 1s ", 1_000_000_000),
        ("0.000000001s", 1),
        ("8784h", 8784 * 3_600_000_000_000),
    ],
)
def test_a_duration_is_read_as_nanoseconds(text: str, expected_ns: int) -> None:
    assert duration_ns(text) == expected_ns


@pytest.mark.parametrize(
    "text", ["", "10", "s", "-1s", "+1s", "1e3s", "1 d", "1S", "1.s", ".5s", "1s2s", "nan s", "٣s", "1234567890s"]
)
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration; write a number with a unit") as caught:
        duration_ns(text)
    assert repr(text) in str(caught.value)


def test_a_duration_that_no_word_can_hold_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'8785h' is longer than a year; .* e\.g\. 24h"):
        duration_ns("8785h")


def test_restart_options_are_numbers_when_they_are_used() -> None:
    options = RestartOptions(backoff="500ms..2m", limit="3 in 1h")
    assert options.backoff_ns == (500_000_000, 120_000_000_000)
    assert options.limit_count_ns == (3, 3_600_000_000_000)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"backoff": "1s"}, r"backoff '1s' must be first\.\.longest"),
        ({"backoff": "2s..1s"}, r"backoff '2s\.\.1s' must be a growing range above nothing"),
        ({"backoff": "0s..1s"}, r"backoff '0s\.\.1s' must be a growing range above nothing"),
        ({"backoff": "1s..x"}, "backoff 'x' must be a duration"),
        ({"limit": "5"}, "limit '5' must be a count and a time longer than nothing"),
        ({"limit": "five in 1m"}, "limit 'five in 1m' must be a count"),
        ({"limit": "5 in 0s"}, "limit '5 in 0s' must be a count and a time longer than nothing"),
        ({"limit": "5 in soon"}, "limit 'soon' must be a duration"),
    ],
)
def test_a_wrong_restart_option_is_refused_with_an_example(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        RestartOptions(**options)


@pytest.mark.parametrize(
    ("kind", "options", "why"),
    [
        (BufferOptions, {"max_age": "0s"}, "max_age '0s' must be longer than nothing"),
        (BufferOptions, {"drain": "9999999h"}, "drain '9999999h' must be a duration of at most a year"),
        (BufferOptions, {"start_timeout": "0ms"}, "start_timeout '0ms' must be longer than nothing"),
        (BufferOptions, {"drain": "never"}, "'never' must be a duration"),
        (
            BufferOptions,
            {"low_water_mark": 4, "high_water_mark": 4},
            "low_water_mark 4 must be below high_water_mark 4",
        ),
        (SinkOptions, {"use": "a:b", "timeout": "0s"}, "timeout '0s' must be longer than nothing"),
    ],
)
def test_a_wrong_option_is_refused_by_its_name(kind: Any, options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        kind(input="camera", **options).drain_ns  # noqa: B018


def test_nothing_is_a_drain_of_no_time() -> None:
    assert BufferOptions(input="camera", drain="0s").drain_ns == 0


def test_inputs_are_named_in_the_order_of_the_file() -> None:
    assert inputs_of(CaptureOptions(source="clip.mp4")) == ()
    assert inputs_of(BufferOptions(input="camera")) == ("camera",)
    assert inputs_of(ProcessorOptions(input=["b", "a"], use="m:C")) == ("b", "a")


def test_times_are_nanoseconds_inside() -> None:
    options = ProcessorOptions(input="camera", use="m:C", timeout="250ms", drain="1s", start_timeout="2s")
    assert (options.timeout_ns, options.drain_ns, options.start_timeout_ns) == (250_000_000, 10**9, 2 * 10**9)
    assert BufferOptions(input="camera", max_age="1.5s").max_age_ns == 1_500_000_000
    assert BufferOptions(input="camera").max_age_ns is None
