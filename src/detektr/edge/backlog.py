"""The queued frames of one edge: a queue a lane, lanes in turn, and the marks between which a lane is full."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import chain

from detektr.edge.lease import Cell


class Backlog:
    """Frames that wait for a replica, oldest first."""

    def __init__(self, inputs: int, mark: int, low: int) -> None:
        """Begin empty.

        Args:
            lanes: how many queues.
            mark: a lane that holds this many is full ...
            low: ... until it holds this many again.
        """
        self._queues: list[deque[Cell]] = [deque() for _ in range(inputs)]
        self._is_full = [False] * inputs
        self._mark, self._low, self._last = mark, low, inputs - 1
        self._turn = 0
        self.count = 0
        """How many frames wait."""

    def __iter__(self) -> Iterator[Cell]:
        """Return every frame that waits, lane by lane."""
        return chain.from_iterable(self._queues)

    def input_index(self, number: int) -> int:
        """Return the lane for an input's number; an edge with one lane has it for all inputs."""
        return number if number < self._last else self._last

    def is_full(self, input_index: int) -> bool:
        """Whether the lane has reached its mark and not yet come down to `low`."""
        return self._is_full[input_index]

    @property
    def has_full(self) -> bool:
        """Whether some lane has reached its mark and not yet come down to `low`."""
        return any(self._is_full)

    def has_reached(self, input_index: int) -> bool:
        """Whether the lane holds as many as its mark now."""
        return len(self._queues[input_index]) >= self._mark

    def append(self, cell: Cell) -> None:
        """Queue a frame behind the others of its lane."""
        input_index = self.input_index(cell.input_index)
        queue = self._queues[input_index]
        queue.append(cell)
        self.count += 1
        if len(queue) >= self._mark:
            self._is_full[input_index] = True

    def put_back(self, cell: Cell) -> None:
        """Queue a frame where it was, by its place in the order of offers."""
        queue, place = self._queues[self.input_index(cell.input_index)], 0
        while place < len(queue) and queue[place].ordinal < cell.ordinal:
            place += 1
        queue.insert(place, cell)
        self.count += 1

    def take_oldest(self, input_index: int) -> Cell | None:
        """Take the oldest frame of one lane; None: it is empty. Its mark stays reached: this makes room for another."""
        queue = self._queues[input_index]
        if not queue:
            return None
        self.count -= 1
        return queue.popleft()

    def take(self) -> Cell | None:
        """Take the next frame, lanes in turn; None: nothing waits."""
        inputs = len(self._queues)
        for _ in range(inputs):
            input_index = self._turn
            self._turn = (input_index + 1) % inputs
            queue = self._queues[input_index]
            if queue:
                cell = queue.popleft()
                self.count -= 1
                if self._is_full[input_index] and len(queue) <= self._low:
                    self._is_full[input_index] = False
                return cell
        return None
