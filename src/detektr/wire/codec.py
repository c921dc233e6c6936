"""Messages to bytes and back. Whatever arrives is a message or a `WireError`, nothing else; nothing is unpickled."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgpack

from detektr.errors import WireError
from detektr.wire.message import Attach, Detach, Failure, FailureKind, Message, Refusal, Welcome

VERSION = 3
MESSAGE_BYTES_MAX = 16 << 20
LEASES_MAX = 1 << 17  # what a buffer of the longest queues holds, and says when it attaches
TEXT_CHARS_MAX = 16_384
_U64_MAX = (1 << 64) - 1
_TAG_MAX = (1 << 63) - 1  # far from where counting on would leave a word
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,39}")  # becomes part of a file's name
_KINDS: tuple[type[Message], ...] = (Attach, Welcome, Refusal, Failure, Detach)
_NUMBER = {kind: number for number, kind in enumerate(_KINDS)}


def encode(message: Message) -> bytes:
    """Return the message as bytes; what UTF-8 cannot say of a user's text is replaced by `?`."""
    packed: bytes = msgpack.packb((VERSION, _NUMBER[type(message)], *message), unicode_errors="replace")
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
    if not isinstance(fields, tuple) or len(fields) < 2:
        raise WireError(f"message must be a list of fields; got {fields!r:.80}")
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


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _U64_MAX


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= TEXT_CHARS_MAX


def _is_failure_kind(value: Any) -> bool:
    return type(value) is int and 0 <= value < len(FailureKind)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


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


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "consumer": _is_name,
    "replica": _is_name,
    "session": lambda value: _is_count(value) and value > 0,
    "attach_epoch": _is_count,
    "window": lambda value: _is_count(value) and 0 < value <= 1 << 20,
    "is_durable": _is_flag,
    "is_ephemeral": _is_flag,
    "when_full": lambda value: value in ("", "drop-oldest", "drop-newest", "block"),
    "received": lambda value: _is_count(value) and value <= _TAG_MAX,
    "held": _are(_is_count, _is_count),
    "seen": _are(_is_count, _is_count),
    "failed": _are(_is_count, _is_count, _is_failure_kind, _is_text),
    "previous": lambda value: isinstance(value, tuple) and len(value) == 3 and all(map(_is_count, value)),
    "max_deliveries": lambda value: _is_count(value) and 0 < value <= 100,
    "timeout_ns": _is_count,
    "completed": _is_count,
    "producer_epoch": _is_count,
    "why": _is_text,
}
_CHECKS_OF = {kind: tuple(_CHECKS[name] for name in kind._fields) for kind in _KINDS}
