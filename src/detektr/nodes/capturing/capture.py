"""A capture: its thread writes the source's pictures into slots of a ring; its loop offers them and frees slots."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from detektr.descriptor import stream_key, unpack_descriptor
from detektr.edge.ephemeral import Producer
from detektr.errors import RefusedError
from detektr.memory.announcement import Announcement
from detektr.nodes.capturing.capture_thread import CaptureThread
from detektr.nodes.capturing.frame_writer import FrameWriter
from detektr.nodes.capturing.publish_queue import LONGEST_NS, PublishQueue
from detektr.nodes.capturing.source_reader import SourceReader
from detektr.nodes.control import ControlLine
from detektr.nodes.node import Node
from detektr.nodes.spec import NodeSpec
from detektr.options import SECOND_NS, CaptureOptions, WhenFull
from detektr.process.user_boundary import flush_files
from detektr.source_uri import is_live

TELLING_S = 0.5  # so long before the drain timeout, we log that the user's code has not ended
LAST_PICTURE_S = 1.0  # at the very end of a drain, for the copy of one picture
THREAD_END_S = 2.0  # for the thread to leave the source
_log = logging.getLogger(__name__)


class CaptureNode(Node[CaptureOptions]):
    """One camera or file, and its rings, one for each epoch."""

    kind: ClassVar[str] = "capture"

    def __init__(self, spec: NodeSpec[CaptureOptions], control: ControlLine | None = None) -> None:
        """See `Node`; the run's number and the sequences go on where a dead predecessor stopped."""
        super().__init__(spec, control)
        run = self.status_block.take_run()
        self._key = stream_key(spec.node, run)
        self._moved = 0  # offered in this step
        self._is_policy_open = spec.options.when_full is None and is_live(spec.options.source)
        self._reader = SourceReader(spec.options, Path(spec.folder), self.status_block)
        camera = spec.options.camera or spec.node
        self._writer = FrameWriter(
            spec.node, camera, run, spec.slots, self.folder, self.status_block, planned_bytes=spec.ring_bytes
        )
        self._queue = PublishQueue(is_on_demand=spec.is_on_demand)
        self._capture_thread = CaptureThread(self._reader, self._writer, self._queue, self)

    def producer(self) -> Producer:
        """Return how ephemeral consumers may read us; a camera never waits for one, a file does."""
        options = self.spec.options
        policy: WhenFull = "drop-oldest" if is_live(options.source) else "block"
        return replace(
            super().producer(),
            ephemeral_frames=self.spec.guests,
            ephemeral_policy=options.when_full or policy,
            ephemeral_mark=self.spec.mark,
            has_one_camera=True,
        )

    def prepare(self) -> None:
        """Adopt a predecessor's edges and rings, open the source, and reserve a ring for a file read from its start.

        Raises:
            DetektrError: the source cannot be read, or there is no room for its ring.
        """
        super().prepare()
        self._adopt()
        self._capture_thread.start()
        if not self._reader.is_paced and not self._reader.begin_at:  # else a predecessor has read its first picture
            self._capture_thread.wait_first()
            if self._capture_thread.failure is not None:
                raise self._capture_thread.failure
            if self._capture_thread.is_finished and self._writer.rings.is_empty:
                raise RefusedError(f"source {self.spec.options.source!r} has no picture; name a source that has one")

    def run(self) -> None:
        """Let frames flow."""
        self._capture_thread.start_publishing()
        super().run()
        if self._capture_thread.failure is not None:
            raise self._capture_thread.failure

    def step(self, now_ns: int) -> bool:
        """Offer published frames, as long as the edges have room."""
        fanout, queue, rings = self.publisher.fanout, self._queue, self._writer.rings
        queue.want(is_wanted=bool(fanout.edges))
        if self._is_policy_open and not self._reader.is_live:  # the source turned out to be a file
            self._is_policy_open = False
            self.publisher.settle_policy("block")
        moved = 0
        if queue.is_on_demand:
            queue.demand(is_demanded=False)  # until what is in the queue has been offered
        while (frame := queue.take()) is not None:
            if not frame.payload:
                fanout.count_dropped(self._key, frame.sequence, frame.frames, "ring_full")
            elif fanout.has_room(0):
                rings.hold(frame.sequence, frame.epoch, frame.slot)
                fanout.fan_out(0, Announcement(self._key, frame.sequence, frame.captured_ns, frame.payload), now_ns)
                moved += 1
            elif fanout.edges or not self._reader.is_live:
                queue.put_back(frame)
                break
            else:  # live, and the last reader has just left
                rings.release_slot(frame.epoch, frame.slot)
        self._moved = moved
        if queue.is_on_demand and fanout.has_room(0):
            queue.demand(is_demanded=True)
            queue.note_room()
        return moved > 0

    def has_work(self) -> bool:
        """Whether the thread has queued frames while the loop went to sleep."""
        return self._queue.has_frames and self.publisher.fanout.has_room(0)

    def is_blocked(self) -> bool:
        """Whether the thread waits for a slot."""
        return self._queue.is_waiting

    def tick_ns(self) -> int:
        """Return when the next tick is due; earlier, if the queue holds frames back to offer several together."""
        tick_ns = super().tick_ns()
        return (
            min(tick_ns, LONGEST_NS) if not self._reader.is_paced and not self._capture_thread.is_finished else tick_ns
        )

    def is_ending(self) -> bool:
        """Whether the source has ended, or is not read any more."""
        return self.is_stopping or self._capture_thread.is_finished

    def settle(self, names: list[tuple[int, int]]) -> None:
        """Count the frames offered, and free slots; a ring of a past epoch is removed with its last frame."""
        if self._moved:
            self.status_block.add_captured(self._moved, time.time_ns())
        rings = self._writer.rings
        if not rings.has_only(self.status_block.epoch):
            self._drop_old_rings()
        for _, sequence in names:
            rings.release(sequence)
        if names or self._moved:
            self._moved = 0
            self._queue.note_room()

    def state(self) -> tuple[str, str]:
        """Return the state of the source, and whether anybody reads."""
        trouble = self._reader.trouble
        if trouble is not None:
            return trouble
        if self._capture_thread.is_finished and self._capture_thread.failure is None:
            return "draining", ""
        if not self.publisher.fanout.edges:
            return "waiting", f"no consumer yet: detektr processor module:Class --input {self.spec.node}"
        return "running", ""

    def stop(self, *, is_final: bool, within_ns: int | None = None) -> None:
        """Stop reading; published frames are still delivered."""
        self._capture_thread.stop()
        super().stop(is_final=is_final, within_ns=within_ns)

    def pause(self) -> None:
        """See `Node.pause`: what is published is still delivered."""
        super().pause()
        if self.is_paused:
            self._capture_thread.pause()

    def resume(self) -> None:
        """See `Node.resume`."""
        super().resume()
        self._capture_thread.resume()

    def is_done(self) -> bool:
        """Done when the source has ended, or was stopped, and every frame was taken."""
        if not self._capture_thread.is_finished and not self.is_stopping:
            return False
        if self.is_stopping and not self._capture_thread.has_written():
            return False  # it will wake us
        fanout, failure = self.publisher.fanout, self._capture_thread.failure
        is_unread = not fanout.edges and not self.is_stopping and failure is None
        if is_unread or (fanout.edges and self._queue.has_frames):
            return False
        if failure is not None and not self.is_final:
            return fanout.is_empty  # a successor goes on from here, so consumers are not told of an end
        return self.try_end()

    def drop_unoffered(self, reason: str) -> int:
        """Drop the frames that were captured and never offered."""
        if not self._capture_thread.has_written(LAST_PICTURE_S):
            _log.warning("the source's memory did not answer in time; the picture that was copied from it is dropped")
        dropped = 0
        while (frame := self._queue.take()) is not None:
            self.publisher.fanout.count_dropped(self._key, frame.sequence, frame.frames, reason)
            dropped += frame.frames
        return dropped

    def drop_rest(self, reason: str) -> int:
        """Drop all frames that are queued, in flight, or captured and never offered."""
        return self.drop_unoffered(reason) + super().drop_rest(reason)

    def close_user_code(self) -> None:
        """Stop the thread; before it ends, it closes the user's code that yields pictures."""
        thread = self._capture_thread
        thread.stop()
        is_user_code, left_ns = self.spec.has_user_code, self.stop_deadline_ns - time.monotonic_ns()
        left_s = left_ns / SECOND_NS - TELLING_S if is_user_code else 0.0
        if not thread.join(max(THREAD_END_S, left_s)) and is_user_code:
            _log.warning(
                "the source has not given its next picture within the drain's %s, so it is not closed, though its"
                " files are flushed; let it yield, or end, more often, or raise `drain`",
                self.spec.options.drain,
            )
            flush_files()

    def _leave(self) -> None:
        """Leave, and remove the rings unless a supervisor will."""
        self._writer.rings.close(unlink=self.control is None or self.control.is_cut)
        super()._leave()

    def _tick(self, now_ns: int) -> None:
        super()._tick(now_ns)
        self.status_block.set_rings(*self._writer.rings.totals())

    def _drop_old_rings(self) -> None:
        """Remove the rings of past epochs in which no frame is needed."""
        current = self._writer.epoch  # first: no more frames come from the epochs before it
        if self._writer.rings.drop_before(current, self._queue.epochs()):
            self._queue.announce_room()

    def _adopt(self) -> None:
        """Keep the rings with frames that are needed; count frames that were written and never announced."""
        fanout, rings = self.publisher.fanout, self._writer.rings
        fanout.catch_up()
        for edge in fanout.edges.values():
            for cell in edge.holds():
                descriptor = unpack_descriptor(cell.payload)
                rings.hold(cell.sequence, descriptor.epoch, descriptor.slot)
        rings.unlink_unneeded()
        following = self.status_block.next_sequence
        if following:
            fanout.count_dropped(self._key, following - 1, following, "capture_died")
