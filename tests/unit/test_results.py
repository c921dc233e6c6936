from __future__ import annotations

import msgpack
import numpy as np
import pytest

from detektr.descriptor import DescriptorPacker, unpack_descriptor, unpack_passed_on
from detektr.errors import ResultError, WireError
from detektr.nodes.working.event_stream import EventStream
from detektr.results import MISSING_BYTES, MISSING_NODE_BYTES, NODE_BYTES, TAIL_BYTES, join, pass_on, unpack_results
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
    with pytest.raises(ResultError, match=r"3 results of 295 bytes together.*detect takes at most 256: raise its"):
        stream.pack_results(result)


def passed(*nodes: str, payload: bytes = CAPTURED, delivery: int = 1) -> bytes:
    """A frame that these nodes have passed on one after the other, each with its own name as its result."""
    for node in nodes:
        results = unpack_passed_on(payload)[2]
        payload = pass_on(payload, results, node, msgpack.packb([{"by": node}]), delivery)
    return payload


def joined(*payloads: bytes, deliveries: tuple[int, ...] = (), **missing: str) -> bytes:
    return join(payloads, deliveries or (1,) * len(payloads), missing)[0]


def test_a_joined_frame_has_the_results_of_all_branches_and_the_descriptor_of_the_frame() -> None:
    descriptor, delivery, results, missing = unpack_passed_on(joined(passed("detect"), passed("pose"), CAPTURED))
    assert descriptor == unpack_descriptor(CAPTURED)
    assert list(unpack_results(results)) == ["detect", "pose"]
    assert unpack_results(results)["pose"] == ({"by": "pose"},)
    assert (delivery, missing) == (1, {})


def test_the_results_of_nodes_above_the_place_where_branches_part_stand_once_and_first() -> None:
    above = passed("scale", "detect")
    _, _, results, _ = unpack_passed_on(joined(passed("pose", payload=above), passed("plate", payload=above), above))
    assert list(unpack_results(results)) == ["scale", "detect", "pose", "plate"]


def test_branches_that_have_not_brought_it_are_missing_with_their_reasons_also_after_others_have_passed_it_on() -> None:
    one = joined(passed("detect"), pose="filtered", plate="dead_lettered")
    assert unpack_passed_on(one)[3] == {"pose": "filtered", "plate": "dead_lettered"}
    later = passed("merge", "track", payload=one)
    _, _, results, missing = unpack_passed_on(later)
    assert list(unpack_results(results)) == ["detect", "merge", "track"]
    assert missing == {"pose": "filtered", "plate": "dead_lettered"}


def test_what_is_missing_of_a_join_within_a_branch_is_missing_of_the_whole() -> None:
    inner = passed("inner", payload=joined(passed("detect"), pose="gone"))
    whole = joined(inner, passed("plate"), late="thinned")
    _, _, results, missing = unpack_passed_on(whole)
    assert list(unpack_results(results)) == ["detect", "inner", "plate"]
    assert missing == {"pose": "gone", "late": "thinned"}


@pytest.mark.parametrize(
    ("said", "leases", "delivery"),
    [
        ((1, 1), (1, 1), 1),
        ((1, 1), (2, 1), 2),
        ((1, 1), (2, 3), 3),
        ((3, 1), (1, 1), 3),
        ((3, 1), (2, 2), 4),
        ((2, 4), (3, 1), 4),
        ((1 << 32, 1), (2, 1), (1 << 32) - 1 + 1),
    ],
)
def test_a_joined_frame_came_as_often_as_on_the_branch_where_it_came_most(
    said: tuple[int, int], leases: tuple[int, int], delivery: int
) -> None:
    branches = [passed(node, delivery=count) for node, count in zip(("detect", "pose"), said, strict=True)]
    payload, count = join(branches, leases, {})
    assert count == max(leases)
    assert unpack_passed_on(payload)[1] + count - 1 == delivery, "as a frame counts it"


def test_a_frame_that_only_captures_have_announced_is_joined_too() -> None:
    payload, count = join([CAPTURED, CAPTURED], (2, 1), {})
    descriptor, delivery, results, missing = unpack_passed_on(payload)
    assert descriptor == unpack_descriptor(CAPTURED)
    assert (delivery + count - 1, unpack_results(results), missing) == (2, {}, {})
    assert list(unpack_results(unpack_passed_on(passed("track", payload=payload))[2])) == ["track"]


def test_a_joined_frame_fits_the_room_that_is_kept_for_it() -> None:
    names = [f"{'n' * 30}{number}" for number in range(9)]
    reasons = {f"{'m' * 30}{number}": "dead_lettered" for number in range(9)}
    payload = join([passed(name) for name in names], (1,) * 9, reasons)[0]
    room = len(CAPTURED) + TAIL_BYTES + 9 * (NODE_BYTES + len(msgpack.packb([{"by": names[0]}])))
    assert len(payload) <= room + MISSING_BYTES + 9 * MISSING_NODE_BYTES


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x01", CAPTURED[:40]])
def test_what_no_detektr_has_announced_is_not_joined(payload: bytes) -> None:
    with pytest.raises(WireError, match="announcement of"):
        join([passed("detect"), payload], (1, 1), {})
