"""The queued frames of an edge that is partitioned by camera: no camera's frames wait behind another's. Pure."""

from __future__ import annotations

from collections import deque

from detektr.edge.state.backlog import Backlog
from detektr.edge.state.lease import Cell


class CameraBacklog(Backlog):
    """A queue, with a mark of its own, for each stream of each input."""

    def __init__(self, mark: int, low: int) -> None:
        """Begin empty; see `Backlog`."""
        super().__init__(0, mark, low)
        self._numbers: dict[tuple[int, int], int] = {}
        self._inputs: list[int] = []

    def queue_of(self, input_index: int, key: int) -> int:
        """Return the number of the queue of a stream; it may be another stream's once it is empty."""
        number = self._numbers.get((input_index, key))
        return self._new_queue(input_index, key) if number is None else number

    def has_room(self, input_index: int) -> bool:
        """Whether no queue of this input is full: nobody knows whose frame the next one is."""
        return not any([self._is_full[number] for number, other in enumerate(self._inputs) if other == input_index])

    def is_waiting(self, input_index: int, key: int) -> bool:
        """Whether frames of this stream wait."""
        number = self._numbers.get((input_index, key))
        return number is not None and len(self._queues[number]) > 0

    def take_oldest(self, queue: int) -> Cell | None:
        """Take the oldest frame of one queue, or of the longest where that is empty, to make room; None: all are.

        The second is for an edge that was made for fewer queues: it did not know that it would be partitioned.
        """
        if not self._queues[queue]:
            queue = max(range(len(self._queues)), key=lambda number: len(self._queues[number]))
        return super().take_oldest(queue)

    def first_of_each(self) -> list[Cell]:
        """Return the oldest frame of each queue, the queues in turn."""
        self._turn += 1
        heads = [queue[0] for queue in self._queues if queue]
        first = self._turn % len(heads) if heads else 0
        return heads[first:] + heads[:first]

    def take_first(self, cell: Cell) -> None:
        """Take the oldest frame of a queue, which `first_of_each` returned."""
        self._take_from(self._numbers[cell.input_index, cell.key])

    def _new_queue(self, input_index: int, key: int) -> int:
        for name, number in self._numbers.items():
            if not self._queues[number] and not self._is_full[number]:
                del self._numbers[name]
                break
        else:
            number = len(self._queues)
            self._queues.append(deque())
            self._is_full.append(False)
            self._inputs.append(input_index)
        self._inputs[number] = input_index
        self._numbers[input_index, key] = number
        return number
