"""Keeps what is seen in a run, whoever watches: reads results as an ephemeral consumer, and stores them as sightings.

Nobody waits for it: results come over edges that drop their oldest events, and a disk that is slow, full or gone costs
what it keeps, which is counted.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from dataclasses import dataclass, replace

from detektr.memory.run_folder import RunFolder
from detektr.process.fault_text import fault_line
from detektr.web.live.feed import ALL_RESULTS
from detektr.web.live.results import Result, ResultWatch
from detektr.web.live.stills import Still, Stills
from detektr.web.seen.sightings import Sighting, Sightings
from detektr.web.seen.store import SeenReader, SeenStore, seen_path

STORE_S = 1.0
UNSTORED_MAX = 10_000  # sightings, and pictures, that wait for the disk
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SeenSettings:
    """What is kept of whose results."""

    folder: RunFolder
    keep_s: int
    bytes_max: int


def kept_still(pipeline: str, frame: str) -> Still | None:
    """Return the picture of a frame that was kept, by its id; None: there is none, or it cannot be read."""
    path = seen_path(pipeline)
    if not path.exists():
        return None
    try:
        with SeenReader(path) as reader:
            return reader.still(frame)
    except sqlite3.Error as fault:
        _log.info("%s cannot be read: %s", path, fault)
        return None


class SeenKeeper:
    """See the module's first line."""

    def __init__(self, settings: SeenSettings, stills: Stills) -> None:
        """Begin to listen; `stills` makes the pictures."""
        self.settings = settings
        self._path = seen_path(settings.folder.pipeline)
        self.fault = ""
        """Why the file cannot be written now; empty: it can."""
        self.left_out = 0
        """Sightings that could not be stored since the server began."""
        self._sightings = Sightings()
        self._unstored: dict[int, Sighting] = {}  # by their identity
        self._unstored_stills: dict[str, None] = {}  # ids of frames, in order
        self._changing = threading.Lock()
        self._is_closing = threading.Event()
        self._store: SeenStore | None = None
        self._stills = stills
        self._thread = threading.Thread(target=self._write, name="seen", daemon=True)
        self._thread.start()
        self._watch = ResultWatch(self.settings.folder, self._take, self._keep_still)
        self._watch.wanted = frozenset({ALL_RESULTS})

    def close(self) -> None:
        """Store what is known, and let go of everything."""
        self._watch.close()
        self._is_closing.set()
        self._thread.join()

    def _keep_still(self, result: Result) -> bool:
        return self._sightings.wants_picture(result) and self._stills.note(
            self.settings.folder, str(result.get("frame", ""))
        )

    def _take(self, results: list[Result]) -> None:
        with self._changing:
            for result in results:
                one = self._sightings.note(result)
                if one is None:
                    continue
                self._unstored[id(one)] = one
                if one.has_picture and result.get("still") and one.frame == result.get("frame"):
                    self._unstored_stills[one.frame] = None
            self._bound()

    def _bound(self) -> None:
        """Leave out the oldest of what the disk does not take."""
        while len(self._unstored) > UNSTORED_MAX:
            del self._unstored[next(iter(self._unstored))]
            self.left_out += 1
        while len(self._unstored_stills) > UNSTORED_MAX:
            del self._unstored_stills[next(iter(self._unstored_stills))]

    def _write(self) -> None:
        """Store what has come, once a second, until the end."""
        while not self._is_closing.wait(STORE_S):
            self._store_all()
        self._store_all()
        if self._store is not None:
            self._store.close()

    def _store_all(self) -> None:
        with self._changing:
            originals = list(self._unstored.values())
            batch = [replace(one) for one in originals]
            self._unstored.clear()
            frames = list(self._unstored_stills)
            self._unstored_stills.clear()
        found = {frame: self._stills.get(self.settings.folder, frame) for frame in frames}
        stills = {frame: still for frame, (_, still) in found.items() if still is not None}
        waiting = [frame for frame, (is_waiting, _) in found.items() if is_waiting]
        try:
            if self._store is None:
                self._store = SeenStore(self._path, self.settings.keep_s, self.settings.bytes_max)
            numbers = self._store.write(batch, stills, int(time.time() * 1000)) if batch or stills else []
        except (OSError, sqlite3.Error) as fault:
            self._fail(fault_line(fault))
            with self._changing:
                self._unstored = {id(one): one for one in originals} | self._unstored
                self._unstored_stills = dict.fromkeys([*frames, *self._unstored_stills])
                self._bound()
            return
        with self._changing:
            for one, number in zip(originals, numbers, strict=True):
                one.number = number
            self._unstored_stills = dict.fromkeys([*waiting, *self._unstored_stills])
        if self.fault:
            _log.warning("%s is written again; %d sightings were left out", self._path, self.left_out)
            self.fault = ""

    def _fail(self, fault: str) -> None:
        if fault != self.fault:
            _log.warning("%s cannot be written, and keeps nothing of what is seen: %s", self._path, fault)
        self.fault = fault
