"""H.264 clips made here: a textured scene that pans, things that move in it, a sensor's grain; clips played over."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

MARGIN = 128  # pixels that the view pans over, each way
THINGS = 6


def cached_clip(height: int, width: int, rate: int, frames: int) -> Path:
    """Return a clip of that size, made now unless it is in the cache folder of this user."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "detektr-bench"
    path = root / f"scene-{width}x{height}-{rate}-{frames}.mp4"
    if not path.exists():
        root.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.mp4")
        make_clip(part, height, width, rate, frames)
        part.replace(path)
    return path


def repeated(path: Path, folder: Path, frames: int) -> Path:
    """Return a file in `folder` that plays the clip as often as gives `frames` frames: the same packets, copied."""
    with av.open(str(path)) as clip:
        times = -(-frames // sum(1 for packet in clip.demux(video=0) if packet.size))
    target = folder / f"{path.stem}-{times}x{path.suffix}"
    with av.open(str(target), "w") as output:
        stream, begin = None, 0
        for _ in range(times):
            with av.open(str(path)) as clip:
                source, end = clip.streams.video[0], begin
                stream = stream or output.add_stream_from_template(source)
                for packet in clip.demux(source):
                    if packet.pts is not None and packet.dts is not None:
                        end = max(end, begin + packet.pts + (packet.duration or 1))
                        packet.pts, packet.dts, packet.stream = begin + packet.pts, begin + packet.dts, stream
                        output.mux(packet)
            begin = end
    return target


def make_clip(path: Path, height: int, width: int, rate: int, frames: int) -> None:
    """Encode `frames` frames of the scene, yuv420p, `rate` a second, as a camera would (a key frame every 2 s)."""
    noise = np.random.default_rng(0)
    scene = _scene(noise, height + 2 * MARGIN, width + 2 * MARGIN)
    grain = noise.normal(0, 2.5, (4, height, width, 3)).astype(np.int16)
    size = height // 6
    speeds = noise.uniform(-8, 8, (THINGS, 2))
    places = noise.uniform(0, 1, (THINGS, 2)) * (height - size, width - size)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "23", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = width, height, "yuv420p", 2 * rate
        for number in range(frames):
            top = MARGIN + round(MARGIN * 0.9 * np.sin(number / 40))
            left = MARGIN + round(MARGIN * 0.9 * np.sin(number / 55))
            view = scene[top : top + height, left : left + width].astype(np.int16)
            for thing in range(THINGS):
                y, x = _bounced(places[thing] + number * speeds[thing], (height - size, width - size))
                patch = scene[thing * 16 : thing * 16 + size, thing * 48 : thing * 48 + size]
                view[y : y + size, x : x + size] = 255 - patch.astype(np.int16)
            view += grain[number % 4]
            frame = av.VideoFrame.from_ndarray(view.clip(0, 255).astype(np.uint8), "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _scene(noise: np.random.Generator, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Return a (height, width, 3) picture with detail at every scale, the finer the fainter, as photographs have."""
    scene = np.zeros((height, width, 3), np.float32)
    for scale in (256, 128, 64, 32, 16, 8, 4, 2):
        coarse = noise.normal(0, 1, (height // scale + 2, width // scale + 2, 3)).astype(np.float32)
        fine = coarse.repeat(scale, 0).repeat(scale, 1)[:height, :width]
        scene += fine * (6 + 3 * np.log2(scale))
    return np.asarray((128 + scene).clip(0, 255), np.uint8)


def _bounced(place: npt.NDArray[np.float64], most: tuple[int, int]) -> tuple[int, int]:
    """Return a place within 0 and `most`, reflected at the edges."""
    y, x = (int(limit - abs(value % (2 * limit) - limit)) for value, limit in zip(place, most, strict=True))
    return y, x
