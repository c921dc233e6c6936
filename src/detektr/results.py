"""Results: what nodes returned for a frame, travelling with its announcement along the chain.

The announcement of a frame that was passed on is its descriptor with two more fields at the end: `delivery`, the count
of deliveries so far, and `results`, MessagePack within MessagePack, so that whoever needs only the descriptor does not
unpack them:

    results = {node: [what it returned, ...], ...}     in the order of the way; nothing returned: an empty list
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgpack

from detektr.errors import WireError

Results = Mapping[str, tuple[dict[str, Any], ...]]
NONE: Results = MappingProxyType({})
NODE_BYTES = 48  # of a node's results beside what it returned: its name, and the lengths before both
_DELIVERY = b"\xa8delivery\xce"
_RESULTS = b"\xa7results\xc6"
TAIL_BYTES = len(_DELIVERY) + 4 + len(_RESULTS) + 4 + 3  # around what the nodes returned
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
