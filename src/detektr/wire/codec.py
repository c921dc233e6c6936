"""Messages to bytes and back. Whatever arrives is a message or a `WireError`, nothing else; nothing is unpickled."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgpack

from detektr.errors import WireError
from detektr.memory.layout import NOTIFY_EACH
from detektr.wire.message import (
    OUTCOMES,
    Announce,
    AnnouncedLease,
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

VERSION = 5  # of what attaches and leaves: a list of fields
LANE_VERSION = 1  # of announcements and releases: maps, for readers in other languages too; docs/internals/lane.md
MESSAGE_BYTES_MAX = 4 << 20  # above what attaches with the most leases; of what is larger, an inbox reads no byte
EVENT_BYTES_MAX = 2 << 20  # above the largest `event_bytes`, with what marks it as resent
ASKED_MAX = 1024  # frames, or leases of clients, that one message is about
CLIENT_LEASE_NS_MAX = 3_600_000_000_000
CLIENT_WAIT_NS_MAX = 60_000_000_000
LEASES_MAX = 1 << 17  # what a buffer of the longest queues holds, and says when it attaches
TEXT_CHARS_MAX = 16_384
_U64_MAX = (1 << 64) - 1
_TAG_MAX = (1 << 63) - 1  # far from where counting on would leave a word
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,39}")  # becomes part of a file's name
_NAMES_SEEN: set[str] = set()  # right ones; on cold caches the pattern costs as much as the rest of a message's checks
_NAMES_SEEN_MAX = 1024
_ATTACHING: tuple[type[Message], ...] = (Attach, Welcome, Refusal, Failure, Detach, Resend, Clear, Cleared)
_KINDS: tuple[type[Message], ...] = (*_ATTACHING, Dequeue, Dequeued, Settle, Settled, Show, Shown)
_LETTER = re.compile(r"[0-9a-f]{1,32}")
_CLIENT_LEASE = re.compile(r"[A-Za-z0-9_.-]{1,80}")  # of a client, by its name
_LEASE_KEYS = ("tag", "delivery", "stream", "sequence", "captured_ns", "cell")
_NUMBER = {kind: number for number, kind in enumerate(_KINDS)}


def encode(message: Message) -> bytes:
    """Return the message as bytes; what UTF-8 cannot say of a user's text is replaced by `?`."""
    fields: object
    if isinstance(message, Announce):
        consumer, session, producer_epoch, after, last, acknowledged, notify, has_ended, leases, asks = message
        fields = {
            "v": LANE_VERSION,
            "kind": "announce",
            "edge": consumer,
            "session": session,
            "producer_epoch": producer_epoch,
            "after": after,
            "last": last,
            "acknowledged": acknowledged,
            "notify": notify,
            "has_ended": has_ended,
            "leases": [
                {
                    "tag": tag,
                    "delivery": delivery,
                    "stream": key,
                    "sequence": sequence,
                    "captured_ns": captured_ns,
                    "cell": cell,
                    "frame": payload,
                }
                for tag, delivery, key, sequence, captured_ns, cell, payload in leases
            ],
            "asks": asks,
        }
    elif isinstance(message, Release):
        fields = {
            "v": LANE_VERSION,
            "kind": "release",
            "edge": message.consumer,
            "session": message.session,
            "received": message.received,
            "first": message.first,
            "completed": message.completed,
            "asks": message.asks,
        }
    else:
        fields = (VERSION, _NUMBER[type(message)], *message)
    packed: bytes = msgpack.packb(fields, unicode_errors="replace")
    return packed


def decode(payload: bytes) -> Message:
    """Read one message.

    Raises:
        WireError: the bytes are not a message of this version; says which field and what came.
    """
    if len(payload) > MESSAGE_BYTES_MAX:
        raise WireError(f"message of {len(payload)} bytes; at most {MESSAGE_BYTES_MAX} are taken")
    try:
        fields = msgpack.unpackb(
            payload, use_list=False, strict_map_key=False, max_array_len=min(LEASES_MAX, len(payload))
        )
    except (ValueError, TypeError, msgpack.UnpackException, msgpack.ExtraData, RecursionError) as fault:
        raise WireError(
            f"message of {len(payload)} bytes is not msgpack: {str(fault) or type(fault).__name__}"
        ) from None
    if isinstance(fields, dict):
        return _lane_message(fields)
    if not isinstance(fields, tuple) or len(fields) < 2:
        raise WireError(f"message must be a map, or a list of fields; got {fields!r:.80}")
    version, number, *rest = fields
    if type(version) is not int or version != VERSION:
        raise WireError(
            f"message of version {version!r:.20}; this process speaks {VERSION}: run the same detektr everywhere"
        )
    if type(number) is not int or not 0 <= number < len(_KINDS):
        raise WireError(f"message kind {number!r:.20} is unknown")
    kind = _KINDS[number]
    names: tuple[str, ...] = kind._fields
    if len(rest) != len(names):
        raise WireError(f"{kind.__name__} has {len(names)} fields; got {len(rest)}")
    for check, name, value in zip(_CHECKS_OF[kind], names, rest, strict=True):
        if not check(value):
            raise WireError(f"{kind.__name__}.{name} cannot be {value!r:.80}")
    return kind(*rest)


def _lane_message(fields: dict[Any, Any]) -> Message:
    """Read a message of the lane `zmq`; fields that are not known are left alone."""
    version, kind = fields.get("v"), fields.get("kind")
    if type(version) is not int or version != LANE_VERSION:
        raise WireError(
            f"announcement of version {version!r:.20}; this process reads version {LANE_VERSION}:"
            " run the same detektr everywhere"
        )
    if kind == "announce":
        return _announce(fields)
    if kind == "release":
        return Release(
            consumer=_field(fields, "edge", _is_name),
            session=_field(fields, "session", _is_session),
            received=_field(fields, "received", _is_tag),
            first=_field(fields, "first", _is_count),
            completed=_field(fields, "completed", _are_completed),
            asks=_asks(fields),
        )
    raise WireError(f"announcement of the unknown kind {kind!r:.40}; expected announce or release")


def _announce(fields: dict[Any, Any]) -> Announce:
    leases = fields.get("leases")
    if not isinstance(leases, tuple):
        raise WireError(f"announce: leases cannot be {leases!r:.80}; expected a list of maps")
    values: list[Any] = []
    for name, is_right in _ANNOUNCE_CHECKS:
        value = fields.get(name)
        if not is_right(value):
            raise WireError(f"announce: {name} cannot be {value!r:.80}")
        values.append(value)
    consumer, session, producer_epoch, after, last, acknowledged, notify, has_ended = values
    taken = tuple([_lease(lease) for lease in leases])
    return Announce(
        consumer, session, producer_epoch, after, last, acknowledged, notify, has_ended, taken, _asks(fields)
    )


def _field(fields: dict[Any, Any], name: str, is_right: Callable[[Any], bool]) -> Any:
    value = fields.get(name)
    if not is_right(value):
        raise WireError(f"{fields['kind']}: {name} cannot be {value!r:.80}")
    return value


def _asks(fields: dict[Any, Any]) -> bool:
    return bool(_field(fields, "asks", _is_flag)) if "asks" in fields else False


def _lease(fields: Any) -> AnnouncedLease:
    if not isinstance(fields, dict):
        raise WireError(f"announce: a lease cannot be {fields!r:.80}; expected a map")
    get: Callable[[str], Any] = fields.get
    tag, delivery, key, sequence = get("tag"), get("delivery"), get("stream"), get("sequence")
    captured_ns, cell, payload = get("captured_ns"), get("cell"), get("frame")
    # Every frame passes here, on cold caches: one look finds what is right, as MessagePack has no integer above 2**64.
    are_counts = (
        type(tag) is type(delivery) is type(key) is type(sequence) is type(captured_ns) is type(cell) is int
        and min(tag, delivery, key, sequence, captured_ns, cell) >= 0
    )
    if not are_counts:
        counts = {name: fields.get(name) for name in _LEASE_KEYS}
        raise WireError(f"announce: a lease cannot have {counts!r:.200}; each of them is a number from 0 on")
    if not isinstance(payload, bytes):
        raise WireError(f"announce: frame cannot be {payload!r:.80}; expected bytes")
    return tag, delivery, key, sequence, captured_ns, cell, payload


def _is_session(value: Any) -> bool:
    return _is_count(value) and value > 0


def _is_tag(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _TAG_MAX


def _is_notify(value: Any) -> bool:
    return type(value) is int and 0 <= value <= NOTIFY_EACH


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _U64_MAX


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= TEXT_CHARS_MAX


def _is_failure_kind(value: Any) -> bool:
    return type(value) is int and 0 <= value < len(FailureKind)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and (value in _NAMES_SEEN or _is_new_name(value))


def _is_new_name(value: str) -> bool:
    is_right = _NAME.fullmatch(value) is not None
    if is_right and len(_NAMES_SEEN) < _NAMES_SEEN_MAX:
        _NAMES_SEEN.add(value)
    return is_right


def _are(*shape: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Return a check for a list of tuples of this shape."""

    def check(value: Any) -> bool:
        return isinstance(value, tuple) and all(
            isinstance(item, tuple)
            and len(item) == len(shape)
            and all(is_right(part) for is_right, part in zip(shape, item, strict=True))
            for item in value
        )

    return check


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_client_lease(value: Any) -> bool:
    return isinstance(value, str) and _CLIENT_LEASE.fullmatch(value) is not None


def _is_packed(value: Any) -> bool:
    return isinstance(value, bytes) and len(value) <= EVENT_BYTES_MAX


def _is_short(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) <= ASKED_MAX


_RESULTS = ("acked", "already", "expired", "unknown")
_are_handed_out = _are(_is_client_lease, _is_count, _is_tag, _is_packed)
_CHECKS: dict[str, Callable[[Any], bool]] = {
    "consumer": _is_name,
    "replica": _is_name,
    "session": _is_session,
    "attach_epoch": _is_count,
    "window": lambda value: _is_count(value) and 0 < value <= 1 << 20,
    "is_durable": _is_flag,
    "is_ephemeral": _is_flag,
    "when_full": lambda value: value in ("", "drop-oldest", "drop-newest", "block"),
    "received": _is_tag,
    "held": _are(_is_count, _is_count),
    "seen": _are(_is_count, _is_count),
    "failed": _are(_is_count, _is_count, _is_failure_kind, _is_text),
    "previous": lambda value: isinstance(value, tuple) and len(value) == 4 and all(map(_is_count, value)),
    "max_deliveries": lambda value: _is_count(value) and 0 < value <= 100,
    "timeout_ns": _is_count,
    "lane": lambda value: value in ("zmq", "shm"),
    "completed": _is_count,
    "is_stateful": _is_flag,
    "passed": _are(_is_count, _is_count),
    "done": _are(_is_count, _is_count),
    "producer_epoch": _is_count,
    "why": _is_text,
    "letter": lambda value: isinstance(value, str) and _LETTER.fullmatch(value) is not None,
    "request": _is_count,
    "consumers": lambda value: isinstance(value, tuple) and all(map(_is_name, value)),
    "counts": _are(_is_name, _is_count),
    "event": lambda value: isinstance(value, bytes) and 0 < len(value) <= EVENT_BYTES_MAX,
    "most": lambda value: _is_count(value) and 0 < value <= ASKED_MAX,
    "lease_ns": lambda value: _is_count(value) and value <= CLIENT_LEASE_NS_MAX,
    "wait_ns": lambda value: _is_count(value) and value <= CLIENT_WAIT_NS_MAX,
    "for_ns": lambda value: _is_count(value) and value <= CLIENT_LEASE_NS_MAX,
    "frames": lambda value: _is_short(value) and _are_handed_out(value),
    "remaining": _is_count,
    "is_ended": _is_flag,
    "full_until_ns": _is_tag,
    "leases": lambda value: _is_short(value) and all(map(_is_client_lease, value)),
    "outcome": lambda value: isinstance(value, str) and value in OUTCOMES,
    "results": lambda value: _is_short(value) and all([isinstance(one, str) and one in _RESULTS for one in value]),
    "lease": _is_client_lease,
    "frame": _is_packed,
}
_ANNOUNCE_CHECKS = (
    ("edge", _is_name),
    ("session", _is_session),
    ("producer_epoch", _is_count),
    ("after", _is_tag),
    ("last", _is_tag),
    ("acknowledged", _is_count),
    ("notify", _is_notify),
    ("has_ended", _is_flag),
)
"""Fields of an announcement, in the order of `Announce`, whose `leases` and `asks` follow."""
_are_completed = _are(_is_count, _is_count, _is_count)
_CHECKS_OF = {kind: tuple(_CHECKS[name] for name in kind._fields) for kind in _KINDS}
