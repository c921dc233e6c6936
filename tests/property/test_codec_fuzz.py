"""Whatever bytes arrive are a message or a `WireError`; whatever is sent arrives as it was."""

from __future__ import annotations

import random
from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from detektr.errors import WireError
from detektr.wire.codec import (
    ASKED_MAX,
    CLIENT_LEASE_NS_MAX,
    CLIENT_WAIT_NS_MAX,
    TEXT_CHARS_MAX,
    VERSION,
    decode,
    encode,
)
from detektr.wire.message import (
    OUTCOMES,
    Announce,
    Attach,
    Clear,
    Cleared,
    Dequeue,
    Dequeued,
    Detach,
    Failure,
    FailureKind,
    Message,
    Refusal,
    Release,
    Resend,
    Settle,
    Settled,
    Show,
    Shown,
    Welcome,
)

U64_MAX = (1 << 64) - 1
counts = st.integers(0, U64_MAX)
sessions = st.integers(1, U64_MAX)
tags = st.integers(0, (1 << 63) - 1)
texts = st.text(max_size=40)
names = st.from_regex(r"[A-Za-z][A-Za-z0-9_.-]{0,39}", fullmatch=True)
frames = st.tuples(counts, counts)
failures = st.lists(st.tuples(counts, counts, st.integers(0, len(FailureKind) - 1), texts), max_size=4).map(tuple)
held = st.lists(frames, max_size=4).map(tuple)
client_leases = st.from_regex(r"[A-Za-z0-9_.-]{1,80}", fullmatch=True)
results = st.sampled_from(("acked", "already", "expired", "unknown"))
attaches = st.builds(
    Attach,
    consumer=names,
    replica=names,
    session=sessions,
    attach_epoch=counts,
    window=st.integers(1, 1 << 20),
    is_durable=st.booleans(),
    is_ephemeral=st.booleans(),
    when_full=st.sampled_from(("", "drop-oldest", "drop-newest", "block")),
    received=st.integers(0, (1 << 63) - 1),
    held=held,
    seen=held,
    failed=failures,
    previous=st.tuples(counts, counts, counts, counts),
    max_deliveries=st.integers(1, 100),
    timeout_ns=counts,
    lane=st.sampled_from(("zmq", "shm")),
    completed=counts,
    is_stateful=st.booleans(),
    passed=held,
    done=held,
)
messages: st.SearchStrategy[Message] = st.one_of(
    attaches,
    st.builds(Welcome, sessions, counts, counts),
    st.builds(Refusal, sessions, texts),
    st.builds(Failure, names, sessions, failures),
    st.builds(Detach, names, sessions),
    st.builds(Clear, names, counts, st.lists(names, max_size=4).map(tuple)),
    st.builds(Cleared, counts, st.lists(st.tuples(names, counts), max_size=4).map(tuple)),
    st.builds(
        Dequeue,
        names,
        counts,
        st.integers(1, ASKED_MAX),
        st.integers(0, CLIENT_LEASE_NS_MAX),
        st.integers(0, CLIENT_WAIT_NS_MAX),
    ),
    st.builds(
        Dequeued,
        counts,
        st.lists(st.tuples(client_leases, counts, tags, st.binary(max_size=20)), max_size=4).map(tuple),
        counts,
        st.booleans(),
        tags,
    ),
    st.builds(
        Settle,
        names,
        counts,
        st.lists(client_leases, max_size=4).map(tuple),
        st.sampled_from(OUTCOMES),
        texts,
        st.integers(0, CLIENT_LEASE_NS_MAX),
    ),
    st.builds(Settled, counts, st.lists(results, max_size=4).map(tuple)),
    st.builds(Show, names, counts, client_leases),
    st.builds(Shown, counts, st.binary(max_size=20), texts),
    st.builds(Resend, names, st.from_regex(r"[0-9a-f]{1,32}", fullmatch=True), st.binary(min_size=1, max_size=20)),
    st.builds(
        Announce,
        names,
        sessions,
        counts,
        tags,
        tags,
        counts,
        st.integers(0, 2),
        st.booleans(),
        st.lists(st.tuples(*[counts] * 6, st.binary(max_size=20)), max_size=4).map(tuple),
    ),
    st.builds(Release, names, sessions, tags, counts, st.lists(st.tuples(*[counts] * 3), max_size=4).map(tuple)),
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 63), U64_MAX),
    st.floats(),
    st.text(max_size=8),
    st.binary(max_size=8),
    st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=4)),
)
keys = st.one_of(st.integers(0, 9), st.text(max_size=3), st.tuples(st.integers(0, 3)))
things = st.recursive(scalars, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(keys, inner, max_size=3))


def survives(payload: bytes) -> bool:
    """Whether `payload` was refused in words, or is a message that can be sent again."""
    try:
        message = decode(payload)
    except WireError as fault:
        return 0 < len(str(fault)) < 400
    return decode(encode(message)) == message


@given(messages)
def test_a_message_arrives_as_it_was_sent(message: Message) -> None:
    again = decode(encode(message))
    assert again == message
    assert type(again) is type(message)


@given(st.binary(max_size=300))
@example(b"")
@example(b"\xc1")
@example(b"\xdd\xff\xff\xff\xff")  # a list of 2**32 - 1
@example(b"\xdf\xff\xff\xff\xff")
@example(b"\xc6\xff\xff\xff\xff")
@example(b"\x91" * 100_000)
@example(b"\x81" * 100_000)
@example(b"\xdc\x10\x00" * 2_000)
@example(b"\x81\x90\x00")  # a list as key
@example(b"\x81\x81\x01\x02\x03")
@example(b"\xd7\xff" + b"\xff" * 8)  # a time that is none
def test_any_bytes_are_a_message_or_refused(payload: bytes) -> None:
    assert survives(payload)


@given(things)
@example([VERSION, 1, 1, 1, float("nan")])
@example([True, 4, "motion", 1])
@example([1.0, 4, "motion", 1])
@example([VERSION, True, "motion", 1])
@example([VERSION, -1, "motion", 1])
@example([VERSION, 4, "motion", -1])
@example([VERSION, 4, "motion", 0])
@example([VERSION, 4, ["motion"], 1])
@example([VERSION, 5, "motion", 1])
@example([VERSION, 3, "motion", 1, [[1, 2, "why"], [1, 2]]])
@example([VERSION, 3, "motion", 1, [[1, 2, ["why"]]]])
def test_anything_packed_is_a_message_or_refused(thing: Any) -> None:
    assert survives(msgpack.packb(thing))


@given(messages, st.randoms(use_true_random=False))
def test_a_message_with_one_field_wrong_is_a_message_or_refused(message: Message, chance: random.Random) -> None:
    fields: list[Any] = [VERSION, list(msgpack.unpackb(encode(message)))[1], *message]
    long = "x" * (TEXT_CHARS_MAX + 1)
    wrong: list[Any] = [None, -1, 1 << 63, float("nan"), long, b"", [], [[]], [[1]], {}, {1: [2]}, True, "../x"]
    fields[chance.randrange(len(fields))] = chance.choice(wrong)
    if chance.random() < 0.2:
        fields.append(chance.choice(wrong))
    assert survives(msgpack.packb(fields))


@given(messages, st.randoms(use_true_random=False))
def test_a_damaged_message_is_a_message_or_refused(message: Message, chance: random.Random) -> None:
    payload = bytearray(encode(message))
    for _ in range(chance.randint(1, 4)):
        payload[chance.randrange(len(payload))] = chance.randrange(256)
    assert survives(bytes(payload))
    assert survives(bytes(payload[: chance.randrange(len(payload) + 1)]))
    assert survives(bytes(payload) + bytes([chance.randrange(256)]))


@pytest.mark.parametrize("cut", range(40))
def test_a_message_cut_short_is_refused(cut: int) -> None:
    payload = encode(Failure("motion", 7, ((5, 6, 0, "it raised something"), (1 << 63, 7, 1, "and once more"))))
    assert cut < len(payload)
    with pytest.raises(WireError):
        decode(payload[:cut])
