"""Reads the map of one consumer where there is one: a run's supervisor keeps it; without one it never changes."""

from __future__ import annotations

from collections.abc import Sequence

from detektr.edge.partition.camera_map import first_map, map_of_rows
from detektr.memory.partition_file import PartitionReader, open_partition
from detektr.memory.run_folder import RunFolder


class MapReader:
    """The present state of one consumer's map."""

    def __init__(self, folder: RunFolder, consumer: str, cameras: Sequence[str], replicas: int) -> None:
        """Begin; the file is opened at the first look, and looked for again at each that says so.

        Args:
            folder: the run's.
            consumer: whose map.
            cameras: in the file's order, for the map of a run that nobody supervises.
            replicas: of the consumer, likewise.
        """
        self._folder, self._consumer = folder, consumer
        self._file: PartitionReader | None = None
        self.map = first_map(cameras, max(1, replicas))

    def look(self, *, is_thorough: bool = False) -> bool:
        """Read the map if it has changed; whether it has.

        Args:
            is_thorough: True: look for the file too, where there was none or its name is gone; that takes a system
                call, and is done once a second.
        """
        file = self._file
        if is_thorough and file is not None and file.is_unlinked:
            file.close()
            file = self._file = None
        if is_thorough and file is None:
            file = self._file = open_partition(self._folder.partition(self._consumer))
        if file is None or file.epoch == self.map.epoch:
            return False
        state = file.read()
        if state is None:
            return False
        epoch, rows = state
        self.map = map_of_rows(epoch, file.replicas, rows)
        return True

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
