"""Pictures on their way into a slot: which are copied past the caches, and that each arrives as it is."""

from __future__ import annotations

import numpy as np
import pytest
from av import VideoFrame

from detektr.frame import Bytes
from detektr.nodes.source.decoded import ArrayPicture
from detektr.picture import PictureLayout
from detektr.testing.interpreted import interpreted

(decoded,) = interpreted("detektr.nodes.source.decoded")  # for stand-ins
HD, VGA = (1080, 1920, 3), (480, 640, 3)
LIMIT, BELOW = (1024, 2048), (1024, 2047)  # grey; of CACHED_BYTES, and just less


def picture(shape: tuple[int, ...]) -> Bytes:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize(
    ("shape", "is_ahead", "streamed"),
    [(HD, True, 1), (HD, False, 1), (VGA, False, 1), (VGA, True, 0), (LIMIT, True, 1), (BELOW, True, 0)],
)
def test_only_small_pictures_that_follow_each_other_at_once_go_through_the_caches(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], *, is_ahead: bool, streamed: int
) -> None:
    copies: list[tuple[Bytes, Bytes]] = []
    monkeypatch.setattr(decoded, "stream", lambda target, source: copies.append((target, source)))
    height, width = shape[:2]
    source = picture(shape)
    slot, name = np.zeros(source.size, np.uint8), "gray" if len(shape) == 2 else "bgr24"
    decoded.ArrayPicture(source, PictureLayout(name, width, height)).write(slot, is_ahead=is_ahead)
    assert len(copies) == streamed
    assert bool(slot.any()) == (not streamed), "written once, by one of the two"


@pytest.mark.parametrize(
    ("width", "height", "is_ahead", "streamed"),
    [(1920, 1080, True, 3), (1920, 1080, False, 3), (640, 360, True, 0), (640, 360, False, 3)],
)
def test_the_planes_of_a_decoded_picture_go_one_way(
    monkeypatch: pytest.MonkeyPatch, width: int, height: int, *, is_ahead: bool, streamed: int
) -> None:
    """By the picture's bytes: no plane of a 1080p one is large by itself."""
    copies: list[tuple[Bytes, Bytes]] = []
    monkeypatch.setattr(decoded, "stream", lambda target, source: copies.append((target, source)))
    frame = VideoFrame.from_ndarray(picture((height * 3 // 2, width)), "yuv420p")
    layout = PictureLayout("yuv420p", width, height)
    decoded.DecodedPicture(frame, layout).write(np.zeros(layout.nbytes, np.uint8), is_ahead=is_ahead)
    assert len(copies) == streamed


@pytest.mark.parametrize("is_ahead", [True, False])
@pytest.mark.parametrize("shape", [HD, VGA, (1080, 1921, 3), (3, 5, 3)])
def test_a_picture_of_any_strides_arrives_as_it_is(shape: tuple[int, ...], *, is_ahead: bool) -> None:
    height, width = shape[:2]
    for source in (
        picture(shape),
        picture(shape)[::-1],
        picture(shape)[:, ::-1],
        picture((height, width * 2, 3))[:, ::2],
    ):
        slot = np.zeros(height * width * 3, np.uint8)
        ArrayPicture(source, PictureLayout("bgr24", width, height)).write(slot, is_ahead=is_ahead)
        assert np.array_equal(slot.reshape(shape), source)
