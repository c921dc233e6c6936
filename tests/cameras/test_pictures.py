"""What comes out of real cameras: whole pictures, in their own time, of the size that they have now."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import pytest

import detektr
from detektr.options import SECOND_NS, CaptureOptions
from detektr.sources import OpenedSource, open_source
from tests.cameras.rtsp_servers import RtspServer, UdpServer, _Server, free_port, make_clip
from tests.process.terminal import Terminals, open_terminals

FPS, GOP = 10, 10

_TURNING_SERVER = """
import sys, time
import av, rtsp

port, jump, clips = int(sys.argv[1]), round(float(sys.argv[2]) * 90000), sys.argv[3:]
server = rtsp.Server(f"127.0.0.1:{port}")
server.start()
print("ready", flush=True)
begun, count = time.monotonic(), 0
while True:
    for clip in clips:
        with av.open(clip) as container:
            packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
        for packet in packets:
            is_last = clip == clips[0] and packet is packets[-1]
            server.send_frame(packet, (9000 + (jump if is_last else 0)) % 2**32)
            count += 1
            time.sleep(max(0.0, begun + count / 10 - time.monotonic()))
"""

PIPELINE = """
name: turning
nodes:
  cam: {{kind: capture, source: "{url}", transport: udp, drain: 500ms, high_water_mark: 16, guests: 16}}
  look: {{kind: processor, input: cam, use: "writer:Write", with: {{path: out}}}}
"""


class TurningServer(_Server):
    """A camera, by UDP, that plays two clips in turn, and whose clock jumps by `jump_s` before the second."""

    def __init__(self, jump_s: float, *clips: Path) -> None:
        port = free_port()
        super().__init__([sys.executable, "-c", _TURNING_SERVER, str(port), str(jump_s), *map(str, clips)], port)

    def url(self) -> str:
        """Return its address."""
        return f"rtsp://127.0.0.1:{self.port}/stream"


class Taken(NamedTuple):
    """What was taken of one picture."""

    width: int
    moment_ns: int | None
    """Its pts; None: FFmpeg does not know it before the camera has told its clock, which may be a picture later."""
    received_ns: int
    utc_ns: int
    is_break: bool
    luma: bytes


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of clips that servers play."""
    folder = tmp_path_factory.mktemp("clips")
    make_clip(folder / "h264.mp4", fps=FPS, gop=GOP)
    make_clip(folder / "h265.mp4", codec="libx265", width=642, height=362, fps=FPS, gop=GOP)
    make_clip(folder / "small.h264", seconds=1, fps=FPS, gop=GOP)
    make_clip(folder / "large.h264", seconds=1, width=642, height=362, fps=FPS, gop=GOP)
    return folder


@pytest.fixture(scope="module")
def server(clips: Path) -> Iterator[RtspServer]:
    with RtspServer(clips) as server:
        yield server


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminals]:
    with open_terminals(tmp_path) as terminals:
        yield terminals


def take(url: str, count: int, **options: Any) -> tuple[OpenedSource, list[Taken]]:
    """Take the first pictures of one connection."""
    source = open_source(CaptureOptions(source=url, **options), Path())
    taken: list[Taken] = []
    for picture in source.pictures():
        layout = picture.layout
        slot = np.empty(layout.nbytes, np.uint8)
        picture.write(slot)
        assert picture.time_base is not None and picture.received_ns is not None and picture.utc_ns is not None
        assert picture.pts is not None or len(taken) < 2
        taken.append(
            Taken(
                layout.width,
                None if picture.pts is None else round(picture.pts * picture.time_base * SECOND_NS),
                picture.received_ns,
                picture.utc_ns,
                picture.is_break,
                slot[: layout.width * layout.height].tobytes(),
            )
        )
        if len(taken) == count:
            source.close()
    return source, taken


def steps_s(taken: list[Taken]) -> list[float]:
    """Return the seconds from each picture to the next, by their own times."""
    known = [picture.moment_ns for picture in taken if picture.moment_ns is not None]
    return [(after - before) / SECOND_NS for before, after in pairwise(known)]


def lumas(path: Path) -> list[bytes]:
    """Decode a clip's own brightness planes."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [frame.to_ndarray()[: frame.height].tobytes() for frame in frames]


@pytest.mark.parametrize("name", ["h264.mp4", "h265.mp4"])
def test_pictures_of_a_stream_are_those_of_the_clip_to_the_last_pixel(
    server: RtspServer, clips: Path, name: str
) -> None:
    _, taken = take(server.url(name), 12)
    own = lumas(clips / name)
    numbers = [own.index(picture.luma) for picture in taken]
    assert {(after - before) % len(own) for before, after in pairwise(numbers)} == {1}


def test_each_connection_in_the_middle_of_a_stream_begins_with_a_key_frame_and_no_picture_is_grey(clips: Path) -> None:
    own = lumas(clips / "small.h264")
    with UdpServer(clips / "small.h264") as camera:
        for _ in range(3):
            source, taken = take(camera.url(), 4, transport="udp")
            assert [own.index(picture.luma) for picture in taken] == [0, 1, 2, 3]
            assert source.mode == "h264 over udp, software decoder"


def test_damaged_picture_is_left_out_and_counted_and_the_next_key_frame_is_whole(clips: Path, tmp_path: Path) -> None:
    own = lumas(clips / "h264.mp4")
    with av.open(str(clips / "h264.mp4")) as container:
        packets = [(packet.pos or 0, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray((clips / "h264.mp4").read_bytes())
    position, size = packets[13]
    content[position + size // 4 : position + size] = bytes(size - size // 4)
    (tmp_path / "damaged.mp4").write_bytes(content)
    with RtspServer(tmp_path) as camera:
        source, taken = take(camera.url("damaged.mp4"), 32)
    assert source.corrupt in (1, 2)  # it is played one and a half times, from anywhere
    assert {round(step * FPS) for step in steps_s(taken)} == {1, 2}
    shown = [own.index(picture.luma) if picture.luma in own else None for picture in taken]
    damaged = shown.index(12) + 1
    assert 13 not in shown
    assert shown[damaged + 6 : damaged + 8] == [0, 1]  # 14 to 19 refer to it; the first of the clip to none


@pytest.mark.parametrize("jump_s", [100, -20])
def test_clock_of_the_camera_that_jumps_begins_a_time_line_and_no_interval_is_negative(
    clips: Path, jump_s: float
) -> None:
    with TurningServer(jump_s, clips / "small.h264", clips / "small.h264") as camera:
        source, taken = take(camera.url(), 28, transport="udp")
    breaks = [number for number, picture in enumerate(taken) if picture.is_break]
    assert breaks[0] == 0
    assert len(breaks) >= 2
    for before, after in pairwise(taken):
        [step_s] = steps_s([before, after]) or [0.1]
        assert abs(step_s - jump_s) < 2 if after.is_break else 0 < step_s < 2
        assert after.received_ns > before.received_ns
        assert after.utc_ns > before.utc_ns
    assert source.corrupt < GOP  # those before the first key frame


def test_size_that_changes_in_the_middle_of_a_stream_is_another_layout_and_all_are_whole(clips: Path) -> None:
    own = {320: lumas(clips / "small.h264"), 642: lumas(clips / "large.h264")}
    with TurningServer(0, clips / "small.h264", clips / "large.h264") as camera:
        _, taken = take(camera.url(), 25, transport="udp")
    assert {picture.width for picture in taken} == {320, 642}
    assert all(picture.luma in own[picture.width] for picture in taken)
    assert [picture.is_break for picture in taken] == [True, *[False] * 24]


def test_camera_that_comes_back_with_another_size_fills_a_new_ring_while_a_frame_of_the_old_one_is_read(
    clips: Path, tmp_path: Path, terminal: Terminals
) -> None:
    served = tmp_path / "served"
    served.mkdir()
    make_clip(served / "cam.mp4", fps=FPS, gop=GOP)
    with RtspServer(served) as camera:
        capture = terminal("capture", "--name", "cam", "--source", camera.url("cam.mp4"))
        with detektr.attach("local/cam", wait_s=30) as frames:
            old = next(frames)
            before = old.pixels.copy()
            camera.kill()
            make_clip(served / "cam.mp4", width=642, height=362, fps=FPS, gop=GOP)
            camera.start()
            capture.wait_says("642x362", within_s=30)
            assert np.array_equal(old.pixels, before)
            assert old.epoch == 1
            new = next(frame for frame in frames if frame.epoch > 1)
            assert (new.width, new.height, new.pixels.shape) == (642, 362, (543, 642))
            assert new.sequence > old.sequence
            assert new.gray.tobytes() in lumas(served / "cam.mp4")
            assert frames.refused == 0
        capture.tell(signal.SIGTERM)
        assert capture.end() == 0, capture.err


def test_time_that_jumps_in_a_stream_is_a_new_epoch_of_frames_that_all_come(
    clips: Path, tmp_path: Path, terminal: Terminals
) -> None:
    with TurningServer(-20, clips / "small.h264", clips / "small.h264") as camera:
        (tmp_path / "pipeline.yaml").write_text(PIPELINE.format(url=camera.url()))
        capture = terminal("capture", "--pipeline", "pipeline.yaml", "--node", "cam")
        seen: list[tuple[int, int, float]] = []
        with detektr.attach("turning/cam", wait_s=30, window=4) as frames:
            for frame in frames:
                assert frame.pts is not None and frame.time_base is not None
                seen.append((frame.epoch, frame.sequence, float(frame.pts * frame.time_base)))
                if seen[0][0] < seen[-1][0]:
                    break
            assert frames.refused == 0
        capture.tell(signal.SIGTERM)
        assert capture.end() == 0, capture.err
    assert [sequence for _, sequence, _ in seen] == list(range(seen[0][1], seen[0][1] + len(seen)))
    for (epoch, _, moment), (next_epoch, _, next_moment) in pairwise(seen):
        assert (next_moment > moment) is (next_epoch == epoch)


@pytest.mark.parametrize("fps", [5, 2])
def test_fps_thins_a_stream_evenly_and_counts_the_others(server: RtspServer, fps: int) -> None:
    source, taken = take(server.url("h264.mp4"), 8, fps=fps)
    assert set(steps_s(taken)) == {1 / fps}
    assert source.thinned >= 7 * (FPS // fps - 1)
    assert source.corrupt == 0


@pytest.mark.parametrize("name", ["h264.mp4", "h265.mp4"])
def test_keyframes_alone_are_decoded_whole_and_the_others_count_as_thinned(
    server: RtspServer, clips: Path, name: str
) -> None:
    source, taken = take(server.url(name), 3, decode="keyframes")
    own = lumas(clips / name)
    assert {own.index(picture.luma) % GOP for picture in taken} == {0}
    assert {step_s % (GOP / FPS) for step_s in steps_s(taken)} == {0}  # a busy machine may leave one out
    assert source.thinned >= 2 * (GOP - 1)
    assert source.corrupt == 0
    assert source.mode.endswith("software decoder, key frames only")


def test_hardware_that_cannot_decode_is_software_and_status_says_why(server: RtspServer, clips: Path) -> None:
    source, taken = take(server.url("h264.mp4"), 3, hwaccel="qsv")
    if "qsv decoder" in source.mode:
        pytest.skip("this machine has the hardware")
    assert source.mode.startswith("h264 over tcp, software decoder (qsv: ")
    assert all(picture.luma in lumas(clips / "h264.mp4") for picture in taken)
