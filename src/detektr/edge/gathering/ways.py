"""The ways that frames take from their captures to one node: the edges, as the file has them. Values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WayEdge:
    """One edge on a way: of all replicas of its producer."""

    producer: str
    parts: int
    """Replicas of the producer; each has a journal."""
    consumer: str
    capture: str = ""
    """Of an edge at which a way begins: its producer, a capture."""
    is_last_in_order: bool = False
    """Whether frames come in the order of their capture here, and a processor below may mix them."""
