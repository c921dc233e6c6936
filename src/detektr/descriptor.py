"""What is announced about one frame: where it lies and what it is. No pixels."""

from __future__ import annotations

import datetime
import functools
import hashlib
from typing import Any, NamedTuple

import msgpack

from detektr.errors import WireError

NODE_CHARS_MAX = 32
_KINDS = tuple((str, str, *(int,) * 7, last) for last in (int, type(None)))
DESCRIPTOR_BYTES_MAX = 192  # nine fields at their widest


@functools.lru_cache(maxsize=1024)
def stream_key(name: str, run: int) -> int:
    """Return the 64-bit key of one numbered stream: `name` (a node, or node and replica) in one run.

    Sequences of one key only ever grow; a new run is a new key and begins at 0.
    """
    return int.from_bytes(hashlib.blake2b(f"{name}/{run:x}".encode(), digest_size=8).digest(), "big")


class Descriptor(NamedTuple):
    """One announced frame.

    `node` and `epoch` name the ring, `slot` and `generation` the place in it; times are nanoseconds;
    `pts` counts the stream's own time base (held in the ring's header) and is None where the stream has none.
    """

    node: str
    camera: str
    run: int
    epoch: int
    slot: int
    generation: int
    sequence: int
    captured_ns: int
    utc_ns: int
    pts: int | None

    @property
    def key(self) -> int:
        """Key of the stream that `sequence` counts in."""
        return stream_key(self.node, self.run)

    @property
    def id(self) -> str:
        """`1753608701224_<node>_<camera>_<sequence>_<8 hex>`; the same at each delivery, different in each run."""
        mark = hashlib.blake2b(f"{self.node}/{self.run:x}/{self.sequence}".encode(), digest_size=4).hexdigest()
        return f"{self.utc_ns // 1_000_000}_{self.node}_{self.camera}_{self.sequence}_{mark}"

    @property
    def timestamp(self) -> datetime.datetime:
        """Wall-clock time of the capture, in UTC, to the microsecond."""
        seconds, rest_ns = divmod(self.utc_ns, 1_000_000_000)
        moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
        return moment.replace(microsecond=rest_ns // 1000)


def pack_descriptor(descriptor: Descriptor) -> bytes:
    """Return the descriptor as bytes, at most `DESCRIPTOR_BYTES_MAX` of them."""
    packed: bytes = msgpack.packb(tuple(descriptor))
    return packed


def unpack_descriptor(payload: bytes) -> Descriptor:
    """Read a descriptor back.

    Raises:
        WireError: the bytes are not a descriptor; says which field and what was expected.
    """
    try:
        fields = msgpack.unpackb(payload, use_list=False)
    except (ValueError, msgpack.UnpackException, msgpack.ExtraData) as fault:
        raise WireError(f"descriptor of {len(payload)} bytes is not msgpack: {fault}") from None
    if not isinstance(fields, tuple) or len(fields) != len(Descriptor._fields):
        raise WireError(f"descriptor must be {len(Descriptor._fields)} fields; got {fields!r:.80}")
    # Whole tuples are looked at first: this is on every frame's way.
    kinds, longest = tuple(map(type, fields)), NODE_CHARS_MAX
    if (
        kinds not in _KINDS
        or min(fields[2:9]) < 0
        or not 0 < len(fields[0]) <= longest
        or not 0 < len(fields[1]) <= longest
    ):
        name, value = next(
            (name, value) for name, value in zip(Descriptor._fields, fields, strict=True) if not _is_right(name, value)
        )
        raise WireError(f"descriptor field {name!r} cannot be {value!r:.80}")
    return Descriptor._make(fields)


def _is_right(name: str, value: Any) -> bool:
    if name in ("node", "camera"):
        return isinstance(value, str) and 0 < len(value) <= NODE_CHARS_MAX
    if name == "pts":
        return value is None or type(value) is int
    return type(value) is int and value >= 0
