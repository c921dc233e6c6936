"""The wake-up protocol between the producer and the consumers of an edge, on the lane `shm`.

Both sides work on shared memory. A side that has nothing to do sleeps until its doorbell rings. A ring costs a system
call and a wake-up, so nobody rings for a side that is awake, since it looks before it falls asleep.

    |                 | consumer awake                            | consumer asleep                                |
    | --------------- | ----------------------------------------- | ---------------------------------------------- |
    | producer awake  | nobody rings: each looks before it sleeps | the producer rings when it has announced       |
    |                 |                                           | leases, once for each time the consumer sleeps |
    | producer asleep | the consumer rings when it has completed  | nobody rings: neither has anything to say;     |
    |                 | leases and the notify word asks for it    | whoever wakes first is in another square       |

Three words say so, each with one writer:

    notify         journal           producer  which consumers must ring: NOTIFY_NONE, NOTIFY_SHORT (one that runs short
                                               of work), NOTIFY_EACH (each, since the producer is blocked)
    is awake       journal           producer  1: nobody need ring, whatever the notify word says
    sleep count    completion queue  consumer  odd while it sleeps

The one rule: each side first writes its own word, then fences, then reads the other side's. Of two sides that have
something for each other at the same moment at least one therefore sees the other's word.

The notify word changes only when the producer falls asleep. It stays readable while the producer is awake, because a
consumer that passes frames on (a buffer) keeps completed leases to itself while nobody waits for them: it reads the
word at each look, and when the word asks for completions it becomes blocked itself. A producer whose word begins to ask
therefore rings once for each sleeping consumer that holds leases.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from detektr.edge.connections import ConnectionTable
from detektr.edge.edge import Edge
from detektr.memory.completion_queue import CompletionQueueWriter
from detektr.memory.journal_reader import JournalReader
from detektr.memory.layout import NOTIFY_EACH, NOTIFY_NONE, NOTIFY_SHORT
from detektr.memory.segment import fence


class ProducerWakeup:
    """The producer's half, for all edges of one process."""

    def __init__(self, connections: ConnectionTable) -> None:
        """Begin awake, and blocked by nothing."""
        self.is_blocked = False
        """Whether this process, or the producer before it, can do nothing until leases are completed."""
        self.is_asleep = False
        """Whether its consumers were told that it sleeps and waits for completions."""
        self._connections = connections

    def wake_consumers(self, sessions: Collection[int]) -> None:
        """Wake sleeping consumers, each once a sleep; write what they are to see before."""
        if sessions:
            fence()
            self._ring(sessions)

    def wake_up(self, edges: Iterable[Edge]) -> None:
        """Note that we are awake, and look for completions ourselves."""
        self.is_asleep = False
        for edge in edges:
            if edge.journal.notify != NOTIFY_NONE:
                edge.journal.set_producer_awake(True)

    def fall_asleep(self, edges: Iterable[Edge]) -> bool:
        """Tell consumers who of them must wake us; whether leases were completed before they could see that."""
        waiting: list[Edge] = []
        began: list[Edge] = []
        for edge in edges:
            notify = self._notify(edge)
            before = edge.journal.notify
            if notify != before:
                edge.journal.set_notify(notify)
            if notify != NOTIFY_NONE:
                edge.journal.set_producer_awake(False)
                waiting.append(edge)
                if before == NOTIFY_NONE:
                    began.append(edge)
        if not waiting:
            return False
        self.is_asleep = True
        fence()
        has_news = any([self._connections.has_news(edge.replicas) for edge in waiting])
        for edge in began:
            self._ring(edge.group.holders())
        return has_news

    def _notify(self, edge: Edge) -> int:
        if self.is_blocked:
            return NOTIFY_EACH
        return NOTIFY_SHORT if edge.backlog.count else NOTIFY_NONE

    def _ring(self, sessions: Collection[int]) -> None:
        for session in sessions:
            connection = self._connections.get(session)
            if connection is not None:
                connection.wake()


class ConsumerWakeup:
    """The consumer's half, for one edge."""

    def __init__(self, completions: CompletionQueueWriter, window: int) -> None:
        """Begin awake, with no lease completed.

        Args:
            completions: the consumer's queue; it also says whether the consumer sleeps.
            window: most leases that it may hold.
        """
        self.notify = NOTIFY_NONE
        """The notify word at the last look."""
        self._completions, self._window = completions, window
        self._is_told = True

    def wake_up(self) -> None:
        """Note that we are awake."""
        if self._completions.is_asleep:
            self._completions.toggle_asleep()

    def fall_asleep(self) -> None:
        """Note that we sleep; before it sleeps, the caller looks for leases and calls `must_ring` once more."""
        if not self._completions.is_asleep:
            self._completions.toggle_asleep()
        fence()

    @property
    def is_awaited(self) -> bool:
        """Whether the producer asked for completions at the last look."""
        return self.notify != NOTIFY_NONE

    def look(self, journal: JournalReader | None) -> None:
        """Read the notify word; without a journal there is no producer that asks."""
        self.notify = NOTIFY_NONE if journal is None else journal.notify

    def note_completed(self) -> None:
        """Note a completed lease that the producer may have to be told of."""
        self._is_told = False

    def must_ring(self, journal: JournalReader, work_left: int) -> bool:
        """Whether the producer sleeps and asks to be woken for completed leases.

        Args:
            journal: of the edge; looked at anew, since the work may have taken long. Without a fence: a consumer that
                misses the producer's word sees it when it falls asleep.
            work_left: leases that wait to be worked on.
        """
        if self._is_told:
            return False
        notify = self.notify = journal.notify
        if notify == NOTIFY_NONE or journal.is_producer_awake:
            return False
        return notify == NOTIFY_EACH or 2 * work_left <= self._window

    def note_told(self) -> None:
        """Note that the producer was woken."""
        self._is_told = True
