"""The thread beside a capture's loop: it waits for FFmpeg, fills slots and hands them over; it owns no edge.

Decoding and copying release the interpreter's lock, so the loop serves its consumers meanwhile, even when a camera
stalls for seconds. The two share the ring's list of free slots and one deque; each is popped at one end only.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from detektr.descriptor import pack_fields
from detektr.errors import NoRoomError, SourceError
from detektr.memory import layout
from detektr.memory.ring import RingFacts, RingWriter
from detektr.memory.status_block import StatusBlock
from detektr.options import CaptureOptions
from detektr.source_uri import is_live
from detektr.sources import Picture, Source, open_source, source_number
from detektr.sources.reconnect import SECOND_NS, Reconnect

PENDING_MAX = 4  # published and not yet offered; the ring has as many slots to spare
TOGETHER = 8  # so many of a file at full speed are offered at once (0018), unless they take longer than this ...
TOGETHER_NS = 50_000_000
LONGEST_NS = 100_000_000  # ... or the file pauses: none waits for longer
ROOM_CHECK_S = 0.2
AHEAD_NS = 100_000  # a source that has the next picture so soon does not let us wait ...
AHEAD_ENDS_NS = 100_000_000  # ... and one that has given none for so long does
NOTE_NS = 100_000_000  # how often the page is told how the source is read, and what was left out of it
_LEFT_OUT = (layout.STATUS_WORD_THINNED, layout.STATUS_WORD_CORRUPT, layout.STATUS_WORD_STALE)
UNMAPPED_WITHIN_S = 3.0  # readers look so often whether a ring that they have mapped is gone
_log = logging.getLogger(__name__)


@dataclass
class Published:
    """One frame on its way from the thread to the loop; without a payload: there was no slot for that many `frames`."""

    sequence: int
    """Of the last one, where there are several."""
    epoch: int
    slot: int
    captured_ns: int
    payload: bytes
    frames: int = 1


class Decoder:
    """Reads one source to its end, or for ever where it is live."""

    def __init__(
        self,
        node: str,
        options: CaptureOptions,
        folder: Path,
        status_block: StatusBlock,
        run_id: int,
        make_ring: Callable[[RingFacts], RingWriter],
        has_old_rings: Callable[[], bool],
        serve: Callable[[], None],
        at_end: Callable[[], None],
        reconnect: Reconnect | None = None,
    ) -> None:
        """Prepare; `start` begins to read and `go` lets frames be published, each followed by a call of `serve`."""
        self.thread = threading.Thread(target=self._run, name="decoder", daemon=True)
        self._published: deque[Published] = deque()
        self._writing = threading.Lock()  # whoever holds it writes a picture, or sees to it that none is written
        self._order = threading.Lock()  # of `_published`: its last entry may grow while the loop takes it
        self.go, self.has_first, self.room, self.is_stopped = (threading.Event() for _ in range(4))
        self.failure: BaseException | None = None
        self.is_finished = False
        self.is_waiting = False  # for a slot
        self._is_ahead = False  # the source had the last picture at hand
        self.is_live, self.is_batch, self._pending_max = is_live(options.source), False, PENDING_MAX
        self.has_readers = False
        self.trouble = ("connecting", "opening") if self.is_live else None  # state and why; None: pictures come
        self._node, self._options, self._folder, self._status_block, self._run_id = (
            node,
            options,
            folder,
            status_block,
            run_id,
        )
        self._make_ring, self._has_old_rings, self._serve = make_ring, has_old_rings, serve
        self._at_end = at_end
        self._ring: RingWriter | None = None
        self._slots: dict[int, npt.NDArray[np.uint8]] = {}
        self._sequence = status_block[layout.STATUS_WORD_NEXT_SEQUENCE]
        self._source_number = source_number(options, folder)
        self.begin_at = 0
        """Pictures of a file that a predecessor has published: it is gone on with behind them."""
        if status_block[layout.STATUS_WORD_ROUND_SOURCE] == self._source_number:
            self.begin_at = self._sequence - status_block[layout.STATUS_WORD_ROUND_SEQUENCE]
            _log.info("going on behind the %d pictures that were captured before", self.begin_at)
        self._close_source: Callable[[], None] | None = None
        self._reconnect = reconnect or Reconnect()
        self._good_since_ns = self._idle_since_ns = self._served_ns = 0
        self._mode = ""
        self._is_broken = False  # a new time line has begun that no ring stands for yet
        self._is_short = False  # there was no room for the ring that is due
        self._has_begun = False  # to publish
        self._only_ring_since_s = 0.0  # since when no older ring stands in its way

    def start(self) -> None:
        """Begin to read."""
        self.thread.start()

    def _run(self) -> None:
        """Read until the source ends; a live one is opened again and again, with growing pauses."""
        try:
            while not self.is_stopped.is_set():
                try:
                    self._read()
                    trouble = "connecting", "the stream ended"
                except SourceError as fault:
                    if not self.is_live:
                        raise
                    trouble = fault.state, str(fault)
                if not self.is_live or self.is_stopped.is_set():
                    break
                good_ns = time.monotonic_ns() - self._good_since_ns if self._good_since_ns else 0
                self._good_since_ns = 0
                self.trouble = trouble
                self._status_block[layout.STATUS_WORD_RECONNECTS] += 1
                pause_s = self._reconnect.pause_ns(trouble[0], good_ns, random.random()) / SECOND_NS
                _log.warning("%s: %s; trying again in %.1f s", *trouble, pause_s)
                self.is_stopped.wait(pause_s)
        except (
            BaseException
        ) as fault:  # of the source, or a defect of ours, here or in the edges that `serve` works for
            self.failure = fault
        finally:
            self.is_finished = True
            self.has_first.set()
            self._at_end()

    def stop(self) -> None:
        """Read no more; what is published stays, and one picture may still come (`has_written`)."""
        self.is_stopped.set()
        self.go.set()
        self.room.set()
        close = self._close_source  # read once: the thread takes it away
        if close is not None:
            close()

    def has_written(self, wait_s: float = 0.0) -> bool:
        """After `stop`: whether the last picture is published, which may be written still; waits for it so long."""
        is_done = self._writing.acquire(timeout=wait_s)
        if is_done:
            self._writing.release()
        return is_done

    @property
    def is_ahead(self) -> bool:
        """Whether the source has had the next picture at hand each time, up to now."""
        return self._is_ahead and time.monotonic_ns() - self._idle_since_ns < AHEAD_ENDS_NS

    @property
    def has_published(self) -> bool:
        """Whether something is published and not yet taken."""
        return bool(self._published)

    def coming(self) -> tuple[Published, ...]:
        """Return what is published and not yet taken, oldest first."""
        with self._order:
            return tuple(self._published.copy())  # at one stroke: whoever publishes does not wait for us

    def take(self) -> Published | None:
        """Take the oldest that is published; None: nothing is."""
        if not self._published:
            return None
        with self._order:
            return self._published.popleft() if self._published else None

    def _put(self, frame: Published) -> None:
        """Publish; frames without a slot that follow each other are one entry, however long nobody takes it."""
        if frame.payload:
            self._published.append(frame)
            return
        with self._order:
            last = self._published[-1] if self._published else None
            if last is not None and not last.payload:
                self._published[-1] = replace(frame, frames=last.frames + 1)
            else:
                self._published.append(frame)

    def _read(self) -> None:
        source = open_source(self._options, self._folder, self.begin_at)
        self._close_source, self.is_batch = source.close, source.is_batch
        self._pending_max = TOGETHER if source.is_batch else PENDING_MAX
        status_block = self._status_block
        before = [status_block[word] for word in _LEFT_OUT]

        def note() -> None:
            for word, told, now in zip(_LEFT_OUT, before, (source.thinned, source.corrupt, source.stale), strict=True):
                status_block[word] = told + now
            if source.mode != self._mode:
                self._mode = source.mode
                status_block.set_mode(self._mode)

        if self.is_stopped.is_set():  # it could not be closed before it was known
            source.close()
        try:
            noted_ns = 0
            for picture in source.pictures():
                if self.is_stopped.is_set():
                    return
                self._is_broken |= picture.is_break
                if not self._good_since_ns:
                    was_live = self.is_live and self._has_begun
                    self._note_kind(source)
                    if was_live and not source.is_live:  # its last pictures were shown as they came
                        _log.info("%s has ended: what was live is a recording now", source.description)
                        return
                    self._good_since_ns = time.monotonic_ns()
                    self.trouble = None
                    _log.info("reading %s: %s %dx%d, %s", source.description, *_size(picture), source.mode)
                if self.has_readers or not self.is_live:
                    self._publish(picture)
                now_ns = self._idle_since_ns = time.monotonic_ns()
                if now_ns - noted_ns > NOTE_NS:
                    noted_ns = now_ns
                    note()
        finally:
            note()
            self._close_source = None
            source.close()

    def _note_kind(self, source: Source) -> None:
        """Take note of what is known for sure only once pictures come: what a URL names may be a file."""
        self.is_live, self.is_batch = source.is_live, source.is_batch
        self._pending_max = TOGETHER if source.is_batch else PENDING_MAX

    def _publish(self, picture: Picture) -> None:
        ring = self._ring
        facts = None if ring is None or self._is_broken else (ring.facts.picture, ring.facts.time_base)
        if facts != (picture.layout, picture.time_base):
            ring = self._ring = self._begin_epoch(picture)
            self._is_broken = False
        if not self._has_begun:
            self.has_first.set()
            self.go.wait()
            self._has_begun = True
        self._is_ahead = time.monotonic_ns() - self._idle_since_ns < AHEAD_NS
        slot = None if ring is None else self._claim(ring)
        with self._writing:
            if self.is_stopped.is_set():
                return
            now_ns = self._write(picture, ring, slot)
        if self.is_batch and len(self._published) < self._pending_max and now_ns - self._served_ns < TOGETHER_NS:
            return
        self._served_ns = now_ns
        self._serve()

    def _write(self, picture: Picture, ring: RingWriter | None, slot: int | None) -> int:
        """Write a picture into its slot and publish it; returns when that began."""
        if picture.place == 0:
            self._status_block[layout.STATUS_WORD_ROUND_SEQUENCE] = self._sequence
            self._status_block[layout.STATUS_WORD_ROUND_SOURCE] = self._source_number
        now_ns = time.monotonic_ns()
        captured_ns, utc_ns = picture.received_ns or now_ns, picture.utc_ns or time.time_ns()
        sequence, self._sequence = self._sequence, self._sequence + 1
        epoch, payload = self._status_block.words[layout.STATUS_WORD_EPOCH], b""
        if ring is not None and slot is not None:
            view = self._slots.get(slot)
            if view is None:
                view = self._slots[slot] = np.frombuffer(ring.memory(slot), np.uint8)
            # All that can be done before the copy is: it empties the caches, and somebody waits for what comes after.
            payload = pack_fields(
                self._node,
                ring.facts.camera,
                self._run_id,
                epoch,
                slot,
                ring.generation(slot),
                sequence,
                captured_ns,
                utc_ns,
                picture.pts,
            )
            picture.write(view)
            ring.publish(slot, sequence)
        self._status_block.words[layout.STATUS_WORD_NEXT_SEQUENCE] = self._sequence
        self._put(Published(sequence, epoch, -1 if slot is None else slot, captured_ns, payload))
        return now_ns

    def _claim(self, ring: RingWriter) -> int | None:
        """Take a free slot; a file waits for one, a live source has one at once or not at all."""
        slot = ring.try_claim() if len(self._published) < self._pending_max else None
        if slot is not None:
            return slot
        self.is_waiting = True  # first: who makes room from now on says so
        while not self.is_stopped.is_set():
            self.room.clear()
            if len(self._published) < self._pending_max:
                slot = ring.try_claim()
            if slot is not None or self.is_live:
                break
            self._serve()
            self.room.wait(ROOM_CHECK_S)
        self.is_waiting = False
        return slot

    def note_room(self) -> None:
        """Take note that a slot has become free, or that something published was taken."""
        if self.is_waiting:
            self.room.set()

    def _begin_epoch(self, picture: Picture) -> RingWriter | None:
        """Reserve a ring for pictures of another size or format; None: no room yet (a live source), or stopped.

        The old one stays until its frames are done. Where there is no room for both, the new one waits for that.
        """
        status_block = self._status_block
        if not self._is_short:
            status_block[layout.STATUS_WORD_EPOCH] += (
                1  # first: so the loop knows that nothing more comes into the old one
            )
        epoch = status_block[layout.STATUS_WORD_EPOCH]
        camera = self._options.camera or self._node
        facts = RingFacts(self._node, camera, self._run_id, epoch, picture.layout, picture.time_base)
        self._slots.clear()
        while not self.is_stopped.is_set():
            self.room.clear()
            is_only_ring = not self._has_old_rings()
            try:
                ring = self._make_ring(facts)
            except NoRoomError:
                if is_only_ring and (epoch == 1 or 0 < self._only_ring_since_s < time.monotonic() - UNMAPPED_WITHIN_S):
                    raise
                self._only_ring_since_s = (self._only_ring_since_s or time.monotonic()) if is_only_ring else 0.0
            else:
                self._is_short, self._only_ring_since_s, self.is_waiting = False, 0.0, False
                nbytes, size = ring.nbytes / (1 << 20), _size(picture)
                _log.info("epoch %d: %s %dx%d, %d slots, %.1f MiB", epoch, *size, ring.slots, nbytes)
                return ring
            if not self._is_short:
                self._is_short = True
                _log.warning("no room for a ring beside the old one: waiting until the old one's frames are done")
            self.has_first.set()
            if self.is_live:
                break
            self.is_waiting = True
            self._serve()
            self.room.wait(ROOM_CHECK_S)
        self.is_waiting = False
        return None


def _size(picture: Picture) -> tuple[str, int, int]:
    return picture.layout.format, picture.layout.width, picture.layout.height
