from __future__ import annotations

import pytest

from detektr.picture import FORMATS, SIDE_PIXELS_MAX, PictureLayout, Plane, format_name


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(("width", "height"), [(642, 362), (641, 361), (1, 1)])
def test_planes_lie_one_after_the_other_and_fill_the_picture(name: str, width: int, height: int) -> None:
    layout = PictureLayout(name, width, height)
    end = 0
    for plane in layout.planes:
        assert plane.offset == end
        end += plane.row_bytes * plane.rows
    assert layout.nbytes == end


def test_odd_size_rounds_chroma_up() -> None:
    layout = PictureLayout("yuv420p", 641, 361)
    assert layout.planes == (
        Plane(0, 641, 361, 1),
        Plane(641 * 361, 321, 181, 1),
        Plane(641 * 361 + 321 * 181, 321, 181, 1),
    )


def test_interleaved_chroma_has_both_channels_in_a_row() -> None:
    assert PictureLayout("nv12", 641, 361).planes[1] == Plane(641 * 361, 642, 181, 2)


def test_ten_bits_take_two_bytes() -> None:
    assert PictureLayout("p010le", 64, 32).nbytes == 2 * PictureLayout("nv12", 64, 32).nbytes


def test_yuyv_of_odd_width_ends_with_a_whole_pair() -> None:
    assert PictureLayout("yuyv422", 641, 2).planes[0].row_bytes == 1284


def test_alias_is_the_same_layout() -> None:
    assert PictureLayout("gray8", 8, 8) == PictureLayout("gray", 8, 8)


def test_unknown_format_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'yuv415p' is not known.*yuv420p.*gray16le"):
        format_name("yuv415p")


@pytest.mark.parametrize("side", [0, -1, SIDE_PIXELS_MAX + 1])
def test_side_out_of_range_is_refused_with_its_value(side: int) -> None:
    with pytest.raises(ValueError, match=f"width {side} is out of range"):
        PictureLayout("gray", side, 8)
