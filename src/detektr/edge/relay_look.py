"""A producer's look at a relay that reads from it: what the relay has passed on stands in the journals of its edges."""

from __future__ import annotations

from detektr.memory.announcement import FrameName
from detektr.memory.journal_reader import open_journal
from detektr.memory.run_folder import RunFolder


def passed_on(folder: RunFolder, relay: str, consumers: tuple[str, ...]) -> tuple[set[FrameName], set[FrameName]]:
    """Return the frames that some edges of a relay know, and those that all of them know and are done with.

    The relay may be alive, dead, or dead with a successor that has not attached yet.

    Args:
        folder: of the run.
        relay: the process, as in `detect.1`.
        consumers: of its edges of frames; none: it is no relay.
    Returns:
        Names in one of the two sets at most; none of a relay that has made no journal yet.
    """
    node, _, number = relay.rpartition(".")
    known, done = set[FrameName](), set[FrameName]()
    for place, consumer in enumerate(consumers):
        journal = open_journal(folder.journal(node, int(number), consumer), node, consumer)
        live, settled = (set[FrameName](), set[FrameName]()) if journal is None else journal.names()
        if journal is not None:
            journal.close()
        known |= live | settled
        done = settled if place == 0 else done & settled
    return known - done, done
