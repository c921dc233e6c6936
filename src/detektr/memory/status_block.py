"""The status block: a small mapped file with the state and progress of one process, locked as long as it lives."""

from __future__ import annotations

import bisect
import os
import select
import time
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
    *("unauthorized", "forbidden", "not_found", "tls_failed", "retrying", "paused"),
)
SWEEP_NS = 500_000_000  # so long we wait for a sweep, which locks a dead process's status block for a moment
POLL_MS = 5
_SIGN = 1 << 63  # what a signed number is stored with
AGE_BUCKETS_NS = tuple(round(100_000 * 2 ** (step / 2)) for step in range(40))  # 0.1 ms to 74 s, by half octaves


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
        self.words[layout.STATUS_WORD_WORKING_SINCE_NS] = 0
        self.words[layout.STATUS_WORD_STACKS_FD] = 0
        self.words[layout.STATUS_WORD_STATE] = 0
        self.words[layout.STATUS_WORD_STATE_SINCE_UTC_NS] = time.time_ns()
        self.words[layout.STATUS_WORD_MODE_LENGTH] = 0
        let_go_in_child(segment.close_descriptor)

    # -- inputs: the leases that were begun and finished last, and who is to blame; the producer reads them ---------

    def begin_session(self, entry: int, session: int) -> None:
        """Say that an input begins another session, without any work begun."""
        at = layout.STATUS_WORD_INPUTS + entry * layout.STATUS_INPUT_WORDS
        self.words[at + layout.STATUS_INPUT_SESSION] = 0
        self.words[at + layout.STATUS_INPUT_WORKING] = 0
        self.words[at + layout.STATUS_INPUT_FINISHED] = 0
        self.words[at + layout.STATUS_INPUT_SUSPECT] = 0
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

    def note_holding(self, *, is_holding: bool) -> None:
        """Say whether we hold frames back until others come or end: whoever ends one wakes us then."""
        self.words[layout.STATUS_WORD_IS_HOLDING] = is_holding

    def progress(self, entry: int) -> tuple[int, int, int, int]:
        """Return an input's session, the delivery tags that were begun last and finished last, and the suspect's."""
        at, words = layout.STATUS_WORD_INPUTS + entry * layout.STATUS_INPUT_WORDS, self.words
        return (
            words[at + layout.STATUS_INPUT_SESSION],
            words[at + layout.STATUS_INPUT_WORKING],
            words[at + layout.STATUS_INPUT_FINISHED],
            words[at + layout.STATUS_INPUT_SUSPECT],
        )

    def note_work(self, since_ns: int) -> None:
        """Say since when a frame is worked on, or a source is waited for; 0: nothing is."""
        self.words[layout.STATUS_WORD_WORKING_SINCE_NS] = since_ns

    def note_worked(self, frames: int, now_ns: int) -> None:
        """Say that the work begun with `note_work` has ended, and on how many frames it was."""
        words = self.words
        words[layout.STATUS_WORD_BUSY_NS] += now_ns - words[layout.STATUS_WORD_WORKING_SINCE_NS]
        words[layout.STATUS_WORD_WORKED] += frames
        words[layout.STATUS_WORD_WORKING_SINCE_NS] = 0

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

    def count_paused(self) -> None:
        """Count a live source's picture that was thrown away, as an operator has paused the capture."""
        self.words[layout.STATUS_WORD_PAUSED] += 1

    def count_reconnect(self) -> None:
        """Count a live source that was lost and is opened again."""
        self.words[layout.STATUS_WORD_RECONNECTS] += 1

    @property
    def left_out(self) -> tuple[int, int, int]:
        """How many pictures were thinned, corrupt and stale so far."""
        words = self.words
        thinned, corrupt = words[layout.STATUS_WORD_THINNED], words[layout.STATUS_WORD_CORRUPT]
        return thinned, corrupt, words[layout.STATUS_WORD_STALE]

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
        self.words[layout.STATUS_WORD_WHY_LENGTH] = 0  # of the old state
        if self.words[layout.STATUS_WORD_STATE] != STATES.index(state):
            self.words[layout.STATUS_WORD_STATE_SINCE_UTC_NS] = time.time_ns()
        self.words[layout.STATUS_WORD_STATE] = STATES.index(state)
        self._write(why, layout.STATUS_WORD_WHY, layout.STATUS_WORD_WHY_LENGTH, layout.STATUS_WHY_BYTES_MAX)

    def set_stacks_fd(self, fd: int) -> None:
        """Say which of this process's files its stacks go to when it is asked for them."""
        self.words[layout.STATUS_WORD_STACKS_FD] = fd

    def set_mode(self, mode: str) -> None:
        """Record the mode in which the source is read."""
        self._write(mode, layout.STATUS_WORD_MODE, layout.STATUS_WORD_MODE_LENGTH, layout.STATUS_MODE_BYTES_MAX)

    def set_fault(self, fault: str) -> None:
        """Record the last fault of the user's code."""
        self._write(fault, layout.STATUS_WORD_FAULT, layout.STATUS_WORD_FAULT_LENGTH, layout.STATUS_FAULT_BYTES_MAX)

    def _write(self, text: str, word: int, length_word: int, nbytes_max: int) -> None:
        """Write a text so that no reader sees one that is half another."""
        blob = text.encode(errors="replace")[:nbytes_max]
        begin = word * layout.WORD_BYTES
        self.words[length_word] = 0
        self.segment.bytes[begin : begin + len(blob)] = blob
        self.words[length_word] = len(blob)

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


def _fill(segment: Segment) -> None:
    segment.words[layout.STATUS_WORD_VERSION] = layout.VERSION
    segment.words[layout.STATUS_WORD_MAGIC] = layout.STATUS_MAGIC
