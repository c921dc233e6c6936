"""How many files the processes of a run have open: known before it begins, and refused there if too many. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from detektr.nodes.spec import NodeSpec

FILES_OWN = 40  # open in any process of ours, with some to spare
FILES_OF_PROCESS = 4  # its line, its log, where that is written to, its handle ...
FILES_OF_READER = 2  # ... and its mapped files
FILES_OF_PEER = 11  # for the other side of an edge: sockets, doorbell, journal and completion queue


def files_needed(specs: Sequence[NodeSpec], has_metrics: bool) -> int:
    """Return how many files the process of a run that has most of them open has open at once: ours, or a node's."""
    edges = sum(len(spec.edges) for spec in specs)
    readers = 1 + has_metrics  # each maps the files of all processes and edges
    own = FILES_OWN + FILES_OF_PROCESS * len(specs) + FILES_OF_READER * readers * (len(specs) + edges)
    own += FILES_OF_READER * has_metrics * sum(spec.has_user_code for spec in specs)
    own += FILES_OF_READER * sum(spec.trail_share is not None for spec in specs)
    peers = [len(spec.upstreams) + sum(_replicas(specs, consumer) for consumer in spec.edges) for spec in specs]
    return max(own, FILES_OWN + FILES_OF_PEER * max(peers, default=0))


def _replicas(specs: Sequence[NodeSpec], node: str) -> int:
    return sum(spec.node == node for spec in specs)
