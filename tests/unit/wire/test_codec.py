from __future__ import annotations

from typing import Any

import msgpack
import pytest

from detektr.errors import WireError
from detektr.wire.codec import LEASES_MAX, MESSAGE_BYTES_MAX, TEXT_CHARS_MAX, VERSION, decode, encode
from detektr.wire.message import Attach, Detach, Failure, Refusal

ATTACH = Attach(
    consumer="buffer",
    replica="buffer.0",
    session=7,
    attach_epoch=1,
    window=4,
    is_durable=True,
    is_ephemeral=False,
    when_full="",
    received=0,
    held=(),
    seen=(),
    failed=(),
    previous=(0, 0, 0, 0),
)
DETACH = 4


def test_a_buffer_that_holds_65536_frames_can_say_so_when_it_attaches() -> None:
    attach = ATTACH._replace(held=tuple((1 << 63, number) for number in range(65_536)))
    assert decode(encode(attach)) == attach


def test_a_reason_that_utf8_cannot_say_is_sent_as_far_as_it_can() -> None:
    message = decode(encode(Failure("motion", 7, ((1, 2, 0, "no file clip\udcff.mp4"),))))
    assert isinstance(message, Failure)
    assert message.failed == ((1, 2, 0, "no file clip?.mp4"),)


def test_failures_arrive_in_order_and_none_is_a_sign_of_life() -> None:
    failed = tuple((1 << 63, number, number, f"reason {number}") for number in range(3))
    message = decode(encode(Failure("motion", 7, failed)))
    assert isinstance(message, Failure)
    assert message.failed == failed
    assert decode(encode(Failure("motion", 7, ()))) == Failure("motion", 7, ())


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0b", "a\nb", "motion\n", "a~b", "ä", "-a", "a" * 41])
def test_a_name_that_could_not_be_part_of_a_files_name_is_refused(name: str) -> None:
    with pytest.raises(WireError, match=r"Detach\.consumer cannot be"):
        decode(msgpack.packb((VERSION, DETACH, name, 1)))


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        (7, "must be a map, or a list of fields; got 7"),
        ([VERSION], rf"must be a map, or a list of fields; got \({VERSION},\)"),
        ([VERSION + 1, DETACH, "motion", 1], f"message of version {VERSION + 1}; this process speaks {VERSION}"),
        ([True, DETACH, "motion", 1], "message of version True"),
        ([1.0, DETACH, "motion", 1], "message of version 1.0"),
        ([VERSION, 99, "motion", 1], "message kind 99 is unknown"),
        ([VERSION, DETACH + 4, "motion", 1], "Dequeue has 5 fields; got 2"),
        ([VERSION, DETACH + 10, "motion", 1], "message kind 14 is unknown"),
        ([VERSION, DETACH + 4, "guest-1.0", 1, 2000, 1, 1], r"Dequeue\.most cannot be 2000"),
        ([VERSION, DETACH + 4, "guest-1.0", 1, 1, 1 << 60, 1], r"Dequeue\.lease_ns cannot be"),
        ([VERSION, DETACH + 6, "guest-1.0", 1, ("a/b",), "done", "", 0], r"Settle\.leases cannot be"),
        ([VERSION, DETACH + 6, "guest-1.0", 1, ("a",), "maybe", "", 0], r"Settle\.outcome cannot be"),
        ([VERSION, DETACH + 6, "guest-1.0", 1, ("a",) * 1025, "done", "", 0], r"Settle\.leases cannot be"),
        ([VERSION, DETACH + 7, 1, ("acked", "gone")], r"Settled\.results cannot be"),
        ([VERSION, DETACH + 2, "motion", 1], "Clear has 3 fields; got 2"),
        ([VERSION, DETACH + 2, "guest-1.0", 1, ("../x",)], r"Clear\.consumers cannot be"),
        ([VERSION, DETACH + 3, 1, (("eye", -1),)], r"Cleared\.counts cannot be"),
        ([VERSION, DETACH + 1, "hook", "../x", b"e"], "Resend.letter cannot be '../x'"),
        ([VERSION, DETACH + 1, "hook", "ab", b""], "Resend.event cannot be b''"),
        ([VERSION, DETACH, "motion"], "Detach has 2 fields; got 1"),
        ([VERSION, DETACH, "motion", 0], r"Detach\.session cannot be 0"),
        ([VERSION, DETACH, "motion", -1], r"Detach\.session cannot be -1"),
        ([VERSION, DETACH, "motion", True], r"Detach\.session cannot be True"),
        ([VERSION, DETACH, "motion", float("nan")], r"Detach\.session cannot be nan"),
    ],
)
def test_a_message_that_is_not_ours_is_refused_in_words(fields: Any, why: str) -> None:
    with pytest.raises(WireError, match=why):
        decode(msgpack.packb(fields))


@pytest.mark.parametrize(
    "change",
    [
        {"window": 0},
        {"window": (1 << 20) + 1},
        {"when_full": "explode"},
        {"is_durable": 1},
        {"held": ((1,),)},
        {"held": ((1, 2, 3),)},
        {"held": ((1, -2),)},
        {"held": {1: 2}},
        {"failed": ((1, 2, b"bytes"),)},
        {"failed": ((1, 2, "x" * (TEXT_CHARS_MAX + 1)),)},
        {"previous": (0, 0, 0)},
        {"previous": (0, 0, 0, None)},
    ],
)
def test_a_field_out_of_range_is_refused_by_its_name(change: dict[str, Any]) -> None:
    with pytest.raises(WireError, match=rf"Attach\.{next(iter(change))} cannot be"):
        decode(encode(ATTACH._replace(**change)))


def test_a_list_too_long_is_refused() -> None:
    with pytest.raises(WireError, match="exceeds max_array_len"):
        decode(msgpack.packb([VERSION, DETACH, [0] * (LEASES_MAX + 1), 1]))


def test_a_message_too_long_is_refused_unread() -> None:
    with pytest.raises(WireError, match=f"at most {MESSAGE_BYTES_MAX} are taken"):
        decode(b"\x90" + bytes(MESSAGE_BYTES_MAX))


def test_nothing_but_bytes_of_ours_is_unpacked() -> None:
    with pytest.raises(WireError):
        decode(b"cos\nsystem\n(S'true'\ntR.")
    assert decode(encode(Refusal(7, "why"))) == Refusal(7, "why")
    assert decode(encode(Detach("motion", 7))) == Detach("motion", 7)
