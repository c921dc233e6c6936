"""A `JournalReader` on plain bytes, and a journal made of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from detektr.memory import layout
from detektr.memory.announcement import Lease
from detektr.memory.journal import Journal
from detektr.memory.journal_reader import JournalReader


def read_journal(memory: bytearray) -> JournalReader:
    """Return a reader of the journal that lies in `memory`."""
    view = memoryview(memory).toreadonly()
    segment: Any = SimpleNamespace(words=view.cast("Q"), bytes=view, is_unlinked=False)
    return JournalReader(segment, "camera", "motion")


def fields(lease: Lease) -> tuple[int, int, int, bytes, int, int, int]:
    """Return all that a lease says, in the order of its parameters."""
    announced = lease.key, lease.sequence, lease.captured_ns, lease.payload
    return (*announced, lease.cell, lease.delivery_tag, lease.delivery)


def new_memory(cells: int, payload_bytes: int, mark: int = 1) -> bytearray:
    """Return the bytes of a fresh journal."""
    memory = bytearray(layout.journal_bytes(cells, payload_bytes))
    Journal.format(memoryview(memory), cells, payload_bytes, mark)
    return memory
