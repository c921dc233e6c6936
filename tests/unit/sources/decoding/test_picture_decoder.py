from __future__ import annotations

import os
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import av
import pytest

from detektr.options import CaptureOptions
from detektr.sources.decoding.picture_decoder import DecodedFrame, PictureDecoder, file_threads
from tests.unit.sources.test_formats import turn_track

FRAMES, RATE, KEY_INTERVAL = 90, 30, 30
AHEAD = min(len(os.sched_getaffinity(0)) + 6, 16)
UNREFERRED = {"preset": "medium", "bf": "2", "b-pyramid": "none"}  # two of three pictures are referred to by none


def write(path: Path, codec: str = "libx264", options: dict[str, str] | None = None, jitter: int = 0) -> Path:
    """Write moving colours; every second picture comes `jitter` ms late."""
    with av.open(str(path), "w") as container, av.open("testsrc2=size=160x96:rate=30", format="lavfi") as pictures:
        stream: Any = container.add_stream(codec, rate=RATE, options=UNREFERRED if options is None else options)
        stream.width, stream.height, stream.gop_size = 160, 96, KEY_INTERVAL
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.time_base = Fraction(1, 30_000)
        for number, drawn in enumerate(islice(pictures.decode(video=0), FRAMES)):
            frame = drawn.reformat(format=stream.pix_fmt)
            frame.pict_type = 0  # the graph says that each is a key frame
            frame.pts, frame.time_base = number * 1000 + jitter * 30 * (number % 2), Fraction(1, 30_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def unreferred(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("decoding") / "unreferred.mp4")


def new_decoder(*, is_live: bool = False, **options: Any) -> PictureDecoder:
    return PictureDecoder("cam", CaptureOptions(source="cam", **options), is_live=is_live)


def packets_of(container: Any) -> list[Any]:
    return [packet for packet in container.demux(video=0) if packet.size]


def decode(decoder: PictureDecoder, path: Path, lost: range = range(0)) -> list[DecodedFrame]:
    """Decode a file as one connection; packet n was received at n seconds; those that are `lost` never came."""
    with av.open(str(path)) as container:
        decoder.begin(container.streams.video[0])
        frames = []
        for number, packet in enumerate(packets_of(container)):
            if number not in lost:
                frames += decoder.decode(packet, number * 1_000_000_000)
        return [*frames, *decoder.decode(None)]


def moments(decoder: PictureDecoder, frames: list[DecodedFrame]) -> list[Fraction | None]:
    return [decoder.moment(each.frame.pts, each.place) for each in frames]


@pytest.mark.parametrize("fps", [5, 7, 15])
def test_pictures_that_fps_leaves_out_are_not_decoded_and_the_others_stay_even(unreferred: Path, fps: int) -> None:
    decoder = new_decoder(fps=fps)
    times = moments(decoder, decode(decoder, unreferred))
    assert times[0] == 0
    steps = {after - before for before, after in pairwise(times)}  # type: ignore[operator]
    assert steps == {Fraction(RATE // fps, RATE)} | ({Fraction(RATE // fps + 1, RATE)} if RATE % fps else set())
    assert decoder.thinned + len(times) == FRAMES
    assert decoder.decoded < FRAMES * 0.8
    assert decoder.corrupt == 0


def test_same_pictures_pass_whether_or_not_the_others_are_skipped(unreferred: Path, tmp_path: Path) -> None:
    every_one_referred_to = write(tmp_path / "plain.mp4", options={"bf": "0"})
    decoder = new_decoder(fps=7)
    plain = moments(decoder, decode(decoder, every_one_referred_to))
    assert decoder.decoded == FRAMES
    other = new_decoder(fps=7)
    assert moments(other, decode(other, unreferred)) == plain


def test_stream_of_uneven_times_is_thinned_after_decoding(tmp_path: Path) -> None:
    decoder = new_decoder(fps=15)
    frames = decode(decoder, write(tmp_path / "clip.mkv", jitter=10))
    assert decoder.decoded == FRAMES
    assert len(frames) == FRAMES // 2


def test_codec_of_key_frames_alone_decodes_only_what_passes(tmp_path: Path) -> None:
    decoder = new_decoder(fps=5)
    frames = decode(decoder, write(tmp_path / "clip.mkv", "mjpeg", {}))
    assert (len(frames), decoder.decoded, decoder.thinned) == (15, 15, 75)


def test_keyframes_come_at_once_and_the_others_count_as_thinned(unreferred: Path) -> None:
    decoder = new_decoder(decode="keyframes", is_live=True)
    with av.open(str(unreferred)) as container:
        decoder.begin(container.streams.video[0])
        for packet in packets_of(container):
            frames = decoder.decode(packet)
            assert [frame.frame.pts for frame in frames] == ([packet.pts] if packet.is_keyframe else [])
    assert (decoder.decoded, decoder.thinned) == (3, FRAMES - 3)


def test_keyframes_are_thinned_too(unreferred: Path) -> None:
    decoder = new_decoder(decode="keyframes", fps=0.5)
    assert moments(decoder, decode(decoder, unreferred)) == [0, 2]
    assert decoder.thinned == FRAMES - 2


def test_each_picture_keeps_the_time_at_which_its_own_packet_came(unreferred: Path) -> None:
    with av.open(str(unreferred)) as container:
        came = {packet.pts: number for number, packet in enumerate(packets_of(container))}
    frames = decode(new_decoder(), unreferred)
    assert [frame.received_ns for frame in frames] == [came[frame.frame.pts] * 1_000_000_000 for frame in frames]
    assert list(came) != sorted(came)


def test_live_stream_begins_with_a_key_frame_at_each_connection(unreferred: Path) -> None:
    decoder = new_decoder(is_live=True)
    assert len(decode(decoder, unreferred)) == FRAMES
    assert decoder.corrupt == 0
    for connection in (1, 2):
        frames = decode(decoder, unreferred, lost=range(0, 5))
        assert frames[0].frame.key_frame
        assert moments(decoder, frames)[0] == 1
        assert len(frames) + decoder.corrupt / connection == FRAMES - 5


REFRESH = {
    "libx264": {"preset": "ultrafast", "tune": "zerolatency", "x264-params": f"intra-refresh=1:keyint={KEY_INTERVAL}"},
    "libx265": {
        "preset": "ultrafast",
        "tune": "zerolatency",
        "x265-params": f"intra-refresh=1:keyint={KEY_INTERVAL}:log-level=none",
    },
}


def test_stream_with_intra_refresh_that_is_joined_late_is_shown_from_its_recovery_point_on(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mkv", options=REFRESH["libx264"])
    whole = {each.frame.pts: each.frame.to_ndarray().tobytes() for each in decode(new_decoder(), path)}
    decoder = new_decoder(is_live=True)
    frames = decode(decoder, path, lost=range(0, 5))
    assert FRAMES - 2 * KEY_INTERVAL - 5 <= len(frames) < FRAMES - KEY_INTERVAL
    assert not any(each.frame.key_frame for each in frames)
    assert all(each.frame.to_ndarray().tobytes() == whole[each.frame.pts] for each in frames)
    assert decoder.corrupt == FRAMES - 5 - len(frames)


def test_stream_that_shows_no_recovery_point_is_shown_after_a_time_without_a_fault(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mkv", "libx265", options=REFRESH["libx265"])
    decoder = new_decoder(is_live=True)
    with av.open(str(path)) as container:
        decoder.begin(container.streams.video[0])
        packets = packets_of(container)[5:]
        frames = [
            frame for number, packet in enumerate(packets[:40]) for frame in decoder.decode(packet, number * 10**9)
        ]
        assert frames == []
        assert not decoder.try_begin_without_key(1 * 10**9), "too soon"
        assert decoder.try_begin_without_key(40 * 10**9)
        frames = [frame for packet in packets[40:] for frame in decoder.decode(packet, 41 * 10**9)]
    assert len(frames) == len(packets) - 40


def test_stream_whose_key_frames_are_damaged_is_not_shown_without_one(unreferred: Path) -> None:
    decoder = new_decoder(is_live=True)
    with av.open(str(unreferred)) as container:
        decoder.begin(container.streams.video[0])
        for number, packet in enumerate(packets_of(container)):
            if not packet.is_keyframe:
                assert decoder.decode(packet, number * 10**9) == []
                continue
            damaged: Any = av.Packet(bytes(packet)[: packet.size // 2] + bytes(packet.size - packet.size // 2))
            damaged.pts, damaged.dts, damaged.time_base = packet.pts, packet.dts, packet.time_base
            decoder.decode(damaged, number * 10**9)
    assert not decoder.try_begin_without_key(FRAMES * 10**9)


def test_damaged_packet_is_counted_and_the_next_key_frame_is_whole_again(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mkv", options={"bf": "0"})
    decoder = new_decoder(is_live=True)
    with av.open(str(path)) as container:
        decoder.begin(container.streams.video[0])
        times: list[Fraction | None] = []
        for number, packet in enumerate(packets_of(container)):
            if number == 15:
                damaged = av.Packet(bytes(packet)[: packet.size // 2])
                damaged.pts, damaged.dts, damaged.time_base = packet.pts, packet.dts, packet.time_base
                packet = damaged
            times += moments(decoder, decoder.decode(packet))
        times += moments(decoder, decoder.decode(None))
    assert decoder.corrupt == 1
    assert Fraction(15, 30) not in times
    assert len(times) == FRAMES - 1


def test_hardware_that_is_not_there_is_software_with_the_reason(unreferred: Path) -> None:
    if av.CodecContext.create("h264", "r").codec.hardware_configs and has_device():
        pytest.skip("this machine has the hardware")
    decoder = new_decoder(hwaccel="auto")
    assert len(decode(decoder, unreferred)) == FRAMES
    assert decoder.mode.startswith("software decoder (cuda: ")
    assert "; qsv: " in decoder.mode


def test_hardware_that_breaks_down_is_left_for_software_at_the_next_key_frame(unreferred: Path) -> None:
    decoder = new_decoder(is_live=True)
    with av.open(str(unreferred)) as container:
        decoder.begin(container.streams.video[0])
        # A decoder of another codec refuses these packets, as one does whose surfaces have run out.
        decoder._hardware, decoder._context = "cuda", av.CodecContext.create("hevc", "r")
        packets = packets_of(container)
        frames = [frame for packet in packets[5:] for frame in decoder.decode(packet)]
        frames += decoder.decode(None)
    assert decoder.mode == "software decoder (cuda: Invalid data found when processing input)"
    assert frames[0].frame.key_frame
    assert len(frames) == FRAMES - KEY_INTERVAL


def test_turned_file_is_left_to_the_decoder_that_knows_its_turn(tmp_path: Path) -> None:
    decoder = new_decoder()
    with av.open(str(turn_track(write(tmp_path / "clip.mp4"), 90))) as container:
        decoder.begin(container.streams.video[0])
        # As a hardware decoder has it: the stream's bytes, and nothing of what the file says about them.
        context: Any = av.CodecContext.create("h264", "r")
        context.extradata = container.streams.video[0].codec_context.extradata
        decoder._hardware, decoder._context = "cuda", context
        packets = packets_of(container)
        frames = [frame.frame for packet in packets for frame in decoder.decode(packet)]
        frames += [frame.frame for frame in decoder.decode(None)]
    assert decoder.mode == "software decoder (cuda: cannot tell how pictures are turned)"
    assert {frame.rotation for frame in frames} == {-90}
    assert len(frames) == FRAMES


@pytest.mark.parametrize(
    ("is_live", "is_paced", "asked", "threads"),
    [
        (True, False, None, 1),
        (True, False, 3, 3),
        (False, True, None, 0),
        (False, False, None, AHEAD),
        (False, False, 2, 2),
    ],
)
def test_threads_are_few_for_live_sources_and_more_than_cores_for_a_file_at_full_speed(
    unreferred: Path, *, is_live: bool, is_paced: bool, asked: int | None, threads: int
) -> None:
    decoder = new_decoder(is_live=is_live, decoder_threads=asked, realtime=is_paced)
    with av.open(str(unreferred)) as container:
        decoder.begin(container.streams.video[0])
        context = container.streams.video[0].codec_context
        assert context.thread_count == threads
        assert (context.thread_type == av.codec.context.ThreadType.SLICE) is is_live


@pytest.mark.parametrize(
    ("width", "height", "cores", "threads"),
    [(640, 360, 2, 8), (1280, 720, 2, 8), (1920, 1080, 2, 6), (3840, 2160, 2, 4), (0, 0, 2, 8), (640, 360, 64, 16)],
)
def test_the_larger_the_pictures_the_fewer_threads_decode_ahead(
    width: int, height: int, cores: int, threads: int
) -> None:
    assert file_threads(width * height, cores) == threads


def has_device() -> bool:
    try:
        av.codec.hwaccel.HWAccel("cuda").create(av.Codec("h264", "r"))
    except av.FFmpegError:
        return False
    return True
