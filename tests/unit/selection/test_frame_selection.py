from __future__ import annotations

import msgpack
import pytest

from detektr.descriptor import DescriptorPacker
from detektr.options import SECOND_NS
from detektr.selection.frame_selection import FrameSelection


def frames(camera: str = "door", rate: int = 24, count: int = 240, *, has_times: bool = True) -> list[bytes]:
    packer = DescriptorPacker(
        camera, camera, 1, 1, pixel_format="gray", width=4, height=2, nbytes=8, first_byte=4096, slot_bytes=4096,
        time_base=(1, rate) if has_times else None,
    )  # fmt: skip
    return [packer.pack(0, 2, number, 1, 1, number if has_times else None) for number in range(count)]


def event(frame: str, camera: str = "door") -> bytes:
    packed: bytes = msgpack.packb({"frame": frame, "camera": camera, "data": {}})
    return packed


def passing(selection: FrameSelection, payloads: list[bytes], captured_ns: int = 1) -> list[int]:
    return [number for number, one in enumerate(payloads) if not selection.reason_against(one, captured_ns)]


def test_frames_of_a_file_read_at_full_speed_are_thinned_by_the_times_in_the_file() -> None:
    assert passing(FrameSelection(3, ()), frames()) == list(range(0, 240, 8))


def test_frames_without_times_of_their_own_are_thinned_by_their_capture() -> None:
    selection, payloads = FrameSelection(3, ()), frames(has_times=False)
    moments = [1 + number * SECOND_NS // 24 for number in range(240)]
    reasons = [selection.reason_against(one, moment) for one, moment in zip(payloads, moments, strict=True)]
    assert [number for number, reason in enumerate(reasons) if not reason] == list(range(0, 240, 8))
    assert {reason for reason in reasons if reason} == {"thinned"}


def test_each_camera_of_an_edge_is_thinned_by_itself() -> None:
    selection = FrameSelection(3, ())
    both = [one for pair in zip(frames("door"), frames("yard"), strict=True) for one in pair]
    assert passing(selection, both) == [number for number in range(480) if number // 2 % 8 == 0]


def test_a_frame_that_lost_its_time_does_not_begin_the_thinning_anew() -> None:
    selection, (without, *_) = FrameSelection(3, ()), frames(has_times=False)
    timed = frames()
    assert passing(selection, [timed[0], timed[1], without, timed[2], timed[8]], 99 * SECOND_NS) == [0, 4]


def test_all_events_of_a_frame_pass_or_none() -> None:
    selection = FrameSelection(1, ())
    events = [event("a"), event("a"), event("b"), event("b"), event("c")]
    moments = [SECOND_NS, SECOND_NS, 3 * SECOND_NS // 2, 3 * SECOND_NS // 2, 2 * SECOND_NS]
    assert [selection.reason_against(*one) for one in zip(events, moments, strict=True)] == [
        "", "", "thinned", "thinned", "",
    ]  # fmt: skip


@pytest.mark.parametrize("fps", [None, 1000])
def test_only_the_cameras_that_are_named_pass(fps: float | None) -> None:
    selection = FrameSelection(fps, ("door", "gate"))
    payloads = [frames("door")[0], frames("yard")[0], event("a", "gate"), event("a", "yard")]
    assert [selection.reason_against(one, 1) for one in payloads] == ["", "filtered", "", "filtered"]


@pytest.mark.parametrize("payload", [b"", b"12", b"\xc1", msgpack.packb([1]), b"\x82"])
def test_what_is_no_map_is_of_no_camera(payload: bytes) -> None:
    assert FrameSelection(None, ("door",)).reason_against(payload, 1) == "filtered"
    assert FrameSelection(1, ()).reason_against(payload, 1) == ""
