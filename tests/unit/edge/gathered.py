"""A node that orders or joins frames, in this process: its inputs on real edges, and the gate before its work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack

from detektr.descriptor import DescriptorPacker, unpack_passed_on
from detektr.edge.gathering.gate import Gate
from detektr.edge.gathering.outlook import Outlook
from detektr.edge.gathering.ways import WayEdge
from detektr.edge.gathering_subscriber import GatheringSubscriber
from detektr.edge.partition.map_reader import MapReader
from detektr.memory import layout
from detektr.memory.announcement import Announcement, FrameName, Lease
from detektr.memory.journal_reader import JournalReader, open_journal
from detektr.memory.run_folder import RunFolder
from detektr.results import pass_on, unpack_results
from tests.unit.edge.attached import Bench, Progress
from tests.unit.edge.gathering.way import KEY, Way

NODE = "merge"
PACKER = DescriptorPacker(
    "camera", "door", 1, 2, pixel_format="gray", width=2, height=2, nbytes=4, first_byte=4096, slot_bytes=4096
)


def announcement(branch: str, sequence: int, delivery: int = 1) -> Announcement:
    """A frame as a branch announces it, with one result: the branch's own name."""
    captured = PACKER.pack(sequence, 8, 7, 10, 20, None)
    payload = pass_on(captured, b"", branch, msgpack.packb([{"by": branch}]), delivery)
    return Announcement(KEY, sequence, 10, payload)


class Branch(Bench):
    """One input of the node, on an edge below a relay; and the edge above that relay."""

    def __init__(self, folder: RunFolder, name: str, entry: int, status_block: Progress) -> None:
        """Attach it."""
        words = {"tombstones": 32, "payload_bytes": 1024, "timeout_ns": None, "window_total": 8, "mark": 16, "low": 15}
        super().__init__(folder, name, NODE, entry=entry, status_block=status_block, kind=GatheringSubscriber, **words)
        self.name = name
        self.above = Way(folder, "camera", name, below=False)

    @property
    def intake(self) -> GatheringSubscriber:
        """The input."""
        assert isinstance(self.subscriber, GatheringSubscriber)
        return self.subscriber

    def capture(self, *sequences: int) -> None:
        """Let frames come to the relay."""
        self.above.lease(*sequences)

    def bring(self, *sequences: int) -> None:
        """Let the relay pass frames on, and the node receive them."""
        for sequence in sequences:
            self.edge.offer(0, announcement(self.name, sequence))
        self.lease_queued()

    def hear(self) -> None:
        """Let the producer hear what the node has completed and failed."""
        self.subscriber.flush()
        while self.outbox.sent:
            for failed in self.told_failed():
                self.edge.fail(self.session, failed)
        done = [(key, sequence, tag) for key, sequence, tag in self.given_back()]
        self.edge.finish(self.session, done, 1)

    def told_failed(self) -> tuple[Any, ...]:
        """Take one message about failures."""
        message: Any = self.outbox.sent.pop(0)
        return tuple(message.failed)

    def outcomes(self) -> dict[int, str]:
        """Return what the edge says became of its frames; empty: queued or leased."""
        reader = read_journal_file(self)
        found = {sequence: outcome for (_, sequence), outcome in reader.outcomes().items()}
        reader.close()
        return found

    def close(self) -> None:
        """Close both edges."""
        self.subscriber.close()
        self.journal.close()
        self.segment.close()
        self.above.close()


class Gathered:
    """The node: one replica, whose inputs are branches of one camera."""

    def __init__(
        self,
        folder: RunFolder,
        *names: str,
        is_joined: bool = False,
        is_ordered: bool = False,
        is_passed_on: Callable[[FrameName], bool] | None = None,
        camera_map: MapReader | None = None,
    ) -> None:
        """Attach to all, and open the gate."""
        self.folder, self.status_block = folder, Progress(NODE)
        self.branches = {name: Branch(folder, name, entry, self.status_block) for entry, name in enumerate(names)}
        above = [WayEdge("camera", 1, name, capture="camera", is_last_in_order=True) for name in names]
        below = [WayEdge(name, 1, NODE) for name in names]
        self.gate = Gate(
            Outlook(folder, NODE, [*above, *below]),
            self.status_block,
            0,
            camera_map,
            names if is_joined else (),
            is_ordered=is_ordered,
            is_passed_on=is_passed_on,
        )
        for branch in self.branches.values():
            branch.intake.open_gate(self.gate)

    def __getitem__(self, name: str) -> Branch:
        return self.branches[name]

    @property
    def says_holding(self) -> bool:
        """What its status block says."""
        return self.status_block.words[layout.STATUS_WORD_IS_HOLDING] != 0

    def take(self) -> tuple[Branch, Lease] | None:
        """Let through what may begin, and take one lease to work on."""
        self.gate.look()
        for branch in self.branches.values():
            lease = branch.subscriber.take(1)
            if lease is not None:
                return branch, lease
        return None

    def begin(self) -> tuple[Branch, Lease]:
        """Take one; there must be one."""
        found = self.take()
        assert found is not None, "nothing may begin"
        return found

    def work(self) -> list[int]:
        """Work on all that may begin, and finish it; returns the sequences."""
        found = []
        while (begun := self.take()) is not None:
            branch, lease = begun
            branch.subscriber.finish(lease.name, lease.delivery_tag)
            found.append(lease.sequence)
        return found

    def close(self) -> None:
        """Close all."""
        self.gate.close()
        for branch in self.branches.values():
            branch.close()
        for path in self.folder.path.iterdir():
            path.unlink()
        self.folder.remove_if_empty()


def read_journal_file(branch: Branch) -> JournalReader:
    """Open the journal of a branch's edge, as anybody may."""
    reader = open_journal(branch.path, branch.name, NODE)
    assert reader is not None
    return reader


def brought_by(lease: Lease) -> tuple[list[str], dict[str, str]]:
    """Return whose results a frame has, and what is missing, why."""
    _, _, results, missing = unpack_passed_on(lease.payload)
    return list(unpack_results(results)), dict(missing)
