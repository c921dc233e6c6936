"""All edges of a producer that know frames by name: those of a relay, or of a buffer below one.

A frame is offered to the edges of the file in their order, and later forgotten by them in the same order. So whoever
adopts the journals of a producer that was killed knows what it was doing: a frame that the first edge knows was being
offered, and is offered to the edges that miss it, with the same payload; one that only later edges know was being
forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from detektr.edge.edge import Edge
from detektr.edge.fanout import Fanout
from detektr.edge.relay.any_order import AnyOrderEdge
from detektr.edge.state.lease import Cell
from detektr.memory.announcement import FrameName


class RelayFanout(Fanout):
    """See the module's first lines. Edges of ephemeral consumers come last; they catch up with nothing."""

    def __init__(self, announce_at_once: Callable[[Edge], None]) -> None:
        """See `Fanout`."""
        super().__init__(announce_at_once)
        self._named: list[AnyOrderEdge] = []

    def knows(self, name: FrameName) -> bool:
        """Whether the frame was offered, and may come again."""
        return bool(self._named) and self._named[0].knows(name)

    def needs(self, name: FrameName) -> bool:
        """Whether some edge still needs the frame."""
        return name in self._needed

    @property
    def is_short(self) -> bool:
        """Whether some edge has no cell left for another frame."""
        return any([edge.is_short for edge in self._named])

    def done(self) -> list[Cell]:
        """Return the tombstones of frames that no edge needs any more."""
        return [
            cell
            for name, cell in (self._named[0].tombstones.items() if self._named else ())
            if name not in self._needed
        ]

    def forget(self, names: Iterable[FrameName]) -> None:
        """Forget frames that cannot come again; one that some edge still needs is kept."""
        over = [name for name in names if name not in self._needed]
        for edge in self._named:
            for name in over:
                edge.forget(name)

    def catch_up(self) -> None:
        """Go on where a predecessor died: offer what it was offering, forget what it was forgetting."""
        own = [edge for edge in self._named if not edge.options.is_ephemeral]
        known: dict[FrameName, Cell] = {}
        for edge in self._named:
            known |= edge.tombstones
        for edge in self._named:
            known |= {cell.name: cell for cell in edge.holds()}
        for name, cell in sorted(known.items(), key=lambda item: item[1].ordinal):
            if not self.knows(name) and name not in self._needed:
                self.forget([name])
                continue
            for edge in own:
                if edge.offer(cell.input_index, cell, is_owed=True) == "taken":
                    self._needed[name] = self._needed.get(name, 0) + 1

    def _reorder(self) -> None:
        own = [edge for edge in self.edges.values() if not edge.options.is_ephemeral]
        ephemeral = [edge for edge in self.edges.values() if edge.options.is_ephemeral]
        self._orders = [[*own, *ephemeral]]
        self._named = [edge for edge in self._orders[0] if isinstance(edge, AnyOrderEdge)]
