"""A consumer's end of an edge, attached to it in this process: leases lie in files, messages are carried by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from detektr.edge.edge_options import EdgeOptions
from detektr.edge.ephemeral import write_terms
from detektr.edge.relay.edge_file import open_edge
from detektr.edge.state.lease import SessionState
from detektr.edge.subscriber import EdgeSubscriber
from detektr.edge.upstream import Upstream
from detektr.memory import layout
from detektr.memory.announcement import Announcement, Lease
from detektr.memory.completion_queue import open_completion_queue
from detektr.memory.run_folder import RunFolder
from detektr.memory.status_block import StatusBlock
from detektr.wire.link import Link
from detektr.wire.message import Attach, Failure, Message, Welcome


class Outbox:
    """Remembers what was sent, and counts the rings; stands in for both ends of a link."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.rings = 0

    def open_outbox(self, inbox: Path, doorbell: Path) -> Outbox:
        return self

    def try_send(self, message: Message) -> bool:
        self.sent.append(message)
        return True

    def ring(self) -> None:
        self.rings += 1

    def close(self, linger_ms: int = 0) -> None:
        """Nothing is open."""


class Progress(StatusBlock):
    """A status block's inputs, in plain memory."""

    def __init__(self, consumer: str = "motion") -> None:
        self.path = Path(f"{consumer}.0.status")
        self.words = memoryview(bytearray(layout.STATUS_WORDS * layout.WORD_BYTES)).cast("Q")


class Bench:
    """An intake attached to an edge in this process: leases and returns lie in files, messages are carried by hand."""

    def __init__(
        self,
        folder: RunFolder,
        producer: str = "camera",
        consumer: str = "motion",
        *,
        entry: int = 0,
        status_block: Progress | None = None,
        kind: type[EdgeSubscriber] = EdgeSubscriber,
        **options: Any,
    ) -> None:
        """Attach.

        Args:
            folder: of the run.
            producer: the edge's.
            consumer: whose only replica attaches.
            entry: number of this input of its.
            status_block: its own, where it has several inputs.
            kind: of the intake.
            options: of the edge, where they are not the usual ones.
        """
        words: dict[str, Any] = {
            "mark": 8, "low": 7, "when_full": "block", "window_total": 4, "payload_bytes": 8, "timeout_ns": 100,
            "max_deliveries": 9,
        }  # fmt: skip
        self.options = EdgeOptions(**(words | options))
        self.producer, self.consumer, self.folder = producer, consumer, folder
        self.path = folder.journal(producer, 0, consumer)
        self.begin_producer()
        folder.inbox(producer, 0).touch()
        self.outbox, self.status_block = Outbox(), status_block or Progress(consumer)
        upstream = Upstream(producer, 0, consumer, self.options.window_total, lane="shm")
        self.link = cast(Link, self.outbox)
        self.subscriber = kind(upstream, entry, folder, self.link, self.status_block)
        self.completions = folder.completions(f"{consumer}.0", f"{producer}.0")
        self.now_ns = 2_000_000_000
        self.attach()

    def begin_producer(self) -> None:
        """Make the edge, or let a successor of the producer take over."""
        self.segment, self.edge = open_edge(self.path, self.consumer, self.options)
        self.journal = self.edge.journal
        write_terms(self.journal, self.options)

    def kill_producer(self) -> None:
        self.journal.close()
        self.segment.close()
        self.begin_producer()

    def asked(self) -> Attach:
        """Let the intake look whether it is to attach; it must be."""
        self.now_ns += 2_000_000_000
        self.subscriber.tick(self.now_ns)
        attach = self.outbox.sent.pop()
        assert isinstance(attach, Attach)
        self.session, self.read = attach.session, attach.completed
        return attach

    def answer(self, attach: Attach) -> Welcome:
        """Let the producer take the intake in."""
        state = SessionState(
            received=attach.received, held=frozenset(attach.held), failed=attach.failed, previous=attach.previous
        )
        window = self.options.window_total
        assert self.edge.attach(attach.session, attach.replica, window, state, is_durable=False, now_ns=1)
        return Welcome(attach.session, attach.attach_epoch, self.journal.producer_epoch)

    def attach(self) -> None:
        self.subscriber.handle(self.answer(self.asked()), 1)
        assert self.subscriber.is_attached

    def offer(self, *sequences: int) -> None:
        for sequence in sequences:
            self.edge.offer(0, Announcement(1, sequence, 1, b""))

    def producer_sleeps(self, notify: int) -> None:
        """Let the producer sleep, and ask to be woken."""
        self.journal.set_notify(notify)
        self.journal.set_producer_awake(False)

    def lease_queued(self, now_ns: int = 1) -> None:
        self.edge.lease_queued(now_ns)
        self.subscriber.receive()

    def take(self) -> Lease:
        lease = self.subscriber.take(1)
        assert lease is not None
        return lease

    def taken(self) -> list[tuple[int, int]]:
        """Return sequence and delivery of all there is to work on."""
        found = []
        while (lease := self.subscriber.take(1)) is not None:
            found.append((lease.sequence, lease.delivery))
        return found

    def given_back(self) -> list[tuple[int, int, int]]:
        completions = open_completion_queue(self.completions, self.read)
        assert completions is not None
        names = completions.take()
        self.read += len(names)
        completions.close()
        return names

    def sleeps(self) -> bool:
        """Say what the returns tell the producer."""
        completions = open_completion_queue(self.completions, self.read)
        assert completions is not None
        sleep_count = completions.sleep_count
        completions.close()
        return sleep_count % 2 == 1

    def told(self) -> Failure:
        self.subscriber.flush()
        message = self.outbox.sent.pop()
        assert isinstance(message, Failure)
        return message
