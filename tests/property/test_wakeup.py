"""Both halves of the wake-up protocol, stopped at each access to shared memory, on processors that delay stores.

Each half runs in a thread of its own, one step at a time, in an order that a seed chooses. A store is seen by the other
side only when it leaves the store buffer of its processor, which a seed decides too; a fence empties the buffer. What
is looked for is a lost wake-up: both asleep, nobody rung, and work left.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from detektr.memory.layout import NOTIFY_EACH, NOTIFY_NONE
from tests.harness.interpreted import interpreted

(wakeup,) = interpreted("detektr.edge.lanes.wakeup")
FRAMES = 6
SESSION = 7
STEPS_MAX = 20_000
PRODUCER, CONSUMER = "producer", "consumer"


class LostWakeupError(Exception):
    """Both sides sleep, and there is something to do."""


class Processors:
    """Two processors, a shared memory, and a scheduler that lets one of them take one step at a time."""

    def __init__(self, seed: int, *, has_fences: bool = True) -> None:
        self.chance, self.has_fences = random.Random(seed), has_fences
        self.memory: dict[str, int] = {}
        self.buffers: dict[str, deque[tuple[str, int]]] = {PRODUCER: deque(), CONSUMER: deque()}
        self.rings = {PRODUCER: 0, CONSUMER: 0}
        self.sleepers: set[str] = set()
        self.done: set[str] = set()
        self.turns = {name: threading.Semaphore(0) for name in (PRODUCER, CONSUMER)}
        self.back = threading.Semaphore(0)
        self.is_over = False
        self.failure: BaseException | None = None

    # -- what the two halves do, each a step ---------------------------------------------------------------------------

    def step(self) -> str:
        """Wait for the scheduler; returns who we are."""
        name = threading.current_thread().name
        self.back.release()
        self.turns[name].acquire()
        if self.is_over:
            raise SystemExit
        return name

    def load(self, word: str) -> int:
        name = self.step()
        own = [value for stored, value in self.buffers[name] if stored == word]
        return own[-1] if own else self.memory.get(word, 0)

    def store(self, word: str, value: int) -> None:
        self.buffers[self.step()].append((word, value))

    def fence(self) -> None:
        name = self.step()
        if self.has_fences:
            self.drain(name)

    def ring(self, whom: str) -> None:
        name = self.step()
        self.drain(name)  # a system call
        self.rings[whom] += 1

    def sleep(self) -> None:
        name = self.step()
        self.drain(name)
        self.sleepers.add(name)
        self.step()

    # -- the scheduler -------------------------------------------------------------------------------------------------

    def drain(self, name: str) -> None:
        while self.buffers[name]:
            word, value = self.buffers[name].popleft()
            self.memory[word] = value

    def run(self, halves: dict[str, Callable[[], None]]) -> None:
        """Let both run to their end.

        Raises:
            LostWakeupError: both sleep, and work is left.
        """

        def work(name: str) -> None:
            try:
                halves[name]()
            except SystemExit:
                return
            except BaseException as fault:
                self.failure = fault
            self.done.add(name)
            self.back.release()

        threads = [threading.Thread(target=work, args=(name,), name=name) for name in halves]
        for thread in threads:
            thread.start()
            self.back.acquire()
        try:
            for _ in range(STEPS_MAX):
                if self.failure is not None:
                    raise self.failure
                for name in [name for name in self.sleepers if self.rings[name]]:
                    self.rings[name] = 0
                    self.sleepers.discard(name)
                able = [name for name in halves if name not in self.sleepers and name not in self.done]
                late = [name for name in halves if self.buffers[name]]
                if not able and not late:
                    if len(self.done) == len(halves):
                        return
                    raise LostWakeupError(f"{sorted(self.sleepers)} sleep for ever; {self.memory}")
                if late and (not able or self.chance.random() < 0.2):
                    name = self.chance.choice(late)
                    word, value = self.buffers[name].popleft()
                    self.memory[word] = value
                else:
                    name = self.chance.choice(able)
                    self.turns[name].release()
                    self.back.acquire()
            raise AssertionError("it never ends")
        finally:
            self.is_over = True
            for name in halves:
                self.turns[name].release()
            for thread in threads:
                thread.join()


class Edge:
    """One edge between the two, each word of which is an access to shared memory."""

    def __init__(self, shared: Processors, window: int, *, is_blocked: bool) -> None:
        self.shared, self.window = shared, window
        self.leased = self.taken = 0
        self.backlog = SimpleNamespace(count=FRAMES)
        self.replicas = {SESSION: None}
        self.group = SimpleNamespace(holders=lambda: [SESSION] if self.leased > self.taken else [])
        self.journal = self
        connection = SimpleNamespace(wake=self._wake_consumer)
        self._woken = 0
        connections: Any = SimpleNamespace(
            get={SESSION: connection}.get, has_news=lambda sessions: shared.load("completed") != self.taken
        )
        self.producer = wakeup.ProducerWakeup(connections)
        self.producer.is_blocked = is_blocked
        queue: Any = Completions(shared)
        self.consumer = wakeup.ConsumerWakeup(queue, window)
        self.completions = queue

    def _wake_consumer(self) -> None:
        """As `ShmConnection.wake` does."""
        sleep_count = self.sleep_count
        if sleep_count & 1 and sleep_count != self._woken:
            self._woken = sleep_count
            self.shared.ring(CONSUMER)

    @property
    def notify(self) -> int:
        return self.shared.load("notify")

    def set_notify(self, notify: int) -> None:
        self.shared.store("notify", notify)

    @property
    def is_producer_awake(self) -> bool:
        return self.shared.load("is_awake") != 0

    def set_producer_awake(self, is_awake: bool) -> None:
        self.shared.store("is_awake", is_awake)

    @property
    def sleep_count(self) -> int:
        return self.shared.load("sleep_count")

    def produce(self) -> None:
        """Lease every frame, as far as there is credit, and end when all were completed."""
        while True:
            if self.producer.is_asleep:
                self.producer.wake_up([self])
            self.taken = self.shared.load("completed")
            if self.taken == FRAMES:
                return
            before = self.leased
            self.leased = min(FRAMES, self.taken + self.window)
            if self.leased > before:
                self.shared.store("tag", self.leased)
                self.backlog.count = FRAMES - self.leased
                self.producer.wake_consumers({SESSION})
            if not self.backlog.count:
                self.producer.is_blocked = True  # as at the end of a run: every completion is waited for
            if not self.producer.fall_asleep([self]):
                self.shared.sleep()

    def consume(self) -> None:
        """Complete what is leased, one after the other, and end when all is done."""
        received = completed = 0
        while completed < FRAMES:
            self.consumer.wake_up()
            received = self.shared.load("tag")
            while completed < received:
                completed += 1
                self.shared.store("completed", completed)
                self.consumer.note_completed()
                self._flush(received - completed)
            if completed == FRAMES:
                break
            self._flush(0)
            self.consumer.fall_asleep()
            self.consumer.look(self)
            if self.shared.load("tag") == received and not self.consumer.must_ring(self, 0):
                self.shared.sleep()
        self.consumer.fall_asleep()
        if self.consumer.must_ring(self, 0):
            self.shared.ring(PRODUCER)

    def _flush(self, work_left: int) -> None:
        if self.consumer.must_ring(self, work_left):
            self.consumer.note_told()
            self.shared.ring(PRODUCER)


class Completions:
    """What the consumer says of its sleep."""

    def __init__(self, shared: Processors) -> None:
        self._shared, self._count = shared, 0

    @property
    def is_asleep(self) -> bool:
        return self._count % 2 == 1

    def toggle_asleep(self) -> None:
        self._count += 1
        self._shared.store("sleep_count", self._count)


def run(seed: int, monkeypatch: pytest.MonkeyPatch, *, has_fences: bool = True) -> None:
    shared = Processors(seed, has_fences=has_fences)
    monkeypatch.setattr(wakeup, "fence", shared.fence)
    edge = Edge(shared, window=1 + seed % 3, is_blocked=seed % 2 == 0)
    shared.run({PRODUCER: edge.produce, CONSUMER: edge.consume})


def test_no_wake_up_is_lost_at_any_interleaving(monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(400):
        run(seed, monkeypatch)


def test_without_its_fences_the_protocol_loses_a_wake_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model can tell: what it would find is there to be found."""
    with pytest.raises(LostWakeupError):
        for seed in range(2000):
            run(seed, monkeypatch, has_fences=False)


def test_each_asks_only_for_what_it_needs() -> None:
    shared: Any = SimpleNamespace(count=0)
    edge: Any = SimpleNamespace(backlog=shared)
    producer = wakeup.ProducerWakeup(SimpleNamespace())
    assert producer._notify(edge) == NOTIFY_NONE
    producer.is_blocked = True
    assert producer._notify(edge) == NOTIFY_EACH
