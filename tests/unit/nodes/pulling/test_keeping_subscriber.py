"""A successor goes on with the leases that a killed process had given out, whatever its producer did meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from detektr.edge.state.lease import SessionState
from detektr.memory.announcement import FrameName
from detektr.memory.run_folder import RunFolder
from detektr.nodes.pulling.keeping_subscriber import KeepingSubscriber
from detektr.wire.message import Attach, Detach, Welcome
from tests.unit.edge.attached import Bench


class Kept(Bench):
    """A consumer whose leases its producer keeps."""

    def answer(self, attach: Attach) -> Welcome:
        state = SessionState(
            received=attach.received,
            held=frozenset(attach.held),
            done=frozenset(attach.done),
            failed=attach.failed,
            previous=attach.previous,
        )
        window = self.options.window_total
        assert self.edge.attach(attach.session, attach.replica, window, state, is_durable=True, now_ns=1)
        return Welcome(attach.session, attach.attach_epoch, self.journal.producer_epoch)

    @property
    def delivered(self) -> int:
        ledger = self.subscriber.ledger()
        assert ledger is not None
        return ledger.delivered

    def succeed(self, held: list[int], done: list[int]) -> None:
        """Let a successor of the consumer attach, which was told so by its predecessor's table."""
        self.edge.evict(self.session, None)
        names: list[FrameName] = [(1, number) for number in done]
        self.subscriber = KeepingSubscriber(
            self.subscriber.upstream, 0, self.folder, self.link, self.status_block, done=lambda entry: names
        )
        for number in held:
            self.subscriber.adopt((1, number), is_passed=False)
        self.attach()


@pytest.fixture
def bench(shm_dir: Path) -> Iterator[Kept]:
    folder = RunFolder("demo")
    folder.make()
    bench = Kept(folder, kind=KeepingSubscriber, timeout_ns=None)
    yield bench
    bench.subscriber.close()
    bench.journal.close()
    bench.segment.close()
    for path in folder.path.iterdir():
        path.unlink()
    folder.remove_if_empty()


def test_what_was_out_is_held_on_what_was_acked_is_delivered_and_the_rest_comes_again(bench: Kept) -> None:
    bench.offer(0, 1, 2, 3, 4)
    bench.lease_queued()
    bench.succeed(held=[0, 2], done=[1])
    assert (bench.delivered, bench.edge.in_flight, bench.edge.queued) == (1, 2, 2)
    leases = [bench.subscriber.held[1, number] for number in (0, 2)]
    assert all(lease is not None and bench.subscriber.still_holds(lease) for lease in leases)
    assert not bench.subscriber.leases, "what is out is not to be given out again"
    bench.lease_queued(5)
    assert [lease.sequence for lease in bench.subscriber.leases] == [3, 4]
    for number in (0, 2):
        bench.subscriber.finish((1, number))
    bench.edge.finish(bench.session, bench.given_back(), 6)
    assert bench.delivered == 3


def test_what_its_producer_has_ended_meanwhile_is_lost_and_said_so(bench: Kept) -> None:
    bench.offer(0, 1)
    bench.lease_queued()
    bench.edge.drop_all("gone")
    bench.succeed(held=[0, 1], done=[])
    assert isinstance(bench.subscriber, KeepingSubscriber)
    assert sorted(bench.subscriber.lost({(1, 0), (1, 1)})) == [(1, 0), (1, 1)] and not bench.subscriber.held


def test_a_producer_that_was_killed_meanwhile_knows_whose_the_leases_were(bench: Kept) -> None:
    bench.offer(0, 1)
    bench.lease_queued()
    bench.kill_producer()
    bench.succeed(held=[0], done=[1])
    lease = bench.subscriber.held[1, 0]
    assert lease is not None and bench.subscriber.still_holds(lease)
    assert (bench.delivered, bench.edge.in_flight) == (1, 1)


def test_who_has_a_successor_gives_no_lease_back(bench: Kept) -> None:
    bench.offer(0)
    bench.lease_queued()
    assert isinstance(bench.subscriber, KeepingSubscriber)
    bench.subscriber.stays = True
    bench.subscriber.upstream = replace(bench.subscriber.upstream, is_durable=True)
    bench.subscriber.close()
    assert not [message for message in bench.outbox.sent if isinstance(message, Detach)]
    bench.succeed(held=[0], done=[])
    bench.subscriber.stays = False
    bench.subscriber.close()
    assert [message for message in bench.outbox.sent if isinstance(message, Detach)]
