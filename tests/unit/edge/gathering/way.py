"""Edges on the ways to a node, in this process: offered, leased and settled by hand; journals lie in a run folder."""

from __future__ import annotations

from typing import Any

from detektr.edge.edge_options import EdgeOptions
from detektr.edge.relay.edge_file import open_edge
from detektr.edge.state.lease import SessionState
from detektr.memory.announcement import Announcement
from detektr.memory.run_folder import RunFolder
from detektr.wire.message import FailureKind

KEY, SESSION = 1, 7


class Way:
    """One edge that keeps what became of its frames, and its consumer's only session."""

    def __init__(
        self, folder: RunFolder, producer: str, consumer: str, part: int = 0, *, below: bool = True, **options: Any
    ) -> None:
        """Make it. `below`: its frames come in any order, as below a processor."""
        room = {"tombstones": 32} if below else {"keeps_settled": 32}
        words: dict[str, Any] = {"mark": 32, "low": 31, "when_full": "block", "window_total": 32, "payload_bytes": 8}
        self.options = EdgeOptions(**(words | room | options))
        self.path = folder.journal(producer, part, consumer)
        self.segment, self.edge = open_edge(self.path, consumer, self.options)
        self.edge.attach(SESSION, f"{consumer}.0", 32, SessionState(), is_durable=False, now_ns=1)

    def lease(self, *sequences: int, key: int = KEY) -> None:
        """Offer frames, of which each is leased at once."""
        for sequence in sequences:
            self.edge.offer(0, Announcement(key, sequence, 1, b""), now_ns=1)

    def finish(self, *sequences: int, key: int = KEY) -> None:
        """Let the consumer finish frames."""
        self.edge.finish(SESSION, [(key, sequence, 0) for sequence in sequences], 1)

    def fail(self, sequence: int, kind: FailureKind = FailureKind.PERMANENT) -> None:
        """Let the consumer fail a frame, for good unless told otherwise."""
        self.edge.fail(SESSION, (KEY, sequence, kind, "because"))

    def drop(self, sequence: int, reason: str) -> None:
        """Drop a frame as it is offered."""
        self.lease(sequence)
        self.edge.drop_all(reason)

    def close(self, *, unlink: bool = False) -> None:
        """Let its producer leave."""
        self.edge.journal.close()
        self.segment.close()
        if unlink:
            self.path.unlink()
