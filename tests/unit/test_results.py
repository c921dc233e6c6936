from __future__ import annotations

import msgpack
import numpy as np
import pytest

from detektr.descriptor import DescriptorPacker, unpack_descriptor, unpack_passed_on
from detektr.errors import ResultError, WireError
from detektr.nodes.working.event_stream import EventStream
from detektr.results import NODE_BYTES, TAIL_BYTES, pass_on, unpack_results
from detektr.testing import frame, run_processor

PACKER = DescriptorPacker(
    "camera", "door", 1, 2, pixel_format="gray", width=2, height=2, nbytes=4, first_byte=4096, slot_bytes=4096
)
CAPTURED = PACKER.pack(3, 8, 7, 10, 20, None)


def test_each_node_adds_its_results_and_the_descriptor_stays_as_it_was() -> None:
    once = pass_on(CAPTURED, b"", "detect", msgpack.packb([{"box": [1, 2]}, {"box": []}]), 1)
    twice = pass_on(once, unpack_passed_on(once)[2], "track", msgpack.packb([]), 3)
    descriptor, delivery, results, _ = unpack_passed_on(twice)
    assert descriptor == unpack_descriptor(CAPTURED) == unpack_descriptor(once)
    assert delivery == 3 and unpack_passed_on(once)[1] == 1
    assert unpack_results(results) == {"detect": ({"box": [1, 2]}, {"box": []}), "track": ()}
    assert list(unpack_results(results)) == ["detect", "track"]
    assert len(twice) <= len(CAPTURED) + TAIL_BYTES + 2 * NODE_BYTES + 32


def test_the_room_that_is_kept_for_a_node_holds_its_results_at_their_largest() -> None:
    name, returned = "n" * 32, msgpack.packb(["x" * 8180])
    payload, results = CAPTURED, b""
    for number in range(3):
        payload = pass_on(payload, results, f"{name[:-1]}{number}", returned, (1 << 40))
        results = unpack_passed_on(payload)[2]
    assert len(payload) <= len(CAPTURED) + TAIL_BYTES + 3 * (NODE_BYTES + len(returned))


def test_a_captured_frame_has_no_results_and_came_once() -> None:
    assert unpack_passed_on(CAPTURED)[1:] == (1, b"", {})
    assert unpack_results(b"") == {}


@pytest.mark.parametrize("field", [{"delivery": 0}, {"delivery": "two"}, {"results": {}}])
def test_fields_that_no_relay_has_written_are_refused(field: dict[str, object]) -> None:
    payload = msgpack.packb({**msgpack.unpackb(CAPTURED), **field})
    with pytest.raises(WireError, match="delivery"):
        unpack_passed_on(payload)


@pytest.mark.parametrize("results", [b"\xc1", b"\x91\x01", b"\x81\xa1a\x01", b"\xde\x00\x02\xa1a\x90"])
def test_results_that_cannot_be_read_are_refused(results: bytes) -> None:
    with pytest.raises(WireError, match="results of"):
        unpack_results(results)


def test_an_announcement_that_no_capture_has_packed_is_refused() -> None:
    with pytest.raises(WireError, match="begins otherwise"):
        pass_on(b"\x80", b"", "detect", b"\x90", 1)


def test_a_frame_of_a_test_has_the_results_it_is_given_and_they_cannot_be_changed() -> None:
    one = frame(np.zeros((2, 2), np.uint8), results={"detect": [{"label": "person"}], "pose": []})
    assert one.results == {"detect": ({"label": "person"},), "pose": ()}
    one.close()
    with pytest.raises(TypeError):
        one.results["detect"] = ()  # type: ignore[index]
    assert frame(np.zeros((2, 2), np.uint8)).results == {}


def test_a_frame_of_a_test_says_why_a_branch_is_missing() -> None:
    seen: list[dict[str, str]] = []
    one = frame(np.zeros((2, 2), np.uint8), results={"detect": []}, missing={"pose": "dead_lettered"})
    run_processor(lambda frame: seen.append(dict(frame.missing)), [one, frame(np.zeros((2, 2), np.uint8))])
    assert seen == [{"pose": "dead_lettered"}, {}]


def test_results_of_one_frame_that_are_too_large_together_fail_it_in_words() -> None:
    stream = EventStream("detect", 0, 1, 256)
    result = [{"text": "x" * 90} for _ in range(3)]
    assert stream.pack_results(None) == b"\x90" == stream.pack_results([])
    assert msgpack.unpackb(stream.pack_results({"at": np.int64(3)})) == [{"at": 3}]
    with pytest.raises(ResultError, match=r"3 results of 295 bytes together.*detect takes 256: raise its event_bytes"):
        stream.pack_results(result)
