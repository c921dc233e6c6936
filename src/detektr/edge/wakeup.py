"""How much a producer wants its leases back, and how it says so: by a word in the journal of each edge."""

from __future__ import annotations

from detektr.edge.connections import ConnectionTable
from detektr.edge.edge import Edge
from detektr.edge.edge_options import ReclaimMode
from detektr.edge.fanout import Fanout
from detektr.memory import layout
from detektr.memory.segment import fence

_FOR_ALL = (layout.WANTED, layout.WANTED_ALL)  # who reads one of these lets no lease lie


class ReclaimSignal:
    """What the edges of one producer want back. It only says so: who takes leases back is the outlet.

    What is wanted stands while the producer is awake as well, so that who looks only then, and sleeps before the
    producer does, knows it too.
    """

    def __init__(self, fanout: Fanout, connections: ConnectionTable) -> None:
        """Want nothing yet."""
        self.reclaim_mode, self.has_asked = ReclaimMode.LAZY, False
        self._fanout, self._connections = fanout, connections
        self._risen: set[str] = set()  # consumers that may sleep and not know that frames wait
        fanout.wake = connections.wake

    def set_mode(self, reclaim_mode: ReclaimMode) -> None:
        """Say how much we want leases back from now on; if it is all, replicas that sleep on some are woken."""
        self.reclaim_mode = reclaim_mode
        # Where frames follow each other, who is woken for the first would run in the way of the offers to the others.
        self._fanout.wake = None if reclaim_mode is ReclaimMode.RELAYED else self._connections.wake
        self.restate()
        if reclaim_mode is ReclaimMode.BLOCKED:
            self._connections.wake(tuple(self._connections))

    def restate(self) -> None:
        """Say anew what we want of each edge, which we look at ourselves now."""
        last = self._last()
        for edge in self._fanout.edges.values():
            wanted = self._wanted(edge, last)
            self._say(edge, wanted and wanted | layout.WANTED_AWAKE)
        self.has_asked = False

    def wake(self) -> None:
        """Say that we look at what is returned ourselves; where nothing was asked for it is so already."""
        for edge in self._fanout.edges.values():
            wanted = edge.journal[layout.EDGE_WORD_WANTED]
            if wanted:
                edge.journal[layout.EDGE_WORD_WANTED] = wanted | layout.WANTED_AWAKE
        self.has_asked = False

    def fall_asleep(self) -> bool:
        """Say which edges wait for leases to come back; whether some came back before that could be seen."""
        last, waiting = self._last(), []
        for edge in self._fanout.edges.values():
            wanted = self._wanted(edge, last)
            self._say(edge, wanted)
            if wanted and not wanted & layout.WANTED_AWAKE:
                waiting.append(edge)
        if not waiting:
            return False
        self.has_asked = True
        fence()
        has_news = any([self._connections.has_news(edge.replicas) for edge in waiting])
        if self._risen:  # who passes frames on may sleep over some that have come back to it: nobody waited for them
            for edge in waiting:
                if edge.consumer in self._risen:
                    self._connections.wake(tuple(edge.replicas))
            self._risen.clear()
        return has_news

    def _say(self, edge: Edge, wanted: int) -> None:
        said = edge.journal[layout.EDGE_WORD_WANTED]
        if wanted != said:
            edge.journal[layout.EDGE_WORD_WANTED] = wanted
            if wanted & ~layout.WANTED_AWAKE == layout.WANTED and said & ~layout.WANTED_AWAKE not in _FOR_ALL:
                self._risen.add(edge.consumer)

    def _last(self) -> Edge | None:
        """Return the edge, served last of those that frames are out on, whose replicas are to wake us; None: none."""
        if self.reclaim_mode is not ReclaimMode.RELAYED:
            return None
        for edge in reversed(self._fanout.edges.values()):
            if (
                edge.is_read and not edge.backlog.count and not edge.options.is_ephemeral
            ):  # a guest may look on for hours
                return edge
        return None

    def _wanted(self, edge: Edge, last: Edge | None) -> int:
        """Return what we want of an edge while we sleep."""
        if self.reclaim_mode is ReclaimMode.BLOCKED:
            return layout.WANTED_ALL
        if edge.backlog.count:
            return layout.WANTED
        if self.reclaim_mode is ReclaimMode.LAZY:
            return 0
        return layout.WANTED_EACH if edge is last else layout.WANTED_EACH | layout.WANTED_AWAKE
