"""The ledger of one edge: its terms, and the sum that must hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

DROP_REASONS = (
    "queue_full",  # at the high-water mark, by the edge's policy
    "too_old",  # older than max_age when its turn came, or when its work was about to begin
    "ring_full",  # no free slot when it was captured
    "capture_died",  # written, never announced, by a capture that was killed
    "overwritten",  # the slot no longer held the frame when its consumer looked
    "stopped",  # still queued or in flight when the drain's time was over
    "gone",  # lost with a node that failed for good
    "consumer_slow",  # at the high-water mark of an optional consumer, which nobody waits for
    "thinned",  # asked for: by `fps` of this edge
    "filtered",  # asked for: of a camera that `cameras` of this edge does not name
    "absent",  # its consumer is optional and was not there, and others wait for what becomes of the frame
    "cleared",  # asked for: an operator has cleared the queue
)
LEFT_OUT = (  # pictures of a source that never became frames, and so are on no edge
    "corrupt",  # damaged, or without the key frame that they refer to
    "stale",  # an old backlog of a live source
    "thinned",  # asked for: by `fps` or `decode: keyframes` of the capture
    "paused",  # asked for: an operator has paused the capture
)


@dataclass(frozen=True)
class EdgeLedger:
    """Counts of one edge at one moment; each frame stands in exactly one of the terms."""

    producer: str
    consumer: str
    offered: int = 0
    delivered: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    dead_lettered: int = 0
    queued: int = 0
    in_flight: int = 0
    redelivered: int = 0
    refused: int = 0
    mark: int = 0
    window: int = 0
    """Most leases of all its consumers together."""
    when_full: str = "drop-oldest"
    """What happens to a frame at the mark: `drop-oldest`, `drop-newest` or `block`."""
    attached: int = 0
    lane: str = "zmq"
    """How its leases are announced: `zmq` or `shm`."""
    announced: int = 0
    """Leases announced so far, repeats of a frame included."""
    is_stalled: bool = False
    full_since_ns: int = 0
    """Monotonic time since which its producer waits for room on it; 0: it does not."""
    oldest_ns: int = 0
    """Monotonic time at which the oldest of the queued frames was captured; 0: none is queued."""
    dropped_by_camera: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Of `dropped`, by camera and reason, the frames whose camera is known; a capture has one, and counts none here."""

    @property
    def unaccounted(self) -> int:
        """Frames offered that stand in no other term; anything but 0 is a defect."""
        others = self.delivered + sum(self.dropped.values()) + self.dead_lettered + self.queued + self.in_flight
        return self.offered - others

    def oldest_ms(self, now_ns: int) -> int:
        """Return for how long the frame waits that waits longest, in milliseconds; 0: none does.

        Args:
            now_ns: now, monotonic.
        """
        return max(0, now_ns - self.oldest_ns) // 10**6 if self.oldest_ns else 0

    def as_record(self) -> dict[str, object]:
        """Return the edge as it stands in reports and in `status --json`."""
        return {
            "from": self.producer,
            "to": self.consumer,
            "offered": self.offered,
            "delivered": self.delivered,
            "dropped": {reason: count for reason, count in self.dropped.items() if count},
            "dropped_by_camera": {camera: dict(counts) for camera, counts in self.dropped_by_camera.items() if counts},
            "dead_lettered": self.dead_lettered,
            "queued": self.queued,
            "in_flight": self.in_flight,
            "redelivered": self.redelivered,
            "refused": self.refused,
            "high_water_mark": self.mark,
            "announce": self.lane,
            "stalled": self.is_stalled,
        }


def merge(ledgers: Iterable[EdgeLedger]) -> list[EdgeLedger]:
    """Add up the parts of each edge (one per replica of its producer), in order of first appearance."""
    merged: dict[tuple[str, str], EdgeLedger] = {}
    for part in ledgers:
        name = part.producer, part.consumer
        whole = merged.get(name)
        if whole is None:
            merged[name] = part
            continue
        cameras = {**whole.dropped_by_camera, **part.dropped_by_camera}
        merged[name] = EdgeLedger(
            producer=part.producer,
            consumer=part.consumer,
            offered=whole.offered + part.offered,
            delivered=whole.delivered + part.delivered,
            dropped=add_counts(whole.dropped, part.dropped),
            dead_lettered=whole.dead_lettered + part.dead_lettered,
            queued=whole.queued + part.queued,
            in_flight=whole.in_flight + part.in_flight,
            redelivered=whole.redelivered + part.redelivered,
            refused=whole.refused + part.refused,
            mark=whole.mark + part.mark,
            window=whole.window + part.window,
            when_full=whole.when_full,
            attached=whole.attached + part.attached,
            lane=whole.lane,
            announced=whole.announced + part.announced,
            is_stalled=whole.is_stalled or part.is_stalled,
            full_since_ns=_earlier(whole.full_since_ns, part.full_since_ns),
            oldest_ns=_earlier(whole.oldest_ns, part.oldest_ns),
            dropped_by_camera={
                camera: add_counts(whole.dropped_by_camera.get(camera, {}), part.dropped_by_camera.get(camera, {}))
                for camera in cameras
            },
        )
    return list(merged.values())


def _earlier(time_ns: int, other_ns: int) -> int:
    """Return the earlier of two times, of which 0 is none."""
    return min(time_ns, other_ns) or time_ns or other_ns


def add_counts(counts: Mapping[str, int], others: Mapping[str, int]) -> dict[str, int]:
    """Add up counts by reason, or by whatever else."""
    return {name: counts.get(name, 0) + others.get(name, 0) for name in {**counts, **others}}


def left_out(node: Mapping[str, object]) -> dict[str, int]:
    """Return how many pictures of its source a node left out, by reason, without the reasons that did not occur.

    Args:
        node: what is known of it, as `status` has it; other kinds of nodes than a capture leave none out.
    """
    counts = {reason: node.get(reason) for reason in LEFT_OUT}
    return {reason: count for reason, count in counts.items() if isinstance(count, int) and count}


def describe_counts(counts: Mapping[str, int]) -> str:
    """Write counts by reason: `queue_full 3, too_old 1`; empty where there are none."""
    return ", ".join(f"{reason} {count}" for reason, count in counts.items())
