from __future__ import annotations

from fractions import Fraction

import pytest

from detektr.options import SECOND_NS
from detektr.sources.timeline import Placed, Timeline

TIME_BASE = Fraction(1, 1000)
BOOTED_NS = 1_760_000_000 * SECOND_NS  # UTC of this machine minus its monotonic time


def place(
    timeline: Timeline,
    pts: int | None,
    received_s: float,
    host_s: float = 0,
    camera_s: float | None = None,
) -> Placed:
    """Place a picture; pts in milliseconds, the clocks in seconds beside that of this machine."""
    camera_start_ns = None if camera_s is None else BOOTED_NS + round(camera_s * SECOND_NS)
    return timeline.place(pts, round(received_s * SECOND_NS), BOOTED_NS + round(host_s * SECOND_NS), camera_start_ns)


@pytest.fixture
def timeline() -> Timeline:
    """Return one that has run for three even pictures, from 10 s on."""
    timeline = Timeline(TIME_BASE)
    placed = [place(timeline, 100 * number, 10 + number / 10) for number in range(3)]
    assert [one.is_break for one in placed] == [True, False, False]
    return timeline


@pytest.mark.parametrize(
    ("pts", "received_s", "is_break"),
    [
        (300, 10.3, False),
        (300, 30.3, False),  # it stood still, and goes on where it was
        (20_300, 30.3, False),  # it stood still, and its clock went on
        (5_200, 10.3, False),
        (5_400, 10.3, True),
        (40_000, 30.3, True),
        (0, 10.3, False),  # out of order
        (-900, 10.3, True),
        (None, 10.3, False),
    ],
)
def test_time_breaks_where_it_goes_back_or_runs_ahead_of_what_has_passed(
    timeline: Timeline, pts: int | None, received_s: float, is_break: bool
) -> None:
    assert place(timeline, pts, received_s).is_break is is_break


def test_time_goes_on_from_the_break(timeline: Timeline) -> None:
    assert place(timeline, 90_000, 10.3).is_break
    assert not place(timeline, 90_100, 10.4).is_break
    assert place(timeline, 400, 10.5).is_break


def test_picture_out_of_order_has_no_pts_so_that_no_interval_is_negative(timeline: Timeline) -> None:
    assert place(timeline, 150, 10.3) == Placed(False, None, BOOTED_NS + round(10.3 * SECOND_NS))
    assert place(timeline, 300, 10.4).pts == 300


def test_utc_is_that_of_this_machine_until_the_cameras_is_known(timeline: Timeline) -> None:
    assert place(timeline, 300, 10.3).utc_ns == BOOTED_NS + round(10.3 * SECOND_NS)
    placed = place(timeline, 400, 10.4, camera_s=9.8)
    assert placed == Placed(False, 400, BOOTED_NS + round(10.2 * SECOND_NS))


def test_camera_whose_clock_is_hours_away_is_believed_and_begins_a_line(timeline: Timeline) -> None:
    placed = place(timeline, 300, 10.3, camera_s=7200)
    assert placed == Placed(True, 300, BOOTED_NS + round(7200.3 * SECOND_NS))
    assert not place(timeline, 400, 10.4, camera_s=7200).is_break


def test_camera_that_never_set_its_clock_is_not_believed(timeline: Timeline) -> None:
    placed = timeline.place(300, round(10.3 * SECOND_NS), BOOTED_NS, 60 * SECOND_NS)
    assert placed == Placed(False, 300, BOOTED_NS + round(10.3 * SECOND_NS))


def test_clock_of_this_machine_that_is_set_begins_a_line_and_one_that_is_slewed_does_not(timeline: Timeline) -> None:
    assert not place(timeline, 300, 10.3, host_s=0.5).is_break
    assert not place(timeline, 400, 10.4, host_s=1.0).is_break
    assert place(timeline, 500, 10.5, host_s=-3600).is_break
    assert not place(timeline, 600, 10.6, host_s=-3600).is_break


def test_clock_of_this_machine_does_not_matter_while_the_cameras_is_known(timeline: Timeline) -> None:
    place(timeline, 300, 10.3, camera_s=10)
    assert not place(timeline, 400, 10.4, host_s=3600, camera_s=10).is_break


def test_stream_without_times_never_breaks_but_by_a_clock() -> None:
    timeline = Timeline(None)
    placed = [place(timeline, None, received_s) for received_s in (1, 2, 60)]
    assert [one.is_break for one in placed] == [True, False, False]
    assert place(timeline, None, 61, host_s=60).is_break
