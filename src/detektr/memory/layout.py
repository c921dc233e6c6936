"""The map of all words in shared memory: rings, journals, status blocks, completion queues, trails and more.

All words are unsigned 64-bit integers in the machine's own order, stored one at a time, so that a reader (or a
successor, after a SIGKILL) sees each word either before or after its change. Offsets count words unless a name
ends in BYTES. A file is written in full under another name and renamed, so nobody sees one half made.

    ring              | header | slot headers: (generation, sequence) x SLOTS | page-aligned slots        |
    journal           | header | redo record | counters | streams | replicas | leases | cameras | cells |
    status block      | header | counters | one entry per input | age histogram | reason in words       |
    completion queue  | header | completed leases, oldest overwritten                                  |
    user metrics      | header | records: a metric, or one series of one with its numbers; it grows    |
    partition         | header | camera, owner, since, one entry per camera                            |
    trail             | header | names of edges | records of what became of frames, oldest overwritten |

Each word has exactly one writer: the process that holds the file open for writing. `Final`: numbers in compiled code.
"""

from __future__ import annotations

from typing import Final

WORD_BYTES: Final = 8
PAGE_BYTES: Final = 4096
VERSION: Final = 15  # of all layouts here; a reader refuses another version

# ring: one epoch of one capture -----------------------------------------------------------------------------------
RING_MAGIC: Final = 0x676E69722E6B7464  # "dtk.ring"
RING_WORD_MAGIC: Final = 0
RING_WORD_VERSION: Final = 1
RING_WORD_RUN: Final = 2
RING_WORD_EPOCH: Final = 3
RING_WORD_SLOTS: Final = 4
RING_WORD_SLOT_BYTES: Final = 5  # distance between two slots, whole pages
RING_WORD_PICTURE_BYTES: Final = 6
RING_WORD_FIRST_SLOT_BYTE: Final = 7
RING_WORD_FACTS_LENGTH: Final = 8
RING_FACTS_BYTE: Final = 128  # msgpack of node, camera, format, width, height, matrix, range, time base
RING_SLOT_HEADERS_BYTE: Final = PAGE_BYTES
RING_SLOT_HEADER_WORDS: Final = 8  # a cache line each
RING_SLOT_GENERATION: Final = 0  # odd while written, even when published; never the same twice
RING_SLOT_SEQUENCE: Final = 1

# journal: the state of one edge -----------------------------------------------------------------------------------
EDGE_MAGIC: Final = 0x656764652E6B7464  # "dtk.edge"
EDGE_WORD_MAGIC: Final = 0
EDGE_WORD_VERSION: Final = 1
EDGE_WORD_CELLS: Final = 2
EDGE_WORD_CELL_WORDS: Final = 3
EDGE_WORD_PRODUCER_EPOCH: Final = 4  # lives of the producer: grows when a successor adopts the journal
EDGE_WORD_STATE: Final = 5
EDGE_WORD_CHANGE: Final = 6  # odd while a change is being applied
EDGE_WORD_REDO_COUNT: Final = 7  # pairs in the redo record that must be applied; 0: none
EDGE_WORD_REDO: Final = 8
EDGE_REDO_PAIRS_MAX: Final = 24
EDGE_WORD_LANE: Final = 56  # place in LANES
EDGE_WORD_FULL_SINCE_NS: Final = 57  # since when the producer waits for room, as it last looked; 0: it does not
EDGE_WORD_MAX_AGE_NS: Final = 58  # older frames are given back undone; 0: whatever their age
EDGE_WORD_CAMERAS_COUNT: Final = 59  # cameras whose drops are counted each by itself
EDGE_WORD_MAP_EPOCH: Final = 60  # of the map of cameras and replicas that all its leases keep to; 0: not partitioned
LANES: Final = ("zmq", "shm")
EDGE_WORD_OFFERED: Final = 64
EDGE_WORD_DELIVERED: Final = 65
EDGE_WORD_DEAD_LETTERED: Final = 66
EDGE_WORD_REDELIVERED: Final = 67
EDGE_WORD_REFUSED: Final = 68
EDGE_WORD_ANNOUNCED_COUNT: Final = 69  # leases announced so far
EDGE_WORD_ATTACHED: Final = 70
EDGE_WORD_STALLED_SINCE_NS: Final = 71
EDGE_WORD_MARK: Final = 72
EDGE_WORD_WINDOW: Final = 73  # most leases of all replicas together
EDGE_WORD_POLICY: Final = 74  # place in options.WhenFull
EDGE_WORD_IS_EPHEMERAL: Final = 75
EDGE_WORD_MAX_DELIVERIES: Final = 76
EDGE_WORD_TIMEOUT_NS: Final = 77  # 0: none
EDGE_WORD_NOTIFY: Final = 78  # which consumers are to wake the producer while it sleeps; see edge/lanes/wakeup
EDGE_WORD_IS_AWAKE: Final = 79  # 1 while the producer looks at completions itself
EDGE_WORD_DROPPED: Final = 80  # one word a reason, in the order of ledger.DROP_REASONS
EDGE_WORD_SEEN: Final = 96  # (stream key, next sequence) pairs
EDGE_SEEN_MAX: Final = 128
EDGE_WORD_REPLICAS: Final = EDGE_WORD_SEEN + 2 * EDGE_SEEN_MAX
EDGE_REPLICAS_MAX: Final = 64
REPLICA_WORDS: Final = 8
REPLICA_SESSION: Final = 0  # 0: free entry
REPLICA_IS_DURABLE: Final = 1
REPLICA_WINDOW: Final = 2
REPLICA_NAME: Final = 3  # 5 words of UTF-8, NUL padded
REPLICA_NAME_BYTES: Final = 40
EDGE_WORD_ANNOUNCED: Final = EDGE_WORD_REPLICAS + REPLICA_WORDS * EDGE_REPLICAS_MAX  # an entry for each replica
ANNOUNCED_WORDS: Final = 64
ANNOUNCED_LAST_TAG: Final = 0  # delivery tag of the last lease that was announced to the replica
ANNOUNCED_BASE_TAG: Final = 1  # ... of the last one before it attached; leases up to it were settled then
ANNOUNCED_CELLS: Final = 2  # cells of the latest leases, by delivery tag; a reader further behind searches all cells
ANNOUNCED_ROOM = ANNOUNCED_WORDS - ANNOUNCED_CELLS  # not Final: a test makes it less
EDGE_WORD_CAMERAS: Final = EDGE_WORD_ANNOUNCED + ANNOUNCED_WORDS * EDGE_REPLICAS_MAX  # an entry a camera
EDGE_CAMERAS_MAX: Final = 128
CAMERA_NAME_BYTES: Final = 32  # the first words of UTF-8, NUL padded
CAMERA_DROPPED: Final = 4  # one word a reason, in the order of ledger.DROP_REASONS
CAMERA_WORDS: Final = CAMERA_DROPPED + EDGE_WORD_SEEN - EDGE_WORD_DROPPED
EDGE_WORD_FIRST_CELL: Final = EDGE_WORD_CAMERAS + CAMERA_WORDS * EDGE_CAMERAS_MAX

CELL_STATE: Final = 0
CELL_QUEUED_NS: Final = 1  # when the frame was offered; written where the trail has it, see edge/frame_trail
CELL_OWNER: Final = 2  # session of the replica that holds the lease
CELL_DELIVERY_TAG: Final = 3  # number of the lease within its session, from 1
CELL_LEASED_NS: Final = 4
CELL_DELIVERIES: Final = 5  # leases of this frame so far; announced with it
CELL_ATTEMPTS: Final = 6  # attempts that ended without success
CELL_ORDINAL: Final = 7
CELL_KEY: Final = 8
CELL_SEQUENCE: Final = 9
CELL_INPUT: Final = 10
CELL_CAPTURED_NS: Final = 11
CELL_LENGTH: Final = 12  # bytes of payload
CELL_PAYLOAD: Final = 13
CELL_FREE: Final = 0
CELL_QUEUED: Final = 1
CELL_LEASED: Final = 2
CELL_SETTLED: Final = 3  # a tombstone: counted already, and kept for its name; below a relay, and above a join
STATE_MASK: Final = 0xFF  # of the state's word; of a tombstone the bits above it say which counter has its frame
STATE_COUNTER_SHIFT: Final = 8
EDGE_OPEN: Final = 0
EDGE_ENDED: Final = 1
EDGE_CLOSED: Final = 2
NOTIFY_NONE: Final = 0  # no consumer: the producer looks at its tick
NOTIFY_SHORT: Final = 1  # a consumer that runs short of work
NOTIFY_EACH: Final = 2  # each consumer, for each lease: the producer can do nothing until then

# status block: one process of a node --------------------------------------------------------------------------------
STATUS_MAGIC: Final = 0x746174732E6B7464  # "dtk.stat"
STATUS_WORD_MAGIC: Final = 0
STATUS_WORD_VERSION: Final = 1
STATUS_WORD_PID: Final = 2
STATUS_WORD_STATE: Final = 3
STATUS_WORD_KIND: Final = 4
STATUS_WORD_RUN: Final = 5
STATUS_WORD_EPOCH: Final = 6
STATUS_WORD_NEXT_SEQUENCE: Final = 7
STATUS_WORD_FRAMES: Final = 8
STATUS_WORD_FAILURES: Final = 9
STATUS_WORD_REFUSED: Final = 10
STATUS_WORD_WIRE_ERRORS: Final = 11
STATUS_WORD_RECONNECTS: Final = 12
STATUS_WORD_THINNED: Final = 13
STATUS_WORD_CORRUPT: Final = 14
STATUS_WORD_TRAIL_LOST: Final = 15
STATUS_WORD_LAST_FRAME_UTC_NS: Final = 16
STATUS_WORD_WORKING_SINCE_NS: Final = 17
STATUS_WORD_SLOTS_TOTAL: Final = 18
STATUS_WORD_SLOTS_FREE: Final = 19
STATUS_WORD_RING_BYTES: Final = 20
STATUS_WORD_AGE_SUM_NS: Final = 21
STATUS_WORD_WHY_LENGTH: Final = 22
STATUS_WORD_STALE: Final = 23
STATUS_WORD_STATE_SINCE_UTC_NS: Final = 24
STATUS_WORD_MODE_LENGTH: Final = 25
STATUS_WORD_STACKS_FD: Final = 26  # the file that the process writes its stacks into when it is asked to; 0: none yet
STATUS_WORD_ROUND_SOURCE: Final = 27  # number of the file that a capture reads; 0: none to be gone on with
STATUS_WORD_ROUND_SEQUENCE: Final = 28  # of the first picture of this round through it
STATUS_WORD_MEDIA_TIME_NS: Final = 29  # of a capture's last frame on the media's clock
STATUS_WORD_MEDIA_STREAM_NS: Final = 30  # the latest of the stream's own times, as a signed number plus 2^63; 0: none
STATUS_WORD_MEDIA_CAPTURED_NS: Final = 31  # monotonic moment of the last frame's capture; 0: there was none
STATUS_WORD_INPUTS: Final = 32  # (session, working, finished, suspect) per input
STATUS_INPUT_WORDS: Final = 4
STATUS_INPUT_SESSION: Final = 0
STATUS_INPUT_WORKING: Final = 1
STATUS_INPUT_FINISHED: Final = 2
STATUS_INPUT_SUSPECT: Final = 3  # who alone is to blame for a death or a time-out; 0: as the two words before it say
SUSPECT_NOBODY: Final = 1 << 62  # no delivery tag gets there
STATUS_INPUTS_MAX: Final = 64
STATUS_WORD_AGES: Final = STATUS_WORD_INPUTS + STATUS_INPUT_WORDS * STATUS_INPUTS_MAX
STATUS_AGES: Final = 41
STATUS_WORD_IS_HOLDING: Final = STATUS_WORD_AGES + STATUS_AGES  # whether frames are held back until others come or end
STATUS_WORD_BUSY_NS: Final = STATUS_WORD_IS_HOLDING + 1  # spent in the user's code on frames whose work has ended ...
STATUS_WORD_WORKED: Final = STATUS_WORD_IS_HOLDING + 2  # ... and how many these were, attempts that failed included
STATUS_WORD_PAUSED: Final = STATUS_WORD_IS_HOLDING + 3  # pictures left out because an operator has paused the capture
STATUS_WORD_WHY: Final = STATUS_WORD_AGES + STATUS_AGES + 7
STATUS_WHY_BYTES_MAX: Final = 512
STATUS_WORD_MODE: Final = STATUS_WORD_WHY + STATUS_WHY_BYTES_MAX // WORD_BYTES
STATUS_MODE_BYTES_MAX: Final = 256
STATUS_WORD_FAULT_LENGTH: Final = STATUS_WORD_MODE + STATUS_MODE_BYTES_MAX // WORD_BYTES
STATUS_WORD_FAULT: Final = STATUS_WORD_FAULT_LENGTH + 1  # the last fault of the user's code, in words
STATUS_FAULT_BYTES_MAX: Final = 512
STATUS_WORDS: Final = STATUS_WORD_FAULT + STATUS_FAULT_BYTES_MAX // WORD_BYTES

# completion queue: leases that one consumer process has completed on one edge ---------------------------------------
COMPLETION_MAGIC: Final = 0x706D6F632E6B7464  # "dtk.comp"
COMPLETION_WORD_MAGIC: Final = 0
COMPLETION_WORD_VERSION: Final = 1
COMPLETION_WORD_ROOM: Final = 2  # entries that it holds
COMPLETION_WORD_COUNT: Final = 3  # entries written since it was made
COMPLETION_WORD_SLEEPS: Final = 4  # odd while its writer sleeps and must be woken for new leases
COMPLETION_WORD_ENTRIES: Final = 8  # (stream key, sequence, delivery tag) triples

# user metrics: what the user's code in one process counts ----------------------------------------------------------
METRICS_MAGIC: Final = 0x7274656D2E6B7464  # "dtk.metr"
METRICS_WORD_MAGIC: Final = 0
METRICS_WORD_VERSION: Final = 1
METRICS_WORD_END: Final = 2  # words in use: a record counts when it ends before this
METRICS_WORD_OVERFLOWED: Final = 3
METRICS_WORD_RECORDS: Final = 8
METRICS_BYTES_MIN: Final = 1 << 16  # of a file when it is made; it doubles when it is full ...
METRICS_BYTES_MAX: Final = 1 << 22  # ... up to this
METRIC_WORDS: Final = 0  # of the record
METRIC_TYPE: Final = 1
METRIC_OF: Final = 2  # of a series: the word at which the record of its metric begins
METRIC_TEXT_BYTES: Final = 3
METRIC_TEXT: Final = 4  # MessagePack: kind, name, help, labels, buckets; of a series: the values of its labels
METRIC_DECLARED: Final = 1
METRIC_SERIES: Final = 2  # its numbers, 64-bit floats, are the last words of the record
METRIC_STRUCK: Final = 3  # a metric that another one of the same name has replaced, with its series

# partition: which replica of one consumer gets the frames of which camera ------------------------------------------
PARTITION_MAGIC: Final = 0x747261702E6B7464  # "dtk.part"
PARTITION_WORD_MAGIC: Final = 0
PARTITION_WORD_VERSION: Final = 1
PARTITION_WORD_CHANGE: Final = 2  # twice the epoch; odd while the map is being changed
PARTITION_WORD_REPLICAS: Final = 3
PARTITION_WORD_COUNT: Final = 4  # cameras
PARTITION_WORD_ENTRIES: Final = 8
PARTITION_ENTRY_WORDS: Final = 8
PARTITION_OWNER: Final = 0  # number of the replica, plus one; 0: nobody
PARTITION_SINCE: Final = 1  # epoch
PARTITION_CAMERA: Final = 2  # 5 words of UTF-8, NUL padded
PARTITION_CAMERA_BYTES: Final = 40

# trail: what one process tells of frames ---------------------------------------------------------------------------
TRAIL_MAGIC: Final = 0x696172742E6B7464  # "dtk.trai"
TRAIL_WORD_MAGIC: Final = 0
TRAIL_WORD_VERSION: Final = 1
TRAIL_WORD_ROOM: Final = 2  # records that it holds
TRAIL_WORD_COUNT: Final = 3  # records written since it was made
TRAIL_WORD_EDGES: Final = 8
TRAIL_EDGES_MAX: Final = 256
TRAIL_EDGE_WORDS: Final = 12  # producer process and consumer, 6 words of UTF-8 each, NUL padded
TRAIL_NAME_BYTES: Final = 48
TRAIL_WORD_RECORDS: Final = TRAIL_WORD_EDGES + TRAIL_EDGE_WORDS * TRAIL_EDGES_MAX
TRAIL_RECORD_WORDS: Final = 8
TRAIL_RECORDS: Final = 8192  # four seconds of 1,000 frames a second on two edges
TRAIL_HEAD: Final = 0  # outcome, and from these bits on:
TRAIL_EDGE_SHIFT: Final = 8
TRAIL_REPLICA_SHIFT: Final = 24
TRAIL_DELIVERY_SHIFT: Final = 40
TRAIL_KEY: Final = 1
TRAIL_SEQUENCE: Final = 2
TRAIL_AT_NS: Final = 3  # when the frame left the edge, or the work on it ended; monotonic, as the others
TRAIL_QUEUED_NS: Final = 4
TRAIL_LEASED_NS: Final = 5  # of work: when it began
TRAIL_FRAMES: Final = 6  # how many; the sequence is that of the last one
TRAIL_ABOUT: Final = 7  # of an event: mark (high half) and sequence of the frame that it is about; 0: it is a frame
TRAIL_WORKED: Final = 1  # outcomes beside those of a frame, which are the words that count them in a journal
TRAIL_FAILED: Final = 2  # an attempt
TRAIL_NOBODY: Final = 0xFFFF  # in the place of a replica


def whole_pages(nbytes: int) -> int:
    """Round up to whole memory pages, in bytes."""
    return -(-nbytes // PAGE_BYTES) * PAGE_BYTES


def cell_words(payload_bytes: int) -> int:
    """Words of one journal cell whose payload may have `payload_bytes` bytes."""
    return CELL_PAYLOAD + -(-payload_bytes // WORD_BYTES)


def journal_bytes(cells: int, payload_bytes: int) -> int:
    """Size of a journal with `cells` cells, in bytes, whole pages."""
    return whole_pages((EDGE_WORD_FIRST_CELL + cells * cell_words(payload_bytes)) * WORD_BYTES)


def completion_queue_bytes(room: int) -> int:
    """Size of a completion queue with room for `room` leases."""
    return whole_pages((COMPLETION_WORD_ENTRIES + 3 * room) * WORD_BYTES)


def partition_bytes(cameras: int) -> int:
    """Size of the map of so many cameras."""
    return whole_pages((PARTITION_WORD_ENTRIES + PARTITION_ENTRY_WORDS * cameras) * WORD_BYTES)


def trail_bytes(records: int) -> int:
    """Size of a trail with room for so many records."""
    return whole_pages((TRAIL_WORD_RECORDS + TRAIL_RECORD_WORDS * records) * WORD_BYTES)


def first_slot_byte(slots: int) -> int:
    """Where the first slot of a ring begins, in bytes."""
    return whole_pages(RING_SLOT_HEADERS_BYTE + slots * RING_SLOT_HEADER_WORDS * WORD_BYTES)


def ring_bytes(slots: int, picture_bytes: int) -> int:
    """Size of a ring of `slots` slots that hold `picture_bytes` bytes each."""
    return first_slot_byte(slots) + slots * whole_pages(picture_bytes)
