from __future__ import annotations

import datetime

import pytest

from detektr.errors import DetektrError
from detektr.observe.trail.times import moment, span_of_time

NOW = datetime.datetime(2026, 11, 30, 14, 5).astimezone()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("14:03", NOW - datetime.timedelta(minutes=2)),
        ("14:03:20", NOW - datetime.timedelta(seconds=100)),
        ("15:00", NOW - datetime.timedelta(hours=23, minutes=5)),
        ("2026-11-30T14:03", NOW - datetime.timedelta(minutes=2)),
        ("2026-11-29 14:05", NOW - datetime.timedelta(days=1)),
        ("10m ago", NOW - datetime.timedelta(minutes=10)),
        ("90s", NOW - datetime.timedelta(seconds=90)),
    ],
)
def test_a_time_is_read_as_people_write_it(text: str, expected: datetime.datetime) -> None:
    assert moment(text, "--since", NOW.timestamp()) == expected.timestamp()


@pytest.mark.parametrize("text", ["", "soon", "25:00", "5x"])
def test_what_is_no_time_is_refused_in_words(text: str) -> None:
    with pytest.raises(DetektrError, match=r"--since .* is not a time; write 14:03"):
        moment(text, "--since", NOW.timestamp())


@pytest.mark.parametrize(
    ("since", "until", "begin_before_s", "end_before_s"),
    [
        (None, None, None, 0),
        ("13:00", "14:00", 3900, 300),
        ("14:00", "15:00", 300, 0),  # still to come
        ("14:00", "2026-12-24", 300, 0),
        ("22:00", "23:00", 16 * 3600 + 300, 15 * 3600 + 300),  # both of yesterday
        (None, "23:00", None, 15 * 3600 + 300),
        ("2h", "1h", 7200, 3600),
    ],
)
def test_an_end_that_is_still_to_come_means_now(
    since: str | None, until: str | None, begin_before_s: float | None, end_before_s: float
) -> None:
    now_s = NOW.timestamp()
    begin_s = 0.0 if begin_before_s is None else now_s - begin_before_s
    assert span_of_time(since, until, now_s) == (begin_s, now_s - end_before_s)
