"""What is announced about one frame: where it lies and what it is. No pixels."""

from __future__ import annotations

import datetime
import functools
import hashlib
import struct
from typing import NamedTuple

from detektr.errors import WireError

_HEAD = struct.Struct("=7Qq?BB")  # the fields in their order, whether there is a pts, and how long the names are
_HEAD_BYTES = _HEAD.size
_NAME_BYTES_MAX = 32
DESCRIPTOR_BYTES_MAX = _HEAD_BYTES + 2 * _NAME_BYTES_MAX
_new = tuple.__new__  # of a named tuple, without the function in between: on every frame's way


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
    return pack_fields(*descriptor)


def pack_fields(
    node: str,
    camera: str,
    run: int,
    epoch: int,
    slot: int,
    generation: int,
    sequence: int,
    captured_ns: int,
    utc_ns: int,
    pts: int | None,
) -> bytes:
    """Return what `pack_descriptor` does of a descriptor with these fields."""
    names, node_bytes, camera_bytes = _names(node, camera)
    numbers = run, epoch, slot, generation, sequence, captured_ns, utc_ns
    return _HEAD.pack(*numbers, pts or 0, pts is not None, node_bytes, camera_bytes) + names


def unpack_descriptor(payload: bytes) -> Descriptor:
    """Read a descriptor back.

    Raises:
        WireError: the bytes are not a descriptor; says what is wrong with them.
    """
    if len(payload) < _HEAD_BYTES:
        raise WireError(f"descriptor of {len(payload)} bytes; even without names it has {_HEAD_BYTES}")
    run, epoch, slot, generation, sequence, captured_ns, utc_ns, pts, has_pts, node_bytes, camera_bytes = (
        _HEAD.unpack_from(payload)
    )
    node, camera = _split(payload[_HEAD_BYTES:], node_bytes, camera_bytes)
    numbers = run, epoch, slot, generation, sequence, captured_ns, utc_ns
    return _new(Descriptor, (node, camera, *numbers, pts if has_pts else None))


@functools.lru_cache(maxsize=1024)
def _names(node: str, camera: str) -> tuple[bytes, int, int]:
    """Return both names as they are packed, and how many bytes each has."""
    first, second = node.encode(), camera.encode()
    return first + second, len(first), len(second)


@functools.lru_cache(maxsize=1024)
def _split(names: bytes, node_bytes: int, camera_bytes: int) -> tuple[str, str]:
    """Return the names of node and camera."""
    if node_bytes + camera_bytes != len(names) or not 0 < node_bytes <= _NAME_BYTES_MAX >= camera_bytes > 0:
        count = _HEAD_BYTES + len(names)
        raise WireError(f"descriptor of {count} bytes, with names of {node_bytes} and {camera_bytes} bytes")
    try:
        return names[:node_bytes].decode(), names[node_bytes:].decode()
    except UnicodeDecodeError:
        raise WireError(f"descriptor with a name that is no text: {names!r}") from None
