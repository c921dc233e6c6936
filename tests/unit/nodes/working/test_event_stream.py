from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pytest

from detektr.errors import ResultError
from detektr.nodes.working.event_stream import EventStream, identify_event, unpack_event


class Framed:
    """What an event says of its frame."""

    id, camera, sequence, epoch, delivery = "1_camera_camera_7_00000000", "camera", 7, 1, 2
    timestamp = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)


def pack(result: object, event_bytes: int = 8192) -> list[bytes]:
    frame: Any = Framed()
    return EventStream("motion", 1, 5, event_bytes).pack(frame, result)


def test_events_say_what_frame_they_are_about_and_hold_plain_values() -> None:
    payload, second = pack([{"area": np.float32(0.5), "box": np.array([1, 2])}, {}])
    event = unpack_event(payload)
    assert (event["frame"], event["node"], event["replica"], event["delivery"]) == (Framed.id, "motion", 1, 2)
    assert event["data"] == {"area": 0.5, "box": [1, 2]}
    assert identify_event(second) == Framed.id


def test_keys_of_an_event_may_be_text_and_numbers() -> None:
    keys = {"name": 1, 2: 2, np.int64(3): 3, 4.5: 4, True: 5, None: 6}
    assert unpack_event(pack({"by": keys})[0])["data"]["by"] == {"name": 1, 2: 2, 3: 3, 4.5: 4, True: 5, None: 6}


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (True, "returned bool; return None, a dict, or a list of dicts"),
        ("motion", "returned str"),
        ([{"ok": 1}, 5], "returned a list with int in it"),
        ({"lock": object()}, "cannot be packed: events hold plain values; object cannot be packed"),
        ({"number": 1 << 70}, "cannot be packed"),
        ({"counts": {(3, 4): 12}}, r"keys are text or numbers; \[3, 4\] is a list: turn it into text"),
        ({"sets": [{frozenset((1,)): 1}]}, "keys are text or numbers"),
        ({"ids": {b"ab": 1}}, r"keys are text or numbers; b'ab' is a bytes"),
    ],
)
def test_a_result_that_is_no_event_is_refused_in_words(result: object, words: str) -> None:
    with pytest.raises(ResultError, match=words):
        pack(result)


def test_an_event_larger_than_its_cell_is_refused_with_the_cure() -> None:
    with pytest.raises(
        ResultError, match=r"returned an event of \d+ bytes; motion takes at most 300: raise its event_bytes"
    ):
        pack({"text": "x" * 300}, event_bytes=300)
