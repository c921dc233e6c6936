"""The audit trail: records go to their store off the data path, and wait in a bounded spool while it is away."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from detektr.errors import RefusedError
from detektr.events import RunEvent
from detektr.process.fault_text import fault_line
from detektr.redaction import redact, register_secret, url_secrets
from detektr.telemetry.record import Record, decode, encode
from detektr.telemetry.spool import Spool
from detektr.telemetry.trail.bounds import BOUNDS, Bounds
from detektr.telemetry.trail.rows import Row, decode_row, is_row

INBOX_RECORDS_MAX = 65536  # room for a burst, until the keeper thread has moved it on
BATCH_RECORDS_MAX = 1000
RETRY_S_FIRST = 0.1
RETRY_S_MAX = 2.0
_log = logging.getLogger("detektr.audit")
Entry = Record | Row
"""What the trail keeps: an operation, or what became of frames."""


class Audit(Protocol):
    """An audit trail, as its users see it."""

    @property
    def lost(self) -> int:
        """Records that this process dropped because a queue was full."""

    @property
    def waiting(self) -> int:
        """Records that are not in the store yet."""

    @property
    def is_interrupted(self) -> bool:
        """True: the last try to store failed, and since then the records wait."""

    def record(self, event: RunEvent | Mapping[str, Any]) -> None:
        """Add a record to the trail; never waits for the store or the disk, never raises."""

    def take_rows(self, lines: Sequence[str]) -> None:
        """Add rows of frames, as lines; as `record`."""

    def close(self, timeout_s: float) -> bool:
        """Store waiting records, for at most this time; the rest stays in the spool for the next process.

        Returns:
            True: everything is stored.
        """


class Store(Protocol):
    """The place where records are kept. One thread calls it, and each call has a time limit."""

    def write(self, writer: str, first: int, records: Sequence[Entry | None]) -> None:
        """Store the records that are not there yet, in order, each once.

        Args:
            writer: whose records they are.
            first: index of the first one among those of this writer; records that were stored before are skipped.
            records: in order; None: one that is damaged, and only counts.
        Raises:
            Exception: they could not be stored, or it is not known whether they were; they will come again.
        """

    def close(self) -> None:
        """Close the store."""


class NoAudit:
    """The trail of `audit: none`: keeps nothing."""

    lost = 0
    waiting = 0
    is_interrupted = False

    def record(self, event: RunEvent | Mapping[str, Any]) -> None:
        """Leave the event unrecorded."""

    def take_rows(self, lines: Sequence[str]) -> None:
        """Leave them unrecorded."""

    def close(self, timeout_s: float) -> bool:
        """Do nothing: nothing is waiting."""
        return True


class Trail:
    """An audit trail into a store, with two threads of its own.

    The keeper moves records from the inbox to the spool (it may wait for the disk), the sender from the spool to the
    store (it may wait for the network); so neither holds up the other, or the caller.
    """

    def __init__(self, store: Store, spool: Spool, shown: str) -> None:
        """Start the threads; `shown` names the store in log lines and holds no secret."""
        self._store = store
        self._spool = spool
        self._shown = shown
        self._inbox: deque[str] = deque()
        self._moving = 0  # records on their way from the inbox to the spool
        self._change = threading.Condition()  # guards the inbox; never held during input or output
        self._lost = 0
        self._is_interrupted = False
        self._filled = threading.Event()
        self._closing = threading.Event()
        self._kept_all = threading.Event()
        self._expired = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="audit-keeper", daemon=True)
        # A daemon: looking up a host's name has no time limit, and must not hold up the end of the process.
        self._sender = threading.Thread(target=self._send, name="audit-sender", daemon=True)
        self._keeper.start()
        self._sender.start()

    @property
    def lost(self) -> int:
        """Records dropped by this process: oldest first, when inbox or spool were full."""
        return self._lost + self._spool.lost

    @property
    def waiting(self) -> int:
        """Records that are not in the store yet."""
        with self._change:
            before_spool = len(self._inbox) + self._moving
        return before_spool + self._spool.waiting  # asked in this order, a record that moves counts twice, never not

    @property
    def is_interrupted(self) -> bool:
        """True: the last try to store failed, and since then the records wait."""
        return self._is_interrupted

    def record(self, event: RunEvent | Mapping[str, Any]) -> None:
        """Add a record to the trail; never waits for the store or the disk, never raises."""
        self.take_rows([encode(event, datetime.now(UTC))])

    def take_rows(self, lines: Sequence[str]) -> None:
        """Add rows of frames, as lines; as `record`."""
        with self._change:
            if self._closing.is_set():
                self._lost += len(lines)
                return
            self._inbox.extend(lines)
            excess = len(self._inbox) - INBOX_RECORDS_MAX
            for _ in range(excess):
                self._inbox.popleft()
            self._lost += max(0, excess)
            self._change.notify()

    def close(self, timeout_s: float) -> bool:
        """Store waiting records, for at most this time; the rest stays in the spool for the next process.

        A store that is away is tried once more, not until the time is over.

        Returns:
            True: everything is stored.
        """
        with self._change:
            if self._closing.is_set():
                return self._spool.waiting == 0
            self._closing.set()
            self._change.notify()
        end_s = time.monotonic() + timeout_s
        self._keeper.join(timeout_s)
        self._sender.join(max(0.0, end_s - time.monotonic()))
        self._expired.set()
        self._spool.close()
        waiting = self._spool.waiting
        if waiting or self.lost:
            text = "audit: %s: %d records wait in the spool for the next start, %d are lost"
            _log.warning(text, self._shown, waiting, self.lost)
        return waiting == 0

    def _keep(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._inbox or self._closing.is_set())
                lines = list(self._inbox)
                self._inbox.clear()
                self._moving = len(lines)
            if not lines:
                break
            self._spool.append(lines)
            with self._change:
                self._moving = 0
            self._filled.set()
        self._kept_all.set()
        self._filled.set()

    def _send(self) -> None:
        pause_s = RETRY_S_FIRST
        try:
            while not self._expired.is_set():
                was_last = self._kept_all.is_set()  # asked before the look into the spool, which then sees all
                batch = self._spool.peek(BATCH_RECORDS_MAX)
                if batch is None:
                    self._note_caught_up()
                    if was_last:
                        return
                    self._filled.wait()
                    self._filled.clear()
                    continue
                try:
                    self._store.write(batch.writer, batch.first, [decode_entry(line) for line in batch.lines])
                except Exception as fault:  # any fault: the records are kept, and the trail goes on
                    self._note_interrupted(fault)
                    if self._closing.is_set():
                        return
                    self._closing.wait(pause_s)
                    pause_s = min(2 * pause_s, RETRY_S_MAX)
                else:
                    self._spool.advance(batch)
                    pause_s = RETRY_S_FIRST
        finally:
            self._store.close()

    def _note_interrupted(self, fault: Exception) -> None:
        if self._is_interrupted:
            return
        self._is_interrupted = True
        self._spool.is_kept_on_disk = True
        self._spool.spill()
        _log.warning("audit: %s takes no records (%s); they wait in the spool", self._shown, fault_line(fault))

    def _note_caught_up(self) -> None:
        if not self._is_interrupted:
            return
        self._is_interrupted = False
        self._spool.is_kept_on_disk = False
        _log.warning("audit: %s has all records again; lost so far: %d", self._shown, self.lost)


def decode_entry(line: str) -> Entry | None:
    """Read a line of the spool back; None: a row that is damaged."""
    return decode_row(line) if is_row(line) else decode(line)


def open_audit(
    to: str,
    spool_folder: Path,
    pipeline: str,
    folder: Path = Path(),
    bounds: Bounds = BOUNDS,
    prefix: str = "",
) -> Audit:
    """Open the audit trail of a pipeline; records that an earlier process could not store are sent first.

    A Redis server that is away is no fault: the records wait for it in the spool.

    Args:
        to: `none`, `sqlite:PATH`, `redis://...` or `rediss://...`.
        spool_folder: where records wait; made if missing, used by one process at a time.
        pipeline: name of the pipeline, part of each record.
        folder: relative SQLite paths begin here.
        bounds: how long records are kept, and in how many bytes.
        prefix: of the names of Redis's streams.
    Returns:
        The trail; the caller closes it.
    Raises:
        RefusedError: `to` is none of these, the file or the spool folder cannot be written, or redis-py is missing.
    """
    if to == "none":
        return NoAudit()
    for secret in url_secrets(to):
        register_secret(secret)
    scheme, _, rest = to.partition(":")
    store: Store
    if scheme == "sqlite" and rest:
        from detektr.telemetry.audit_sqlite import SqliteStore  # here, for a pipeline without one need not load it

        store = SqliteStore(folder / rest, pipeline, bounds)
    elif scheme in ("redis", "rediss") and rest.startswith("//"):
        from detektr.telemetry.audit_redis import RedisStore  # as above, and redis-py is an extra

        store = RedisStore(to, pipeline, bounds, prefix)
    else:
        raise RefusedError(
            f"audit: {redact(to)!r} is not a place for records; write sqlite:PATH, redis://HOST:PORT/0, "
            "rediss://HOST:PORT/0 or none"
        )
    try:
        return Trail(store, Spool(spool_folder), redact(to))
    except RefusedError:
        store.close()
        raise
