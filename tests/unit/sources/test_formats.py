"""Files as there are: each picture and time as PyAV itself gives it, right to the last pixel."""

from __future__ import annotations

import struct
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest

from detektr.descriptor import Descriptor
from detektr.errors import SourceError
from detektr.frame import Frame
from detektr.options import CaptureOptions
from detektr.picture import PictureLayout
from detektr.sources import Picture, open_source
from detektr.sources.video import VideoSource

Slot = npt.NDArray[np.uint8]
FRAMES = 9
ENCODER_OPTIONS = {
    "libx264": {"preset": "ultrafast"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
    "libsvtav1": {"preset": "13"},
}
FILES = [
    ("libx264", "mp4", "yuv420p", 642, 362),
    ("libx264", "mkv", "yuv420p", 642, 362),
    ("libx264", "avi", "yuv420p", 320, 180),
    ("libx264", "ts", "yuv420p", 642, 362),
    ("libx264", "mp4", "yuv420p10le", 642, 362),
    ("libx264", "mp4", "yuv444p", 641, 361),
    ("libx265", "mp4", "yuv420p", 642, 362),
    ("libx265", "mkv", "yuv420p10le", 642, 362),
    ("libx265", "ts", "yuv420p", 642, 362),
    ("mjpeg", "avi", "yuvj420p", 642, 362),
    ("mjpeg", "mkv", "yuvj422p", 641, 361),
    ("libvpx-vp9", "webm", "yuv420p", 642, 362),
    ("libvpx-vp9", "mkv", "yuv420p", 641, 361),
    ("libsvtav1", "mp4", "yuv420p", 642, 362),
    ("libsvtav1", "webm", "yuv420p10le", 642, 362),
    ("mpeg4", "avi", "yuv420p", 642, 362),
    ("mpeg2video", "ts", "yuv422p", 642, 362),
    ("ffv1", "mkv", "yuv422p10le", 641, 361),
    ("png", "mov", "rgb24", 641, 361),
]
MIRRORED: dict[str, tuple[tuple[int, int, int, int], Any]] = {  # a b c d of the matrix, and the picture to be seen
    "left to right": ((-1, 0, 0, 1), lambda shown: shown[:, ::-1]),
    "upside down": ((1, 0, 0, -1), lambda shown: shown[::-1]),
    "along one diagonal": ((0, 1, 1, 0), lambda shown: shown.transpose(1, 0, 2)),
    "along the other": ((0, -1, -1, 0), lambda shown: shown[::-1, ::-1].transpose(1, 0, 2)),
}
EXIF: dict[int, Any] = {  # how a picture of that orientation is to be seen
    1: lambda shown: shown,
    2: lambda shown: shown[:, ::-1],
    3: lambda shown: shown[::-1, ::-1],
    4: lambda shown: shown[::-1],
    5: lambda shown: shown.transpose(1, 0, 2),
    6: lambda shown: np.rot90(shown, -1),
    7: lambda shown: shown[::-1, ::-1].transpose(1, 0, 2),
    8: lambda shown: np.rot90(shown),
}
QUARTER_TURNS = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}  # clockwise: a b c d of a track's matrix


def write(
    path: Path,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    width: int = 320,
    height: int = 180,
    times: list[int] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Write moving colours; `times` are in milliseconds, 25 a second unless told otherwise."""
    graph = f"testsrc2=size={width}x{height}:rate=25"
    with av.open(str(path), "w") as container, av.open(graph, format="lavfi") as pictures:
        stream: Any = container.add_stream(codec, rate=25, options=options or ENCODER_OPTIONS.get(codec, {}))
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        count = FRAMES if times is None else len(times)
        for number, drawn in enumerate(islice(pictures.decode(video=0), count)):
            frame = drawn.reformat(format=pixel_format)
            frame.pict_type = 0  # the graph says that each is a key frame
            frame.pts = number if times is None else times[number]
            frame.time_base = Fraction(1, 25) if times is None else Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def read(path: Path, **options: Any) -> list[tuple[Picture, Slot]]:
    taken = []
    for picture in open_source(CaptureOptions(source=path.name, **options), path.parent).pictures():
        slot = np.full(picture.layout.nbytes, 77, np.uint8)
        picture.write(slot)
        taken.append((picture, slot))
    return taken


def as_frame(picture: Picture, slot: Slot) -> Frame:
    descriptor = Descriptor("cam", "cam", 1, 1, 0, 1, 0, 0, 0, picture.pts)
    return Frame(descriptor, picture.layout, slot, 1, picture.time_base)


def planes(frame: av.VideoFrame, layout: PictureLayout) -> bytes:
    """Cut the padding off a decoded frame's planes."""
    whole = []
    for plane, place in zip(frame.planes, layout.planes, strict=True):
        padded = np.frombuffer(bytes(plane), np.uint8).reshape(place.rows, plane.line_size)
        whole.append(padded[:, : place.row_bytes].tobytes())
    return b"".join(whole)


@pytest.mark.parametrize(("codec", "container", "pixel_format", "width", "height"), FILES)
def test_file_is_as_pyav_decodes_and_converts_it(
    tmp_path: Path, codec: str, container: str, pixel_format: str, width: int, height: int
) -> None:
    path = write(tmp_path / f"clip.{container}", codec, pixel_format, width, height)
    taken = read(path)
    with av.open(str(path)) as opened:
        expected = list(opened.decode(video=0))
    assert len(taken) == len(expected) == FRAMES
    for (picture, slot), frame in zip(taken, expected, strict=True):
        assert picture.layout == PictureLayout(pixel_format, width, height)
        assert (picture.pts, picture.is_break) == (frame.pts, False)
        assert slot.tobytes() == planes(frame, picture.layout)
    picture, slot = taken[-1]
    converted = expected[-1].to_ndarray(format="bgr24")
    error = np.abs(as_frame(picture, slot).bgr.astype(int) - converted)
    # Beyond 8 bits swscale heeds where chroma samples lie, which a slot does not say: edges differ by half a pixel.
    assert error.mean() < 1.5 if "10" in pixel_format else not error.any()
    assert not error[-1, -1].any()


@pytest.mark.parametrize(("tag", "matrix"), [("bt709", "bt709"), ("bt2020nc", "bt2020"), ("smpte170m", "bt601")])
def test_colours_are_made_by_the_matrix_that_the_file_names(tmp_path: Path, tag: str, matrix: str) -> None:
    tagged = {"preset": "ultrafast", "x264-params": f"colormatrix={tag}"}
    path = write(tmp_path / "clip.mp4", options=tagged)
    picture, slot = read(path)[0]
    assert picture.layout == PictureLayout("yuv420p", 320, 180, matrix)
    with av.open(str(path)) as opened:
        expected = next(opened.decode(video=0)).to_ndarray(format="bgr24")
    assert np.array_equal(as_frame(picture, slot).bgr, expected)
    converted, converted_slot = read(path, format="bgr24")[0]
    assert converted.layout == PictureLayout("bgr24", 320, 180)
    assert np.array_equal(converted_slot.reshape(180, 320, 3), expected)
    named_otherwise = PictureLayout("yuv420p", 320, 180, "bt601" if matrix != "bt601" else "bt709")
    other = Frame(Descriptor("cam", "cam", 1, 1, 0, 1, 0, 0, 0, 0), named_otherwise, slot, 1, None)
    assert np.abs(other.bgr.astype(int) - expected).max() > 5


def test_variable_rate_keeps_its_times_and_is_thinned_by_them(tmp_path: Path) -> None:
    times = [0, 15, 40, 41, 100, 160, 200, 205, 210, 300, 330, 390, 400, 520, 600, 610, 700, 790, 800, 880]
    path = write(tmp_path / "clip.mkv", times=times)
    whole = [picture.pts for picture, _ in read(path)]
    assert whole == times
    thin = [picture.pts for picture, _ in read(path, fps=10)]
    assert thin == [0, 100, 200, 300, 390, 520, 600, 700, 790, 880]


def test_jump_ahead_in_a_file_is_a_break_and_not_waited_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    times = [*range(0, 200, 40), *range(3_600_000, 3_600_200, 40)]
    path = write(tmp_path / "joined.mkv", times=times)
    taken = read(path, realtime=True)  # within the test's time limit
    assert [picture.pts for picture, _ in taken] == times
    assert [picture.is_break for picture, _ in taken] == [False] * 5 + [True] + [False] * 4
    assert "joined.mkv: its time jumps ahead by 3599.8 s: going on at once" in caplog.text


@pytest.mark.parametrize(("name", "codec"), [("clip.h264", "libx264"), ("clip.hevc", "libx265")])
def test_bare_stream_without_a_container_runs_at_the_rate_that_it_says(tmp_path: Path, name: str, codec: str) -> None:
    path = tmp_path / name
    with av.open(str(path), "w", format="hevc" if codec == "libx265" else "h264") as container:
        stream: Any = container.add_stream(codec, rate=15, options=ENCODER_OPTIONS[codec])
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(5):
            picture = av.VideoFrame(64, 48, "yuv420p")
            picture.pts = number
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    source = VideoSource(CaptureOptions(source=name), tmp_path)
    assert source.description == f"{name} ({stream.codec.canonical_name} 64x48 yuv420p, 15/s)"
    assert source._decoder.moment(None, 30) == 2
    source.close()


def test_one_of_several_video_streams_of_a_file_is_chosen(tmp_path: Path) -> None:
    first, second = write(tmp_path / "1.mp4"), write(tmp_path / "2.mp4", width=642, height=362)
    with av.open(str(tmp_path / "both.mkv"), "w") as both, av.open(str(first)) as one, av.open(str(second)) as two:
        streams = [both.add_stream_from_template(container.streams.video[0]) for container in (one, two)]
        for container, stream in zip((one, two), streams, strict=True):
            for packet in container.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    both.mux(packet)
    for asked, height in (("#0", 180), ("#1", 362), ("180p", 180), ("300p", 180), ("720p", 362)):
        assert [picture.layout.height for picture, _ in read(tmp_path / "both.mkv", stream=asked)] == [height] * FRAMES
    with pytest.raises(SourceError, match=r"no video stream #2; it has #0 320x180, #1 642x362; write `stream: best`"):
        read(tmp_path / "both.mkv", stream="#2")


def test_interlaced_file_comes_with_both_fields_woven(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.ts", width=320, height=192, options={"preset": "ultrafast", "x264-params": "tff=1"})
    with av.open(str(path)) as opened:
        expected = list(opened.decode(video=0))
    assert all(frame.interlaced_frame for frame in expected)
    taken = read(path)
    assert [slot.tobytes() for _, slot in taken] == [frame.to_ndarray().tobytes() for frame in expected]


@pytest.mark.parametrize("turn", [90, 180, 270])
@pytest.mark.parametrize("options", [{}, {"format": "yuv422p"}, {"format": "gray8"}, {"format": "bgr24"}])
def test_file_that_says_it_is_turned_comes_upright(tmp_path: Path, turn: int, options: dict[str, str]) -> None:
    path = write(tmp_path / "clip.mp4", width=322, height=182)
    flat, flat_slot = read(path, format="yuv444p")[0]
    turn_track(path, turn)
    picture, slot = read(path, **options)[0]
    assert (picture.layout.width, picture.layout.height) == ((322, 182) if turn == 180 else (182, 322))
    expected = np.rot90(as_frame(flat, flat_slot).bgr, -turn // 90).astype(int)
    frame = as_frame(picture, slot)
    if picture.layout.format == "gray":
        assert np.array_equal(frame.gray, np.rot90(as_frame(flat, flat_slot).gray, -turn // 90))
    else:
        assert np.abs(frame.bgr - expected).mean() < 4  # chroma was halved and doubled on another way; luma was not


@pytest.mark.parametrize("how", MIRRORED)
def test_file_that_says_it_is_mirrored_comes_as_it_is_to_be_seen(tmp_path: Path, how: str) -> None:
    path = write(tmp_path / "clip.mp4", width=322, height=182)
    flat = [as_frame(*taken).bgr for taken in read(path, format="yuv444p")]
    matrix, to_be_seen = MIRRORED[how]
    set_matrix(path, matrix)
    shown = [as_frame(*taken).bgr for taken in read(path)]
    assert len(shown) == len(flat) == FRAMES
    for picture, stored in zip(shown, flat, strict=True):
        assert np.abs(picture - to_be_seen(stored).astype(int)).mean() < 4


@pytest.mark.parametrize("orientation", EXIF)
@pytest.mark.parametrize("source", ["photo.jpg", "."])
def test_photograph_comes_as_its_exif_says(tmp_path: Path, orientation: int, source: str) -> None:
    path = tmp_path / "photo.jpg"
    drawn = np.zeros((48, 64, 3), np.uint8)
    drawn[:24, :32] = 255, 60, 60
    drawn[24:, :32] = 60, 200, 60
    encoder: Any = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 64, 48, "yuvj444p", Fraction(1, 25)
    picture = av.VideoFrame.from_ndarray(drawn, "bgr24").reformat(format="yuvj444p")
    jpeg = b"".join(bytes(packet) for packet in [*encoder.encode(picture), *encoder.encode()])
    tag = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01" + tag + bytes(4)
    path.write_bytes(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:])
    [taken] = open_source(CaptureOptions(source=source), tmp_path).pictures()
    slot = np.zeros(taken.layout.nbytes, np.uint8)
    taken.write(slot)
    assert np.abs(as_frame(taken, slot).bgr - EXIF[orientation](drawn).astype(int)).mean() < 10


def test_width_and_height_are_those_of_the_upright_picture(tmp_path: Path) -> None:
    path = turn_track(write(tmp_path / "clip.mp4", width=322, height=182), 90)
    picture, _ = read(path, width=100, height=160)[0]
    assert picture.layout == PictureLayout("yuv420p", 100, 160)


def test_size_and_time_that_change_in_a_file_are_another_layout_and_a_break(tmp_path: Path) -> None:
    times = [40 * number for number in range(50)]
    first = write(tmp_path / "first.ts", times=times)
    second = write(tmp_path / "second.ts", width=642, height=362, times=times)
    both = tmp_path / "both.ts"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    taken = [picture for picture, _ in read(both)]
    assert [(picture.layout.width, picture.is_break) for picture in taken] == [
        *[(320, False)] * 50,
        (642, True),
        *[(642, False)] * 49,
    ]


def test_folder_of_images_comes_in_counting_order_whatever_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "images 100%d"
    folder.mkdir()
    sizes = {"9.png": (64, 48), "10.jpg": (66, 50), "100.bmp": (63, 47), "11.webp": (80, 60)}
    for name, (width, height) in sizes.items():
        image(folder / name, width, height)
    (folder / "12.jpg").write_bytes(b"this is no image")
    (folder / "notes.txt").write_text("left out")
    source = open_source(CaptureOptions(source=folder.name), tmp_path)
    pictures = list(source.pictures())
    shown = [(picture.layout.width, picture.layout.height, picture.pts) for picture in pictures]
    assert shown == [(64, 48, 0), (66, 50, 1), (80, 60, 2), (63, 47, 3)]
    assert (source.corrupt, source.thinned) == (1, 0)
    assert source.description == "images 100%d (5 images, 25/s; 1 other files left out)"
    assert pictures[0].time_base == Fraction(1, 25)


@pytest.mark.parametrize("name", ["1.png", "1.jpg", "1.jfif", "1.jpe", "1.dat", "1"])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp", ".gif", ".jp2", ".tiff", ".ppm"])
def test_picture_in_a_folder_is_one_by_its_content_whatever_its_name(tmp_path: Path, name: str, suffix: str) -> None:
    image(tmp_path / f"made{suffix}", 64, 48).rename(tmp_path / name)
    [picture] = open_source(CaptureOptions(source="."), tmp_path).pictures()
    assert (picture.layout.width, picture.layout.height) == (64, 48)


def test_file_in_a_folder_that_is_no_picture_is_left_out_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image(tmp_path / "1.png", 64, 48)
    write(tmp_path / "clip.mp4")
    for number in range(6):
        (tmp_path / f"notes{number}.txt").write_text("BM is no picture")
    source = open_source(CaptureOptions(source="."), tmp_path)
    assert len(list(source.pictures())) == 1
    assert source.description == ". (1 images, 25/s; 7 other files left out)"
    [record] = caplog.records
    assert "7 files are no pictures, and left out: clip.mp4, notes0.txt," in record.getMessage()


def test_folder_of_images_has_fps_pictures_a_second_and_none_is_left_out(tmp_path: Path) -> None:
    for number in range(3):
        image(tmp_path / f"{number}.png", 16, 16)
    source = open_source(CaptureOptions(source=".", fps=0.5, loop=True), tmp_path)
    moments = []
    for picture in source.pictures():
        moments.append(picture.pts * picture.time_base)  # type: ignore[operator]
        if len(moments) == 7:
            source.close()
    assert {after - before for before, after in pairwise(moments)} == {2}
    assert source.thinned == 0


def test_folder_of_broken_images_says_so_instead_of_going_round(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(b"this is no image")
    source = open_source(CaptureOptions(source=".", loop=True), tmp_path)
    with pytest.raises(SourceError, match=r"not one of its images could be decoded \(1 damaged\)"):
        list(source.pictures())


def image(path: Path, width: int, height: int) -> Path:
    codec, pixel_format = {
        ".png": ("png", "rgb24"),
        ".jpg": ("mjpeg", "yuvj420p"),
        ".bmp": ("bmp", "bgr24"),
        ".webp": ("libwebp", "yuv420p"),
        ".jp2": ("jpeg2000", "rgb24"),
        ".tiff": ("tiff", "rgb24"),
        ".ppm": ("ppm", "rgb24"),
        ".gif": ("gif", "rgb8"),
    }[path.suffix]
    picture = av.VideoFrame.from_ndarray(np.zeros((height, width), np.uint8), "gray").reformat(format=pixel_format)
    if path.suffix == ".gif":  # its header is the container's
        with av.open(str(path), "w") as container:
            stream: Any = container.add_stream(codec, rate=25)
            stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
            container.mux([*stream.encode(picture), *stream.encode()])
        return path
    encoder: Any = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = width, height, pixel_format, Fraction(1, 25)
    packets = [*encoder.encode(picture), *encoder.encode()]
    path.write_bytes(b"".join(bytes(packet) for packet in packets))
    return path


def turn_track(path: Path, turn: int) -> Path:
    """Write into an mp4's track header that its pictures are shown turned clockwise, as phones do."""
    return set_matrix(path, QUARTER_TURNS[turn])


def set_matrix(path: Path, turn: tuple[int, int, int, int]) -> Path:
    """Write into an mp4's track header how its pictures are to be seen."""
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 44  # of a version 0 header
    a, b, c, d = turn
    content[matrix : matrix + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path
