"""Results: what nodes returned for a frame, travelling with its announcement along the chain.

The announcement of a frame that was passed on is its descriptor with two more fields at the end: `delivery`, the count
of deliveries so far, and `results`, MessagePack within MessagePack, so that whoever needs only the descriptor does not
unpack them:

    results = {node: [what it returned, ...], ...}     in the order of the way; nothing returned: an empty list

Where branches were joined, the field `missing` is before those two: {node: why its branch did not pass the frame on}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgpack

from detektr.errors import WireError

Results = Mapping[str, tuple[dict[str, Any], ...]]
NONE: Results = MappingProxyType({})
NODE_BYTES = 48  # of a node's results beside what it returned: its name, and the lengths before both
_DELIVERY = b"\xa8delivery\xce"
_RESULTS = b"\xa7results\xc6"
_ADDED = (b"\xa8delivery", b"\xa7results", b"\xa7missing")
TAIL_BYTES = len(_DELIVERY) + 4 + len(_RESULTS) + 4 + 3  # around what the nodes returned
MISSING_BYTES = 8 + 3  # around what is missing ...
MISSING_NODE_BYTES = 34 + 34  # ... of each branch
_U32_MAX = (1 << 32) - 1


def pass_on(payload: bytes, results: bytes, node: str, returned: bytes, delivery: int) -> bytes:
    """Return the announcement of a frame with what one more node returned for it.

    Args:
        payload: the frame's announcement, as it came to the node.
        results: the field `results` of it; empty: no node has passed it on so far.
        node: which node passes it on; not among `results`.
        returned: MessagePack of a list, of what it returned.
        delivery: which attempt at the frame that was, over all nodes.
    Raises:
        WireError: the announcement was not packed by detektr.
    """
    if payload[:1] != b"\xde":
        raise WireError(f"descriptor of {len(payload)} bytes begins otherwise than those of a capture")
    if results:
        fields, end = int.from_bytes(payload[1:3], "big"), len(payload) - TAIL_BYTES + 3 - len(results)
        count, known = int.from_bytes(results[1:3], "big"), results[3:]
    else:
        fields, end, count, known = int.from_bytes(payload[1:3], "big") + 2, len(payload), 0, b""
    name: bytes = msgpack.packb(node)
    own = b"\xde" + (count + 1).to_bytes(2, "big") + known + name + returned
    return b"".join(
        (
            b"\xde" + fields.to_bytes(2, "big") + payload[3:end],
            _DELIVERY + min(delivery, _U32_MAX).to_bytes(4, "big"),
            _RESULTS + len(own).to_bytes(4, "big") + own,
        )
    )


def join(payloads: Sequence[bytes], deliveries: Sequence[int], missing: Mapping[str, str]) -> tuple[bytes, int]:
    """Return one announcement of a frame that has come by several branches, with the results of all of them.

    Args:
        payloads: what each branch has announced, in the file's order; at least one.
        deliveries: the count of each one's leases of the frame.
        missing: for each branch that has not passed it on, why.
    Returns:
        The announcement, and the count of leases to read it with.
    Raises:
        WireError: one of them was not packed by detektr.
    """
    results: dict[Any, bytes] = {}
    reasons: dict[str, str] = {}
    count = max(deliveries)
    attempt = count  # over all nodes
    for payload, leases in zip(payloads, deliveries, strict=True):
        fields = _raw_fields(payload)
        if b"\xa8delivery" in fields:
            attempt = max(attempt, msgpack.unpackb(fields[b"\xa8delivery"]) + leases - 1)
        if b"\xa7missing" in fields:
            reasons |= msgpack.unpackb(fields[b"\xa7missing"])
        if b"\xa7results" in fields:
            results |= _raw_fields(msgpack.unpackb(fields[b"\xa7results"]))
    reasons |= missing
    head = [(key, value) for key, value in _raw_fields(payloads[0]).items() if key not in _ADDED]
    if reasons:
        head.append((b"\xa7missing", msgpack.packb(reasons)))
    joined = b"\xde" + len(results).to_bytes(2, "big") + b"".join([key + value for key, value in results.items()])
    announcement = (
        b"\xde" + (len(head) + 2).to_bytes(2, "big") + b"".join([key + value for key, value in head]),
        _DELIVERY + min(attempt - count + 1, _U32_MAX).to_bytes(4, "big"),
        _RESULTS + len(joined).to_bytes(4, "big") + joined,
    )
    return b"".join(announcement), count


def _raw_fields(packed: bytes) -> dict[bytes, bytes]:
    """Return the fields of a packed map, keys and values as they are packed."""
    unpacker = msgpack.Unpacker(max_buffer_size=len(packed) + 1, strict_map_key=False)
    unpacker.feed(packed)
    found: dict[bytes, bytes] = {}
    try:
        for _ in range(unpacker.read_map_header()):
            begin = unpacker.tell()
            unpacker.skip()
            middle = unpacker.tell()
            unpacker.skip()
            found[packed[begin:middle]] = packed[middle : unpacker.tell()]
    except (ValueError, msgpack.UnpackException) as fault:
        raise WireError(f"announcement of {len(packed)} bytes is no MessagePack map: {fault}") from None
    return found


def unpack_results(results: bytes) -> Results:
    """Return the results of each node, in the order of the way.

    Args:
        results: the field of an announcement; empty: nobody has passed the frame on.
    Raises:
        WireError: they cannot be read.
    """
    if not results:
        return NONE
    try:
        found = msgpack.unpackb(results, strict_map_key=False)
        return MappingProxyType({node: tuple(returned) for node, returned in found.items()})
    except (ValueError, TypeError, AttributeError, msgpack.UnpackException, RecursionError) as fault:
        raise WireError(f"results of {len(results)} bytes cannot be read: {fault}") from None
