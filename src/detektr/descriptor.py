"""The descriptor of a frame: its name, its times, and where its picture lies. No pixels.

It travels as a MessagePack map, so that readers in other languages need nothing else to find the picture
(docs/internals/lane.md). The capture packs it once, and it is passed on as it is.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
from typing import Any, NamedTuple

import msgpack

from detektr.errors import WireError

DESCRIPTOR_BYTES_MAX = 384  # of the longest names and the largest numbers, with some to spare
_NAME_BYTES_MAX = 32
_U64_MAX = (1 << 64) - 1
_OWN_FIELDS = 8  # of one frame; the others are the same for all frames of a ring
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
    time_ns: int = 0
    """On the media's clock, which never goes back within a run: see `nodes.capturing.media_clock`."""

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


class DescriptorPacker:
    """Packs the descriptors of one ring; what all its frames share is packed once."""

    def __init__(
        self,
        node: str,
        camera: str,
        run: int,
        epoch: int,
        *,
        pixel_format: str,
        width: int,
        height: int,
        nbytes: int,
        first_byte: int,
        slot_bytes: int,
        time_base: tuple[int, int] | None = None,
    ) -> None:
        """Take what the frames share.

        Args:
            node: the capture; it names the ring, with `epoch`.
            camera: whose frames these are.
            run: number of the capture's run.
            epoch: number of the ring.
            pixel_format: FFmpeg's name of it.
            width: of the picture, in pixels.
            height: likewise.
            nbytes: of one picture.
            first_byte: where the ring's first slot begins.
            slot_bytes: from one slot to the next.
            time_base: seconds of one unit of pts, as a fraction; None: the stream has no times.
        """
        self._first_byte, self._slot_bytes = first_byte, slot_bytes
        shared = {
            "node": node,
            "camera": camera,
            "run": run,
            "epoch": epoch,
            "format": pixel_format,
            "width": width,
            "height": height,
            "nbytes": nbytes,
            "time_base": time_base,
        }
        packed: bytes = msgpack.packb(shared)
        header = b"\xde" + (len(shared) + _OWN_FIELDS).to_bytes(2, "big")
        self._shared = header + packed[1:]  # with the header of the whole map in place of its own

    def pack(
        self,
        slot: int,
        generation: int,
        sequence: int,
        captured_ns: int,
        utc_ns: int,
        pts: int | None,
        time_ns: int = 0,
    ) -> bytes:
        """Return a frame's descriptor as bytes, at most `DESCRIPTOR_BYTES_MAX` of them; see `Descriptor`."""
        own: bytes = msgpack.packb(
            {
                "slot": slot,
                "generation": generation,
                "offset": self._first_byte + slot * self._slot_bytes,
                "sequence": sequence,
                "captured_ns": captured_ns,
                "utc_ns": utc_ns,
                "pts": pts,
                "time_ns": time_ns,
            }
        )
        return self._shared + own[1:]


def unpack_descriptor(payload: bytes) -> Descriptor:
    """Read a descriptor; fields that are not known are passed over.

    Raises:
        WireError: the bytes are not a descriptor; says what is wrong with them.
    """
    return unpack_passed_on(payload)[0]


def unpack_passed_on(payload: bytes) -> tuple[Descriptor, int, bytes, dict[str, str]]:
    """Read a descriptor, and what the nodes that have passed the frame on have added to it (see `detektr.results`).

    Returns:
        The descriptor; the count of deliveries so far, 1 where nobody has passed the frame on; the field `results`,
        empty likewise; and for each branch that is missing where branches were joined, why.
    Raises:
        WireError: the bytes are not a descriptor; says what is wrong with them.
    """
    try:
        fields: Any = msgpack.unpackb(payload, strict_map_key=False)
        node, camera, pts = fields["node"], fields["camera"], fields.get("pts")
        delivery, results, missing = fields.get("delivery", 1), fields.get("results", b""), fields.get("missing", {})
        numbers = (
            fields["run"],
            fields["epoch"],
            fields["slot"],
            fields["generation"],
            fields["sequence"],
            fields["captured_ns"],
            fields["utc_ns"],
            fields.get("time_ns", 0),
        )
    except KeyError as fault:
        raise WireError(f"descriptor of {len(payload)} bytes has no {fault}") from None
    except (ValueError, TypeError, AttributeError, IndexError, msgpack.UnpackException, RecursionError) as fault:
        raise WireError(f"descriptor of {len(payload)} bytes is no MessagePack map: {fault}") from None
    for number in numbers:
        if type(number) is not int or not 0 <= number <= _U64_MAX:
            raise WireError(f"descriptor has {number!r:.40} in place of a count")
    if pts is not None and type(pts) is not int:
        raise WireError(f"descriptor has {pts!r:.40} as pts; expected a number or nothing")
    for name in (node, camera):
        if type(name) is not str or not 0 < len(name) <= _NAME_BYTES_MAX:
            raise WireError(f"descriptor has {name!r:.60} as a name; expected a text of 1 to {_NAME_BYTES_MAX} bytes")
    if type(delivery) is not int or delivery < 1 or type(results) is not bytes:
        raise WireError(f"descriptor has {delivery!r:.40} as delivery and {results!r:.40} as results")
    if type(missing) is not dict or not all([type(one) is str for pair in missing.items() for one in pair]):
        raise WireError(f"descriptor has {missing!r:.60} as missing; expected reasons by node")
    return _new(Descriptor, (node, camera, *numbers[:-1], pts, numbers[-1])), delivery, results, missing
