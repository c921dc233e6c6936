"""The journals of edges on the way to a node, opened when they are asked for; one whose name is gone is opened anew."""

from __future__ import annotations

from detektr.memory.journal_reader import JournalReader, open_journal
from detektr.memory.run_folder import RunFolder


class Journals:
    """Journals by producer, its part, and consumer."""

    def __init__(self, folder: RunFolder) -> None:
        """Open nothing yet; `folder` is the run's."""
        self._folder = folder
        self._open: dict[tuple[str, int, str], JournalReader] = {}

    def get(self, producer: str, part: int, consumer: str) -> JournalReader | None:
        """Return the journal of an edge; None: there is none."""
        place = producer, part, consumer
        journal = self._open.get(place)
        if journal is not None and journal.is_unlinked:
            self._open.pop(place).close()
            journal = None
        if journal is None:
            journal = open_journal(self._folder.journal(producer, part, consumer), producer, consumer)
            if journal is not None:
                self._open[place] = journal
        return journal

    def close(self) -> None:
        """Close all."""
        for journal in self._open.values():
            journal.close()
        self._open.clear()
