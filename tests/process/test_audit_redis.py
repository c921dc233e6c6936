"""The audit trail against a real Redis server that is killed, stopped and filled."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis

import detektr.telemetry.audit
from detektr.telemetry.audit import Audit, Trail, open_audit
from detektr.telemetry.audit_redis import RedisStore
from detektr.telemetry.record import Record
from detektr.telemetry.spool import Spool
from detektr.telemetry.trail.bounds import BOUNDS
from tests.harness.redis_server import PASSWORD, STREAM, RedisServer, run_redis

if TYPE_CHECKING:
    from tests.conftest import WaitUntil


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    folder = tmp_path / "redis"
    folder.mkdir()
    with run_redis(folder) as running:
        yield running


@pytest.fixture
def trail(server: RedisServer, tmp_path: Path) -> Iterator[Audit]:
    audit = open_audit(server.url, tmp_path / "spool", "shop")
    yield audit
    audit.close(5)


def record(audit: Audit, numbers: range) -> None:
    for number in numbers:
        audit.record({"event": "Counted", "node": "motion.0", "number": number})


def test_records_reach_the_stream_with_their_fields(server: RedisServer, tmp_path: Path) -> None:
    audit = open_audit(server.url, tmp_path / "spool", "shop")
    record(audit, range(3))
    assert audit.close(10)
    with server.client() as client:
        entries = [fields for _, fields in client.xrange(STREAM)]
    assert [entry["data"] for entry in entries] == ['{"number": 0}', '{"number": 1}', '{"number": 2}']
    assert {(entry["pipeline"], entry["node"], entry["event"]) for entry in entries} == {
        ("shop", "motion.0", "Counted")
    }
    assert all(entry["time"].endswith("+00:00") for entry in entries)
    assert audit.lost == 0


def test_server_killed_and_restarted_while_recording_has_every_record_once_in_order(
    server: RedisServer, trail: Audit, wait_until: WaitUntil, caplog: pytest.LogCaptureFixture
) -> None:
    record(trail, range(500))
    wait_until(lambda: trail.waiting == 0, what="the first records to be stored")
    server.kill()
    record(trail, range(500, 5000))
    wait_until(lambda: trail.is_interrupted, what="the trail to notice")
    record(trail, range(5000, 20_000))
    server.start()
    record(trail, range(20_000, 20_500))
    wait_until(lambda: trail.waiting == 0 and not trail.is_interrupted, 30, "the trail to catch up")
    assert server.numbers() == list(range(20_500))
    assert trail.lost == 0
    lines = [entry.getMessage() for entry in caplog.records if entry.levelno >= logging.WARNING]
    assert len(lines) == 2, lines
    assert "takes no records" in lines[0]
    assert "has all records again" in lines[1]
    assert PASSWORD not in caplog.text


def test_server_killed_in_the_middle_of_many_batches_has_every_record_once_in_order(
    server: RedisServer, trail: Audit, wait_until: WaitUntil
) -> None:
    record(trail, range(10_000))
    for _ in range(3):
        server.kill()
        server.start()
    wait_until(lambda: trail.waiting == 0, 30, "the trail to catch up")
    assert server.numbers() == list(range(10_000))
    assert trail.lost == 0


def test_stopped_server_holds_up_nobody_and_has_every_record_once_when_it_goes_on(
    server: RedisServer, trail: Audit, wait_until: WaitUntil, tmp_path: Path
) -> None:
    record(trail, range(100))
    wait_until(lambda: trail.waiting == 0, what="the first records to be stored")
    server.signal(signal.SIGSTOP)
    # Nobody answers until SIGCONT below: that these calls return shows that none of them waits for an answer.
    record(trail, range(100, 16_000))
    wait_until(lambda: trail.is_interrupted, what="the trail to notice")
    wait_until(lambda: trail.waiting == 15_900, what="all others to wait")  # one that moves to the disk counts twice
    assert trail.lost == 0
    assert list((tmp_path / "spool").glob("*.jsonl"))
    server.signal(signal.SIGCONT)
    wait_until(lambda: trail.waiting == 0, 30, "the trail to catch up")
    assert server.numbers() == list(range(16_000))


def test_batch_whose_answer_came_too_late_is_in_the_stream_once(server: RedisServer, wait_until: WaitUntil) -> None:
    store = RedisStore(server.url, "shop", BOUNDS)
    batch = [Record("2030-01-01T00:00:00.000000+00:00", "n", "Counted", f'{{"number": {n}}}') for n in range(50)]
    make_pipe = store._client.pipeline

    def make_pipe_that_stops_the_server(**options: Any) -> Any:
        pipe = make_pipe(**options)
        execute = pipe.execute

        def execute_stopped() -> Any:
            server.signal(signal.SIGSTOP)
            return execute()

        pipe.execute = execute_stopped
        return pipe

    store._client.pipeline = make_pipe_that_stops_the_server
    with pytest.raises(redis.TimeoutError):
        store.write("a", 0, batch)
    store._client.pipeline = make_pipe
    server.signal(signal.SIGCONT)
    wait_until(lambda: len(server.numbers()) == 50, what="the server to do what it was sent before it stopped")
    store.write("a", 0, batch)
    store.write("a", 40, batch[40:])
    store.close()
    assert server.numbers() == list(range(50))


def test_full_server_keeps_records_waiting_until_it_has_room(
    server: RedisServer, trail: Audit, wait_until: WaitUntil, caplog: pytest.LogCaptureFixture
) -> None:
    record(trail, range(10))
    wait_until(lambda: trail.waiting == 0, what="the first records to be stored")
    with server.client() as client:
        client.config_set("maxmemory", "1")
        record(trail, range(10, 2000))
        wait_until(lambda: "maxmemory" in caplog.text, what="the trail to say why it is interrupted")
        assert trail.is_interrupted
        assert server.numbers() == list(range(10))
        client.config_set("maxmemory", "0")
    wait_until(lambda: trail.waiting == 0, 30, "the trail to catch up")
    assert server.numbers() == list(range(2000))
    assert trail.lost == 0


def test_records_of_a_process_killed_while_the_server_was_away_are_sent_by_the_next_one(
    server: RedisServer, tmp_path: Path, wait_until: WaitUntil
) -> None:
    server.kill()
    script = (
        "import os, signal, sys, pathlib, threading\n"
        "from detektr.telemetry.audit import open_audit\n"
        "audit = open_audit(sys.argv[1], pathlib.Path(sys.argv[2]), 'shop')\n"
        "for number in range(3000): audit.record({'event': 'Counted', 'node': 'n', 'number': number})\n"
        "print('recorded', flush=True)\n"
        "threading.Event().wait(30)\n"
    )
    spool = tmp_path / "spool"
    with subprocess.Popen(
        [sys.executable, "-c", script, server.url, str(spool)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == b"recorded\n"
            wait_until(lambda: count_spooled(spool) == 3000, what="the records to be on disk")
        finally:
            child.kill()
    server.start()
    audit = open_audit(server.url, spool, "shop")
    record(audit, range(3000, 3010))
    assert audit.close(20)
    assert server.numbers() == list(range(3010))
    assert count_spooled(spool) == 0


def test_spool_over_its_bound_loses_the_oldest_and_says_how_many(
    server: RedisServer, tmp_path: Path, wait_until: WaitUntil, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detektr.telemetry.audit, "Spool", lambda folder: Spool(folder, 64 << 10, 256))
    audit = open_audit(server.url, tmp_path / "spool", "shop")
    server.kill()
    record(audit, range(5000))
    assert isinstance(audit, Trail)
    # Before all are in the spool, some would be sent between those that are lost.
    wait_until(lambda: audit.lost > 0 and not audit._inbox and not audit._moving, what="all to be in a full spool")
    server.start()
    wait_until(lambda: audit.waiting == 0, what="the trail to catch up")
    assert audit.close(5)
    assert audit.lost < 5000
    assert server.numbers() == list(range(audit.lost, 5000))


def test_wrong_password_is_named_as_the_cause_and_never_shown(
    server: RedisServer, tmp_path: Path, wait_until: WaitUntil, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = "not-the-right-one"
    audit = open_audit(server.url.replace(PASSWORD, wrong), tmp_path / "spool", "shop")
    record(audit, range(1))
    wait_until(lambda: audit.is_interrupted, what="the trail to notice")
    assert not audit.close(5)
    assert "password" in caplog.text
    assert wrong not in caplog.text
    assert audit.lost == 0


def test_secrets_in_an_event_do_not_reach_the_stream(server: RedisServer, tmp_path: Path) -> None:
    audit = open_audit(server.url, tmp_path / "spool", "shop")
    audit.record({"event": "NodeStateChanged", "node": "cam", "why": "rtsp://admin:s3cret-word@10.0.0.9/1 is away"})
    assert audit.close(10)
    with server.client() as client:
        ((_, fields),) = client.xrange(STREAM)
    assert "is away" in fields["data"]
    assert "s3cret-word" not in str(fields)


def count_spooled(folder: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in folder.glob("*.jsonl"))
