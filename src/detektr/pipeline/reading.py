"""One look at a run: the ledgers of all its edges and the pages of all its processes, from shared memory."""

from __future__ import annotations

from detektr.ledger import EdgeLedger
from detektr.memory import layout
from detektr.memory.folder import RunFolder
from detektr.memory.journal import JournalReader, open_journal
from detektr.memory.page import NodeSnapshot, PageReader, open_page


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

    def is_ended(self, producer: str, replica: int) -> bool | None:
        """Say whether every edge of one process has ended: all was delivered, nothing more comes; None: it has none."""
        found = [
            journal.state == layout.EDGE_ENDED
            for name, journal in self._look()[0].items()
            if name.startswith(f"{producer}.{replica}~")
        ]
        return all(found) if found else None

    def close(self) -> None:
        """Unmap everything."""
        for reader in (*self._journals.values(), *self._pages.values()):
            reader.close()
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
