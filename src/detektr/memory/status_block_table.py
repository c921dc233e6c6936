"""The status blocks of a producer's consumers, mapped until another process takes the name."""

from __future__ import annotations

from detektr.memory.run_folder import RunFolder
from detektr.memory.status_block import StatusBlockReader, open_status_block


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
