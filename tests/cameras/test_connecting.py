"""How a camera is reached, and what is said and done while it is not: each against a real server."""

from __future__ import annotations

import gc
import signal
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from detektr.errors import SourceError
from detektr.memory import layout
from detektr.observe.status_text import describe_status
from detektr.options import CaptureOptions
from detektr.sources import OpenedSource, open_source
from detektr.sources.transport.connection import HANGING_MAX, hanging
from detektr.sources.transport.reconnect import Reconnect
from tests.cameras.rtsp_servers import (
    GstServer,
    RtspServer,
    UdpServer,
    free_port,
    make_certificate,
    make_clip,
    silent_host,
    stream_camera,
)
from tests.harness.capturing import capturing
from tests.harness.running import RunningPipeline
from tests.process.terminal import open_terminals

if TYPE_CHECKING:
    from tests.conftest import WaitUntil

SLACK_S = 1.0  # beyond a time-out of ours, on a machine with other work
SECRET = "p@ss:w#rd/Zebra"
WRONG = "wr@ng:#Quagga"


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    make_clip(folder / "cam.mp4", seconds=3)
    make_clip(folder / "cam.h264", seconds=3)
    make_clip(folder / "short.mp4", seconds=0.3, fps=30)
    make_clip(folder / "sound.mp4", seconds=2, audio=True, audio_seconds=30)
    return folder


def camera(url: str, **options: Any) -> OpenedSource:
    return open_source(CaptureOptions(source=url, **options), Path())


def watch(source: OpenedSource, limit: int, then: Callable[[], None] | None = None) -> int:
    """Take `limit` pictures, do something, and take all that still come; returns how many came."""
    count = 0
    for _ in source.pictures():
        count += 1
        if count == limit:
            if then is None:
                source.close()
            else:
                then()
    return count


def trouble(source: OpenedSource, limit: int = 0, then: Callable[[], None] | None = None) -> SourceError:
    with pytest.raises(SourceError) as caught:
        watch(source, limit, then)
    return caught.value


# -- transport ----------------------------------------------------------------------------------------------------


def test_camera_that_speaks_tcp_alone_is_read_without_being_told(server: RtspServer) -> None:
    source = camera(server.url("cam.mp4"))
    assert watch(source, 5) == 5
    assert source.mode == "h264 over tcp, software decoder"


def test_auto_keeps_to_tcp_where_it_works(server: RtspServer) -> None:
    source = camera(server.url("cam.mp4"), transport="auto")
    assert watch(source, 2) == 2
    assert source.mode.startswith("h264 over tcp,")


def test_camera_that_speaks_udp_alone_is_refused_by_tcp_with_the_cure_and_found_by_auto(clips: Path) -> None:
    with UdpServer(clips / "cam.h264") as server:
        fault = trouble(camera(server.url()))
        assert fault.state == "connecting" and "write `transport: udp`" in str(fault)
        for transport in ("udp", "auto"):
            source = camera(server.url(), transport=transport)
            assert watch(source, 2) == 2
            assert source.mode.startswith("h264 over udp,")


# -- no answer ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("transport", "tries"), [("tcp", 1), ("auto", 2)])
def test_host_that_accepts_and_never_answers_fails_within_open_timeout(transport: str, tries: int) -> None:
    with silent_host() as port:
        begun = time.monotonic()
        source = camera(f"rtsp://127.0.0.1:{port}/x", open_timeout="1s", transport=transport)
        fault = trouble(source)
        assert time.monotonic() - begun < tries + SLACK_S
    assert fault.state == "connecting" and "within 1s" in str(fault)


def test_tries_that_hang_in_ffmpeg_are_bounded_and_close_themselves(wait_until: WaitUntil) -> None:
    wait_until(lambda: hanging() == 0, within_s=30, what="the connections of other tests to end")
    with silent_host() as port:
        faults = [trouble(camera(f"rtsp://127.0.0.1:{port}/x", open_timeout="100ms")) for _ in range(HANGING_MAX + 1)]
        assert hanging() == HANGING_MAX
    assert [f"answer to {HANGING_MAX} earlier tries" in str(fault) for fault in faults] == [False] * HANGING_MAX + [
        True
    ]
    wait_until(lambda: hanging() == 0, within_s=30, what="the abandoned connections to end")


def test_sigterm_while_a_camera_does_not_answer_ends_the_capture_within_2_seconds(tmp_path: Path) -> None:
    with silent_host() as port, open_terminals(tmp_path) as terminals:
        capture = terminals("capture", "--name", "cam", "--source", f"rtsp://127.0.0.1:{port}/x")
        capture.wait_says("connecting")
        begun = time.monotonic()
        capture.tell(signal.SIGTERM)
        capture.end()
        assert time.monotonic() - begun < 2.0


# -- a picture that does not move ---------------------------------------------------------------------------------


def test_stopped_server_is_stalled_within_stall_timeout(clips: Path) -> None:
    with RtspServer(clips) as server:
        stopped: list[float] = []

        def stop() -> None:
            server.stop()
            stopped.append(time.monotonic())

        fault = trouble(camera(server.url("cam.mp4"), stall_timeout="2s"), 5, stop)
        assert time.monotonic() - stopped[0] < 2 + SLACK_S
    assert fault.state == "stalled" and "no picture for 2s" in str(fault)


def test_sound_that_goes_on_does_not_hide_a_frozen_picture(clips: Path) -> None:
    with stream_camera(clips / "sound.mp4") as url:
        fault = trouble(camera(url, stall_timeout="2s"))
    assert fault.state == "stalled" and "of sound or other data came" in str(fault)
    with GstServer(audio=True) as server:
        fault = trouble(camera(server.url(), stall_timeout="2s"), 5, lambda: server.order("freeze"))
    assert fault.state == "stalled"


def test_killed_server_ends_the_pictures_as_a_disconnect_does(clips: Path) -> None:
    with RtspServer(clips) as server:
        assert watch(camera(server.url("cam.mp4")), 5, server.kill) >= 5
        assert trouble(camera(server.url("cam.mp4"))).state == "connecting"


# -- refusals -----------------------------------------------------------------------------------------------------


def test_404_is_not_found(server: RtspServer) -> None:
    fault = trouble(camera(server.url("nope.mp4")))
    assert fault.state == "not_found" and "404" in str(fault)


def test_403_is_forbidden() -> None:
    with GstServer(password="geheim", is_forbidden=True) as server:
        assert trouble(camera(server.url("user:geheim"))).state == "forbidden"


@pytest.mark.parametrize("is_digest", [False, True])
def test_401_is_unauthorized_and_a_password_with_every_awkward_sign_works(is_digest: bool) -> None:
    with GstServer(password=SECRET, is_digest=is_digest) as server:
        for user_info in ("", f"user:{WRONG}"):
            fault = trouble(camera(server.url(user_info)))
            assert fault.state == "unauthorized" and WRONG not in str(fault)
        source = camera(server.url(f"user:{SECRET}"))
        assert watch(source, 2) == 2
        assert SECRET not in source.description + source.mode


def test_encrypted_camera_is_read_and_one_that_does_not_encrypt_is_tls_failed(tmp_path: Path) -> None:
    with GstServer(certificate=make_certificate(tmp_path)) as server:
        assert watch(camera(server.url()), 2) == 2
    with GstServer() as server:
        fault = trouble(camera(server.url().replace("rtsp:", "rtsps:")))
    assert fault.state == "tls_failed" and "TLS" in str(fault)


# -- in a pipeline ------------------------------------------------------------------------------------------------

WRITES = """
def fails(frame):
    raise ValueError("not this one")

def passes(frame):
    return None
"""


def worker(name: str, use: str = "mine:passes") -> dict[str, Any]:
    return {"kind": "processor", "input": name, "use": use, "max_deliveries": 1}


def test_camera_that_is_off_delays_nobody_and_one_that_fails_comes_back(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(WRITES)
    with RtspServer(clips) as server:
        live = {"kind": "capture", "source": server.url("cam.mp4"), "stall_timeout": "2s"}
        off = {"kind": "capture", "source": f"rtsp://127.0.0.1:{free_port()}/x"}
        nodes = {"on": live, "off": off, "eye": worker("on"), "idle": worker("off")}
        with RunningPipeline(tmp_path, "cams", nodes) as run:

            def node(name: str) -> dict[str, Any]:
                found: dict[str, Any] = run.status()["nodes"].get(name, {"state": "", "why": ""})
                return found

            def wait_state(state: str) -> dict[str, Any]:
                run.wait(lambda: node("on")["state"] == state, 30, f"the camera to be {state}")
                return node("on")

            run.wait_delivered("on", "eye", 10)
            run.wait(lambda: "nobody listens" in node("off")["why"], what="why the other one is off")
            assert node("off")["state"] == "connecting" and node("off")["since"]
            assert wait_state("running")["mode"] == "h264 over tcp, software decoder"
            assert "h264 over tcp, software decoder" in describe_status(run.status())
            assert "h264 over tcp, software decoder" in run.tail()

            server.stop()
            assert "no picture for 2s" in wait_state("stalled")["why"]
            server.resume()
            wait_state("running")
            server.kill()
            assert wait_state("connecting")["since"]
            server.start()
            wait_state("running")
            run.wait_delivered("on", "eye", run.edge("on", "eye")["delivered"] + 10)
            assert node("on")["reconnects"] >= 2 and node("on")["restarts"] == 0
            assert node("off")["state"] == "connecting" and node("off")["restarts"] == 0
            report = run.end()
    assert report["unaccounted"] == 0, run.tail()


def test_password_stands_in_nothing_that_a_run_leaves_behind(
    tmp_path: Path, state_dir: Path, shm_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(WRITES)
    monkeypatch.setenv("CAMERA_PASSWORD", SECRET)
    monkeypatch.setenv("WRONG_PASSWORD", WRONG)
    with GstServer(password=SECRET) as server:
        nodes = {
            "good": {"kind": "capture", "source": server.url("user:${CAMERA_PASSWORD}")},
            "bad": {"kind": "capture", "source": server.url("user:${WRONG_PASSWORD}")},
            "eye": worker("good", "mine:fails"),
            "idle": worker("bad"),
        }
        with RunningPipeline(tmp_path, "secret", nodes, audit="sqlite:audit.db", metrics={"port": free_port()}) as run:
            run.wait(lambda: run.edge("good", "eye").get("dead_lettered"), what="a dead letter")
            run.wait(lambda: run.status()["nodes"]["bad"]["state"] == "unauthorized", what="the refusal in status")
            said = [str(run.status()), describe_status(run.status())]
            with urllib.request.urlopen(run.status()["metrics"], timeout=10) as answer:
                said.append(answer.read().decode())
            assert run.process is not None
            up = psutil.Process(run.process.pid)
            said += [text for one in (up, *up.children(recursive=True)) for text in (*one.cmdline(), one.name())]
            files = read_all(tmp_path, state_dir, shm_dir)
            run.end()
    files |= read_all(tmp_path, state_dir, shm_dir)
    log = run.log.read_text()
    assert "unauthorized: source rtsp://***@" in log and "trying again in 30.0 s" in log
    assert any("dead-letters" in str(path) for path in files) and tmp_path / "audit.db" in files
    assert [path for path, content in files.items() if holds_secret(content)] == []
    assert [text for text in said if holds_secret(text.encode())] == []


def read_all(*folders: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()}


def holds_secret(content: bytes) -> bool:
    return any(part in content for part in (b"Zebra", b"Quagga", b"p@ss", b"p%40ss", b"wr@ng", b"wr%40ng"))


# -- for ever -----------------------------------------------------------------------------------------------------

CYCLES, WARM = 1000, 200
KEPT_MIB_MAX = 8


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_1000_reconnections_leave_memory_and_descriptors_as_they_were(
    server: RtspServer, shm_dir: Path, wait_until: WaitUntil
) -> None:
    options = CaptureOptions(source=server.url("short.mp4", is_looped=False))
    quick = Reconnect(first_ns=1_000_000, longest_ns=1_000_000)
    process = psutil.Process()

    def measured() -> tuple[int, int, int]:
        gc.collect()
        return process.memory_info().rss >> 20, process.num_fds(), threading.active_count()

    with capturing(options, reconnect=quick) as capture:  # nobody reads, so nothing is published
        status_block = capture.status_block
        capture.thread.start()
        capture.thread.start_publishing()
        wait_until(
            lambda: status_block.words[layout.STATUS_WORD_RECONNECTS] >= WARM, within_s=900, what=f"{WARM} cycles"
        )
        before = measured()
        wait_until(
            lambda: status_block.words[layout.STATUS_WORD_RECONNECTS] >= CYCLES, within_s=1500, what=f"{CYCLES} cycles"
        )
        after = measured()
        assert capture.writer.rings.is_empty
    print(f"MiB, descriptors, threads: {before} after {WARM} cycles, {after} after {CYCLES}")
    assert capture.thread.failure is None
    assert after[0] - before[0] <= KEPT_MIB_MAX
    assert after[1] - before[1] <= 2 and after[2] - before[2] <= 2, "one connection more may be open by chance"
