"""The runbook of the system before, command by command, on the pipeline file that is shipped."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.harness.redis_server import run_redis
from tests.harness.running import RunningPipeline
from tests.process.web.test_reading import web_pid

SHIPPED = Path(__file__).parents[3] / "pipeline.yaml"
CURL = shutil.which("curl")


def shell(command: str) -> str:
    """Run a command as an operator types it; returns what it prints."""
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, (command, done)
    return done.stdout


@pytest.mark.skipif(CURL is None, reason="curl is what the runbook asks with")
def test_the_old_commands_answer_on_the_shipped_file(tmp_path: Path) -> None:
    file: dict[str, Any] = yaml.safe_load(SHIPPED.read_text())
    folder = tmp_path / "redis"
    folder.mkdir()
    with run_redis(folder) as redis:
        top = {key: value for key, value in file.items() if key not in ("name", "nodes")}
        top["metrics"] = {"port": 0}
        top["audit"] = {"to": redis.url, "frames": "all"}
        top["web"] = {"port": 0, "open": ["dequeue", "ack", "clear"]}
        run = RunningPipeline(tmp_path, file["name"], file["nodes"], **top)
        with run:
            url = str(run.wait(lambda: run.status().get("web"), what="the server's address"))
            run.wait_delivered("buffer", "motion", 5)
            assert web_pid(run)

            # Is the buffer filling, and who takes from it? `size` was 0 whatever was queued.
            status = json.loads(shell(f"curl -s {url}/frames/status"))
            assert status["max_size"] > 0 and {edge["to"] for edge in status["edges"]} == {"motion"}

            # Take ten out, and look at them; whoever then does nothing more leaves frames in the queue.
            frames: list[dict[str, Any]] = []

            def pull() -> bool:
                said = json.loads(shell(f"curl -s '{url}/frames/dequeue?count=10'"))
                frames.extend(said.get("frames", ()))
                assert "frames" in said or said["code"] == "window_full", said
                return len(frames) >= 10 or "frames" not in said

            run.wait(pull, what="ten frames, or as many as can be out at once")
            assert len(frames) >= 2
            assert all(frame["id"] and frame["lease"] and frame["delivery"] >= 1 for frame in frames)
            leases = json.dumps({"leases": [frame["lease"] for frame in frames[:2]]})
            acked = json.loads(
                shell(f"curl -s -X POST {url}/frames/ack -H 'Content-Type: application/json' -d '{leases}'")
            )
            assert acked["acked"] == 2

            # An idle consumer: `size` is what is really queued.
            def idle() -> dict[str, Any] | None:
                status: dict[str, Any] = json.loads(shell(f"curl -s {url}/frames/status"))
                [guest] = [edge for edge in status["edges"] if edge["to"] != "motion"]
                is_same = run.edge("buffer", guest["to"]).get("queued") == guest["queued"]  # between two frames
                return status if is_same and guest["queued"] else None

            status = run.wait(idle, what="a queue that nobody takes from")
            assert status["size"] == sum(edge["queued"] for edge in status["edges"]) > 0
            [guest] = [edge for edge in status["edges"] if edge["to"] != "motion"]

            # Clear it.
            cleared = json.loads(shell(f"curl -s -X POST {url}/buffer/clear"))
            assert cleared["cleared"] >= guest["queued"] - 1 and f"buffer->{guest['to']}" in cleared["edges"]

            # Count what was consumed and dropped, under the old names; the ledger says the same.
            text = shell(f"curl -s {url}/metrics | grep frame_buffer_consumer_")
            kinds = set(re.findall(r"^(frame_buffer_consumer_\w+)\{", text, re.MULTILINE))
            assert {
                "frame_buffer_consumer_frames_consumed_total",
                "frame_buffer_consumer_frames_dropped_total",
            } <= kinds
            consumed = [int(float(count)) for count in re.findall(r"frames_consumed_total\{.*\} (\S+)", text)]
            assert sum(consumed) > 0

            # And what the trail has.
            def streams() -> bool:
                with redis.client() as client:
                    counts = [client.xlen(name) for name in ("frames:metadata", "frames:buffered", "ops:events")]
                return all(counts)

            run.wait(streams, what="the streams of Redis")
            if shutil.which("redis-cli"):
                assert int(shell(f"redis-cli -u {redis.url} XLEN frames:metadata")) > 0
            with redis.client() as client:
                wanted = "OperatorActed"
                run.wait(
                    lambda: any(fields["event"] == wanted for _, fields in client.xrange("ops:events")),
                    what="the operator's own doing in the trail",
                )
        assert run.end()["unaccounted"] == 0
