"""Reads a run from shared memory: the ledgers of all edges and the status blocks of all processes."""

from __future__ import annotations

from collections.abc import Iterable

from detektr.ledger import EdgeLedger
from detektr.memory.journal_reader import JournalReader, open_journal
from detektr.memory.run_folder import RunFolder
from detektr.memory.status_block_reader import NodeSnapshot, StatusBlockReader, open_status_block
from detektr.memory.user_metrics import UserMetrics, UserMetricsReader, open_user_metrics


class RunReader:
    """Keeps its files mapped; each thread that looks needs a reader of its own."""

    def __init__(self, folder: RunFolder) -> None:
        """Read the run in `folder`; it need not be there yet."""
        self._folder = folder
        self._journals: dict[str, JournalReader] = {}
        self._status_blocks: dict[str, StatusBlockReader] = {}
        self._user_metrics: dict[str, UserMetricsReader] = {}

    def read(self) -> tuple[list[EdgeLedger], list[NodeSnapshot]]:
        """Return the ledger of each part of each edge, and each status block."""
        journals, status_blocks = self._look()
        return [journal.ledger() for journal in journals.values()], [
            status_block.snapshot() for status_block in status_blocks.values()
        ]

    def read_user_metrics(self) -> list[UserMetrics]:
        """Return what the user's code in each process has counted."""
        readers = self._user_metrics
        for name in [name for name, reader in readers.items() if reader.is_unlinked]:
            readers.pop(name).close()
        for node, replica, path in self._folder.all_user_metrics():
            if path.name not in readers:
                opened = open_user_metrics(path, node, replica)
                if opened is not None:
                    readers[path.name] = opened
        return [reader.read() for reader in readers.values()]

    def is_ended(self, names: Iterable[str]) -> bool:
        """Return whether all these journals exist and have ended: all was delivered, and no more frames will come.

        Args:
            names: file names of journals.
        """
        journals = self._look()[0]
        found = [journals.get(name) for name in names]
        return all(journal is not None and journal.is_ended for journal in found)

    def is_empty(self, names: Iterable[str]) -> bool:
        """Return whether none of these journals holds a frame; one that does not exist holds none.

        Args:
            names: file names of journals.
        """
        journals = self._look()[0]
        found = [journals[name].ledger() for name in names if name in journals]
        return not any(edge.queued or edge.in_flight for edge in found)

    def map_epoch(self, consumer: str) -> int | None:
        """Return the epoch of the map to which all edges to a consumer keep that is partitioned; None: it has no edge.

        An edge that has ended keeps to any.
        """
        epochs = [
            journal.map_epoch
            for journal in self._look()[0].values()
            if journal.consumer == consumer and not journal.is_ended
        ]
        return min(epochs, default=None)

    def close(self) -> None:
        """Unmap everything."""
        for journal in self._journals.values():
            journal.close()
        for status_block in self._status_blocks.values():
            status_block.close()
        for reader in self._user_metrics.values():
            reader.close()
        self._journals.clear()
        self._status_blocks.clear()
        self._user_metrics.clear()

    def _look(self) -> tuple[dict[str, JournalReader], dict[str, StatusBlockReader]]:
        for name in [name for name, journal in self._journals.items() if journal.is_unlinked]:
            self._journals.pop(name).close()
        for name in [name for name, status_block in self._status_blocks.items() if status_block.segment.is_unlinked]:
            self._status_blocks.pop(name).close()
        for producer, _, consumer, path in self._folder.journals():
            if path.name not in self._journals:
                journal = open_journal(path, producer, consumer)
                if journal is not None:
                    self._journals[path.name] = journal
        for node, replica, path in self._folder.status_blocks():
            if path.name not in self._status_blocks:
                status_block = open_status_block(path, node, replica)
                if status_block is not None:
                    self._status_blocks[path.name] = status_block
        return self._journals, self._status_blocks
