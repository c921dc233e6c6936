"""What a result says in a few words, whatever a processor returned."""

from __future__ import annotations

from typing import Any

import pytest

from detektr.web.live.words import CHARS_MAX, DETECTIONS_MAX, TIMES, result_words

BOX = [0, 0, 10, 10]


def found(*labels: str) -> dict[str, Any]:
    return {"detections": [{"box": BOX, "label": label, "score": 0.5} for label in labels]}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (found("person"), "person"),
        (found("person", "dog", "person"), f"2 {TIMES} person, dog"),
        (
            {"detections": [{"box": BOX, "track": 7, "label": "cart", "zones": ["till", "door"]}]},
            "cart #7 in till, door",
        ),
        ({"detections": [{"box": BOX}]}, "eye"),
        ({"event": "motion", "state": "started", "box": BOX}, "motion started"),
        ({"event": "alarm"} | found("person"), "alarm: person"),
        ({"event": "line", "state": 3}, "line 3"),
        ({"mean": 3.5}, ""),
        ({"detections": "person", "event": ["x"], "state": True}, ""),
        (
            {"detections": [None, {"label": "no box"}, {"box": [1, 2, 3, True]}, {"box": BOX, "zones": "no list"}]},
            "eye",
        ),
        (found(), ""),
        (None, ""),
        ([1], ""),
        ("text", ""),
    ],
)
def test_words_come_from_event_state_and_detections(data: Any, words: str) -> None:
    assert result_words("eye", data) == words


def test_words_are_few() -> None:
    many = [{"box": BOX, "label": f"{number} " + "x" * 1000} for number in range(10 * DETECTIONS_MAX)]
    assert len(result_words("eye", {"detections": many, "event": "y" * 1000})) == CHARS_MAX
