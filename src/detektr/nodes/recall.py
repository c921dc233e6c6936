"""How much a producer wants its leases back, and how it says so: by a word in the journal of each edge."""

from __future__ import annotations

from detektr.memory import layout
from detektr.memory.segment import fence
from detektr.nodes.edge import Edge
from detektr.nodes.fanout import Fanout
from detektr.nodes.terms import Haste
from detektr.nodes.ways import Ways


class Recall:
    """What the edges of one producer want back. It only says so: who takes leases back is the outlet."""

    def __init__(self, fanout: Fanout, ways: Ways) -> None:
        """Want nothing yet."""
        self.haste, self.has_asked = Haste.NONE, False
        self._fanout, self._ways = fanout, ways
        fanout.wake = ways.wake

    def hurry(self, haste: Haste) -> None:
        """Say how much we want leases back from now on; if it is all, replicas that sleep on some are woken."""
        self.haste = haste
        # Where frames follow each other, who is woken for the first would run in the way of the offers to the others.
        self._fanout.wake = None if haste is Haste.PASSED_ON else self._ways.wake
        self.wake()
        if haste is Haste.ALL:
            self._ask()
            self._ways.wake(tuple(self._ways))

    def wake(self) -> None:
        """Say that we look at what is returned anyway; where nothing was asked for it is so already."""
        self.has_asked = False
        wanted = layout.WANTED_SOON if self.haste is Haste.OWN else 0
        for edge in self._fanout.edges.values():
            edge.journal[layout.EDGE_WORD_WANTED] = wanted

    def fall_asleep(self) -> bool:
        """Say which edges wait for leases to come back; whether some came back before that could be seen."""
        is_waiting = self.haste is Haste.ALL or self.haste is Haste.PASSED_ON
        for edge in self._fanout.edges.values():
            if edge.backlog.count:
                is_waiting = True
        if not is_waiting:
            return False
        waiting = self._ask()
        fence()
        return any([self._ways.has_news(edge.replicas) for edge in waiting])

    def _ask(self) -> list[Edge]:
        """Say that we sleep until leases come back; returns the edges that are waited for."""
        edges, last = list(self._fanout.edges.values()), None
        if self.haste is Haste.PASSED_ON:  # a guest may look on for hours, and who has not come gives nothing back
            last = next((edge for edge in reversed(edges) if edge.replicas and not edge.options.is_guest), None)
        waiting = []
        for edge in edges:
            wanted = layout.WANTED if edge.backlog.count else 0
            if self.haste is Haste.ALL:
                wanted = layout.WANTED_ALL
            elif edge is last:
                wanted = layout.WANTED_EACH
            if wanted:
                edge.journal[layout.EDGE_WORD_WANTED] = wanted
                waiting.append(edge)
        self.has_asked = True
        return waiting
