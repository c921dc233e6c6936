"""One look at a run: the ledgers of all its edges and the pages of all its processes, from shared memory."""

from __future__ import annotations

from collections.abc import Iterable

from detektr.ledger import EdgeLedger
from detektr.memory import layout
from detektr.memory.journal_reader import JournalReader, open_journal
from detektr.memory.run_folder import RunFolder
from detektr.memory.status_block import NodeSnapshot, PageReader, open_page


class RunReader:
    """Keeps what it has mapped; whoever looks from another thread needs a reader of its own."""

    def __init__(self, folder: RunFolder) -> None:
        """Read the run in `folder`; it need not be there yet."""
        self._folder = folder
        self._journals: dict[str, JournalReader] = {}
        self._pages: dict[str, PageReader] = {}

    def read(self) -> tuple[list[EdgeLedger], list[NodeSnapshot]]:
        """Return the ledger of each part of each edge, and what each page says."""
        journals, pages = self._look()
        return [journal.ledger() for journal in journals.values()], [page.snapshot() for page in pages.values()]

    def is_ended(self, names: Iterable[str]) -> bool:
        """Say whether all these journals are there and have ended: all was delivered, and nothing more comes.

        Args:
            names: file names of journals.
        """
        journals = self._look()[0]
        found = [journals.get(name) for name in names]
        return all(journal is not None and journal.state == layout.EDGE_ENDED for journal in found)

    def close(self) -> None:
        """Unmap everything."""
        for journal in self._journals.values():
            journal.close()
        for page in self._pages.values():
            page.close()
        self._journals.clear()
        self._pages.clear()

    def _look(self) -> tuple[dict[str, JournalReader], dict[str, PageReader]]:
        for name in [name for name, journal in self._journals.items() if journal.is_unlinked]:
            self._journals.pop(name).close()
        for name in [name for name, page in self._pages.items() if page.segment.is_unlinked]:
            self._pages.pop(name).close()
        for producer, _, consumer, path in self._folder.journals():
            if path.name not in self._journals:
                journal = open_journal(path, producer, consumer)
                if journal is not None:
                    self._journals[path.name] = journal
        for node, replica, path in self._folder.pages():
            if path.name not in self._pages:
                page = open_page(path, node, replica)
                if page is not None:
                    self._pages[path.name] = page
        return self._journals, self._pages
