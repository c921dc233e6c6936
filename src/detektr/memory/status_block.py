"""The status block: a small mapped file with the state and progress of one process, locked as long as it lives."""

from __future__ import annotations

import bisect
import os
import select
import time
from dataclasses import dataclass
from pathlib import Path

from detektr.errors import RefusedError
from detektr.memory import layout
from detektr.memory.run_folder import RunFolder
from detektr.memory.segment import Segment, create_segment, open_segment
from detektr.process.user_boundary import let_go_in_child
from detektr.registry.node_kinds import NODE_KINDS

KINDS = (*NODE_KINDS, "guest")
STATES = (
    *("starting", "waiting", "connecting", "running", "stalled", "draining", "ended", "failed"),
    *("unauthorized", "forbidden", "not_found", "tls_failed", "retrying"),
)
SWEEP_NS = 500_000_000  # so long we wait for a sweep, which locks a dead process's status block for a moment
POLL_MS = 5
_SIGN = 1 << 63  # what a signed number is stored with
_PROGRESS = (layout.STATUS_INPUT_WORKING, layout.STATUS_INPUT_FINISHED, layout.STATUS_INPUT_SUSPECT)
AGE_BUCKETS_NS = tuple(round(100_000 * 2 ** (step / 2)) for step in range(40))  # 0.1 ms to 74 s, by half octaves


@dataclass(frozen=True)
class NodeSnapshot:
    """One process of a node as its status block says; counters go on over restarts."""

    node: str
    replica: int
    kind: str = ""
    pid: int = 0
    is_alive: bool = False
    state: str = "starting"
    why: str = ""
    since_utc_ns: int = 0
    """Since when it is in this state."""
    mode: str = ""
    """Of a capture: the mode in which its source is read."""
    frames: int = 0
    """Frames captured, passed on or processed; of a sink: events written."""
    failures: int = 0
    """Frames on which the processor raised."""
    refused: int = 0
    """Results thrown away because the lease was over or the slot overwritten."""
    wire_errors: int = 0
    """Messages that were refused, as they were not detektr's."""
    reconnects: int = 0
    thinned: int = 0
    """Pictures left out by `fps`."""
    corrupt: int = 0
    """Pictures that the decoder marked as damaged."""
    stale: int = 0
    """Pictures left out because they were an old backlog."""
    trail_lost: int = 0
    """Audit records that were lost because a queue was full."""
    last_frame_utc_ns: int = 0
    working_since_ns: int = 0
    """Monotonic time since which the current frame is worked on; 0: none is."""
    stacks_fd: int = 0
    """Descriptor of the file that it writes its stacks into when it is asked to; 0: none yet."""
    slots_total: int = 0
    slots_free: int = 0
    ring_bytes: int = 0
    age_sum_ns: int = 0
    age_counts: tuple[int, ...] = ()
    """Frames by age when their work was done; the buckets end at `AGE_BUCKETS_NS`, one more holds the rest."""


class StatusBlock:
    """The status block of this process, its only writer. A process is alive as long as it holds the lock."""

    def __init__(self, path: Path, kind: str) -> None:
        """Open a predecessor's status block, or make one, and lock it.

        Raises:
            RefusedError: a process of this name is running.
        """
        self.path = path
        nbytes = layout.whole_pages(layout.STATUS_WORDS * layout.WORD_BYTES)
        segment = open_segment(path, is_writable=True)
        while segment is None:
            try:
                segment = create_segment(path, nbytes, _fill, may_replace=False)
            except FileExistsError:  # another began at the same moment; the lock decides whose name it is
                segment = open_segment(path, is_writable=True)
        self.segment = segment
        if not segment.try_lock():
            pid = segment.words[layout.STATUS_WORD_PID]
            segment.close()
            raise RefusedError(f"{path.stem} is running already, as process {pid}; stop it, or choose another name")
        self.words = segment.words
        self.words[layout.STATUS_WORD_KIND] = KINDS.index(kind)
        self.words[layout.STATUS_WORD_PID] = os.getpid()
        self.words[layout.STATUS_WORD_WORKING_SINCE_NS] = self.words[layout.STATUS_WORD_STACKS_FD] = 0
        self.words[layout.STATUS_WORD_STATE] = self.words[layout.STATUS_WORD_MODE_LENGTH] = 0
        self.words[layout.STATUS_WORD_STATE_SINCE_UTC_NS] = time.time_ns()
        let_go_in_child(segment.close_descriptor)

    # -- inputs: the leases that were begun and finished last, and who is to blame; the producer reads them ---------

    def begin_session(self, entry: int, session: int) -> None:
        """Say that an input begins another session, without any work begun."""
        at = layout.STATUS_WORD_INPUTS + entry * layout.STATUS_INPUT_WORDS
        for field in (layout.STATUS_INPUT_SESSION, *_PROGRESS):
            self.words[at + field] = 0
        self.words[at + layout.STATUS_INPUT_SESSION] = session

    def note_working(self, entry: int, delivery_tag: int) -> None:
        """Say which lease of an input is being worked on."""
        at = layout.STATUS_WORD_INPUTS + entry * layout.STATUS_INPUT_WORDS
        self.words[at + layout.STATUS_INPUT_WORKING] = delivery_tag

    def note_finished(self, entry: int, delivery_tag: int) -> None:
        """Say which lease of an input was finished last."""
        at = layout.STATUS_WORD_INPUTS + entry * layout.STATUS_INPUT_WORDS
        self.words[at + layout.STATUS_INPUT_FINISHED] = delivery_tag

    def note_suspect(self, entry: int, delivery_tag: int) -> None:
        """Say which lease of an input alone is to blame if we die or take too long; `SUSPECT_NOBODY`: none is."""
        at = layout.STATUS_WORD_INPUTS + entry * layout.STATUS_INPUT_WORDS
        self.words[at + layout.STATUS_INPUT_SUSPECT] = delivery_tag

    def progress(self, entry: int) -> tuple[int, int, int, int]:
        """Return an input's session, the delivery tags that were begun last and finished last, and the suspect's."""
        at, words = layout.STATUS_WORD_INPUTS + entry * layout.STATUS_INPUT_WORDS, self.words
        working, finished, suspect = [words[at + field] for field in _PROGRESS]
        return words[at + layout.STATUS_INPUT_SESSION], working, finished, suspect

    def note_work(self, since_ns: int) -> None:
        """Say since when a frame is worked on, or a source is waited for; 0: nothing is."""
        self.words[layout.STATUS_WORD_WORKING_SINCE_NS] = since_ns

    def add_frames(self, count: int) -> None:
        """Count frames that were captured or passed on."""
        self.words[layout.STATUS_WORD_FRAMES] += count

    def add_captured(self, count: int, utc_ns: int) -> None:
        """Count frames that were captured, the last of them at this time."""
        self.words[layout.STATUS_WORD_FRAMES] += count
        self.words[layout.STATUS_WORD_LAST_FRAME_UTC_NS] = utc_ns

    def count_failure(self) -> None:
        """Count a frame on which the user's code raised."""
        self.words[layout.STATUS_WORD_FAILURES] += 1

    def count_refused(self) -> None:
        """Count a result that was thrown away, as its lease was over or its slot overwritten."""
        self.words[layout.STATUS_WORD_REFUSED] += 1

    def count_wire_error(self) -> int:
        """Count a message that was refused; returns how many there were."""
        self.words[layout.STATUS_WORD_WIRE_ERRORS] += 1
        return self.words[layout.STATUS_WORD_WIRE_ERRORS]

    def count_trail_lost(self) -> None:
        """Count an audit record that was lost."""
        self.words[layout.STATUS_WORD_TRAIL_LOST] += 1

    def count_reconnect(self) -> None:
        """Count a live source that was lost and is opened again."""
        self.words[layout.STATUS_WORD_RECONNECTS] += 1

    @property
    def left_out(self) -> tuple[int, int, int]:
        """How many pictures were thinned, corrupt and stale so far."""
        thinned, corrupt = self.words[layout.STATUS_WORD_THINNED], self.words[layout.STATUS_WORD_CORRUPT]
        return thinned, corrupt, self.words[layout.STATUS_WORD_STALE]

    def set_left_out(self, thinned: int, corrupt: int, stale: int) -> None:
        """Say how many pictures were left out so far, and why."""
        self.words[layout.STATUS_WORD_THINNED] = thinned
        self.words[layout.STATUS_WORD_CORRUPT] = corrupt
        self.words[layout.STATUS_WORD_STALE] = stale

    # -- of a capture: the values that its successor continues -------------------------------------------------------

    def take_run(self) -> int:
        """Return the number of this node's run, drawn by the first process of it."""
        run = self.words[layout.STATUS_WORD_RUN] or int.from_bytes(os.urandom(4), "big") | 1
        self.words[layout.STATUS_WORD_RUN] = run
        return run

    @property
    def epoch(self) -> int:
        """Number of the newest ring."""
        return self.words[layout.STATUS_WORD_EPOCH]

    def begin_epoch(self) -> None:
        """Say that the ring of this epoch gets no more frames."""
        self.words[layout.STATUS_WORD_EPOCH] += 1

    @property
    def next_sequence(self) -> int:
        """Number of the next frame."""
        return self.words[layout.STATUS_WORD_NEXT_SEQUENCE]

    def set_next_sequence(self, sequence: int) -> None:
        """Say that every frame before this number is written."""
        self.words[layout.STATUS_WORD_NEXT_SEQUENCE] = sequence

    def begin_round(self, source_number: int) -> None:
        """Say that the next frame is the first picture of a file."""
        self.words[layout.STATUS_WORD_ROUND_SEQUENCE] = self.next_sequence
        self.words[layout.STATUS_WORD_ROUND_SOURCE] = source_number

    def round_frames(self, source_number: int) -> int:
        """Return how many pictures of this round through a file are written; 0 where it is another file's."""
        if self.words[layout.STATUS_WORD_ROUND_SOURCE] != source_number:
            return 0
        return self.next_sequence - self.words[layout.STATUS_WORD_ROUND_SEQUENCE]

    @property
    def media_clock(self) -> tuple[int, int | None, int]:
        """Where the media's clock stands: time of the last frame, latest time of the stream, moment of the capture."""
        words = self.words
        stream = words[layout.STATUS_WORD_MEDIA_STREAM_NS]
        times = words[layout.STATUS_WORD_MEDIA_TIME_NS], words[layout.STATUS_WORD_MEDIA_CAPTURED_NS]
        return times[0], stream - _SIGN if stream else None, times[1]

    def set_media_clock(self, time_ns: int, stream_ns: int | None, captured_ns: int) -> None:
        """Say where the media's clock stands, before the frame of that time is published."""
        words = self.words
        words[layout.STATUS_WORD_MEDIA_TIME_NS] = time_ns  # first: half of it written, the clock never goes back
        words[layout.STATUS_WORD_MEDIA_STREAM_NS] = 0 if stream_ns is None else stream_ns + _SIGN
        words[layout.STATUS_WORD_MEDIA_CAPTURED_NS] = captured_ns

    def set_rings(self, slots: int, free: int, nbytes: int) -> None:
        """Record how full the rings are."""
        self.words[layout.STATUS_WORD_SLOTS_TOTAL], self.words[layout.STATUS_WORD_SLOTS_FREE] = slots, free
        self.words[layout.STATUS_WORD_RING_BYTES] = nbytes

    # -- state ----------------------------------------------------------------------------------------------------

    def set_state(self, state: str, why: str = "") -> None:
        """Record the node's state, and the reason if the state alone does not explain it."""
        blob = why.encode(errors="replace")[: layout.STATUS_WHY_BYTES_MAX]
        begin = layout.STATUS_WORD_WHY * layout.WORD_BYTES
        self.words[layout.STATUS_WORD_WHY_LENGTH] = 0
        self.segment.bytes[begin : begin + len(blob)] = blob
        if self.words[layout.STATUS_WORD_STATE] != STATES.index(state):
            self.words[layout.STATUS_WORD_STATE_SINCE_UTC_NS] = time.time_ns()
        self.words[layout.STATUS_WORD_STATE] = STATES.index(state)
        self.words[layout.STATUS_WORD_WHY_LENGTH] = len(blob)

    def set_stacks_fd(self, fd: int) -> None:
        """Say which of this process's files its stacks go to when it is asked for them."""
        self.words[layout.STATUS_WORD_STACKS_FD] = fd

    def set_mode(self, mode: str) -> None:
        """Record the mode in which the source is read."""
        blob = mode.encode(errors="replace")[: layout.STATUS_MODE_BYTES_MAX]
        begin = layout.STATUS_WORD_MODE * layout.WORD_BYTES
        self.words[layout.STATUS_WORD_MODE_LENGTH] = 0
        self.segment.bytes[begin : begin + len(blob)] = blob
        self.words[layout.STATUS_WORD_MODE_LENGTH] = len(blob)

    def count_frame(self, age_ns: int, utc_ns: int) -> None:
        """Count a frame whose work is done at `age_ns` after its capture."""
        words = self.words
        words[layout.STATUS_WORD_AGES + bisect.bisect_left(AGE_BUCKETS_NS, age_ns)] += 1
        words[layout.STATUS_WORD_AGE_SUM_NS] += max(age_ns, 0)
        words[layout.STATUS_WORD_FRAMES] += 1
        words[layout.STATUS_WORD_LAST_FRAME_UTC_NS] = utc_ns

    def close(self, *, unlink: bool) -> None:
        """Release the lock; with `unlink`, remove the status block too."""
        if unlink:
            self.path.unlink(missing_ok=True)
        self.words = self.words[:0]
        self.segment.close()


def acquire_status_block(
    folder: RunFolder, node: str, replica: int, kind: str, *, wait_ns: int = SWEEP_NS
) -> StatusBlock:
    """Make the folder and lock a process's status block in it.

    If others that leave or sweep at the same moment remove the file or the folder, it is made again.

    Args:
        folder: the pipeline's.
        node: name of the node.
        replica: number of the process.
        kind: one of `KINDS`.
        wait_ns: how long to wait for a status block that is locked.
    Raises:
        RefusedError: a process of this name is running, or the folder cannot be made.
    """
    deadline_ns = time.monotonic_ns() + wait_ns
    while True:
        folder.make()
        try:
            status_block = StatusBlock(folder.status_block(node, replica), kind)
        except FileNotFoundError:
            continue
        except RefusedError:
            if time.monotonic_ns() >= deadline_ns:
                raise
            select.poll().poll(POLL_MS)
            continue
        if not status_block.segment.is_unlinked:
            return status_block
        status_block.close(unlink=False)


class StatusBlockReader:
    """A read-only view of a status block for any process."""

    def __init__(self, segment: Segment, node: str, replica: int) -> None:
        """Read the mapped status block of one process of `node`."""
        self.node, self.replica = node, replica
        self.segment = segment

    @property
    def is_alive(self) -> bool:
        """Whether the process that writes it is alive: the kernel knows by the lock."""
        return self.segment.is_locked_elsewhere()

    @property
    def pid(self) -> int:
        """Number of the process that took it last."""
        return self.segment.words[layout.STATUS_WORD_PID]

    @property
    def written(self) -> tuple[int, int]:
        """A capture's run, and the number after the last frame that it wrote."""
        words = self.segment.words
        return words[layout.STATUS_WORD_RUN], words[layout.STATUS_WORD_NEXT_SEQUENCE]

    def progress(self, session: int) -> tuple[int, int, int] | None:
        """Return the delivery tags that `session` began last and finished last, and the suspect's; None: not here."""
        words = self.segment.words
        for entry in range(layout.STATUS_INPUTS_MAX):
            at = layout.STATUS_WORD_INPUTS + entry * layout.STATUS_INPUT_WORDS
            if words[at + layout.STATUS_INPUT_SESSION] == session:
                working, finished, suspect = [words[at + field] for field in _PROGRESS]
                return working, finished, suspect
        return None

    def snapshot(self) -> NodeSnapshot:
        """Return the present values."""
        words = self.segment.words
        is_alive = self.is_alive
        state = STATES[words[layout.STATUS_WORD_STATE]]
        return NodeSnapshot(
            node=self.node,
            replica=self.replica,
            kind=KINDS[words[layout.STATUS_WORD_KIND]],
            pid=words[layout.STATUS_WORD_PID] if is_alive else 0,
            is_alive=is_alive,
            state=state if is_alive or state in ("ended", "failed") else "stopped",
            why=self._text(layout.STATUS_WORD_WHY, layout.STATUS_WORD_WHY_LENGTH, layout.STATUS_WHY_BYTES_MAX),
            since_utc_ns=words[layout.STATUS_WORD_STATE_SINCE_UTC_NS],
            mode=self._text(layout.STATUS_WORD_MODE, layout.STATUS_WORD_MODE_LENGTH, layout.STATUS_MODE_BYTES_MAX),
            frames=words[layout.STATUS_WORD_FRAMES],
            failures=words[layout.STATUS_WORD_FAILURES],
            refused=words[layout.STATUS_WORD_REFUSED],
            wire_errors=words[layout.STATUS_WORD_WIRE_ERRORS],
            reconnects=words[layout.STATUS_WORD_RECONNECTS],
            thinned=words[layout.STATUS_WORD_THINNED],
            corrupt=words[layout.STATUS_WORD_CORRUPT],
            stale=words[layout.STATUS_WORD_STALE],
            trail_lost=words[layout.STATUS_WORD_TRAIL_LOST],
            last_frame_utc_ns=words[layout.STATUS_WORD_LAST_FRAME_UTC_NS],
            working_since_ns=words[layout.STATUS_WORD_WORKING_SINCE_NS],
            stacks_fd=words[layout.STATUS_WORD_STACKS_FD],
            slots_total=words[layout.STATUS_WORD_SLOTS_TOTAL],
            slots_free=words[layout.STATUS_WORD_SLOTS_FREE],
            ring_bytes=words[layout.STATUS_WORD_RING_BYTES],
            age_sum_ns=words[layout.STATUS_WORD_AGE_SUM_NS],
            age_counts=tuple(words[layout.STATUS_WORD_AGES : layout.STATUS_WORD_AGES + layout.STATUS_AGES].tolist()),
        )

    def close(self) -> None:
        """Unmap the status block."""
        self.segment.close()

    def _text(self, word: int, length_word: int, nbytes_max: int) -> str:
        begin = word * layout.WORD_BYTES
        length = min(self.segment.words[length_word], nbytes_max)
        return bytes(self.segment.bytes[begin : begin + length]).decode(errors="replace")


def open_status_block(path: Path, node: str, replica: int) -> StatusBlockReader | None:
    """Map a status block for reading; None when it is not there."""
    segment = open_segment(path)
    return None if segment is None else StatusBlockReader(segment, node, replica)


def _fill(segment: Segment) -> None:
    segment.words[layout.STATUS_WORD_VERSION] = layout.VERSION
    segment.words[layout.STATUS_WORD_MAGIC] = layout.STATUS_MAGIC
