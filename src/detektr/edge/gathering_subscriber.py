"""The consumer's side of an edge where frames are ordered or joined: a gate stands before the leases to be worked on.

Leases are worked on in another order than that of their delivery tags. So the status block never says "all up to this
one", only which lease is in work. Where branches are joined, the leases of one frame on several inputs are bound
together: what becomes of the first becomes of all. If the first ends before its work is done, the others wait at the
gate for the next one; where the work had begun they are given back, so that the frame comes again marked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from detektr.edge.gathering.gate import Gate, Input
from detektr.edge.subscriber import EdgeSubscriber
from detektr.edge.work_progress import AnyOrderProgress, WorkProgress
from detektr.memory.announcement import FrameName, Lease
from detektr.wire.message import FailureKind


class GatheringSubscriber(EdgeSubscriber):
    """See the module's first lines. Without a gate nothing comes through."""

    progress_kind: ClassVar[type[WorkProgress]] = AnyOrderProgress
    gate: Gate | None = None
    _partners: dict[FrameName, tuple[Lease, list[tuple[Input, Lease]]]]

    @property
    def branch(self) -> str:
        """The node at the other end."""
        return self.upstream.producer

    def open_gate(self, gate: Gate) -> None:
        """Let leases through by this gate from now on."""
        self.gate, self._partners = gate, {}

    def bind(self, lease: Lease, partners: Sequence[tuple[Input, Lease]]) -> None:
        """Hold a lease that stands for all leases of its frame; what becomes of it becomes of all.

        Args:
            lease: ours, with the results of all branches.
            partners: those on other inputs.
        """
        self.held[lease.name] = lease
        self._partners[lease.name] = lease, list(partners)

    def unbind(self, lease: Lease) -> list[tuple[Input, Lease]]:
        """Return the leases that were bound to one of ours, and forget that."""
        return self._parted(lease.name) if self._bound(lease.name)[0] is lease else []

    def give_back(self, lease: Lease) -> None:
        """Give a lease back undone: another replica, or we once more, will work on its frame."""
        self.fail(lease.name, "given back", FailureKind.GIVEN_BACK)

    def begin_alone(self, lease: Lease) -> None:
        """See `EdgeSubscriber.begin_alone`."""
        super().begin_alone(lease)
        for other, partner in self._bound(lease.name)[1]:
            other.begin_alone(partner)

    def is_wanted(self, lease: Lease) -> bool:
        """See `EdgeSubscriber.is_wanted`; one lease that stands is enough, for what it brings will not come again."""
        if super().is_wanted(lease):
            return True
        bound, partners = self._bound(lease.name)
        return bound is lease and any([other.still_holds(partner) for other, partner in partners])

    def puts_aside(self, lease: Lease) -> bool:
        """See `EdgeSubscriber.puts_aside`; of a failure on another input too."""
        return super().puts_aside(lease) or self._the_gate.puts_aside(self, lease)

    def finish(self, name: FrameName, delivery_tag: int = 0) -> None:
        """See `EdgeSubscriber.finish`."""
        for other, partner in self._parted(name):
            other.finish(name, partner.delivery_tag)
        super().finish(name, delivery_tag)

    def pass_on(self, name: FrameName) -> None:
        """See `EdgeSubscriber.pass_on`."""
        for other, _ in self._bound(name)[1]:
            other.pass_on(name)
        super().pass_on(name)

    def settle(self, name: FrameName) -> None:
        """See `EdgeSubscriber.settle`."""
        for other, _ in self._parted(name):
            other.settle(name)
        super().settle(name)

    def fail(self, name: FrameName, why: str, kind: FailureKind = FailureKind.RETRYABLE) -> None:
        """See `EdgeSubscriber.fail`."""
        for other, _ in self._parted(name):
            other.fail(name, why, kind)
        super().fail(name, why, kind)
        self._the_gate.failed(name, kind)

    def let_go(self, lease: Lease) -> None:
        """See `EdgeSubscriber.let_go`; what was bound to the lease waits again."""
        super().let_go(lease)
        self._the_gate.readmit(self.unbind(lease))

    def refuse(self, lease: Lease) -> None:
        """See `EdgeSubscriber.refuse`; later frames of the stream wait for the next lease of this one, or its end."""
        super().refuse(lease)
        self._the_gate.failed(lease.name)

    def _bound(self, name: FrameName) -> tuple[Lease | None, list[tuple[Input, Lease]]]:
        """Return our lease of a frame that others are bound to, and those."""
        return self._partners.get(name, (None, []))

    def _parted(self, name: FrameName) -> list[tuple[Input, Lease]]:
        """Return the leases that were bound to ours of a frame, and forget that."""
        return self._partners.pop(name, (None, []))[1]

    @property
    def _the_gate(self) -> Gate:
        assert self.gate is not None, "leases come after the node was prepared"
        return self.gate

    def _let_in(self, lease: Lease) -> None:
        self._the_gate.admit(self, lease)

    def _taken(self, lease: Lease) -> None:
        self._the_gate.begun(lease.name)

    def _skipped(self, lease: Lease) -> None:
        self._the_gate.skipped(self, lease)

    def _begin(self, lease: Lease) -> None:
        self.begin_alone(lease)

    def _take_up(self) -> None:
        for lease in self.failures.take_up():
            self._the_gate.admit(self, lease)
            self._the_gate.readmit(self.unbind(lease))

    def _leave(self, why: str) -> None:
        let_through = list(self.leases)
        super()._leave(why)
        for lease in let_through:
            self._the_gate.skipped(self, lease)
