from __future__ import annotations

import builtins
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from detektr import redaction
from detektr.errors import RefusedError
from detektr.events import EdgeResumed
from detektr.telemetry import audit as module
from detektr.telemetry.audit import Entry, NoAudit, Trail, open_audit
from detektr.telemetry.record import Record
from detektr.telemetry.spool import Spool

if TYPE_CHECKING:
    from tests.conftest import WaitUntil


class HangingStore:
    """Answers no write until it is let go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.may_go = threading.Event()
        self.numbers: list[int] = []
        self.is_closed = False

    def write(self, writer: str, first: int, records: Sequence[Entry | None]) -> None:
        self.entered.set()
        assert self.may_go.wait(30)
        self.numbers += [json.loads(record.data)["number"] for record in records if isinstance(record, Record)]

    def close(self) -> None:
        self.is_closed = True


class AbsentStore(HangingStore):
    """Refuses each write until it is let go."""

    def write(self, writer: str, first: int, records: Sequence[Entry | None]) -> None:
        self.entered.set()
        if not self.may_go.is_set():
            raise ConnectionRefusedError("nobody listens")
        super().write(writer, first, records)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


@pytest.fixture(autouse=True)
def no_secrets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(redaction, "_secrets", {})
    yield


def record(trail: Trail, first: int, end: int) -> None:
    for number in range(first, end):
        trail.record({"event": "Counted", "node": "n", "number": number})


def test_recording_returns_while_the_store_hangs(spool: Spool) -> None:
    store = HangingStore()
    trail = Trail(store, spool, "store")
    record(trail, 0, 1)
    assert store.entered.wait(10)
    record(trail, 1, 16_000)  # returns, though the sender is inside write() until the next line
    store.may_go.set()
    assert trail.close(30)
    assert store.numbers == list(range(16_000))
    assert store.is_closed


def test_close_on_a_hanging_store_ends_in_time_and_leaves_everything_to_the_next_process(
    spool: Spool, tmp_path: Path
) -> None:
    store = HangingStore()
    trail = Trail(store, spool, "store")
    record(trail, 0, 300)
    assert store.entered.wait(10)
    assert not trail.close(0.05)
    successor = Spool(tmp_path / "spool")
    assert successor.waiting == 300
    successor.close()
    store.may_go.set()
    trail._sender.join(10)
    assert store.is_closed


def test_trail_catches_up_in_order_and_logs_one_line_each_way(
    spool: Spool, wait_until: WaitUntil, caplog: pytest.LogCaptureFixture
) -> None:
    store = AbsentStore()
    trail = Trail(store, spool, "store")
    record(trail, 0, 100)
    wait_until(lambda: trail.is_interrupted, what="the trail to notice")
    record(trail, 100, 5000)
    store.may_go.set()
    wait_until(lambda: trail.waiting == 0 and not trail.is_interrupted, what="the trail to catch up")
    assert trail.close(10)
    assert store.numbers == list(range(5000))
    assert trail.lost == 0
    assert [entry.getMessage().partition(" (")[0] for entry in caplog.records] == [
        "audit: store takes no records",
        "audit: store has all records again; lost so far: 0",
    ]


def test_inbox_that_nobody_empties_drops_its_oldest_and_counts_them(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, wait_until: WaitUntil
) -> None:
    monkeypatch.setattr(module, "INBOX_RECORDS_MAX", 10)
    inside, may_go = threading.Event(), threading.Event()
    append = spool.append

    def append_slowly(lines: list[str]) -> None:
        inside.set()
        assert may_go.wait(30)
        append(lines)

    monkeypatch.setattr(spool, "append", append_slowly)
    store = HangingStore()
    store.may_go.set()
    trail = Trail(store, spool, "store")
    record(trail, 0, 1)
    assert inside.wait(10)
    record(trail, 1, 26)
    assert trail.lost == 15
    may_go.set()
    assert trail.close(10)
    assert store.numbers == [0, *range(16, 26)]


def test_record_after_close_is_counted_as_lost(spool: Spool) -> None:
    store = HangingStore()
    store.may_go.set()
    trail = Trail(store, spool, "store")
    assert trail.close(10)
    assert trail.close(10)
    record(trail, 0, 2)
    assert trail.lost == 2


def test_none_keeps_nothing_and_makes_no_folder(tmp_path: Path) -> None:
    trail = open_audit("none", tmp_path / "spool", "shop")
    trail.record(EdgeResumed("buffer", "motion"))
    assert isinstance(trail, NoAudit)
    assert trail.close(1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("to", ["", "sqlite:", "sqlite", "mysql://h", "redis:h", "postgres://u:pa55word@h/db"])
def test_unknown_place_is_refused_with_the_choices(to: str, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="write sqlite:PATH, redis://") as refusal:
        open_audit(to, tmp_path / "spool", "shop")
    assert "pa55word" not in str(refusal.value)


@pytest.mark.parametrize("to", ["redis://:pa55word@h:port/0", "redis://u:pa55word@[::1/0", "redis://h:99999999/pa55"])
def test_broken_redis_address_is_refused_or_kept_without_showing_its_password(
    to: str, tmp_path: Path, wait_until: WaitUntil, caplog: pytest.LogCaptureFixture
) -> None:
    try:
        trail = open_audit(to, tmp_path / "spool", "shop")
    except RefusedError as refusal:
        assert "pa55word" not in str(refusal)
        assert "redis://" in str(refusal)
        return
    trail.record({"event": "E", "node": "n"})
    wait_until(lambda: trail.is_interrupted, what="the trail to notice")
    assert not trail.close(2)
    assert "pa55word" not in caplog.text


def test_missing_redis_client_is_refused_naming_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_redis(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == "redis":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_redis)
    with pytest.raises(RefusedError, match=r"pip install 'detektr\[redis\]'") as refusal:
        open_audit("redis://:pa55word@h/0", tmp_path / "spool", "shop")
    assert "pa55word" not in str(refusal.value)


def test_spool_folder_in_use_is_refused_and_lets_go_of_the_file(spool: Spool, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="used by another process"):
        open_audit("sqlite:audit.db", tmp_path / "spool", "shop", tmp_path)
    assert not (tmp_path / "audit.db-wal").exists()  # SQLite removes it when the last connection closes
    spool.close()
