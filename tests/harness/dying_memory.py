"""A memory whose writer dies: after a chosen number of stores the next one raises `Died`, as a SIGKILL would fall."""

from __future__ import annotations

from typing import Any, cast, overload


class Died(BaseException):
    """The writer was ended between two stores; not an `Exception`, so that nobody catches it by mistake."""


class DyingMemory:
    """Bytes that outlive their writer. Each word stored counts as one store, and so does each run of bytes."""

    def __init__(self, memory: bytearray) -> None:
        """Let a writer at `memory`; it lives until it is told otherwise."""
        self.memory = memory
        self.stores_left: int | None = None
        self.stores = 0

    @property
    def view(self) -> memoryview:
        """What a `Journal` is built on; reads and casts as a memoryview would."""
        return cast(memoryview, _View(self, memoryview(self.memory)))

    def spend(self) -> bool:
        """Count one store; False: the writer dies at it."""
        self.stores += 1
        if self.stores_left is None:
            return True
        self.stores_left -= 1
        return self.stores_left >= 0


class _View:
    def __init__(self, owner: DyingMemory, view: memoryview) -> None:
        self._owner, self._view = owner, view

    def cast(self, kind: Any) -> _View:
        return _View(self._owner, self._view.cast(kind))

    def release(self) -> None:
        self._view.release()

    def __len__(self) -> int:
        return len(self._view)

    @overload
    def __getitem__(self, place: int) -> int: ...
    @overload
    def __getitem__(self, place: slice) -> memoryview: ...
    def __getitem__(self, place: int | slice) -> int | memoryview:
        return self._view[place]

    def __setitem__(self, place: int | slice, value: Any) -> None:
        if self._owner.spend():
            self._view[place] = value
            return
        if isinstance(place, slice):  # bytes are copied piece by piece: the first half is there
            half = len(value) // 2
            self._view[place.start : place.start + half] = value[:half]
        raise Died
