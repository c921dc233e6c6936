"""A producer's look at a relay that reads from it: what the relay has passed on stands in the journals of its edges."""

from __future__ import annotations

from collections.abc import Sequence

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
    looks = []
    for consumer in consumers:
        journal = open_journal(folder.journal(node, int(number), consumer), node, consumer)
        looks.append((set[FrameName](), set[FrameName]()) if journal is None else journal.names())
        if journal is not None:
            journal.close()
    return merged(looks)


def merged(looks: Sequence[tuple[set[FrameName], set[FrameName]]]) -> tuple[set[FrameName], set[FrameName]]:
    """Return what `passed_on` does, of the names in each of the journals: the live ones, and the tombstones.

    A frame that one edge has settled and another has never been offered is not done: only the relay's successor can
    offer it to the other, with the same results.
    """
    known, done = set[FrameName](), set[FrameName]()
    for place, (live, settled) in enumerate(looks):
        known |= live | settled
        done = set(settled) if place == 0 else done & settled
    return known - done, done
