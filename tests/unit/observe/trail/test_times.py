from __future__ import annotations

import datetime

import pytest

from detektr.errors import DetektrError
from detektr.observe.trail.times import moment

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
