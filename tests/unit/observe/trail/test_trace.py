from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from detektr.descriptor import Descriptor
from detektr.errors import DetektrError
from detektr.memory.run_folder import state_root
from detektr.observe.trail.trace import describe_records, describe_trace, query, reach, tail, trace
from detektr.process.json_file import write_json
from detektr.telemetry.audit_sqlite import SqliteStore
from detektr.telemetry.history.record_reader import RunRecords
from detektr.telemetry.record import Record
from detektr.telemetry.trail.bounds import BOUNDS
from detektr.telemetry.trail.rows import Drop, LifeRow, Row, Stream, drop_rows

DOOR = Stream("door", "door", 77)
NOW_US = time.time_ns() // 1000
FRAME = Descriptor("door", "door", 77, 1, 0, 1, 7, 5, NOW_US * 1000 - 20_000_000, None).id

REST = {"pid": 1, "ended_utc_ns": 2, "nodes": {}, "edges": []}


def run_of(pipeline: str, run: str, audit: str) -> None:
    """Write down a run, as its supervisor does."""
    records = RunRecords(state_root() / pipeline)
    records.folder.mkdir(parents=True, exist_ok=True)
    values: dict[str, Any] = {"run": run, "pipeline": pipeline, "started_utc_ns": 1, "file": "pipeline.yaml", **REST}
    write_json(records.path(run), values | {"audit": audit, "audit_prefix": ""}, 0o600)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A pipeline whose trail has a frame that failed once, and drops."""
    path = tmp_path / "audit.db"
    rows: list[Row] = [
        LifeRow(NOW_US, "metadata", DOOR, 7, "door.0", "eye", "failed", 10, 20, 30, 40, 0, 1),
        LifeRow(NOW_US + 5000, "metadata", DOOR, 7, "door.0", "eye", "delivered", 1000, 20, 30, 40, 1, 2),
    ]
    rows += drop_rows(NOW_US // 1_000_000, "metadata", DOOR, ("door.0", "eye"), "queue_full", [Drop(9, 1, 5)])
    why = '{"consumer": "eye", "delivery": 1, "reason": "Traceback\\nValueError: no such track"}'
    store = SqliteStore(path, "shop", BOUNDS)
    told = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(NOW_US / 1e6)) + f".{NOW_US % 1_000_000:06d}+00:00"
    store.write("a", 0, [*rows, Record(told, "door.0", "FrameRedelivered", why, FRAME)])
    store.close()
    run_of("shop", "20260101-000000-000", "none")
    run_of("shop", "20260102-000000-000", f"sqlite:{path}")
    return path


def test_a_frame_is_traced_from_whatever_run_with_why_it_failed(shop: Path) -> None:
    run_of("shop", "20260103-000000-000", "none")
    answer = trace(FRAME)
    whats = [step["what"] for step in answer["steps"]]
    assert whats[:6] == ["captured", "queued", "leased", "began", "ended", "failed"] and whats[-1] == "delivered"
    text = describe_trace(answer)
    assert "ValueError: no such track" in text and "delivery 2" in text and "Traceback" not in text


def test_one_trail_that_is_away_keeps_no_other_from_answering(shop: Path) -> None:
    run_of("yard", "20260201-000000-000", "redis://127.0.0.1:1/0")
    run_of("lane", "20260202-000000-000", f"sqlite:{shop}.gone")
    assert trace(FRAME)["pipeline"] == "shop"
    with pytest.raises(DetektrError, match="Redis does not answer"):
        trace(FRAME, "yard")
    with pytest.raises(DetektrError, match="is no audit trail that can be read"):
        trace(FRAME, "lane")


def test_a_frame_that_no_trail_has_is_said_so_with_what_may_be_wrong(shop: Path) -> None:
    with pytest.raises(DetektrError, match="frame door/8 is not in the trail of shop: `audit` has only the frames"):
        trace("door/8")
    with pytest.raises(DetektrError, match=r"pipeline 'yard' has no audit trail; write .*frames: all"):
        trace("door/7", "yard")


def test_queries_have_frames_and_operations_in_order_and_as_text(shop: Path) -> None:
    found = query("shop")
    assert [record.get("outcome", record.get("event")) for record in found] == [
        *("queue_full", "failed", "FrameRedelivered", "delivered")
    ]
    assert found[-1]["worked_ms"] == 0.03 and found[-1]["delivery"] == 2
    assert query("shop", outcome="dropped") == [found[0]] and query("shop", edge="door->eye", rows_max=1) == [found[-1]]
    assert query("shop", until_s=NOW_US / 1e6 - 3600) == []
    assert list(tail("shop", 2)) == found[-2:]
    lines = describe_records(found).splitlines()
    assert "door->eye" in lines[0] and "door/9 queue_full" in lines[0] and "worked 0.03 ms" in lines[-1]


def test_it_says_where_a_trail_is_and_how_far_back_it_reaches(shop: Path) -> None:
    about = reach("shop", "20260102-000000-000")
    assert about is not None and about["to"] == f"sqlite:{shop}" and about["since"].endswith("Z")
    assert reach("shop", "20260101-000000-000") is None and reach("shop", None) is None
    shop.unlink()
    about = reach("shop", "20260102-000000-000")
    assert about is not None and about["since"] is None and "move it back" in about["why"]
