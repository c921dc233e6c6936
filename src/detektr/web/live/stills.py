"""Stills: pictures of frames that results were about, copied out of their rings as long as their slots hold them.

Nobody waits for that: the slot's generation is read before and after the copy, and of a frame whose slot was written
over there is no still. They are kept as JPEG, the newest ones, so that a client can show a result and the picture of
its own frame together.
"""

from __future__ import annotations

import asyncio
import collections
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from starlette.responses import Response

from detektr.errors import DetektrError
from detektr.frame import UInt8Array
from detektr.memory.ring import open_ring
from detektr.memory.run_folder import RunFolder
from detektr.picture import PictureLayout
from detektr.telemetry.trail.rows import Stream
from detektr.telemetry.trail.wanted import WantedFrame, wanted_frame
from detektr.web.access import Right
from detektr.web.endpoint import Call, Endpoint
from detektr.web.picture import encode_picture
from detektr.web.problem import Problem

WIDTH_MAX = 640
KEPT_BYTES_MAX = 48 << 20
HELD_BYTES = 2048  # that a small still takes beside its payload: it is what counts for tiny pictures
EACH_NS = 180_000_000  # five a second at most, of each camera
WAITING_MAX = 16  # copies that wait for the one thread that encodes them; more are left out
CAMERAS_MAX = 1000


@dataclass(frozen=True)
class Still:
    """The picture of one frame as JPEG, and the size that the frame itself has."""

    payload: bytes
    width: int
    height: int


def copy_frame(folder: RunFolder, wanted: WantedFrame) -> tuple[PictureLayout, UInt8Array] | None:
    """Return the layout and a copy of the picture of a frame; None: no slot holds it, or not any more.

    Args:
        folder: the run's.
        wanted: the frame, by its id.
    """
    for path in folder.all_rings():
        if not wanted.names.startswith(path.name.rsplit(".", 2)[0]):
            continue
        ring = open_ring(path)
        if ring is None:
            continue
        try:
            facts, found = ring.facts, ring.find(wanted.sequence)
            if found is not None and wanted.is_of(Stream(facts.node, facts.camera, facts.run)):
                pixels = np.frombuffer(ring.memory(found[0]), np.uint8).copy()
                if ring.holds(*found):
                    return facts.picture, pixels
        finally:
            ring.close()
    return None


class Stills:
    """The stills of a server; `note` may be called from any thread."""

    def __init__(self, older: Callable[[str, str], Still | None] = lambda *_: None) -> None:
        """Begin without any.

        Args:
            older: returns the picture of a frame that was kept for longer, by pipeline and id; None: it was not.
        """
        self._older = older
        self._kept: collections.OrderedDict[tuple[str, str], Future[Still | None]] = collections.OrderedDict()
        self._nbytes = 0
        self._last_ns: dict[tuple[str, str], int] = {}
        self._waiting = 0
        self._changing = threading.Lock()
        self._thread = ThreadPoolExecutor(1, "web-still")

    def close(self) -> None:
        """Let go of all of them."""
        self._thread.shutdown(cancel_futures=True)

    @property
    def endpoint(self) -> Endpoint:
        """What can be asked for."""
        return Endpoint(
            ("GET",),
            "/frames/{id}/still.jpg",
            Right.TOKEN,
            self.show,
            "Get the picture of a frame, while the server still has it",
            open_as="picture",
            gives="image/jpeg",
            problems=(410,),
        )

    def note(self, folder: RunFolder, frame: str) -> bool:
        """Keep the picture of a frame that somebody may ask for, if its slot still holds it; not too often.

        It is copied here and now, and encoded in a thread.

        Args:
            folder: the run's.
            frame: its id.
        Returns:
            Whether it is kept.
        """
        try:
            wanted = wanted_frame(frame)
        except DetektrError:
            return False
        key, now_ns = (folder.pipeline, wanted.names), time.monotonic_ns()
        with self._changing:
            if (folder.pipeline, frame) in self._kept:
                return True
            if now_ns - self._last_ns.get(key, 0) < EACH_NS or self._waiting >= WAITING_MAX:
                return False
        copied = copy_frame(folder, wanted)
        if copied is None:
            return False
        if len(self._last_ns) > CAMERAS_MAX:
            self._last_ns.clear()
        self._last_ns[key] = now_ns
        self._make((folder.pipeline, frame), lambda: _encode(*copied))
        return True

    def get(self, folder: RunFolder, frame: str) -> tuple[bool, Still | None]:
        """Return whether a picture is still being made, and the picture, if it is kept."""
        with self._changing:
            made = self._kept.get((folder.pipeline, frame))
        if made is None or (made.done() and (made.cancelled() or made.exception() is not None)):
            return False, None
        return (False, made.result()) if made.done() else (True, None)

    async def show(self, call: Call) -> Response:
        """Return the picture of a frame, at most 640 pixels wide."""
        view, frame = await call.view(), call.path["id"]
        try:
            wanted = wanted_frame(frame)
        except DetektrError as fault:
            raise Problem(404, "no_frame", str(fault), "take an id from /events, a sink or the log") from None
        if wanted.mark is None:
            raise Problem(404, "no_frame", f"{frame!r:.80} is not the id of a frame", "take one from /events or a sink")
        still = await asyncio.shield(
            asyncio.wrap_future(self._ask(view.folder, frame, wanted))
        )  # others may wait for it too
        if still is None:
            still = await call.desk.work(lambda: self._older(view.name, frame))
        if still is None:
            detail = f"the picture of frame {frame} is gone: its slot was used again"
            next_ = "see /frames/ID for what became of it, /dead-letters for the pictures of those that were given up"
            raise Problem(410, "gone", detail, next_)
        headers = {
            "Cache-Control": "no-store",
            "X-Detektr-Frame": frame,
            "X-Detektr-Width": str(still.width),
            "X-Detektr-Height": str(still.height),
        }
        return Response(still.payload, 200, headers, "image/jpeg")

    def _ask(self, folder: RunFolder, frame: str, wanted: WantedFrame) -> Future[Still | None]:
        """Return the still of a frame, one that is kept or one that is made now."""

        def take() -> Still | None:
            copied = copy_frame(folder, wanted)
            return None if copied is None else _encode(*copied)

        return self._make((folder.pipeline, frame), take)

    def _make(self, key: tuple[str, str], make: Callable[[], Still | None]) -> Future[Still | None]:
        with self._changing:
            known = self._kept.get(key)
            if known is not None:
                return known
            self._waiting += 1
            made = self._kept[key] = self._thread.submit(make)
        made.add_done_callback(lambda done: self._done(key, done))
        return made

    def _done(self, key: tuple[str, str], done: Future[Still | None]) -> None:
        """Keep a still that was made, in place of the oldest ones; one that could not be made is not remembered."""
        still = None if done.cancelled() or done.exception() is not None else done.result()
        with self._changing:
            self._waiting -= 1
            if still is None:
                self._kept.pop(key, None)
                return
            self._nbytes += len(still.payload) + HELD_BYTES
            for old, future in list(self._kept.items()):
                if self._nbytes <= KEPT_BYTES_MAX:
                    break
                if future.done() and old != key:
                    kept = self._kept.pop(old).result()
                    self._nbytes -= 0 if kept is None else len(kept.payload) + HELD_BYTES


def _encode(layout: PictureLayout, pixels: UInt8Array) -> Still:
    return Still(encode_picture(pixels, layout, "jpeg", WIDTH_MAX)[1], layout.width, layout.height)
