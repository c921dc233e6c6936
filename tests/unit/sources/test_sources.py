from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest

from detektr.descriptor import Descriptor
from detektr.errors import SourceError
from detektr.frame import Frame, plane_rows
from detektr.options import SECOND_NS, CaptureOptions
from detektr.picture import PictureLayout
from detektr.sources import OpenedSource, Picture, open_source
from detektr.sources.pacing import Pacer, Steps

Slot = npt.NDArray[np.uint8]
DESCRIPTOR = Descriptor("cam", "cam", 1, 2, 3, 1, 7, 5, 1753608701224_000_000, None)

PICTURES = """
from fractions import Fraction
import av
import numpy as np

def counted(count=5, step=1):
    picture = np.zeros((37, 53, 3), np.uint8)
    for number in range(count):
        picture[:] = number
        yield picture[::step, ::step]

def endless():
    while True:
        yield np.zeros((4, 6), np.uint8)

def timed(count=40):
    for number in range(count):
        frame = av.VideoFrame(64, 48, "nv12")
        frame.pts, frame.time_base = number, Fraction(1, 40)
        yield frame

def empty():
    return iter(())

def yields(what):
    things = {"float": np.zeros((4, 4, 3)), "four": np.zeros((4, 4, 4), np.uint8), "number": np.array(5, np.uint8)}
    yield {**things, "text": "hello", "none": None}[what]

def raises():
    yield np.zeros((4, 4), np.uint8)
    raise KeyError("the sensor is gone")

def leaves():
    yield np.zeros((4, 4), np.uint8)
    raise SystemExit("no camera")

def gives_seven():
    return 7

def refusing():
    from detektr.errors import SourceError
    yield np.zeros((4, 6), np.uint8)
    raise SourceError("source camera: no light; switch it on")

class Camera:
    def __init__(self, serial):
        if serial < 0:
            raise ConnectionError("no such camera")
        self.serial = serial

    def __iter__(self):
        yield np.full((8, 6), self.serial, np.uint8)

seven = 7
"""
HANDLE = """
import threading
import numpy as np

closers = []

class Camera:
    def __init__(self, fault=None, count=100): self.fault, self.left = fault, count
    def __iter__(self): return self
    def __next__(self):
        self.left -= 1
        if self.left < 0:
            raise StopIteration
        return np.zeros((4, 4), np.uint8)
    def close(self):
        closers.append(threading.get_ident())
        if self.fault:
            raise OSError(self.fault)

class Stuck:
    def __iter__(self): return self
    def __next__(self): return np.zeros((4, 4), np.uint8)
    def __getattr__(self, name): raise OSError("stuck")

class Leaving:
    built, source = 0, None
    def __init__(self): Leaving.built += 1
    def __iter__(self):
        yield np.zeros((4, 4), np.uint8)
        Leaving.source.close()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("beside")
    (folder / "pictures_of_test.py").write_text(PICTURES)
    (folder / "broken_of_test.py").write_text("import there_is_no_such_module\n")
    (folder / "raising_of_test.py").write_text("None.nothing\n")
    (folder / "handle_of_test.py").write_text(HANDLE)
    (folder / "text.mp4").write_text("this is no video\n" * 100)
    return folder


def read(source: OpenedSource, limit: int | None = None) -> list[tuple[Picture, Slot]]:
    taken = []
    for picture in source.pictures():
        slot = np.zeros(picture.layout.nbytes, np.uint8)
        picture.write(slot)
        taken.append((picture, slot))
        if len(taken) == limit:
            source.close()
    return taken


def run(folder: Path, source: str, limit: int | None = None, **options: Any) -> list[tuple[Picture, Slot]]:
    return read(open_source(CaptureOptions(source=source, **options), folder), limit)


def refused(folder: Path, source: str, **options: Any) -> str:
    with pytest.raises(SourceError) as caught:
        run(folder, source, **options)
    return str(caught.value)


def take_closers() -> list[int]:
    """Return the threads that have closed what yields pictures, and begin anew."""
    closers: list[int] = sys.modules["handle_of_test"].closers
    taken = closers.copy()
    closers.clear()
    return taken


@pytest.fixture(scope="module")
def decoded(clip: Path) -> Iterator[list[av.VideoFrame]]:
    with av.open(str(clip)) as container:
        yield list(container.decode(video=0))


def test_file_is_written_bit_for_bit_with_its_times(clip: Path, decoded: list[av.VideoFrame]) -> None:
    source = open_source(CaptureOptions(source=clip.name), clip.parent)
    taken = read(source)
    assert len(taken) == len(decoded) == 48
    for (picture, slot), frame in zip(taken, decoded, strict=True):
        assert np.array_equal(slot, frame.to_ndarray().reshape(-1))
        assert (picture.pts, picture.time_base) == (frame.pts, frame.time_base)
    assert taken[0][0].layout == PictureLayout("yuv420p", 320, 180)
    assert not source.is_live
    assert (source.thinned, source.corrupt) == (0, 0)
    assert source.description == "clip.mp4 (h264 320x180 yuv420p, 24/s)"


@pytest.mark.parametrize("size", ["642x362", "641x361"])
@pytest.mark.parametrize("name", ["yuv420p", "yuv444p", "nv12", "yuv420p10le", "rgb24", "yuyv422"])
def test_padded_planes_of_lavfi_come_without_their_padding(folder: Path, size: str, name: str) -> None:
    width, height = (int(side) for side in size.split("x"))
    graph = f"testsrc2=size=640x360:rate=30,scale={width}:{height},format={name}"
    [(picture, slot)] = run(folder, f"lavfi:{graph}", limit=1)
    with av.open(graph, format="lavfi") as container:
        frame = next(container.decode(video=0))
    assert picture.layout == PictureLayout(name, width, height)
    for plane, place in zip(frame.planes, picture.layout.planes, strict=True):
        padded = np.frombuffer(bytes(plane), np.uint8).reshape(place.rows, plane.line_size)
        written = slot[place.offset : place.offset + place.row_bytes * place.rows].reshape(place.rows, -1)
        assert np.array_equal(written, padded[:, : place.row_bytes])


NEAREST = {
    **{"gbrp": "bgr24", "bgr8": "bgr24", "argb": "bgra", "gbrap": "bgra", "ya8": "bgra"},
    **{"gbrp10le": "rgb48le", "gbrp16be": "rgb48le", "rgb48be": "rgb48le", "rgba64be": "rgba64le"},
    **{"gray16be": "gray16le", "gray12be": "gray12le", "gray14be": "gray14le", "gray9le": "gray10le"},
    **{"uyvy422": "yuv422p", "nv16": "yuv422p", "nv24": "yuv444p", "p210be": "yuv422p10le", "p016le": "yuv420p16le"},
    **{"yuv420p9le": "yuv420p10le", "yuv422p12be": "yuv422p12le", "yuv444p14le": "yuv444p16le"},
}


@pytest.mark.parametrize("name", NEAREST)
def test_format_that_a_ring_cannot_hold_becomes_one_that_loses_nothing(folder: Path, name: str) -> None:
    graph = f"testsrc2=size=64x48:rate=30,format={name}"
    source = open_source(CaptureOptions(source=f"lavfi:{graph}"), folder)
    [(picture, slot)] = read(source, 1)
    assert picture.layout == PictureLayout(NEAREST[name], 64, 48)
    assert source.mode.endswith(f", {name} as {NEAREST[name]}")
    held = av.VideoFrame(64, 48, picture.layout.format)
    for plane, place in zip(held.planes, picture.layout.planes, strict=True):
        rows = plane_rows(plane, place.rows, place.row_bytes)
        rows[:] = slot[place.offset : place.offset + rows.size].reshape(rows.shape)
    with av.open(graph, format="lavfi") as container:
        frame = next(container.decode(video=0))
    assert [bytes(plane) for plane in held.reformat(format=name).planes] == [bytes(plane) for plane in frame.planes]


@pytest.mark.parametrize("name", ["yuv411p", "yuv410p", "yuv440p", "yuv444p16le", "gray12le", "rgb48le", "rgba64le"])
def test_rarer_format_is_held_as_it_is(folder: Path, name: str) -> None:
    [(picture, slot)] = run(folder, f"lavfi:testsrc2=size=64x48:rate=30,format={name}", limit=1)
    assert picture.layout == PictureLayout(name, 64, 48)
    shown = Frame(DESCRIPTOR, picture.layout, slot, 1, None).bgr.astype(int)
    with av.open(f"testsrc2=size=64x48:rate=30,format={name}", format="lavfi") as container:
        expected = next(container.decode(video=0)).to_ndarray(format="bgr24")
    assert np.abs(shown - expected).mean() < 4


def test_full_range_is_kept_in_the_nearest_format(folder: Path) -> None:
    graph = "lavfi:color=white:size=64x48:rate=30,format=uyvy422,scale=out_range=full"
    [(picture, slot)] = run(folder, graph, limit=1)
    assert (picture.layout.format, slot[: 64 * 48].min()) == ("yuvj422p", 255)


@pytest.mark.parametrize(("alpha", "name"), [(255, "bgr24"), (100, "bgra")])
def test_palette_keeps_its_colours(tmp_path: Path, alpha: int, name: str) -> None:
    frame = av.VideoFrame(64, 48, "pal8")
    plane_rows(frame.planes[0], 48, 64)[:] = np.arange(64) // 32
    palette = np.frombuffer(memoryview(frame.planes[1]), np.uint8).reshape(256, 4)
    palette[:] = (0, 0, 0, 255)
    palette[:2] = (255, 0, 0, 255), (0, 0, 255, alpha)
    encoder: Any = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 64, 48, "pal8", Fraction(1, 25)
    packets = [*encoder.encode(frame), *encoder.encode()]
    (tmp_path / "flag.png").write_bytes(b"".join(bytes(packet) for packet in packets))
    for source in ("flag.png", "."):
        [(picture, slot)] = run(tmp_path, source)
        shown = Frame(DESCRIPTOR, picture.layout, slot, 1, None)
        assert (shown.format, shown.bgr[5, 5].tolist(), shown.bgr[5, 60].tolist()) == (name, [255, 0, 0], [0, 0, 255])
        if name == "bgra":
            assert shown.pixels[5, 60, 3] == alpha


def test_sixteen_bits_of_grey_stay_sixteen(tmp_path: Path) -> None:
    depths = np.arange(64 * 48, dtype=np.uint16).reshape(48, 64) * 21
    encoder: Any = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 64, 48, "gray16be", Fraction(1, 25)
    packets = [*encoder.encode(av.VideoFrame.from_ndarray(depths, "gray16be")), *encoder.encode()]
    (tmp_path / "depth.png").write_bytes(b"".join(bytes(packet) for packet in packets))
    [(picture, slot)] = run(tmp_path, "depth.png")
    assert np.array_equal(Frame(DESCRIPTOR, picture.layout, slot, 1, None).pixels, depths)
    [(_, grey)] = run(tmp_path, "depth.png", format="gray8")
    assert np.abs(grey.reshape(48, 64).astype(int) - (depths >> 8)).max() <= 1


def test_full_range_is_told_by_the_format(folder: Path) -> None:
    graph = "lavfi:color=white:size=64x48:rate=30,format=yuv420p,scale=out_range=full"
    [(picture, slot)] = run(folder, graph, limit=1)
    assert picture.layout.format == "yuvj420p"
    assert slot[: 64 * 48].min() == 255
    [(_, limited)] = run(folder, graph, limit=1, format="yuv420p")
    assert limited[: 64 * 48].max() == 235


@pytest.mark.parametrize("name", ["yuv420p10le", "nv12", "yuyv422"])
def test_full_range_is_told_beside_formats_that_have_no_name_for_it(folder: Path, name: str) -> None:
    for colour, shown in (("0x101010", 16), ("white", 255)):
        graph = f"lavfi:color={colour}:size=64x48:rate=30,format={name},scale=out_range=full"
        [(picture, slot)] = run(folder, graph, limit=1)
        assert picture.layout == PictureLayout(name, 64, 48, is_full_range=True)
        frame = Frame(DESCRIPTOR, picture.layout, slot, 1, None)
        assert abs(int(frame.bgr[5, 5, 1]) - shown) <= 2  # swscale rounds
        [(scaled, small)] = run(folder, graph, limit=1, width=32, height=24)
        assert scaled.layout == PictureLayout(name, 32, 24)
        assert abs(int(Frame(DESCRIPTOR, scaled.layout, small, 1, None).bgr[5, 5, 1]) - shown) <= 2  # swscale rounds


def test_format_and_size_are_converted_on_the_way(clip: Path, decoded: list[av.VideoFrame]) -> None:
    taken = run(clip.parent, clip.name, limit=2, format="bgr24", width=160, height=90)
    assert taken[1][0].layout == PictureLayout("bgr24", 160, 90)
    expected = decoded[1].reformat(160, 90, "bgr24").to_ndarray()
    assert np.array_equal(taken[1][1], expected.reshape(-1))


def test_gray_is_the_decoders_luma(clip: Path, decoded: list[av.VideoFrame]) -> None:
    taken = run(clip.parent, clip.name, limit=3, format="gray8")
    assert taken[2][0].layout == PictureLayout("gray", 320, 180)
    assert np.array_equal(taken[2][1], decoded[2].to_ndarray()[:180].reshape(-1))


def test_loop_goes_on_counting_time(clip: Path) -> None:
    times = [picture.pts for picture, _ in run(clip.parent, clip.name, limit=100, loop=True)]
    steps = {after - before for before, after in pairwise(times)}  # type: ignore[operator]
    assert (len(times), len(steps)) == (100, 1)


def test_fps_thins_out_evenly_and_counts(clip: Path) -> None:
    source = open_source(CaptureOptions(source=clip.name, fps=8), clip.parent)
    times = [picture.pts * picture.time_base for picture, _ in read(source)]  # type: ignore[operator]
    assert times == [Fraction(number, 8) for number in range(16)]
    assert source.thinned == 32


def test_close_from_another_thread_ends_a_wait_for_real_time(folder: Path) -> None:
    source = open_source(CaptureOptions(source="lavfi:testsrc2=size=64x48:rate=1/3600", realtime=True), folder)
    pictures = source.pictures()
    next(pictures)
    rest: list[Picture] = []
    waiter = threading.Thread(target=lambda: rest.extend(pictures), daemon=True)
    waiter.start()
    source.close()
    waiter.join(10)
    assert not waiter.is_alive()
    assert rest == []


def test_file_that_another_thread_closes_while_it_is_read_ends(clip: Path) -> None:
    source = open_source(CaptureOptions(source=clip.name, loop=True), clip.parent)
    pictures, is_read = source.pictures(), threading.Event()

    def read_on() -> None:
        for _ in pictures:
            is_read.set()

    reader = threading.Thread(target=read_on, daemon=True)
    reader.start()
    assert is_read.wait(10)
    source.close()
    reader.join(10)
    assert not reader.is_alive()
    source.close()
    assert list(pictures) == []


def test_picture_at_hand_is_whole_after_its_source_was_closed(clip: Path) -> None:
    source = open_source(CaptureOptions(source=clip.name), clip.parent)
    whole = [pixels for _, pixels in read(source)]
    source = open_source(CaptureOptions(source=clip.name), clip.parent)
    pictures = source.pictures()
    picture = next(pictures)
    source.close()
    pixels = np.zeros(picture.layout.nbytes, np.uint8)
    picture.write(pixels)
    assert np.array_equal(pixels, whole[0])
    assert list(pictures) == []


def test_source_closed_before_its_first_picture_has_none(clip: Path) -> None:
    source = open_source(CaptureOptions(source=clip.name), clip.parent)
    source.close()
    assert list(source.pictures()) == []


def test_damaged_file_gives_its_whole_pictures_and_counts_the_others(make_clip: Any, tmp_path: Path) -> None:
    whole = make_clip(tmp_path / "whole.ts", frames=48)
    content = bytearray(whole.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = bytes(range(250)) * 8
    (tmp_path / "damaged.ts").write_bytes(content)
    source = open_source(CaptureOptions(source="damaged.ts"), tmp_path)
    taken = read(source)
    assert 10 < len(taken) < 48
    assert source.corrupt > 0


def test_tags_that_are_not_utf_8_do_not_keep_a_file_from_opening(tmp_path: Path) -> None:
    path = tmp_path / "tagged.mkv"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "XXXXtitle"
        stream: Any = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        container.mux(stream.encode())
    path.write_bytes(path.read_bytes().replace(b"XXXX", b"\xff\xfe\xff\xfe"))
    assert len(run(tmp_path, path.name)) == 1


def test_generator_may_fill_one_array_again(folder: Path) -> None:
    taken = run(folder, "python:pictures_of_test:counted")
    assert [int(slot[0]) for _, slot in taken] == [0, 1, 2, 3, 4]
    assert taken[0][0].layout == PictureLayout("bgr24", 53, 37)
    assert taken[0][0].pts is None


def test_generator_may_yield_any_strides(folder: Path) -> None:
    taken = run(folder, "python:pictures_of_test:counted", with_={"step": -1, "count": 2})
    assert (taken[1][1] == 1).all()
    assert taken[1][0].layout == PictureLayout("bgr24", 53, 37)


def test_class_is_built_with_the_keys_of_with(folder: Path) -> None:
    [(picture, slot)] = run(folder, "python:pictures_of_test:Camera", with_={"serial": 9})
    assert picture.layout == PictureLayout("gray", 6, 8)
    assert (slot == 9).all()


def test_generator_of_video_frames_keeps_their_time_and_is_thinned_by_it(folder: Path) -> None:
    source = open_source(CaptureOptions(source="python:pictures_of_test:timed", fps=10), folder)
    taken = read(source)
    assert [picture.pts for picture, _ in taken] == list(range(0, 40, 4))
    assert taken[0][0].time_base == Fraction(1, 40)
    assert taken[0][0].layout == PictureLayout("nv12", 64, 48)
    assert source.thinned == 30


def test_generator_is_looped_scaled_and_converted(folder: Path) -> None:
    taken = run(folder, "python:pictures_of_test:counted", limit=12, loop=True, format="yuv420p", width=100)
    assert len(taken) == 12
    assert taken[0][0].layout == PictureLayout("yuv420p", 100, 37)


def test_what_yields_pictures_is_closed_by_who_reads_when_the_source_is(folder: Path) -> None:
    source = open_source(CaptureOptions(source="python:handle_of_test:Camera"), folder)
    pictures = source.pictures()
    next(pictures)
    other = threading.Thread(target=source.close)
    other.start()
    other.join()
    assert take_closers() == []
    assert list(pictures) == []
    assert take_closers() == [threading.get_ident()]


def test_what_yields_pictures_is_closed_when_nobody_reads_on(folder: Path) -> None:
    source = open_source(CaptureOptions(source="python:handle_of_test:Camera"), folder)
    next(source.pictures())
    source.close()
    source.close()
    assert take_closers() == [threading.get_ident()]


@pytest.mark.parametrize(
    ("name", "where"), [("Camera", " (handle_of_test.py:18)"), ("Stuck", " (handle_of_test.py:23)")]
)
def test_what_raises_as_it_is_closed_is_said_and_nothing_is_lost_by_it(
    folder: Path, caplog: pytest.LogCaptureFixture, name: str, where: str
) -> None:
    keys = {"fault": "stuck"} if name == "Camera" else {}
    assert len(run(folder, f"python:handle_of_test:{name}", limit=2, with_=keys)) == 2
    take_closers()
    [record] = caplog.records
    what = f"source python:handle_of_test:{name}: raised as it was closed: OSError: stuck{where}"
    assert record.getMessage() == f"{what}; mend it, or catch it there"


def test_each_round_of_a_looped_generator_is_closed(folder: Path) -> None:
    assert len(run(folder, "python:handle_of_test:Camera", limit=5, loop=True, with_={"count": 2})) == 5
    assert len(take_closers()) == 3


def test_generator_whose_round_ends_as_it_is_closed_is_not_built_again(folder: Path) -> None:
    source = open_source(CaptureOptions(source="python:handle_of_test:Leaving", loop=True), folder)
    leaving = sys.modules["handle_of_test"].Leaving
    leaving.source = source
    assert len(list(source.pictures())) == 1
    assert leaving.built == 1


def test_closed_generator_ends_after_its_picture(folder: Path) -> None:
    assert len(run(folder, "python:pictures_of_test:endless", limit=3)) == 3


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("nope.mp4", r"source nope\.mp4: does not exist; relative paths start at"),
        ("text.mp4", r"text\.mp4: .*Invalid data.*; .*whole"),
        (".", r"is a folder without pictures \(5 other files\); name a folder that has some, or one file"),
        ("lavfi:nosuchfilter=1", r"cannot be opened .*; see whether it is spelt"),
        ("lavfi:sine", r"has no video stream \(found: audio\)"),
        ("/dev/video-none", r"does not exist; see ls /dev/video"),
        ("python:pictures_of_test", r"no installed package offers 'pictures_of_test'; known: none; .* module:Class"),
        ("python:no_module_of_test:x", r"no module 'no_module_of_test'; put it on PYTHONPATH or in "),
        (
            "python:broken_of_test:x",
            r"importing broken_of_test raised ModuleNotFoundError.*broken_of_test\.py:1.*inst",
        ),
        ("python:raising_of_test:x", r"importing raising_of_test raised AttributeError.*raising_of_test\.py:1"),
        (
            "python:pictures_of_test:nothing",
            r"\(.*/pictures_of_test\.py\) has no 'nothing'; it has: counted, ",
        ),
        ("python:pictures_of_test:seven", r"seven: is int 7; expected a generator function"),
        ("python:pictures_of_test:gives_seven", r"gives int 7, which has no pictures; expected"),
        ("python:pictures_of_test:leaves", r"raised at picture 1: SystemExit: no camera \(pictures_of_test"),
        ("python:pictures_of_test:raises", r"raised at picture 1: KeyError: 'the sensor is gone' \(pictures_of_test"),
    ],
)
def test_source_that_fails_says_what_why_and_the_cure(folder: Path, source: str, says: str) -> None:
    text = refused(folder, source)
    assert re.search(says, text), text


@pytest.mark.parametrize(
    ("what", "shown"),
    [
        ("float", "a numpy float64 array of shape (4, 4, 3)"),
        ("four", "a numpy uint8 array of shape (4, 4, 4)"),
        ("number", "a numpy uint8 array of shape ()"),
        ("text", "str 'hello'"),
        ("none", "NoneType None"),
    ],
)
def test_generator_that_yields_something_else_is_told_what_is_expected(folder: Path, what: str, shown: str) -> None:
    text = refused(folder, "python:pictures_of_test:yields", with_={"what": what})
    assert f"picture 0 is {shown}; expected a numpy uint8 array (H, W, 3)" in text


def test_constructor_that_raises_is_told_with_its_place_and_keys_but_no_values(folder: Path) -> None:
    text = refused(folder, "python:pictures_of_test:Camera", with_={"serial": -424242})
    assert "cannot be built: ConnectionError: no such camera (pictures_of_test.py:" in text
    assert "keys of with: serial" in text
    assert "424242" not in text


def test_key_that_a_constructor_does_not_take_is_told_without_a_place_in_ours(folder: Path) -> None:
    text = refused(folder, "python:pictures_of_test:Camera", with_={"serial": 1, "port": 2})
    assert "`with` has 'port', which Camera does not take; it takes: serial" in text


def test_source_error_of_a_generator_comes_as_it_is(folder: Path) -> None:
    assert refused(folder, "python:pictures_of_test:refusing") == "source camera: no light; switch it on"


def test_empty_generator_that_is_looped_does_not_spin(folder: Path) -> None:
    assert "ends without a picture" in refused(folder, "python:pictures_of_test:empty", loop=True)


def test_unknown_format_is_refused_before_anything_is_opened(folder: Path) -> None:
    assert "'yuv415p' is not known; known are yuv420p" in refused(folder, "nope.mp4", format="yuv415p")


def test_pacer_waits_for_early_pictures_and_does_not_hurry_after_a_long_wait() -> None:
    pacer = Pacer()
    assert pacer.wait_ns(Fraction(50), 0) == 0
    assert pacer.wait_ns(Fraction(51), SECOND_NS // 4) == 3 * SECOND_NS // 4
    assert pacer.wait_ns(Fraction(52), 10 * SECOND_NS) == 0
    assert pacer.wait_ns(Fraction(53), 10 * SECOND_NS) == SECOND_NS
    assert pacer.wait_ns(Fraction(1), 12 * SECOND_NS) == 0


def test_pacer_goes_on_at_once_after_a_jump_ahead() -> None:
    pacer = Pacer()
    assert pacer.wait_ns(Fraction(50), 0) == 0
    assert pacer.wait_ns(Fraction(110), SECOND_NS, is_jump=True) == 0
    assert pacer.wait_ns(Fraction(111), SECOND_NS) == SECOND_NS


@pytest.mark.parametrize(
    ("usual", "moments", "jumps"),
    [
        (Fraction(1, 25), [0, 0.04, 60, 60.04, 120], [False, False, True, False, True]),
        (None, [0, 0.04, 60, 60.04], [False, False, True, False]),
        (None, [0, 3600, 7200, 7200.04], [False, False, False, False]),
        (Fraction(10), [0, 10, 20, 35, 45, 145], [False, False, False, False, False, True]),
        (Fraction(1, 25), [0, 4.9, 9.8, 3, 3.04], [False, False, False, False, False]),
    ],
)
def test_jump_ahead_is_told_from_pictures_that_are_far_apart(
    usual: Fraction | None, moments: list[float], jumps: list[bool]
) -> None:
    steps = Steps(usual)
    assert [steps.is_jump(Fraction(str(moment))) for moment in moments] == jumps


def test_generator_without_times_runs_at_its_fps_in_real_time_and_none_is_left_out(folder: Path) -> None:
    source = open_source(CaptureOptions(source="python:pictures_of_test:counted", realtime=True, fps=1000), folder)
    assert len(read(source)) == 5
    assert source.thinned == 0


def test_generator_without_times_or_fps_cannot_run_in_real_time(folder: Path) -> None:
    source = open_source(CaptureOptions(source="python:pictures_of_test:counted", realtime=True), folder)
    with pytest.raises(SourceError, match=r"picture \d has no time.*say `fps`"):
        read(source)
