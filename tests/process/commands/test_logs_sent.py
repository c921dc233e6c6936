"""`detektr logs --to` with a small collector: every line of the run, with the trace of the frame that it names."""

from __future__ import annotations

import datetime
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.running import RunningPipeline
from tests.process.commands.collector import Collector, attributes

if TYPE_CHECKING:
    from tests.conftest import RunDetektr, WaitUntil

CODE = """
import logging
import os

import detektr

log = logging.getLogger("mine")


class Sees:
    def __init__(self, key):
        self.key = key

    def process(self, frame):
        log.warning("nothing in %s, asked with %s", frame.id, self.key)
        if frame.sequence == 3:
            print("past the log", flush=True)
            if frame.delivery < 3:
                raise ValueError("not yet")
        return {"traceparent": detektr.traceparent(frame), "n": frame.sequence}


class Takes:
    def __init__(self, path):
        self.file = open(path, "w")

    def write(self, event):
        print(event["sequence"], event["frame"], event["data"]["traceparent"], file=self.file, flush=True)
"""


def nodes(folder: Path, frames: int) -> dict[str, Any]:
    end = f":duration={frames / 20}" if frames else ""
    return {
        "my_cam": {"kind": "capture", "source": f"lavfi:testsrc2=size=64x48:rate=20{end}", "camera": "front_door"},
        "see": {"kind": "processor", "input": "my_cam", "use": "mine:Sees", "with": {"key": "${KEY_OF_MINE}"}},
        "out": {"kind": "sink", "input": "see", "use": "mine:Takes", "with": {"path": str(folder / "events")}},
    }


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_OF_MINE", "open-sesame-99")


@contextmanager
def pipeline(folder: Path, frames: int = 0, share: str = "50%") -> Iterator[RunningPipeline]:
    (folder / "mine.py").write_text(CODE)
    audit = {"to": f"sqlite:{folder / 'audit.db'}", "frames": share}
    with RunningPipeline(folder, "demo", nodes(folder, frames), audit=audit) as run:
        yield run


def test_each_line_is_a_record_with_the_trace_that_user_code_was_told(tmp_path: Path, run_detektr: RunDetektr) -> None:
    with pipeline(tmp_path, 10) as run:
        assert run.end(None)["unaccounted"] == 0
    printed = run_detektr("logs", "demo").stdout.splitlines()
    with Collector() as collector:
        told = run_detektr("logs", "demo", "--to", collector.url)
        assert (told.returncode, told.stderr) == (0, ""), told
        assert told.stdout == f"{len(printed)} log lines sent to {collector.url}\n"
        again = run_detektr("logs", "demo", "see", "--to", collector.url)
        assert again.returncode == 0
    records = collector.records[: len(printed)]
    for line, record in zip(printed, records, strict=True):
        day, clock, level, process, text = line.split(" ", 4)
        assert record.body.string_value == text and record.severity_text == level
        moment = datetime.datetime.fromisoformat(f"{day} {clock}").timestamp()
        assert record.time_unix_nano == round(moment * 1000) * 10**6
        about = attributes(record)
        node, replica = process.removesuffix(":").split(".")
        assert (about["detektr.node"], about["detektr.replica"]) == (node, int(replica))
        assert about["detektr.process"] == process.removesuffix(":")
    assert all("open-sesame-99" not in str(record) for record in collector.records)

    events = [line.split() for line in (tmp_path / "events").read_text().splitlines()]
    headers = {frame: header for _, frame, header in events}
    assert len(headers) == 10 and {header[-2:] for header in headers.values()} == {"00", "01"}
    named = [record for record in records if "nothing in" in record.body.string_value]
    assert len(named) == 12
    for record in named:
        about = attributes(record)
        assert about["detektr.camera"] == "front_door"
        trace, span, flags = headers[about["detektr.frame"]].split("-")[1:]
        assert (record.trace_id.hex(), record.flags) == (trace, int(flags, 16))
        if "_3_" not in about["detektr.frame"]:  # of the others, which have one attempt
            assert record.span_id.hex() == span
    failed = [record for record in records if "attempt" in record.body.string_value]
    assert [record.severity_text for record in failed] == ["ERROR", "ERROR"]
    assert failed[0].trace_id == failed[1].trace_id and failed[0].span_id != failed[1].span_id
    assert {record.severity_number for record in records if record.severity_text == "PRINT"} == {0}
    uids = [attributes(record)["log.record.uid"] for record in records]
    assert len(set(uids)) == len(uids)
    later = {attributes(record)["log.record.uid"] for record in collector.records[len(printed) :]}
    assert later == {
        uid for uid, record in zip(uids, records, strict=True) if attributes(record)["detektr.node"] == "see"
    }


def test_a_collector_that_goes_away_and_comes_back_gets_all_lines_once_in_order(
    tmp_path: Path, run_detektr: RunDetektr, wait_until: WaitUntil
) -> None:
    first = Collector()
    said = tmp_path / "said"
    with pipeline(tmp_path) as run:
        run.wait_delivered("my_cam", "see", 3)
        command = [sys.executable, "-m", "detektr", "logs", "demo", "--to", first.url, "--follow"]
        with said.open("w") as output:
            sender = subprocess.Popen(command, stdout=output, stderr=output, cwd=tmp_path)
        try:
            wait_until(lambda: any("nothing in" in record.body.string_value for record in first.records), 30)
            first.close()
            wait_until(lambda: "takes no log lines now" in said.read_text(), 30)
            with Collector(first.port) as second:
                wait_until(lambda: second.records, 30)
                run.end()
                assert sender.wait(60) == 0, said.read_text()
                records = first.records + second.records
        finally:
            sender.kill()
            sender.wait()
    printed = run_detektr("logs", "demo").stdout.splitlines()
    sent = sorted((record.time_unix_nano, record.body.string_value) for record in records)
    assert [text for _, text in sent] == [
        line.split(" ", 4)[4] for line in sorted(printed, key=lambda line: (line[:23], line.split(" ", 4)[4]))
    ]
    uids = [attributes(record)["log.record.uid"] for record in records]
    assert len(set(uids)) == len(uids)
    assert f"{len(printed)} log lines sent to {first.url}" in said.read_text()
    assert "takes log lines again; lost so far: 0" in said.read_text()


def test_bad_input_is_told_in_words(tmp_path: Path, run_detektr: RunDetektr) -> None:
    assert "pipeline 'demo' has no run 'last'" in run_detektr("logs", "demo", "--to", "http://127.0.0.1:9").stderr
    with pipeline(tmp_path, 2) as run:
        run.end(None)
    told = run_detektr("logs", "demo", "--to", "somewhere")
    assert told.returncode == 2 and "--to: 'somewhere' is no address" in told.stderr
    told = run_detektr("logs", "demo", "nobody", "--to", "http://127.0.0.1:9")
    assert told.returncode == 1 and "node 'nobody' of pipeline 'demo' has no logs" in told.stderr
    told = run_detektr("logs", "demo", "--to", "http://127.0.0.1:9")
    assert told.returncode == 1 and "has not taken" in told.stderr and told.stdout.startswith("0 log lines sent")
    for name, value in (
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "-1"),
        ("OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER", "nobody"),
    ):
        told = run_detektr("logs", "demo", "--to", "http://127.0.0.1:9", env={name: value})
        assert told.returncode == 2 and "correct its variables that begin with OTEL_" in told.stderr, told


def test_headers_of_a_collector_that_asks_for_a_key_come_from_opentelemetrys_variable_and_are_not_shown(
    tmp_path: Path, run_detektr: RunDetektr
) -> None:
    with pipeline(tmp_path, 2) as run:
        run.end(None)
    with Collector() as collector:
        settings = {"OTEL_EXPORTER_OTLP_HEADERS": "x-key=let-me-in-99"}
        told = run_detektr("logs", "demo", "--to", collector.url, env=settings)
        assert told.returncode == 0 and "let-me-in-99" not in told.stdout + told.stderr, told
        assert {headers.get("x-key") for headers in collector.headers} == {"let-me-in-99"}
