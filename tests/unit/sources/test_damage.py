"""Damaged files: what is whole comes, what is damaged is left out and counted, however many threads decode."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import av
import pytest

from detektr.errors import SourceError
from detektr.options import CaptureOptions
from detektr.sources import open_source
from tests.unit.sources.test_formats import image

FRAMES = 60
QUIET = {"x265-params": "log-level=none"}
Damage = Callable[[bytes], bytes]


def write(path: Path, codec: str, **container_options: str) -> Path:
    pixel_format = {"mjpeg": "yuvj420p", "png": "rgb24"}.get(codec, "yuv420p")
    options = QUIET if codec == "libx265" else {}
    with av.open(str(path), "w", options=container_options) as container:
        stream: Any = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 160, 120, pixel_format, 12
        with av.open("testsrc2=size=160x120:rate=25", format="lavfi") as drawn:
            for number, frame in enumerate(islice(drawn.decode(video=0), FRAMES)):
                picture = frame.reformat(format=pixel_format)
                picture.pict_type, picture.pts = 0, number
                container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def damage(path: Path, numbers: set[int], how: Damage) -> None:
    """Overwrite packets, by their place in the file, with others of the same length."""
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        for number, packet in enumerate(container.demux(video=0)):
            if packet.size and number in numbers:
                place = content.index(bytes(packet))
                content[place : place + packet.size] = how(bytes(packet))
    path.write_bytes(content)


def noisy(packet: bytes) -> bytes:
    middle, count = len(packet) // 2, min(200, len(packet) // 3)
    return packet[:middle] + random.Random(len(packet)).randbytes(count) + packet[middle + count :]


def ended_early(packet: bytes) -> bytes:
    return packet[: len(packet) // 2] + bytes(len(packet) - len(packet) // 2)


def taken(path: Path, **options: Any) -> tuple[list[int | None], int]:
    source = open_source(CaptureOptions(source=path.name, **options), path.parent)
    return [picture.pts for picture in source.pictures()], source.corrupt


@pytest.mark.parametrize(("codec", "share"), [("libx264", 0.4), ("libx264", 0.7), ("libx265", 0.4), ("mpeg4", 0.5)])
def test_threads_of_the_decoder_lose_no_picture_of_a_file_that_is_cut_off(
    tmp_path: Path, codec: str, share: float
) -> None:
    path = write(tmp_path / "clip.mp4", codec, movflags="+faststart")
    path.write_bytes(path.read_bytes()[: round(path.stat().st_size * share)])
    alone, corrupt = taken(path, decoder_threads=1)
    assert 10 < len(alone) < FRAMES
    for options in ({}, {"decoder_threads": 2}, {"decoder_threads": 8}):
        assert taken(path, **options) == (alone, corrupt)


@pytest.mark.parametrize(("codec", "name"), [("libx264", "clip.h264"), ("libx265", "clip.hevc")])
def test_threads_of_the_decoder_lose_no_picture_of_packets_without_a_time(
    tmp_path: Path, codec: str, name: str
) -> None:
    path = write(tmp_path / name, codec)
    content = path.read_bytes()
    for share in (1.0, 0.6):
        path.write_bytes(content[: round(len(content) * share)])
        alone = taken(path, decoder_threads=1)
        for threads in (None, 2):
            assert taken(path, decoder_threads=threads) == alone
    path.write_bytes(content)
    damage(path, {20, 33, 57}, ended_early)
    alone = taken(path, decoder_threads=1)
    for threads in (None, 2):
        assert taken(path, decoder_threads=threads) == alone


@pytest.mark.parametrize("how", [noisy, ended_early])
@pytest.mark.parametrize(("codec", "container"), [("libx264", "mp4"), ("libx264", "mkv"), ("libx265", "mp4")])
def test_threads_of_the_decoder_give_the_same_around_damage_as_one(
    tmp_path: Path, codec: str, container: str, how: Damage
) -> None:
    path = write(tmp_path / f"clip.{container}", codec)
    damage(path, {20, 33, 34, 57}, how)
    alone = taken(path, decoder_threads=1)
    assert len(alone[0]) + alone[1] == FRAMES
    for threads in (None, 2, 8):
        assert taken(path, decoder_threads=threads) == alone


@pytest.mark.parametrize(("codec", "container"), [("png", "mov"), ("mjpeg", "avi"), ("mjpeg", "mov")])
@pytest.mark.parametrize("threads", [None, 1])
def test_damaged_pictures_that_stand_alone_are_left_out_and_the_file_goes_on(
    tmp_path: Path, codec: str, container: str, threads: int | None
) -> None:
    path = write(tmp_path / f"clip.{container}", codec)
    whole = taken(path)[0]
    assert len(whole) == FRAMES
    bad = {5, 37, 38, FRAMES - 1}
    damage(path, bad, ended_early)
    rest = [pts for number, pts in enumerate(whole) if number not in bad]
    assert taken(path, decoder_threads=threads) == (rest, len(bad))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_half_a_picture_does_not_pass_as_a_whole_one(tmp_path: Path, suffix: str, share: float) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("1", "2"):
        image(folder / f"{name}{suffix}", 320, 240)
    cut = folder / f"2{suffix}"
    cut.write_bytes(cut.read_bytes()[: round(cut.stat().st_size * share)])
    with pytest.raises(SourceError, match=r"not one picture could be decoded \(1 damaged\)"):
        taken(cut)
    assert taken(folder) == ([0], 1)


@pytest.mark.parametrize("loop", [False, True])
def test_file_that_is_opened_again_goes_on_where_it_was(tmp_path: Path, loop: bool) -> None:
    path = write(tmp_path / "clip.mp4", "libx264")
    damage(path, {5}, ended_early)
    source = open_source(CaptureOptions(source=path.name, fps=5), tmp_path)
    whole = [(picture.pts, picture.place) for picture in source.pictures()]
    assert [place for _, place in whole] == list(range(len(whole)))
    again = open_source(CaptureOptions(source=path.name, fps=5, loop=loop), tmp_path, begin_at=4)
    rest = [(picture.pts, picture.place) for picture in islice(again.pictures(), len(whole) - 4)]
    assert rest == whole[4:]
    if loop:
        assert [next(again.pictures()).place for _ in range(2)] == [0, 1]
    else:
        assert 0 < again.thinned < source.thinned and again.corrupt == 0
    again.close()


def test_folder_of_images_that_is_opened_again_goes_on_where_it_was(tmp_path: Path) -> None:
    for number in range(5):
        image(tmp_path / f"{number}.png", 16, 16)
    (tmp_path / "1.png").write_bytes(b"damaged")
    source = open_source(CaptureOptions(source="."), tmp_path, begin_at=2)
    assert [(picture.pts, picture.place) for picture in source.pictures()] == [(2, 2), (3, 3)]
    assert source.corrupt == 0
