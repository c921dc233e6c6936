"""Status blocks as other processes read them: the values of one, and a table of those of a producer's consumers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from detektr.memory import layout
from detektr.memory.run_folder import RunFolder
from detektr.memory.segment import Segment, open_segment
from detektr.memory.status_block import KINDS, STATES


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
    last_fault: str = ""
    """The last fault of the user's code, in words."""
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
    paused: int = 0
    """Pictures left out because an operator has paused the capture."""
    trail_lost: int = 0
    """Audit records that were lost because a queue was full."""
    last_frame_utc_ns: int = 0
    working_since_ns: int = 0
    """Monotonic time since which the current frame is worked on; 0: none is."""
    worked: int = 0
    """Frames on which the user's code has worked to an end, each attempt counted; of a capture 0."""
    busy_ns: int = 0
    """Time that it took for them."""
    stacks_fd: int = 0
    """Descriptor of the file that it writes its stacks into when it is asked to; 0: none yet."""
    slots_total: int = 0
    slots_free: int = 0
    ring_bytes: int = 0
    age_sum_ns: int = 0
    age_counts: tuple[int, ...] = ()
    """Frames by age when their work was done; the buckets end at `AGE_BUCKETS_NS`, one more holds the rest."""


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

    @property
    def is_holding(self) -> bool:
        """Whether it holds frames back until others come or end."""
        return self.segment.words[layout.STATUS_WORD_IS_HOLDING] != 0

    def progress(self, session: int) -> tuple[int, int, int] | None:
        """Return the delivery tags that `session` began last and finished last, and the suspect's; None: not here."""
        words = self.segment.words
        for entry in range(layout.STATUS_INPUTS_MAX):
            at = layout.STATUS_WORD_INPUTS + entry * layout.STATUS_INPUT_WORDS
            if words[at + layout.STATUS_INPUT_SESSION] == session:
                return (
                    words[at + layout.STATUS_INPUT_WORKING],
                    words[at + layout.STATUS_INPUT_FINISHED],
                    words[at + layout.STATUS_INPUT_SUSPECT],
                )
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
            last_fault=self._text(
                layout.STATUS_WORD_FAULT, layout.STATUS_WORD_FAULT_LENGTH, layout.STATUS_FAULT_BYTES_MAX
            ),
            frames=words[layout.STATUS_WORD_FRAMES],
            failures=words[layout.STATUS_WORD_FAILURES],
            refused=words[layout.STATUS_WORD_REFUSED],
            wire_errors=words[layout.STATUS_WORD_WIRE_ERRORS],
            reconnects=words[layout.STATUS_WORD_RECONNECTS],
            thinned=words[layout.STATUS_WORD_THINNED],
            corrupt=words[layout.STATUS_WORD_CORRUPT],
            stale=words[layout.STATUS_WORD_STALE],
            paused=words[layout.STATUS_WORD_PAUSED],
            trail_lost=words[layout.STATUS_WORD_TRAIL_LOST],
            last_frame_utc_ns=words[layout.STATUS_WORD_LAST_FRAME_UTC_NS],
            working_since_ns=words[layout.STATUS_WORD_WORKING_SINCE_NS],
            worked=words[layout.STATUS_WORD_WORKED],
            busy_ns=words[layout.STATUS_WORD_BUSY_NS],
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


class StatusBlockTable:
    """Status blocks by replica; one whose name is gone is another process's by now, and is opened anew."""

    def __init__(self, folder: RunFolder) -> None:
        """Map nothing yet."""
        self._folder = folder
        self._readers: dict[str, StatusBlockReader] = {}

    def get(self, replica: str) -> StatusBlockReader | None:
        """Return the status block of `motion.1`; None: there is none."""
        reader = self._readers.get(replica)
        if reader is not None and reader.segment.is_unlinked:
            self.forget(replica)
            reader = None
        if reader is None:
            node, _, number = replica.rpartition(".")
            reader = open_status_block(self._folder.status_block(node, int(number)), node, int(number))
            if reader is not None:
                self._readers[replica] = reader
        return reader

    def forget(self, replica: str) -> None:
        """Unmap one, as its process is gone."""
        reader = self._readers.pop(replica, None)
        if reader is not None:
            reader.close()

    def close(self) -> None:
        """Unmap all."""
        for replica in tuple(self._readers):
            self.forget(replica)
