"""Results become sightings: who saw what in which camera, from when to when."""

from __future__ import annotations

import datetime
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from detektr.web.seen.sightings import APART_MS, DATA_BYTES_MAX, LONG_MS, OPEN_MAX, Sighting, Sightings

BEGIN_MS = 1_790_000_000_000


def result(
    at_ms: int, words: str = "person", *, camera: str = "door", still: bool = False, **more: Any
) -> dict[str, Any]:
    moment = datetime.datetime.fromtimestamp((BEGIN_MS + at_ms) / 1000, datetime.UTC).isoformat()
    about = {"frame": f"frame-{at_ms}", "timestamp": moment, "still": still, "data": {"at": at_ms}}
    return {"camera": camera, "node": "eye", "words": words, **about, **more}


def span(one: Sighting | None) -> tuple[int, int]:
    assert one is not None
    return one.at_ms - BEGIN_MS, one.until_ms - BEGIN_MS


def test_what_is_seen_again_soon_belongs_to_the_same_sighting() -> None:
    sightings = Sightings()
    first = sightings.note(result(0))
    assert sightings.note(result(APART_MS - 1)) is first and span(first) == (0, APART_MS - 1)
    later = sightings.note(result(2 * APART_MS))
    assert later is not first and span(later) == (2 * APART_MS, 2 * APART_MS)
    assert sightings.note(result(2 * APART_MS, camera="yard")) is not later
    assert sightings.note(result(2 * APART_MS, words="dog")) is not later
    assert sightings.note(result(2 * APART_MS + 5)) is later


def test_what_lasts_long_gets_a_new_picture_each_minute() -> None:
    sightings = Sightings()
    begun = {span(sightings.note(result(at_ms)))[0] for at_ms in range(0, 3 * LONG_MS, 1000)}
    assert begun == {0, LONG_MS, 2 * LONG_MS}


def test_a_sighting_takes_the_first_picture_that_there_is() -> None:
    sightings = Sightings()
    assert sightings.wants_picture(result(0))
    one = sightings.note(result(0))
    assert one is not None and (one.has_picture, one.frame) == (False, "frame-0")
    assert sightings.wants_picture(result(100))
    sightings.note(result(100, still=True))
    assert (one.frame, json.loads(one.data)["data"]) == ("frame-100", {"at": 100})
    assert not sightings.wants_picture(result(200))
    sightings.note(result(200, still=True))
    assert one.frame == "frame-100"
    assert sightings.wants_picture(result(LONG_MS)), "it begins another one"


def test_what_says_nothing_or_has_no_time_is_not_kept() -> None:
    sightings = Sightings()
    for bad in (result(0, words=""), result(0, timestamp="then"), result(0, timestamp=None), {"words": "person"}):
        assert sightings.note(bad) is None and not sightings.wants_picture(bad)


def test_a_result_that_is_too_large_is_kept_without_its_data() -> None:
    one = Sightings().note(result(0, data="x" * DATA_BYTES_MAX))
    assert one is not None and one.data == b""


def test_those_that_may_go_on_are_bounded() -> None:
    sightings = Sightings()
    first = sightings.note(result(0, camera="first"))
    for number in range(OPEN_MAX):
        sightings.note(result(0, camera=f"c{number}"))
    assert sightings.note(result(1, camera="first")) is not first


@given(st.lists(st.tuples(st.integers(0, 200_000), st.sampled_from(["a", "b"]), st.booleans()), max_size=60))
def test_each_result_lies_within_its_sighting_and_none_is_longer_than_it_may_be(
    told: list[tuple[int, str, bool]],
) -> None:
    sightings, known = Sightings(), []
    for at_ms, words, still in told:
        one = sightings.note(result(at_ms, words, still=still))
        assert one is not None and one.words == words
        assert span(one)[0] <= at_ms <= span(one)[1]
        known.append((one, still))
    for one, _ in known:
        assert one.has_picture == any(still for other, still in known if other is one)
        assert one.until_ms - one.at_ms < LONG_MS + APART_MS
