from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from detektr import redaction
from detektr.events import FrameRedelivered, NodeExited
from detektr.telemetry.record import RECORD_BYTES_MAX, decode, encode

NOON = datetime(2030, 1, 2, 12, 0, 0, 5, tzinfo=UTC)


class Spiteful:
    def __str__(self) -> str:
        raise RuntimeError("no")


def test_event_comes_back_as_it_was() -> None:
    record = decode(encode(FrameRedelivered("buffer", "motion", "1_a_b_7_0", 7, 1, "it raised"), NOON))
    assert (record.time, record.node, record.event) == (
        "2030-01-02T12:00:00.000005+00:00",
        "buffer",
        "FrameRedelivered",
    )
    assert json.loads(record.data) == {
        "consumer": "motion",
        "frame": "1_a_b_7_0",
        "sequence": 7,
        "delivery": 1,
        "reason": "it raised",
    }


def test_secrets_are_masked_at_any_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_secrets", {"open-sesame": "***"})
    line = encode(NodeExited("cam", "killed", True, ("rtsp://a:pa55word@cam/1", "open-sesame")), NOON)
    assert "cam/1" in line
    assert "pa55word" not in line
    assert "open-sesame" not in line


@pytest.mark.parametrize(
    "event",
    [
        {"event": "E", "node": "n", "text": '"\\' * 10_000},
        {"event": "\N{FIRE}" * 500, "node": "\N{FIRE}" * 500, "text": "\N{FIRE}" * 5000},
        {"event": "E", "node": "n", "thing": Spiteful()},
        {"event": "E", "node": Spiteful()},
        {"event": "E", "node": "n", "number": float("nan")},
        {"event": "E", "node": "n", "raw": b"\xff", "when": NOON},
        {"event": "E", "node": "n", "half": "\ud800"},
        {},
    ],
)
def test_whatever_is_recorded_becomes_one_bounded_line_that_can_be_read(event: dict[str, object]) -> None:
    line = encode(event, NOON)
    assert len(line.encode("ascii")) <= RECORD_BYTES_MAX
    assert "\n" not in line
    record = decode(line)
    assert record.event != "Unreadable"
    assert isinstance(json.loads(record.data), dict)


def test_value_that_contains_itself_is_recorded_as_unreadable() -> None:
    event: dict[str, object] = {"event": "E", "node": "n"}
    event["self"] = event
    assert json.loads(decode(encode(event, NOON)).data) == {"unreadable": "RecursionError"}


@pytest.mark.parametrize("line", ["", "{", '{"time":"x"}', "[]", "3", "\ufffd\ufffd"])
def test_damaged_line_is_a_record_that_says_so(line: str) -> None:
    record = decode(line)
    assert record.event == "Unreadable"
    assert json.loads(record.data) == {"line": line}
