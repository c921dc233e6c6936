"""`detektr probe` on real sources: what it finds, what it warns of, that its file loads, and that it ends when told."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from detektr.config.load import load_pipeline
from tests.cameras.rtsp_servers import RtspServer, make_clip, silent_host

if TYPE_CHECKING:
    from tests.conftest import RunDetektr, WaitUntil

LOGIN = "user:s3cret@:pass"


def proposed(folder: Path, text: str, **environment: str) -> Any:
    """Return the camera of the file that was proposed."""
    path = folder / "proposed.yaml"
    path.write_text(text)
    return load_pipeline(path, environment).options.nodes["camera"]


def test_a_camera_is_described_with_its_clock_and_a_file_that_loads_without_its_password(
    tmp_path: Path, run_detektr: RunDetektr
) -> None:
    make_clip(tmp_path / "a.mp4", width=320, height=180, fps=10, seconds=6, gop=10)
    with RtspServer(tmp_path) as server:
        url = server.url("a.mp4", user_info=LOGIN)
        done = run_detektr("probe", url, "--json", "--for", "3s")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["codec"], found["width"], found["height"], found["format"]) == ("h264", 320, 180, "yuv420p")
    assert (found["transport"], found["has_camera_clock"], found["is_live"]) == ("tcp", True, True)
    assert found["fps_declared"] == 10 and 8 < found["fps_measured"] < 13
    assert 0.9 < found["key_frame_s"] < 1.2 and not found["has_b_frames"] and found["bits_per_s"] > 0
    assert 0 < found["open_s"] <= found["first_frame_s"]
    assert found["slot_bytes"] == 320 * 180 * 3 // 2 and found["ring_bytes"] >= found["slots"] * found["slot_bytes"]
    assert "s3cret" not in done.stdout + done.stderr
    assert proposed(tmp_path, found["yaml"], CAMERA_PASSWORD="s3cret@:pass").source == url


def test_what_will_bite_is_said_with_its_cure(tmp_path: Path, run_detektr: RunDetektr) -> None:
    make_clip(tmp_path / "rare.mp4", width=162, height=122, fps=10, seconds=12, gop=60)
    done = run_detektr("probe", "rare.mp4", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "! key frames up to 6.0 s apart: " in done.stdout and "set the camera's key frame" in done.stdout
    make_clip(tmp_path / "odd.mkv", codec="ffv1", width=161, height=121, fps=10, seconds=1)
    assert "! odd size 161x121: " in run_detektr("probe", "odd.mkv", cwd=tmp_path).stdout


def test_a_file_is_proposed_at_its_own_pace(tmp_path: Path, run_detektr: RunDetektr) -> None:
    make_clip(tmp_path / "clip.mp4", seconds=1)
    text = run_detektr("probe", "clip.mp4", cwd=tmp_path).stdout
    assert "transport" not in text and "clock" not in text
    camera = proposed(tmp_path, text[text.index("name: demo") :])
    assert (camera.source, camera.realtime) == ("clip.mp4", True)


def test_a_variable_stays_a_variable(tmp_path: Path, run_detektr: RunDetektr) -> None:
    make_clip(tmp_path / "clip.mp4", seconds=1)
    done = run_detektr("probe", "${FOLDER}/clip.mp4", env={"FOLDER": str(tmp_path)})
    assert '"${FOLDER}/clip.mp4"' in done.stdout, done.stderr
    assert str(tmp_path) not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nothing.mp4"], 1, "does not exist"),
        (["rtsp://user:s3cret@127.0.0.1:9/x"], 1, "nobody listens there"),
        (["rtsp://user:s3cret@127.0.0.1:9/x", "--transport", "pigeon"], 2, "'pigeon', expected tcp, udp or auto"),
        (["rstp://user:s3cret@127.0.0.1:9/x"], 2, "write `rtsp://...`"),
        (["rtsp://user:${MISSING}@127.0.0.1:9/x"], 2, "the variable MISSING is not set"),
        (["python:my.module:name"], 2, "code of your own"),
        (["lavfi:testsrc2", "--for", "soon"], 2, "--for: 'soon' is not a duration"),
    ],
)
def test_what_cannot_be_probed_is_said_in_words(
    arguments: list[str], code: int, words: str, tmp_path: Path, run_detektr: RunDetektr
) -> None:
    done = run_detektr("probe", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert words in done.stderr and "Traceback" not in done.stderr
    assert "s3cret" not in done.stderr


def test_ctrl_c_ends_it_while_a_host_does_not_answer(wait_until: WaitUntil) -> None:
    with silent_host() as port:
        command = [sys.executable, "-m", "detektr", "probe", f"rtsp://127.0.0.1:{port}/x", "--for", "60s"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE)
        connections = psutil.Process(process.pid).net_connections
        wait_until(lambda: any(one.status == psutil.CONN_ESTABLISHED for one in connections()), what="it has connected")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=10)
    assert (process.returncode, said) == (128 + signal.SIGINT, b"")
