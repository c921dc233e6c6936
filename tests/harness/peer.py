"""Somebody who is no part of a pipeline, and sends to its processes what he likes."""

from __future__ import annotations

import zmq

from detektr.memory import layout
from detektr.memory.journal import Journal
from detektr.memory.run_folder import RunFolder
from detektr.memory.segment import open_segment
from detektr.wire.codec import encode
from detektr.wire.message import Message


class Peer:
    """Somebody with a way to a pipeline's sockets."""

    def __init__(self, pipeline: str) -> None:
        self.folder = RunFolder(pipeline)
        self._context = zmq.Context()
        self._connections: dict[str, zmq.Socket[bytes]] = {}

    def send(self, process: str, payload: bytes | Message) -> None:
        """Send bytes, or a message, to a process."""
        connection = self._connections.get(process)
        if connection is None:
            connection = self._connections[process] = self._context.socket(zmq.PUSH)
            connection.connect(f"ipc://{self.folder.path / process}.sock")
        connection.send(payload if isinstance(payload, bytes) else encode(payload))

    def sessions(self, producer: str, consumer: str) -> dict[str, int]:
        """Read who is attached to an edge, and as which session, as anybody of this user can."""
        segment = open_segment(self.folder.journal(producer, 0, consumer), is_writable=False)
        assert segment is not None
        copy = bytearray(segment.bytes)
        segment.close()
        return {record.name: record.session for record in Journal(memoryview(copy)).replicas()}

    def run_of(self, node: str) -> int:
        """Read the number of a capture's run."""
        segment = open_segment(self.folder.status_block(node, 0))
        assert segment is not None
        run = segment.words[layout.STATUS_WORD_RUN]
        segment.close()
        return run

    def close(self) -> None:
        """Hang up, in mid-sentence if need be."""
        self._context.destroy(linger=0)
