"""The thread beside a capture's loop: it waits for the source, fills slots and queues them; it owns no edge.

Decoding and copying release the interpreter's lock, so the loop serves its consumers meanwhile, even when a camera
stalls for seconds. After a picture the thread serves the edges itself while the loop sleeps (0006).
"""

from __future__ import annotations

import threading
import time
from typing import Protocol

from detektr.nodes.capturing.frame_writer import FrameWriter
from detektr.nodes.capturing.publish_queue import PublishQueue
from detektr.nodes.capturing.source_reader import SourceReader
from detektr.sources import Picture


class EdgeOwner(Protocol):
    """The owner of the edges, who offers the queued frames."""

    def serve(self) -> None:
        """Offer queued frames from this thread if the loop sleeps; else the loop offers them."""

    def wake(self) -> None:
        """Let the loop look at what has changed."""


class CaptureThread:
    """Reads one source into one writer's rings, and queues the frames; a file waits for room."""

    def __init__(self, reader: SourceReader, writer: FrameWriter, queue: PublishQueue, edges: EdgeOwner) -> None:
        """Prepare; `start` begins to read, and `start_publishing` lets frames through."""
        self.failure: BaseException | None = None
        """The error that ended the thread: of the source, or a defect of ours, here or in the edges."""
        self.is_finished = False
        self._reader, self._writer, self._queue, self._edges = reader, writer, queue, edges
        self._running = threading.Thread(target=self._run, name="decoder", daemon=True)
        self._writing = threading.Lock()  # held while a picture is written, or to make sure that none is
        self._has_first, self._may_publish = threading.Event(), threading.Event()
        self._has_begun = False  # to publish
        self._may_go_on = threading.Event()  # unless an operator has paused us
        self._may_go_on.set()

    def start(self) -> None:
        """Begin to read, up to the first picture."""
        self._running.start()

    def wait_first(self) -> None:
        """Wait until the first picture has a ring or waits for memory, or the source has ended."""
        self._has_first.wait()

    def start_publishing(self) -> None:
        """Let frames flow, the first picture included."""
        self._may_publish.set()

    def pause(self) -> None:
        """Publish no more: pictures of a live source are thrown away and counted, a file waits."""
        self._may_go_on.clear()

    def resume(self) -> None:
        """Publish again."""
        self._may_go_on.set()

    def stop(self) -> None:
        """Stop reading; queued frames stay, and one more picture may be written (`has_written`)."""
        self._reader.stop()
        self._may_publish.set()
        self._may_go_on.set()
        self._queue.announce_room()

    def has_written(self, wait_s: float = 0.0) -> bool:
        """After `stop`: wait so long for the picture that is being written; whether it is queued."""
        is_done = self._writing.acquire(timeout=wait_s)
        if is_done:
            self._writing.release()
        return is_done

    def join(self, wait_s: float) -> bool:
        """After `stop`: wait so long for the thread to end; True: it has, or never began."""
        if self._running.is_alive():
            self._running.join(wait_s)
        return not self._running.is_alive()

    def _run(self) -> None:
        try:
            try:
                self._read()
            finally:
                self._reader.leave()
        except BaseException as fault:
            self.failure = fault
        finally:
            self.is_finished = True
            self._has_first.set()
            self._edges.wake()

    def _read(self) -> None:
        reader, queue = self._reader, self._queue
        while reader.wait_open():
            while (picture := reader.read()) is not None:
                queue.begin(
                    is_batch=reader.is_batch, is_paced=reader.is_paced
                )  # known for sure once a picture is there
                if picture.is_break:
                    self._writer.end_epoch()
                if not self._may_go_on.is_set() and reader.is_live:
                    reader.leave_out_paused()
                elif queue.is_wanted or not reader.is_live:
                    self._publish(picture)

    def _publish(self, picture: Picture) -> None:
        """Write a picture and queue it."""
        has_ring = self._writer.fits(picture) or self._begin_epoch(picture)
        if not self._has_begun:
            self._has_first.set()
            self._may_publish.wait()
            self._has_begun = True
        if not self._reader.is_live:
            self._may_go_on.wait()
        slot = self._claim() if has_ring else None
        with self._writing:
            if self._reader.is_stopped:
                return
            now_ns = time.monotonic_ns()
            is_due = self._queue.put(self._writer.write(picture, slot, now_ns, is_live=self._reader.is_live), now_ns)
        if is_due:
            self._edges.serve()

    def _claim(self) -> int | None:
        """Take a free slot; a file waits for one, a live source has one at once or not at all."""
        writer, queue = self._writer, self._queue
        slot = writer.try_claim() if queue.has_room else None
        if slot is not None:
            return slot
        queue.start_waiting()  # first: from now on, making room is signalled
        while not self._reader.is_stopped:
            queue.forget_room()
            if queue.has_room:
                slot = writer.try_claim()
            if slot is not None or self._reader.is_live:
                break
            self._edges.serve()
            queue.wait_room()
        queue.end_waiting()
        return slot

    def _begin_epoch(self, picture: Picture) -> bool:
        """Have a ring for pictures of another kind; False: no room yet (a live source), or stopped.

        The old one stays until its frames are done. Where there is no room for both, the new one waits for that.
        """
        writer, queue, has_ring = self._writer, self._queue, False
        while not self._reader.is_stopped:
            queue.forget_room()
            has_ring = writer.try_begin_epoch(picture)
            if has_ring:
                break
            self._has_first.set()
            if self._reader.is_live:
                break
            queue.start_waiting()
            self._edges.serve()
            queue.wait_room()
        queue.end_waiting()
        return has_ring
