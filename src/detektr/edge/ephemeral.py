"""Ephemeral consumers, which are not in the file (`detektr.attach`): which edge one gets, or why it is refused."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from detektr.edge.edge import Edge
from detektr.edge.edge_options import EdgeOptions
from detektr.memory.journal import adopt_journal
from detektr.memory.journal_header import EdgeTerms, JournalHeader
from detektr.option_text import POLICIES, Lane, WhenFull
from detektr.wire.message import Attach

EPHEMERAL_MARK = 3


def write_terms(header: JournalHeader, options: EdgeOptions) -> None:
    """Record an edge's options in its journal, for `Producer.adopted_edge` in a successor."""
    header.write_terms(
        policy=POLICIES.index(options.when_full),
        lane=options.lane,
        is_ephemeral=options.is_ephemeral,
        max_deliveries=options.max_deliveries,
        timeout_ns=options.timeout_ns or 0,
        window_total=options.window_total,
        max_age_ns=options.max_age_ns or 0,
    )


@dataclass(frozen=True)
class Producer:
    """A producer, and the limits of its ephemeral consumers."""

    node: str
    replica: int
    payload_bytes: int
    ephemeral_frames: int
    ephemeral_policy: WhenFull
    ephemeral_mark: int
    max_age_ns: int | None = None
    inputs: int = 1
    has_one_camera: bool = False
    tombstones: int = 0
    """See `EdgeOptions.tombstones`."""

    @property
    def name(self) -> str:
        """Node and replica: `camera.0`."""
        return f"{self.node}.{self.replica}"

    def ephemeral_edge(
        self,
        *,
        mark: int,
        window: int,
        when_full: WhenFull,
        max_deliveries: int,
        timeout_ns: int,
        lane: Lane,
        is_policy_open: bool = False,
    ) -> EdgeOptions:
        """Return the options of an ephemeral consumer's edge."""
        return EdgeOptions(
            mark=mark,
            low=mark - 1,
            when_full=when_full,
            inputs=1,
            window_total=window,
            payload_bytes=self.payload_bytes,
            max_deliveries=max_deliveries,
            timeout_ns=timeout_ns or None,
            max_age_ns=self.max_age_ns,
            is_ephemeral=True,
            has_one_camera=self.has_one_camera,
            lane=lane,
            is_policy_open=is_policy_open,
            tombstones=self.tombstones,
        )

    def adopted_edge(self, terms: EdgeTerms) -> EdgeOptions:
        """Return the options of an ephemeral consumer's edge that a dead predecessor made."""
        return self.ephemeral_edge(
            mark=terms.mark,
            window=terms.window_total,
            when_full=POLICIES[terms.policy],
            max_deliveries=terms.max_deliveries,
            timeout_ns=terms.timeout_ns,
            lane="shm" if terms.lane == "shm" else "zmq",
        )

    def admit_ephemeral(self, message: Attach, edges: list[EdgeOptions]) -> EdgeOptions | str:
        """Return the edge options of a new ephemeral consumer beside the edges that there are, or why it is refused."""
        guests = [edge for edge in edges if edge.is_ephemeral]
        queued = max((edge.mark for edge in edges if not edge.is_ephemeral and not edge.has_own_frames), default=0)
        node, room = self.node, self.ephemeral_frames
        if message.when_full == "block" and self.ephemeral_policy != "block":
            return f"{node} drops when it is full, so an ephemeral consumer cannot make it wait: leave when_full out"
        # A consumer with a policy of its own only looks on: a short queue is enough. The others get the usual queue.
        options = self.ephemeral_edge(
            mark=EPHEMERAL_MARK if message.when_full else max(EPHEMERAL_MARK, self.ephemeral_mark),
            window=message.window,
            when_full=next((one for one in POLICIES if one == message.when_full), self.ephemeral_policy),
            max_deliveries=message.max_deliveries,
            timeout_ns=message.timeout_ns,
            lane="shm" if message.lane == "shm" else "zmq",
            is_policy_open=not message.when_full,
        )
        while frames_held([*guests, options], queued) > room and options.mark > 1:
            options = replace(options, mark=options.mark - 1, low=options.mark - 2)
        needed, taken = frames_held([*guests, options], queued), frames_held(guests, queued)
        if needed > room:
            return (
                f"{node} keeps {room} frames for ephemeral consumers and {taken} are taken; with this one it would"
                f" be {needed}: raise `guests` of {node} in the file, or its --slots or --high-water-mark (alone)"
            )
        return options


def frames_held(guests: list[EdgeOptions], queued: int = 0) -> int:
    """Return the most frames that these edges hold together, beyond those that other edges queue too.

    Queues of drop-oldest and block hold the same newest frames, so the longest counts; those of drop-newest add up, as
    all leases do.

    Args:
        guests: the edges of ephemeral consumers.
        queued: how many of the newest frames the longest queue of the other edges may hold.
    """
    same = max((ephemeral.mark for ephemeral in guests if not ephemeral.has_own_frames), default=0)
    own = sum(ephemeral.mark for ephemeral in guests if ephemeral.has_own_frames)
    return max(0, same - queued) + own + sum(ephemeral.window_total for ephemeral in guests)


def rival(edge: Edge, message: Attach) -> str | None:
    """Say why a consumer may not join an edge that is there; None: it may."""
    if message.is_ephemeral and not edge.options.is_ephemeral:
        return f"{edge.consumer} is a node of this pipeline's file; choose another name"
    others = [replica.name for replica in edge.replicas.values() if replica.name != message.replica]
    if edge.options.is_ephemeral and others:
        return f"{edge.consumer} is attached already, as {others[0]}; choose another name"
    if message.lane != edge.options.lane and not edge.options.is_ephemeral:
        return (
            f"the leases of {edge.consumer} are announced by {edge.options.lane} here, and {message.replica} reads them"
            f" by {message.lane}: start both with the same `announce`"
        )
    return None


def left_terms(path: Path, payload_bytes: int) -> EdgeTerms | None:
    """Return the terms of an ephemeral consumer's edge that a dead predecessor left; None: it was killed on the way."""
    segment, journal = adopt_journal(path, 1, payload_bytes, 1)
    terms = journal.terms()
    journal.close()
    segment.close()
    return terms


def change_lane(edge: Edge, message: Attach) -> None:
    """Announce as the newcomer reads who takes over the edge of a dead consumer of its name."""
    edge.options = replace(edge.options, lane="shm" if message.lane == "shm" else "zmq")
    write_terms(edge.journal, edge.options)
