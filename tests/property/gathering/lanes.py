"""What a played process has in place of sockets and files: inboxes, completions on their way, journals in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from detektr.memory.announcement import FrameName, Lease
from detektr.memory.completion_queue import Completion
from detektr.memory.journal_reader import JournalReader
from tests.harness.interpreted import interpreted

if TYPE_CHECKING:
    from tests.property.gathering.process import Process


@dataclass
class Completions:
    """What one replica has completed on one of its inputs, over all its lives."""

    all: list[Completion] = field(default_factory=list)
    sent: int = 0
    """How many of them the producer may see by now."""
    read: int = 0
    """How many of them it has seen."""


class Receiver:
    """The consumer's end of a lane. Leases lie in the journal; what is completed arrives as its `Completions` say."""

    is_awaited = is_needed = is_out_of_step = is_settled = False

    def __init__(self, process: Process, completions: Completions) -> None:
        self._process, self._completions = process, completions
        self._journal: JournalReader | None = None
        self._entry = self._session = self.received = 0

    def attached(self, journal: JournalReader, entry: int, session: int, producer_epoch: int) -> None:
        self._journal, self._entry, self._session = journal, entry, session
        self.received = journal.tag_before(entry)

    def left(self) -> None:
        self._journal = None

    def begin_session(self) -> None:
        self.received = 0

    def restate(self) -> int:
        self._completions.sent = len(self._completions.all)
        return self._completions.sent

    def look(self) -> None:
        pass

    def receive(self) -> tuple[list[Lease], bool]:
        journal = self._journal
        last = self.received if journal is None else journal.last_tag(self._entry)
        last = self._process.world.chance.choice((last, last, min(last, self.received + 1)))
        if journal is None or last == self.received:
            return [], False
        leases = journal.leases(self._entry, self._session, self.received, last)
        has_ended = len(leases) != last - self.received
        self.received = last
        return leases, has_ended

    def complete(self, name: FrameName, delivery_tag: int) -> None:
        self._process.spend()
        self._completions.all.append((*name, delivery_tag))
        if self._process.world.lane == "shm":
            self._completions.sent = len(self._completions.all)

    def flush(self, outbox: object, work_left: int) -> None:
        if outbox is not None and self._journal is not None:
            self._completions.sent = len(self._completions.all)

    def close(self) -> None:
        pass


class Surroundings:
    """A process's folder and link, as its subscribers use them."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def inbox(self, node: str, part: int) -> Process:
        return self._process.world.processes[f"{node}.{part}"]

    def doorbell(self, node: str, part: int) -> None:
        pass

    def journal(self, producer: str, part: int, consumer: str) -> JournalReader:
        return self._process.world.readers[producer, part, consumer]

    def open_outbox(self, inbox: Process, bell: None) -> Any:
        def try_send(message: object) -> bool:
            self._process.spend()
            inbox.inbox.append((self._process.name, message))
            return True

        return SimpleNamespace(try_send=try_send, ring=lambda: None, close=lambda linger_ms=0: None)

    def receiver(self, producer: str) -> Receiver:
        return Receiver(self._process, self._process.completions[producer])


class Journals:
    """The journals as a process sees them that reads several: others go on between two looks."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def get(self, producer: str, part: int, consumer: str) -> JournalReader | None:
        self._process.world.interrupt(self._process)
        return self._process.world.readers.get((producer, part, consumer))

    def close(self) -> None:
        pass


_names = ("detektr.nodes.relay", "detektr.edge.work_progress", "detektr.edge.subscriber",
          "detektr.edge.gathering_subscriber")  # fmt: skip
_relay, _, _subscriber, _gathering = interpreted(*_names)
Relay: Any = _relay.Relay
Subscriber: Any = _subscriber.EdgeSubscriber
GatheringSubscriber: Any = _gathering.GatheringSubscriber
_subscriber.open_receiver = lambda upstream, folder, replica: folder.receiver(  # type: ignore[attr-defined]
    f"{upstream.producer}.{upstream.producer_replica}"
)
_subscriber.open_journal = lambda path, producer, consumer: path  # type: ignore[attr-defined]
sessions = SimpleNamespace(last=0)


def _session(bits: int) -> int:
    sessions.last += 2
    return int(sessions.last)


_subscriber.secrets = SimpleNamespace(randbits=_session)  # type: ignore[attr-defined]
