"""The queued frames of one edge: a queue for each input; a full one stays full down to its low-water mark. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import chain

from detektr.edge.state.lease import Cell


class Backlog:
    """Frames that wait for a replica, oldest first."""

    def __init__(self, queues: int, mark: int, low: int) -> None:
        """Begin empty.

        Args:
            queues: number of queues.
            mark: a queue that holds this many frames is full (high-water mark).
            low: a full queue stays full until it holds this many frames (low-water mark).
        """
        self._queues: list[deque[Cell]] = [deque() for _ in range(queues)]
        self._is_full = [False] * queues
        self._mark, self._low, self._last = mark, low, queues - 1
        self._turn = 0
        self.count = 0
        """How many frames wait."""

    def __iter__(self) -> Iterator[Cell]:
        """Return every frame that waits, queue by queue."""
        return chain.from_iterable(self._queues)

    def queue_of(self, input_index: int, key: int) -> int:
        """Return the number of an input's queue, whatever the stream; where there is one queue, all inputs share it."""
        return input_index if input_index < self._last else self._last

    def has_room(self, input_index: int) -> bool:
        """Whether the queue of this input is not full."""
        return not self._is_full[input_index if input_index < self._last else self._last]

    def is_full(self, queue: int) -> bool:
        """Whether the queue has reached its mark and has not fallen to `low` since."""
        return self._is_full[queue]

    @property
    def has_full(self) -> bool:
        """Whether any queue has reached its mark and has not fallen to `low` since."""
        return any(self._is_full)

    def has_reached(self, queue: int) -> bool:
        """Whether the queue holds as many as its mark now."""
        return len(self._queues[queue]) >= self._mark

    def append(self, cell: Cell) -> None:
        """Queue a frame behind the others of its input."""
        number = self.queue_of(cell.input_index, cell.key)
        queue = self._queues[number]
        queue.append(cell)
        self.count += 1
        if len(queue) >= self._mark:
            self._is_full[number] = True

    def put_back(self, cell: Cell) -> None:
        """Queue a frame where it was, by its place in the order of offers."""
        queue, place = self._queues[self.queue_of(cell.input_index, cell.key)], 0
        while place < len(queue) and queue[place].ordinal < cell.ordinal:
            place += 1
        queue.insert(place, cell)
        self.count += 1

    def take_oldest(self, queue: int) -> Cell | None:
        """Take the oldest frame of one queue; None: it is empty. It stays full: this makes room for another frame."""
        cells = self._queues[queue]
        if not cells:
            return None
        self.count -= 1
        return cells.popleft()

    def take(self) -> Cell | None:
        """Take the next frame, queues in turn; None: nothing waits."""
        queues = len(self._queues)
        for _ in range(queues):
            number = self._turn % queues
            self._turn = (number + 1) % queues
            if self._queues[number]:
                return self._take_from(number)
        return None

    def take_cell(self, cell: Cell) -> None:
        """Take one frame that waits, wherever it stands."""
        number = self.queue_of(cell.input_index, cell.key)
        queue = self._queues[number]
        queue.remove(cell)
        self.count -= 1
        if self._is_full[number] and len(queue) <= self._low:
            self._is_full[number] = False

    def _take_from(self, number: int) -> Cell:
        """Take the oldest frame of a queue that is not empty; a full one that has fallen to `low` is full no more."""
        queue = self._queues[number]
        cell = queue.popleft()
        self.count -= 1
        if self._is_full[number] and len(queue) <= self._low:
            self._is_full[number] = False
        return cell
