from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from detektr.nodes.capturing.media_clock import RESUMED_NS_MAX, MediaClock

S = 1_000_000_000


def run(clock: MediaClock, *pictures: tuple[int | None, int], is_break: int = -1, is_live: bool = False) -> list[int]:
    """Return the times of pictures: each has a time in its stream and a moment of capture, in seconds."""
    return [
        clock.place(
            None if stream is None else stream * S, captured * S, is_break=place == is_break, is_live=is_live
        ) // S
        for place, (stream, captured) in enumerate(pictures)
    ]  # fmt: skip


def test_it_goes_by_the_streams_own_time_from_the_first_picture_on() -> None:
    assert run(MediaClock(), (50, 1), (51, 1), (53, 2)) == [0, 1, 3]


def test_a_file_tells_the_same_at_its_own_pace_and_at_full_speed() -> None:
    stream = (0, 1, 2, 4, 5)
    slow = run(MediaClock(), *[(at, 10 + at) for at in stream])
    assert slow == run(MediaClock(), *[(at, 10) for at in stream])


def test_a_new_time_line_of_a_live_stream_goes_on_by_what_really_passed() -> None:
    assert run(MediaClock(), (50, 100), (51, 101), (0, 131), (1, 132), is_break=2, is_live=True) == [0, 1, 31, 32]


def test_a_new_time_line_of_a_file_goes_on_by_its_last_step() -> None:
    assert run(MediaClock(), (50, 100), (52, 101), (0, 101), (2, 101), is_break=2) == [0, 2, 4, 6]


def test_a_picture_without_a_time_or_out_of_order_has_that_of_the_one_before() -> None:
    assert run(MediaClock(), (0, 1), (4, 2), (None, 3), (3, 4), (5, 5)) == [0, 4, 4, 4, 5]


def test_a_stream_without_times_goes_by_the_moments_of_capture() -> None:
    assert run(MediaClock(), (None, 7), (None, 8), (None, 11)) == [0, 1, 4]


def test_a_successor_goes_on_in_the_same_file() -> None:
    before = MediaClock()
    assert run(before, (10, 1), (11, 2)) == [0, 1]
    assert run(MediaClock(before.time_ns, before.stream_ns, before.captured_ns), (12, 900), (13, 900)) == [2, 3]


def test_a_successor_that_finds_another_place_in_the_stream_does_not_go_back_or_leap() -> None:
    for found in (3, 11 + 1 + RESUMED_NS_MAX // S):
        assert run(MediaClock(1 * S, 11 * S, 2 * S), (found, 900), (found + 1, 900)) == [1, 2]


def test_a_successor_of_a_live_capture_goes_on_by_what_really_passed() -> None:
    assert run(MediaClock(1 * S, 11 * S, 2 * S), (0, 40), (1, 41), is_break=0, is_live=True) == [39, 40]


picture = st.tuples(st.none() | st.integers(-20, 20), st.integers(0, 3), st.booleans(), st.booleans())


@given(st.lists(picture, max_size=30), st.booleans())
def test_it_never_goes_back(pictures: list[tuple[Any, int, bool, bool]], is_live: bool) -> None:
    clock, now_ns, last_ns = MediaClock(), 1, 0
    for stream, passed, is_break, is_restart in pictures:
        now_ns += passed * S
        if is_restart:
            clock = MediaClock(clock.time_ns, clock.stream_ns, clock.captured_ns)
        time_ns = clock.place(None if stream is None else stream * S, now_ns, is_break=is_break, is_live=is_live)
        assert time_ns >= last_ns
        last_ns = time_ns
