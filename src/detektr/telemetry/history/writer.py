"""Writes a run's history in a thread of its own, so that a slow or full disk holds up nobody."""

from __future__ import annotations

import logging
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Final

from detektr.process.fault_text import fault_line
from detektr.telemetry.history.rows import Sample

if TYPE_CHECKING:
    from detektr.telemetry.history.store import HistoryStore

FILE: Final = "history.db"
SAMPLES_MAX: Final = 120  # wait for the disk, two minutes; the oldest go
RETRY_S: Final = 5.0
_log = logging.getLogger(__name__)


class HistoryWriter:
    """Takes samples and stores them as soon as it can."""

    def __init__(self, state_folder: Path, run: str) -> None:
        """Start the thread; the file in the pipeline's state folder is opened there. See `HistoryStore`."""
        self._path, self._run = state_folder / FILE, run
        self._waiting: deque[Sample] = deque()
        self._change = threading.Condition()
        self._is_closing = False
        self._lost = 0
        self._thread = threading.Thread(target=self._write_all, name="history", daemon=True)
        self._thread.start()

    def add(self, sample: Sample) -> None:
        """Store a sample, at some later moment; never waits."""
        with self._change:
            if len(self._waiting) >= SAMPLES_MAX:
                self._waiting.popleft()
                self._lost += 1
            self._waiting.append(sample)
            self._change.notify()

    def close(self, timeout_s: float) -> None:
        """Store what waits, for at most this time."""
        with self._change:
            self._is_closing = True
            self._change.notify()
        self._thread.join(timeout_s)

    def _write_all(self) -> None:
        from detektr.telemetry.history.store import HistoryStore  # here: it loads SQLite, for which no start waits

        store: HistoryStore | None = None
        is_told, lost_before = False, 0
        while True:
            with self._change:
                self._change.wait_for(lambda: self._waiting or self._is_closing)
                samples, is_last = list(self._waiting), self._is_closing
            try:
                store = store or HistoryStore(self._path, self._run)
                store.write(samples)
            except Exception as fault:  # of whatever kind: history is a service to people, and no reason to end a run
                if not is_told:
                    lost_before = self._lost
                    text = "%s cannot be written (%s); `detektr why` lacks this time. It is tried again every %d s"
                    _log.warning(text, self._path, fault_line(fault), RETRY_S)
                is_told = True
                with self._change:
                    if self._change.wait_for(lambda: self._is_closing, RETRY_S) and is_last:
                        break
                continue
            if is_told:
                _log.warning("%s is written again; %d s were lost", self._path, self._lost - lost_before)
            is_told = False
            with self._change:
                written = set(map(id, samples))
                self._waiting = deque(sample for sample in self._waiting if id(sample) not in written)
            if is_last:
                break
        if store is not None:
            store.close()
