"""The latest picture of a camera: copied out of its ring, without a lease, encoded once for all who watch.

Nobody waits for whoever looks: the slot's generation is read before and after the copy, and a picture that was written
over meanwhile is left for a newer one. So the camera, its edges and its ledger know nothing of it.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import numpy as np
from starlette.responses import Response

from detektr.frame import UInt8Array
from detektr.memory.ring import open_ring
from detektr.memory.run_folder import RunFolder
from detektr.picture import PictureLayout
from detektr.web.access import Right
from detektr.web.endpoint import Call, Endpoint
from detektr.web.picture import SIDE_MAX, encode_picture
from detektr.web.problem import Problem
from detektr.web.query import Parameter

EACH_S = 0.2  # five pictures a second at most, for each camera and size
KEPT_MAX = 64
TRIES = 20
WIDTH = Parameter("width", "width in pixels, to which the picture is scaled down", "integer", None, 16, SIDE_MAX)


@dataclass(frozen=True)
class Still:
    """One picture as a file."""

    sequence: int
    payload: bytes
    width: int
    """Of the frame itself, in pixels."""


def copy_newest(folder: RunFolder, node: str) -> tuple[int, PictureLayout, UInt8Array] | None:
    """Return the sequence, the layout and a copy of the newest picture of a capture; None: there is none now."""
    rings = folder.rings(node)
    ring = open_ring(rings[max(rings)]) if rings else None
    if ring is None:
        return None
    try:
        for _ in range(TRIES):
            found = ring.newest()
            if found is None:
                return None
            slot, generation, sequence = found
            pixels = np.frombuffer(ring.memory(slot), np.uint8).copy()
            if ring.holds(slot, generation):
                return sequence, ring.facts.picture, pixels
        return None
    finally:
        ring.close()


class Latest:
    """Keeps the last picture of each camera and size for as long as another would be no newer."""

    def __init__(self) -> None:
        """Begin without any."""
        self._kept: dict[tuple[str, str, int | None], tuple[float, asyncio.Task[Still | None]]] = {}

    @property
    def endpoint(self) -> Endpoint:
        """What can be asked for."""
        return Endpoint(
            ("GET",),
            "/nodes/{name}/latest.jpg",
            Right.TOKEN,
            self.show,
            "Get the latest picture of a camera",
            open_as="picture",
            parameters=(WIDTH,),
            gives="image/jpeg",
        )

    async def show(self, call: Call) -> Response:
        """Return the latest picture of a camera, at most 200 ms old where it has one so new."""
        view, node, width = await call.view(), call.path["name"], call.values["width"]
        kinds = await call.desk.read(lambda: view.moment().kinds)
        if kinds.get(node) != "capture":
            names = ", ".join(sorted(name for name, kind in kinds.items() if kind == "capture"))
            raise Problem(404, "no_node", f"no capture {node!r:.60} is here", f"name one of: {names or 'none'}")
        key = view.name, node, width
        known = self._kept.get(key)
        now_s = time.monotonic()
        if known is None or now_s - known[0] > EACH_S:
            before = None if known is None or not known[1].done() or known[1].exception() else known[1].result()
            task = asyncio.ensure_future(self._take(call, view.folder, node, width, before))
            self._kept.pop(key, None)
            self._kept[key] = known = now_s, task
            while len(self._kept) > KEPT_MAX:
                del self._kept[next(iter(self._kept))]
        still = await asyncio.shield(known[1])
        if still is None:
            next_ = f"see /nodes/{node} for what it does"
            raise Problem(503, "no_picture", f"camera {node} has no picture now", next_)
        about = {"X-Detektr-Sequence": str(still.sequence), "X-Detektr-Width": str(still.width)}
        headers = {"Cache-Control": "no-store", **about}
        return Response(still.payload, 200, headers, "image/jpeg")

    async def _take(
        self, call: Call, folder: RunFolder, node: str, width: int | None, before: Still | None
    ) -> Still | None:
        def take() -> Still | None:
            found = copy_newest(folder, node)
            if found is None:
                return None
            sequence, layout, pixels = found
            if before is not None and before.sequence == sequence:
                return before
            return Still(sequence, encode_picture(pixels, layout, "jpeg", width)[1], layout.width)

        return await call.desk.work(take)
