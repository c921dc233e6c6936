"""All edges of one producer: a frame is offered to each, and is needed until the last of them has settled it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from detektr.edge.edge import Edge
from detektr.edge.tombstone_edge import TombstoneEdge
from detektr.memory.announcement import Announcement, FrameName


class Fanout:
    """Offers frames to all edges, and counts by how many edges each is still needed. No sockets, no clock."""

    def __init__(self, announce_at_once: Callable[[Edge], None]) -> None:
        """Begin without edges.

        Args:
            announce_at_once: called with an edge that has leased the frame, before the next edge is offered it.
        """
        self._announce_at_once = announce_at_once
        self.edges: dict[str, Edge] = {}
        self._orders: list[list[Edge]] = [[]]  # the edges, with each of those that are not ephemeral first
        self._released: list[FrameName] = []
        self._needed: dict[FrameName, int] = {}
        self._keeping: list[TombstoneEdge] = []
        self.above: Callable[[], set[FrameName]] | None = None
        """Where branches that part above us are joined below: tells the names that are known there, and kept here."""
        self._kept: set[FrameName] = set()  # released, and known above
        self._only_optional_since_ns = 0  # at the end: since when we wait for optional consumers only

    def add(self, edge: Edge) -> None:
        """Add an edge; the frames in its journal are needed from now on."""
        self.edges[edge.consumer] = edge
        self._reorder()
        for cell in edge.holds():
            name = cell.key, cell.sequence
            self._needed[name] = self._needed.get(name, 0) + 1

    def remove(self, consumer: str) -> None:
        """Remove an edge; it no longer needs the frames that it held."""
        edge = self.edges.pop(consumer)
        self._reorder()
        self._settle([*edge.settled, *[(cell.key, cell.sequence) for cell in edge.holds()]])

    def catch_up(self) -> None:
        """Offer frames that some edge holds to the edges to which a predecessor had not offered them when it died."""
        held = {(cell.key, cell.sequence): cell for edge in self.edges.values() for cell in edge.holds()}
        for (key, sequence), cell in sorted(held.items()):
            for edge in self.edges.values():
                seen = edge.journal.seen(key)
                is_missed = seen <= sequence and (
                    seen or not edge.options.is_ephemeral
                )  # an ephemeral consumer gets no frame from before its attach
                if not is_missed:
                    continue
                taken = edge.offer(cell.input_index, cell, is_owed=True)
                if taken == "taken":
                    self._needed[key, sequence] += 1
        if self.above is None:
            self._forget_done()
        else:
            self._kept |= self._settled()

    def has_room(self, input_index: int) -> bool:
        """Whether there is an edge, and every edge would take a frame now."""
        for edge in self.edges.values():  # on every frame's way, here and below: loops, not generators
            if not edge.has_room(input_index):
                return False
        return bool(self.edges)

    def fan_out(self, input_index: int, announcement: Announcement, now_ns: int = 0) -> None:
        """Offer a frame to every edge (see `Edge.offer`); an edge that knows it from before a restart counts it once.

        Edges take turns at being first, since the last consumer to be woken waits for a core. Ephemeral ones come last.
        """
        name, needed, orders = announcement.name, 0, self._orders
        for edge in orders[announcement.sequence % len(orders)]:
            if edge.offer(input_index, announcement, now_ns) == "taken":
                needed += 1
                if edge.has_announced:
                    self._announce_at_once(edge)
        needed += self._needed.get(name, 0)
        if needed:
            self._needed[name] = needed
        else:
            self._released.append(name)

    def offer_to(self, edge: Edge, announcement: Announcement, now_ns: int) -> None:
        """Offer a frame to one edge only."""
        if edge.offer(0, announcement, now_ns) == "taken":
            self._needed[announcement.name] = self._needed.get(announcement.name, 0) + 1

    def count_dropped(self, key: int, last_sequence: int, count: int, reason: str) -> None:
        """Count frames that never had a slot on every edge that does not know of them yet."""
        for edge in self.edges.values():
            seen = edge.journal.seen(key)
            unheard = min(count, last_sequence + 1 - seen)
            # An ephemeral consumer gets no frame from before its attach.
            if unheard > 0 and (seen or count == 1 or not edge.options.is_ephemeral):
                edge.count_dropped(key, last_sequence, unheard, reason)
        if self._keeping and self.above is None:
            self._forget_done()

    def seen_all(self) -> dict[int, int]:
        """Return per stream the first sequence that some edge of the file was not offered yet."""
        lowest: dict[int, int] = {}
        edges = [edge for edge in self.edges.values() if not edge.options.is_ephemeral] or list(self.edges.values())
        for place, edge in enumerate(edges):
            seen = edge.journal.seen_all()
            if place == 0:
                lowest = seen
            else:
                lowest = {key: min(expected, seen[key]) for key, expected in lowest.items() if key in seen}
        return lowest

    def collect(self) -> list[FrameName]:
        """Return the frames that no edge needs any more, since the last call."""
        for edge in self.edges.values():
            if edge.settled:
                self._settle(edge.settled)
                edge.settled.clear()
        released, self._released = self._released, []
        if self._keeping and released:
            if self.above is None:
                self.forget(released)
            else:
                self._kept.update(released)
        return released

    def forget(self, names: Iterable[FrameName]) -> None:
        """Forget what became of frames, where that is kept."""
        for edge in self._keeping:
            for name in names:
                edge.forget(name)

    def _forget_done(self) -> None:
        """Forget what became of frames that every edge was offered and none needs.

        One that a predecessor died over comes once more for the edges that it had not reached: then what became of it
        on the others is asked for.
        """
        seen = self.seen_all()
        self.forget([name for name in self._settled() if name[1] < seen.get(name[0], 0)])

    def _settled(self) -> set[FrameName]:
        """Return the frames of which some edge keeps what became of them, and none needs them."""
        return {name for edge in self._keeping for name in edge.tombstones} - self._needed.keys()

    def sweep(self, *, is_due: bool) -> None:
        """Forget the names that are known above no more, if that is due or our edges run short of cells."""
        if self.above is None or not self._kept:
            return
        if is_due or any([edge.is_short for edge in self._keeping]):
            over = self._kept - self.above()
            self._kept -= over
            self.forget(over)

    def leave_optional(self, now_ns: int) -> list[tuple[str, int]]:
        """At the end: drop the frames of optional consumers, once their `drain` is over and all other edges are empty.

        Args:
            now_ns: the monotonic time.
        Returns:
            The consumers, and how many frames each has lost.
        """
        late = [edge for edge in self.edges.values() if edge.options.is_optional and not edge.is_empty]
        if not late or any([not edge.is_empty for edge in self.edges.values() if not edge.options.is_optional]):
            self._only_optional_since_ns = 0
            return []
        self._only_optional_since_ns = self._only_optional_since_ns or now_ns
        waited_ns = now_ns - self._only_optional_since_ns
        over = [edge for edge in late if waited_ns >= edge.options.drain_ns]
        left = [(edge.consumer, edge.queued + edge.in_flight) for edge in over]
        for edge in over:
            edge.drop_all("consumer_slow")
        return left

    @property
    def is_empty(self) -> bool:
        """Whether no edge holds anything."""
        return all(edge.is_empty for edge in self.edges.values())

    def _reorder(self) -> None:
        ephemeral = [edge for edge in self.edges.values() if edge.options.is_ephemeral]
        own = [edge for edge in self.edges.values() if not edge.options.is_ephemeral]
        self._orders = [[*own[first:], *own[:first], *ephemeral] for first in range(max(len(own), 1))]

        self._keeping = [edge for edge in own if isinstance(edge, TombstoneEdge)]

    def _settle(self, names: list[FrameName]) -> None:
        needed = self._needed
        for name in names:
            left = needed.get(name, 0) - 1
            if left > 0:
                needed[name] = left
            else:
                needed.pop(name, None)
                self._released.append(name)
