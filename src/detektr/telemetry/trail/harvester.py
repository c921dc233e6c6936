"""Reads the rings of all processes of a run a few times a second, in a thread, and hands on the rows."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from detektr.errors import WireError
from detektr.memory.ring import open_ring
from detektr.memory.run_folder import RunFolder
from detektr.memory.trail_ring import TrailReader, open_trail
from detektr.process.fault_text import fault_line
from detektr.telemetry.trail.harvest import Harvest, Streams, Told
from detektr.telemetry.trail.rows import PLACES, Stream

HARVEST_S: Final = 0.25
CLOCK_LOOKS: Final = 5
_log = logging.getLogger(__name__)


class Harvester:
    """The rings of one run, and what was read of them."""

    def __init__(self, folder: RunFolder, kinds: Mapping[str, str]) -> None:
        """Begin without rings.

        Args:
            folder: the run's.
            kinds: of the nodes, by name.
        """
        self._folder = folder
        self._readers: dict[Path, TrailReader] = {}
        self._streams = Streams()
        self._seen: set[Path] = set()
        places = {node: PLACES[kind] for node, kind in kinds.items() if kind in PLACES}
        self._harvest = Harvest(self._streams, places)

    @property
    def lost(self) -> int:
        """Records that were overwritten before they were read."""
        return sum(reader.lost for reader in self._readers.values())

    def lines(self, *, is_last: bool = False) -> list[str]:
        """Return the rows that are complete by now, as lines; `is_last`: all, as no process writes any more."""
        for _, _, path in self._folder.trails():
            if path not in self._readers and (reader := open_trail(path)) is not None:
                self._readers[path] = reader
        told = []
        for reader in self._readers.values():
            names: dict[int, tuple[str, str]] = {}
            for record in reader.take():
                edge = names.get(record.edge)
                if edge is None:
                    edge = names[record.edge] = reader.edge(record.edge)
                told.append(Told(edge, record))
        if self._harvest.unknown(told):
            self._look_for_streams()
        rows = self._harvest.take(told, utc_offset_ns(), time.time_ns() // 10**9, is_last=is_last)
        return [row.line() for row in rows]

    def close(self) -> None:
        """Unmap the rings."""
        for reader in self._readers.values():
            reader.close()

    def _look_for_streams(self) -> None:
        """Learn of the streams whose rings of pictures are there."""
        for path in self._folder.all_rings():
            if path in self._seen:
                continue
            try:
                ring = open_ring(path)
            except WireError:
                continue
            if ring is not None:
                self._seen.add(path)
                self._streams.add(Stream(ring.facts.node, ring.facts.camera, ring.facts.run))
                ring.close()


def utc_offset_ns() -> int:
    """Return what makes a monotonic time UTC, from the closest of a few looks at both clocks.

    Between two looks a busy machine may let other processes run for many milliseconds.
    """
    closest_ns, offset_ns = 1 << 62, 0
    for _ in range(CLOCK_LOOKS):
        before_ns = time.monotonic_ns()
        utc_ns = time.time_ns()
        after_ns = time.monotonic_ns()
        if after_ns - before_ns < closest_ns:
            closest_ns, offset_ns = after_ns - before_ns, utc_ns - (before_ns + after_ns) // 2
    return offset_ns


class HarvestThread:
    """Harvests until it is closed."""

    def __init__(
        self,
        harvester: Harvester,
        take: Callable[[list[str]], None],
        record: Callable[[Mapping[str, Any]], None],
    ) -> None:
        """Start the thread.

        Args:
            harvester: belongs to the thread from now on.
            take: gets the lines of each harvest; must not wait.
            record: gets a record `TrailGap` wherever rows are missing, with how many; must not wait.
        """
        self._harvester, self._take, self._record = harvester, take, record
        self._told_lost = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="harvest", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """Records that were overwritten before they were read."""
        return self._harvester.lost

    def close(self) -> None:
        """Harvest what is left; every process has ended."""
        self._closing.set()
        self._thread.join()
        self._harvest(is_last=True)
        if self.lost:
            _log.warning("audit: %d records of frames were overwritten before they were read, in all", self.lost)
        self._harvester.close()

    def _run(self) -> None:
        while not self._closing.wait(HARVEST_S):
            self._harvest()

    def _harvest(self, *, is_last: bool = False) -> None:
        try:
            lines = self._harvester.lines(is_last=is_last)
        except Exception as fault:  # of whatever kind: a trail is a service to people, and no reason to end a run
            _log.error("audit: a harvest failed, so rows of some frames are missing: %s", fault_line(fault))
            return
        if lines:
            self._take(lines)
        missing = self.lost - self._told_lost
        if missing:
            if not self._told_lost:
                _log.warning("audit: %d records of frames were overwritten before they were read", missing)
            self._told_lost += missing
            self._record({"event": "TrailGap", "node": "", "records": missing})
