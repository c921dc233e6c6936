"""Ends orphaned edges: those of a dead process that will have no successor."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from detektr.descriptor import stream_key
from detektr.edge.edge import Edge
from detektr.edge.edge_options import FrameOutcome
from detektr.edge.ephemeral import write_terms
from detektr.edge.frame_trail import open_frame_trail
from detektr.edge.relay.edge_file import open_edge
from detektr.edge.relay.fanout import RelayFanout
from detektr.edge.relay.look import passed_on
from detektr.errors import DetektrError
from detektr.memory.run_folder import RunFolder
from detektr.memory.status_block_reader import open_status_block
from detektr.nodes.dead_letter import DeadLetters
from detektr.nodes.spec import NodeSpec
from detektr.nodes.working.event_stream import identify_event
from detektr.process.fault_text import fault_text

_log = logging.getLogger(__name__)


def end_edges(folder: RunFolder, spec: NodeSpec) -> int:
    """Drop the frames that a dead process's edges still hold as `gone`, and tell consumers that no more will come.

    Leases that a consumer had completed, and nobody had reclaimed, are delivered.

    The caller knows that the process is dead and stays so: a journal has one writer.

    Args:
        folder: the run's.
        spec: of the dead process.
    Returns:
        How many frames are gone.
    """
    count = 0
    found = []
    relayed = RelayFanout(lambda edge: None)
    trail = open_frame_trail(folder, spec.node, spec.replica, spec.trail_share)
    for consumer, options in spec.edges.items():
        path = folder.journal(spec.node, spec.replica, consumer)
        if path.exists():
            segment, edge = open_edge(path, consumer, options, _keeper(folder, spec, consumer))
            if trail is not None:
                are_events = spec.options.kind == "processor" and not options.tombstones
                edge.trail = trail.of_edge(consumer, are_events=are_events)
            _settle_finished(folder, edge)
            for replica in edge.replicas.values():
                edge.note_passed(replica.session, set().union(*passed_on(folder, replica.name, options.relays_to)))
            count += edge.queued + edge.in_flight - sum(replica.passed for replica in edge.replicas.values())
            edge.give_up()
            count += _count_unannounced(folder, spec, edge)
            found.append((segment, edge))
            if options.tombstones:
                relayed.add(edge)
    relayed.catch_up()  # a frame that some edge was not offered yet is gone there too
    for segment, edge in found:
        edge.journal.set_stalled_since(0)
        edge.journal.end()
        edge.journal.close()
        segment.close()
    if trail is not None:
        trail.close(unlink=False)
    if count:
        kept = "; those for sinks with `retry` are dead letters" if _has_retried(spec) else ""
        _log.warning(
            "%s.%d has ended for good: dropped %d frames (reason: gone)%s", spec.node, spec.replica, count, kept
        )
    return count


def end_unborn(folder: RunFolder, spec: NodeSpec) -> None:
    """Make the edges of a process that does not run, ended: consumers wait for nothing, and there is room for its own.

    Args:
        folder: the run's.
        spec: of a process that never ran.
    Raises:
        NoRoomError: shared memory has no room for them.
    """
    for consumer, options in spec.edges.items():
        segment, edge = open_edge(folder.journal(spec.node, spec.replica, consumer), consumer, options)
        write_terms(edge.journal, options)
        edge.journal.end()
        edge.journal.close()
        segment.close()


def _has_retried(spec: NodeSpec) -> bool:
    return any(options.is_retried for options in spec.edges.values())


def _keeper(folder: RunFolder, spec: NodeSpec, consumer: str) -> Callable[[FrameOutcome], None]:
    """Return what saves dead letters: what an edge whose sink retries still holds is not dropped, but given up."""
    dead_letters = DeadLetters(folder, f"{spec.node}.{spec.replica}", spec.dead_letter_bytes)

    def keep(outcome: FrameOutcome) -> None:
        try:
            dead_letters.save_event(consumer, outcome, identify_event(outcome.payload))
        except (OSError, DetektrError, ValueError) as fault:
            _log.error("a dead letter of %s is lost: %s", consumer, fault_text(fault))

    return keep


def _settle_finished(folder: RunFolder, edge: Edge) -> None:
    for replica in list(edge.replicas.values()):
        node, _, number = replica.name.rpartition(".")
        status_block = open_status_block(folder.status_block(node, int(number)), node, int(number))
        if status_block is not None:
            _, finished, _ = status_block.progress(replica.session) or (0, 0, 0)
            status_block.close()
            edge.finish_until(replica.session, finished, time.monotonic_ns())


def _count_unannounced(folder: RunFolder, spec: NodeSpec, edge: Edge) -> int:
    """Count frames that a capture wrote and never announced on this edge."""
    is_capture = spec.options.kind == "capture"
    status_block = (
        open_status_block(folder.status_block(spec.node, spec.replica), spec.node, spec.replica) if is_capture else None
    )
    if status_block is None:
        return 0
    run, following = status_block.written
    key = stream_key(spec.node, run)
    status_block.close()
    count = following - edge.journal.seen(key)
    if count > 0:
        edge.count_dropped(key, following - 1, count, "gone")
    return max(count, 0)
