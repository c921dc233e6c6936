"""The byte map of everything that lives in shared memory: rings, edge journals and node pages.

All words are unsigned 64-bit integers in the machine's own order, stored one at a time, so that a reader (or a
successor, after a SIGKILL) sees each word either before or after its change. Offsets count words unless a name
ends in BYTES. A file is written in full under another name and renamed, so nobody sees one half made.

    ring     | header | slot headers: (generation, sequence) x SLOTS | page-aligned slots              |
    journal  | header | redo record | counters | seen streams | replicas | grants | cells            |
    page     | header | counters | one entry per input | age histogram | reason in words             |
    returns  | header | leases given back, oldest overwritten                                       |

Each word has exactly one writer: the process that holds the file open for writing.
"""

from __future__ import annotations

WORD_BYTES = 8
PAGE_BYTES = 4096
VERSION = 4  # of every layout here; who meets another says so

# ring: one epoch of one capture -----------------------------------------------------------------------------------
RING_MAGIC = 0x676E69722E6B7464  # "dtk.ring"
RING_WORD_MAGIC = 0
RING_WORD_VERSION = 1
RING_WORD_RUN = 2
RING_WORD_EPOCH = 3
RING_WORD_SLOTS = 4
RING_WORD_SLOT_BYTES = 5  # distance between two slots, whole pages
RING_WORD_PICTURE_BYTES = 6
RING_WORD_FIRST_SLOT_BYTE = 7
RING_WORD_FACTS_LENGTH = 8
RING_FACTS_BYTE = 128  # msgpack of node, camera, format, width, height, matrix, time base
RING_FACTS_BYTES_MAX = PAGE_BYTES - RING_FACTS_BYTE
RING_SLOT_HEADERS_BYTE = PAGE_BYTES
RING_SLOT_HEADER_WORDS = 8  # a cache line each
RING_SLOT_GENERATION = 0  # odd while written, even when published; never the same twice
RING_SLOT_SEQUENCE = 1

# journal: the state of one edge -----------------------------------------------------------------------------------
EDGE_MAGIC = 0x656764652E6B7464  # "dtk.edge"
EDGE_WORD_MAGIC = 0
EDGE_WORD_VERSION = 1
EDGE_WORD_CELLS = 2
EDGE_WORD_CELL_WORDS = 3
EDGE_WORD_INCARNATION = 4  # lives of the producer: grows when a successor adopts the journal
EDGE_WORD_STATE = 5
EDGE_WORD_CHANGE = 6  # odd while a change is being applied
EDGE_WORD_REDO_COUNT = 7  # pairs in the redo record that must be applied; 0: none
EDGE_WORD_REDO = 8
EDGE_REDO_PAIRS_MAX = 24
EDGE_WORD_OFFERED = 64
EDGE_WORD_DELIVERED = 65
EDGE_WORD_DEAD_LETTERED = 66
EDGE_WORD_REDELIVERED = 67
EDGE_WORD_REFUSED = 68
EDGE_WORD_ATTACHED = 70
EDGE_WORD_STALLED_SINCE_NS = 71
EDGE_WORD_MARK = 72
EDGE_WORD_WINDOW = 73  # most leases of all replicas together
EDGE_WORD_POLICY = 74  # place in options.WhenFull
EDGE_WORD_IS_GUEST = 75
EDGE_WORD_MAX_DELIVERIES = 76
EDGE_WORD_TIMEOUT_NS = 77  # 0: none
EDGE_WORD_WANTED = 78  # what the producer wants of leases that come back; 0: nothing, it looks now and then
EDGE_WORD_DROPPED = 80  # one word a reason, in the order of ledger.DROP_REASONS
EDGE_WORD_SEEN = 96  # (stream key, next sequence) pairs
EDGE_SEEN_MAX = 128
EDGE_WORD_REPLICAS = EDGE_WORD_SEEN + 2 * EDGE_SEEN_MAX
EDGE_REPLICAS_MAX = 64
REPLICA_WORDS = 8
REPLICA_SESSION = 0  # 0: free entry
REPLICA_IS_DURABLE = 1
REPLICA_WINDOW = 2
REPLICA_NAME = 3  # 5 words of UTF-8, NUL padded
REPLICA_NAME_BYTES = 40
EDGE_WORD_GRANTS = EDGE_WORD_REPLICAS + REPLICA_WORDS * EDGE_REPLICAS_MAX  # an entry for each replica
GRANTS_WORDS = 64
GRANTS_COUNT = 0  # running number of the last lease that the replica was told of
GRANTS_BASE = 1  # ... of the last one before it attached; what those became was settled then
GRANTS_CELLS = 2  # cells of the latest leases, by running number; who is further behind looks through all cells
GRANTS_ROOM = GRANTS_WORDS - GRANTS_CELLS
EDGE_WORD_FIRST_CELL = EDGE_WORD_GRANTS + GRANTS_WORDS * EDGE_REPLICAS_MAX

CELL_STATE = 0
CELL_OWNER = 1  # session of the replica that holds the lease
CELL_GRANT = 2  # running number of the lease within its session, from 1
CELL_GRANTED_NS = 3
CELL_DELIVERIES = 4  # leases given on this frame so far; what it is announced with
CELL_ATTEMPTS = 5  # attempts that ended without success
CELL_ORDINAL = 6
CELL_KEY = 7
CELL_SEQUENCE = 8
CELL_LANE = 9
CELL_CAPTURED_NS = 10
CELL_LENGTH = 11  # bytes of payload
CELL_PAYLOAD = 12
CELL_FREE, CELL_QUEUED, CELL_LEASED = 0, 1, 2
EDGE_OPEN, EDGE_ENDED, EDGE_CLOSED = 0, 1, 2
WANTED, WANTED_ALL = 1, 2  # it sleeps and is to be woken: by who has little work left; by whoever gives back
WANTED_SOON = 3  # it looks often and is not to be woken; who passes its frames on is to see that they come back soon
WANTED_EACH = 4  # it sleeps and does so: whoever gives back wakes it, but it waits for nobody

# page: one process of a node --------------------------------------------------------------------------------------
PAGE_MAGIC = 0x656761702E6B7464  # "dtk.page"
PAGE_WORD_MAGIC = 0
PAGE_WORD_VERSION = 1
PAGE_WORD_PID = 2
PAGE_WORD_STATE = 3
PAGE_WORD_KIND = 4
PAGE_WORD_RUN = 5
PAGE_WORD_EPOCH = 6
PAGE_WORD_NEXT_SEQUENCE = 7
PAGE_WORD_FRAMES = 8
PAGE_WORD_FAILURES = 9
PAGE_WORD_REFUSED = 10
PAGE_WORD_WIRE_ERRORS = 11
PAGE_WORD_RECONNECTS = 12
PAGE_WORD_THINNED = 13
PAGE_WORD_CORRUPT = 14
PAGE_WORD_TRAIL_LOST = 15
PAGE_WORD_LAST_FRAME_UTC_NS = 16
PAGE_WORD_WORKING_SINCE_NS = 17
PAGE_WORD_SLOTS_TOTAL = 18
PAGE_WORD_SLOTS_FREE = 19
PAGE_WORD_RING_BYTES = 20
PAGE_WORD_AGE_SUM_NS = 21
PAGE_WORD_WHY_LENGTH = 22
PAGE_WORD_STALE = 23
PAGE_WORD_STATE_SINCE_UTC_NS = 24
PAGE_WORD_MODE_LENGTH = 25
PAGE_WORD_INPUTS = 32  # (session, working, finished) per input
PAGE_INPUT_WORDS = 4
PAGE_INPUT_SESSION, PAGE_INPUT_WORKING, PAGE_INPUT_FINISHED = 0, 1, 2
PAGE_INPUTS_MAX = 64
PAGE_WORD_AGES = PAGE_WORD_INPUTS + PAGE_INPUT_WORDS * PAGE_INPUTS_MAX
PAGE_AGES = 41
PAGE_WORD_WHY = PAGE_WORD_AGES + PAGE_AGES + 7
PAGE_WHY_BYTES_MAX = 512
PAGE_WORD_MODE = PAGE_WORD_WHY + PAGE_WHY_BYTES_MAX // WORD_BYTES
PAGE_MODE_BYTES_MAX = 256
PAGE_WORDS = PAGE_WORD_MODE + PAGE_MODE_BYTES_MAX // WORD_BYTES

# returns: what one consumer process has given back on one edge ---------------------------------------------------
RETURNS_MAGIC = 0x6E7465722E6B7464  # "dtk.retn"
RETURNS_WORD_MAGIC = 0
RETURNS_WORD_VERSION = 1
RETURNS_WORD_ROOM = 2  # entries that it holds
RETURNS_WORD_COUNT = 3  # entries written since it was made
RETURNS_WORD_SLEEPS = 4  # odd while its writer sleeps and is to be woken by what it is granted
RETURNS_WORD_ENTRIES = 8  # (stream key, sequence, grant) triples


def whole_pages(nbytes: int) -> int:
    """Round up to whole memory pages, in bytes."""
    return -(-nbytes // PAGE_BYTES) * PAGE_BYTES


def cell_words(payload_bytes: int) -> int:
    """Words of one journal cell whose payload may have `payload_bytes` bytes."""
    return CELL_PAYLOAD + -(-payload_bytes // WORD_BYTES)


def journal_bytes(cells: int, payload_bytes: int) -> int:
    """Size of a journal with `cells` cells, in bytes, whole pages."""
    return whole_pages((EDGE_WORD_FIRST_CELL + cells * cell_words(payload_bytes)) * WORD_BYTES)


def returns_bytes(room: int) -> int:
    """Size of a file of returns with room for `room` leases."""
    return whole_pages((RETURNS_WORD_ENTRIES + 3 * room) * WORD_BYTES)


def first_slot_byte(slots: int) -> int:
    """Where the first slot of a ring begins, in bytes."""
    return whole_pages(RING_SLOT_HEADERS_BYTE + slots * RING_SLOT_HEADER_WORDS * WORD_BYTES)


def ring_bytes(slots: int, picture_bytes: int) -> int:
    """Size of a ring of `slots` slots that hold `picture_bytes` bytes each."""
    return first_slot_byte(slots) + slots * whole_pages(picture_bytes)
