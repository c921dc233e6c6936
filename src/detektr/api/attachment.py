"""One more consumer, in a script or a notebook: its own edge, its own leases, in the ledger while it is there."""

from __future__ import annotations

import itertools
import logging
import os
import re
import select
import sys
import time
from collections.abc import Callable, Iterator
from types import TracebackType

from detektr.edge.subscriber import EdgeSubscriber
from detektr.edge.upstream import Upstream
from detektr.errors import NoRoomError, OverwrittenError, RefusedError, WireError
from detektr.frame import Frame
from detektr.memory.announcement import Lease
from detektr.memory.run_folder import NAME, RunFolder
from detektr.memory.status_block import StatusBlock, acquire_status_block
from detektr.memory.status_block_reader import open_status_block
from detektr.nodes.working.frame_reader import FrameReader
from detektr.observe.run_state import read_run_state
from detektr.options import Lane, WhenFull
from detektr.process.standard_streams import open_missing_streams
from detektr.wire.link import Link
from detektr.wire.message import Announce, FailureKind, Refusal, Welcome

TICK_NS = 100_000_000
LOOK_S = 0.05  # how often it is looked whether a producer that is not there has come
GUESTS_MAX = 1000
_PRODUCERS = ("capture", "buffer")
_log = logging.getLogger(__name__)


def attach(
    target: str,
    *,
    name: str | None = None,
    window: int = 1,
    when_full: WhenFull = "drop-oldest",
    wait_s: float | None = None,
    announce: Lane = "zmq",
) -> Frames:
    """Read a running pipeline's frames: `with detektr.attach("demo/buffer") as frames: for frame in frames: ...`.

    Each frame is held for the loop's body and released when the next one is asked for or the loop is left: copy what
    you keep. The loop ends when the producer has ended; while it is not there (yet), or away, the loop waits.

    Args:
        target: pipeline and node, a capture or a buffer: `demo/buffer`.
        name: how the edge is called in the ledger; `guest-1`, `guest-2`, ... unless told otherwise.
        window: most frames held here at once: the one in the loop's body and those that wait behind it.
        when_full: what becomes of frames while the loop is busy: drop-oldest, drop-newest, or block (the camera waits).
        wait_s: longest wait for a frame, in seconds, then TimeoutError; None: as long as it takes.
        announce: how frames are announced to us: zmq (messages) or shm (shared memory).
    Returns:
        An iterator of frames, to be closed: use it in `with`.
    Raises:
        RefusedError: target, name, window or policy is none, or `select` was patched in this process.
    """
    return Frames(target, name=name, window=window, when_full=when_full, wait_s=wait_s, announce=announce)


class Frames:
    """The frames of one node, one at a time; see `attach`. One thread at a time may use it, and no fork."""

    def __init__(
        self,
        target: str,
        *,
        name: str | None,
        window: int,
        when_full: WhenFull,
        wait_s: float | None,
        announce: Lane,
    ) -> None:
        """See `attach`; nothing is opened before the first frame is asked for or `with` begins."""
        pipeline, slash, node = target.partition("/")
        if not slash or NAME.match(pipeline) is None or NAME.match(node) is None:
            raise RefusedError(f"attach: {target!r} is not pipeline/node; write for example 'demo/buffer'")
        if name is not None and NAME.match(name) is None:
            raise RefusedError(f"attach: {name!r} is not a name; use a letter, then up to 31 letters, digits, _ or -")
        if not 1 <= window <= 1024:
            raise RefusedError(f"attach: window={window}; write 1 to 1024 (frames)")
        if not hasattr(select, "epoll"):  # gevent's and eventlet's monkey patches take it away
            by = next((name for name in ("gevent", "eventlet") if name in sys.modules), "something")
            raise RefusedError(
                f"attach: {by} has patched the module `select` of this process and taken away epoll, where frames are"
                " waited for; attach in a process that is not patched, or, with gevent, use patch_all(select=False)"
            )
        if when_full not in ("drop-oldest", "drop-newest", "block"):
            raise RefusedError(f"attach: when_full={when_full!r}; write drop-oldest, drop-newest or block")
        if announce not in ("zmq", "shm"):
            raise RefusedError(f"attach: announce={announce!r}; write zmq or shm")
        self._lane: Lane = announce
        self.target = target
        self.refused = 0
        """Frames that were overwritten, or whose lease was over, while the loop's body worked on them."""
        self.delivered = 0
        """Frames that were released and had not been overwritten."""
        self._folder, self._node = RunFolder(pipeline), node
        self._name, self._window, self._when_full, self._wait_s = name, window, when_full, wait_s
        self._attachment: Attachment | None = None
        self._current: tuple[Frame, Lease, Callable[[], bool]] | None = None
        self._told = ""
        self._is_over = False
        self._owner = os.getpid()

    def __enter__(self) -> Frames:
        self._try_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(is_done=kind is None)

    def __iter__(self) -> Frames:
        return self

    def __next__(self) -> Frame:
        """Give the last frame back and wait for the next.

        Raises:
            StopIteration: the producer has ended, or this was closed.
            TimeoutError: no frame came within `wait_s`; says why.
            RefusedError: the node gives no frames, or has no room for another; or this process was forked from
                the one that attached, which alone has the frames.
        """
        self._refuse_child()
        self._give_back()
        begun_ns = time.monotonic_ns()
        limit_ns = None if self._wait_s is None else round(self._wait_s * 1e9)
        while not self._is_over:
            now_ns = time.monotonic_ns()
            attachment = self._attachment
            try:
                frame = None
                if attachment is None:
                    self._try_open()
                else:
                    frame = self._try_take(attachment, now_ns)
            except RefusedError:
                self.close()
                raise
            if frame is not None:
                return frame
            waited_ns = now_ns - begun_ns
            if limit_ns is not None and waited_ns > limit_ns:
                raise TimeoutError(f"attach: no frame of {self.target} within {self._wait_s:g} s: {self._why()}")
            left_ns = TICK_NS if limit_ns is None else min(TICK_NS, limit_ns - waited_ns)
            if self._attachment is None:
                time.sleep(min(LOOK_S, left_ns / 1e9))  # nobody is there who could wake us
            elif attachment is not None:
                attachment.sleep(left_ns)
        self.close()
        raise StopIteration

    def close(self, *, is_done: bool = True) -> None:
        """Leave the edge, which goes with us; what was held goes back, as delivered where `is_done`.

        In a forked child nothing happens: edge and frames are its parent's.
        """
        if os.getpid() != self._owner:
            return
        self._is_over = True
        if is_done:
            self._give_back()
        if self._current is not None:
            self._current[0].close()
            self._current = None
        self._leave()

    def _try_take(self, attachment: Attachment, now_ns: int) -> Frame | None:
        subscriber = attachment.subscriber
        attachment.hear(now_ns)
        subscriber.tick(now_ns)
        attachment.reader.drop_gone()
        if subscriber.is_ended:
            _log.info("%s has ended", self.target)
            self._is_over = True
        elif not subscriber.is_attached and not attachment.inbox.exists():
            self._leave()  # it is gone: our status block must not keep others from sweeping its folder
        while not self._is_over and self._attachment is not None:
            lease = subscriber.take(time.monotonic_ns())
            if lease is None:
                subscriber.flush()  # before we sleep: some may have grown too old, and the producer leases others then
                break
            try:
                frame, is_intact = attachment.reader.open(lease)
            except (OverwrittenError, WireError) as fault:
                _log.warning("a frame of %s is refused: %s", self.target, fault)
                self._refuse(attachment, lease)
                continue
            self._current = frame, lease, is_intact
            return frame
        return None

    def _give_back(self) -> None:
        if self._current is None:
            return
        frame, lease, is_intact = self._current
        self._current = None
        frame.close()
        attachment = self._attachment
        if attachment is None:
            return
        subscriber = attachment.subscriber
        attachment.reader.note_begun(lease, frame)
        if is_intact() and subscriber.still_holds(lease):
            self.delivered += 1
            subscriber.finish((lease.key, lease.sequence), lease.delivery_tag)
            attachment.status_block.count_frame(time.monotonic_ns() - lease.captured_ns, time.time_ns())
            subscriber.flush()
        else:
            self._refuse(attachment, lease)

    def _refuse(self, attachment: Attachment, lease: Lease) -> None:
        self.refused += 1
        attachment.status_block.count_refused()
        attachment.subscriber.fail((lease.key, lease.sequence), "overwritten", FailureKind.OVERWRITTEN)
        attachment.subscriber.flush()  # now: it may be the only lease that we get

    def _refuse_child(self) -> None:
        if os.getpid() != self._owner:
            raise RefusedError(
                f"attach: process {os.getpid()} was forked from process {self._owner}, which attached to {self.target};"
                " end the child in the loop's body (os._exit), or attach in it anew"
            )

    def _try_open(self) -> None:
        """Open our status block, socket and edge once the producer is there; before, its folder has no file of ours."""
        self._refuse_child()
        if self._attachment is not None or self._is_over:
            return
        known = read_run_state(self._folder).get("nodes", {})
        if known and self._node not in known and not self._folder.status_block(self._node, 0).exists():
            frames = sorted(name for name, facts in known.items() if facts["kind"] in _PRODUCERS)
            raise RefusedError(
                f"attach: pipeline {self._folder.pipeline!r} has no node {self._node!r}; it has: {', '.join(frames)}"
            )
        if self._folder.inbox(self._node, 0).exists():
            self._refuse_kind()
            self._attachment = Attachment(
                self._folder, self._node, self._name, self._window, self._when_full, self._lane
            )
            self._attachment.subscriber.tick(time.monotonic_ns())
            self._told = ""
        elif self._why() != self._told:
            self._told = self._why()
            _log.warning("%s", self._told)

    def _refuse_kind(self) -> None:
        status_block = open_status_block(self._folder.status_block(self._node, 0), self._node, 0)
        if status_block is None:
            return
        kind = status_block.snapshot().kind
        status_block.close()
        if kind not in _PRODUCERS:
            nodes = ", ".join(sorted(self._producers()))
            raise RefusedError(
                f"attach: {self.target} is a {kind}, which gives no frames; name a capture or a buffer"
                f" ({self._folder.pipeline} has: {nodes})"
            )

    def _producers(self) -> Iterator[str]:
        """Yield the nodes here that give frames."""
        for node, number, path in self._folder.status_blocks():
            status_block = open_status_block(path, node, number)
            if status_block is not None:
                if status_block.snapshot().kind in _PRODUCERS:
                    yield node
                status_block.close()

    def _why(self) -> str:
        is_there = any(node == self._node for node, _, _ in self._folder.live_processes())
        if is_there and self._attachment is not None and self._attachment.subscriber.is_attached:
            return f"{self.target} runs, but no new frame came"
        pipeline, live = self._folder.pipeline, sorted({node for node, _, _ in self._folder.live_processes()})
        what = f"pipeline {pipeline!r} has: {', '.join(live)}" if live else f"pipeline {pipeline!r} does not run"
        return f"waiting for {self.target} ({what})"

    def _leave(self) -> None:
        if self._attachment is not None:
            self._attachment.close()
            self._attachment = None


class Attachment:
    """The open parts of a consumer while its producer is there: status block, socket, edge and rings."""

    def __init__(
        self, folder: RunFolder, node: str, name: str | None, window: int, when_full: WhenFull, lane: Lane
    ) -> None:
        open_missing_streams()  # a library that writes to a closed stderr would write into a file of ours
        self.inbox = folder.inbox(node, 0)
        self.status_block = acquire_guest(folder, node)
        own = re.sub(r"\.0$", "", self.status_block.path.stem)
        try:
            self.link = Link(folder.inbox(own, 0), folder.doorbell(own, 0))
        except RefusedError:
            self.status_block.close(unlink=True)
            raise
        upstream = Upstream(
            producer=node,
            producer_replica=0,
            consumer=name or own,
            window=window,
            is_ephemeral=True,
            when_full=when_full,
            lane=lane,
        )
        try:
            self.subscriber = EdgeSubscriber(upstream, 0, folder, self.link, self.status_block)
        except NoRoomError:
            self.link.close()
            self.status_block.close(unlink=True)
            raise
        self.status_block.set_state("running")
        self.reader = FrameReader(folder, own)
        self._folder = folder
        self._refusals = 0

    def hear(self, now_ns: int) -> None:
        """Take what has come.

        Raises:
            RefusedError: the producer does not let us in, although it was asked twice.
        """
        for message in self.link.receive():
            if isinstance(message, WireError):
                self.status_block.count_wire_error()
            elif isinstance(message, Welcome | Refusal | Announce) and self.subscriber.owns(message.session):
                try:
                    self.subscriber.handle(message, now_ns)
                except WireError:
                    self.status_block.count_wire_error()
                if isinstance(message, Welcome):
                    self._refusals = 0
                if isinstance(message, Refusal):
                    # The first may be about a consumer of our name that died a moment ago.
                    self._refusals += 1
                    if self._refusals > 1:
                        raise RefusedError(f"attach: {self.subscriber.why}")
        self.subscriber.receive()

    def sleep(self, limit_ns: int) -> None:
        """Wait until there is something for us, at most so long."""
        if self.subscriber.fall_asleep():
            self.subscriber.flush()
        else:
            self.link.wait(min(limit_ns, max(self.subscriber.due_ns() - time.monotonic_ns(), 0)))
            self.subscriber.flush()

    def wake(self) -> None:
        """Let `sleep` return, from another thread."""
        self.link.wake()

    def close(self) -> None:
        """Leave the edge; nothing of ours stays."""
        self.subscriber.close()
        self.reader.close()
        self.link.close()
        self.status_block.close(unlink=True)
        self._folder.remove_if_empty()


def acquire_guest(folder: RunFolder, producer: str) -> StatusBlock:
    """Take the first free name `guest-N`: names that are used again keep the labels of metrics few."""
    for number in itertools.count(1):
        name = f"guest-{number}"
        if number < GUESTS_MAX and folder.journal(producer, 0, name).exists():
            continue  # of a dead consumer that is not evicted yet, or of another's edge
        try:
            return acquire_status_block(folder, name, 0, "guest", wait_ns=0)
        except RefusedError:
            if number >= GUESTS_MAX:
                raise
    raise AssertionError("itertools.count has no end")
