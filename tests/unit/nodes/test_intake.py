from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from detektr.memory import layout
from detektr.memory.folder import RunFolder
from detektr.memory.journal import adopt_journal
from detektr.memory.page import NodePage
from detektr.memory.returns import open_returns
from detektr.nodes.edge import Edge
from detektr.nodes.intake import Intake, Upstream
from detektr.nodes.lease import Cell, Claim
from detektr.nodes.terms import EdgeOptions
from detektr.wire.link import Link
from detektr.wire.message import Attach, Grant, Lease, Message, Return, Welcome

FINISHED = layout.PAGE_WORD_INPUTS + layout.PAGE_INPUT_FINISHED


class Outbox:
    """Remembers what was sent; stands in for both ends of a link."""

    def __init__(self) -> None:
        self.sent: list[Message] = []

    def open_outbox(self, path: Path) -> Outbox:
        return self

    def try_send(self, message: Message) -> bool:
        self.sent.append(message)
        return True

    def close(self, linger_ms: int = 0) -> None:
        """Nothing is open."""


class Page(defaultdict[int, int]):
    """A page's words in a dict."""

    path = Path("motion.0.page")


class Bench:
    """An intake attached to an edge in this process; messages are carried by hand."""

    def __init__(self, folder: RunFolder) -> None:
        options = EdgeOptions(
            mark=8, low=7, when_full="block", window_total=4, payload_bytes=8, timeout_ns=100, max_deliveries=9
        )
        path = folder.journal("camera", 0, "motion")
        self.segment, self.journal = adopt_journal(path, options.cells, 8, 8)
        self.edge = Edge("motion", options, self.journal)
        folder.inbox("camera", 0).touch()
        self.outbox, self.page = Outbox(), Page(int)
        upstream = Upstream("camera", 0, "motion", 4)
        page, link = cast(NodePage, self.page), cast(Link, self.outbox)
        self.intake = Intake(upstream, 0, folder, link, page)
        self.intake.tick(2_000_000_000)
        attach = self.outbox.sent.pop()
        assert isinstance(attach, Attach)
        self.session, self.round = attach.session, attach.round
        self.returns, self.read = folder.returns("motion.0", "camera.0"), attach.returned
        self.edge.attach(self.session, attach.replica, 4, Claim(), is_durable=False, now_ns=1)
        self.intake.handle(Welcome(self.session, self.round, 1), 1)

    def offer(self, *sequences: int) -> None:
        for sequence in sequences:
            self.edge.offer(0, 1, sequence, 1, b"")

    def grant(self, now_ns: int = 1) -> None:
        cells = self.edge.grant(now_ns).get(self.session, [])
        self.intake.handle(Grant(self.session, self.round, "camera.0", tuple(map(lease_of, cells))), now_ns)

    def take(self) -> Lease:
        lease = self.intake.take()
        assert lease is not None
        return lease

    def given_back(self) -> list[tuple[int, int, int]]:
        returns = open_returns(self.returns, self.read)
        assert returns is not None
        names = returns.take()
        self.read += len(names)
        returns.close()
        return names

    def told(self) -> Return:
        self.intake.flush()
        message = self.outbox.sent.pop()
        assert isinstance(message, Return)
        return message


def lease_of(cell: Cell) -> Lease:
    return Lease(cell.key, cell.sequence, cell.captured_ns, cell.index, cell.grant, cell.deliveries, cell.payload)


@pytest.fixture
def bench(shm_dir: Path) -> Iterator[Bench]:
    folder = RunFolder("demo")
    folder.make()
    bench = Bench(folder)
    yield bench
    bench.intake.close()
    bench.journal.close()
    bench.segment.close()
    for path in folder.path.iterdir():
        path.unlink()
    folder.remove_if_empty()


def test_skipping_leases_that_were_revoked_is_told_or_the_producer_would_lease_nothing_any_more(bench: Bench) -> None:
    bench.offer(0)
    bench.grant()
    bench.edge.expire(now_ns=500)
    assert bench.intake.take() is None
    told = bench.told()
    assert (told.finished, told.failed) == ((), ())
    bench.edge.finish(told.session, told.finished, 501)
    bench.grant(502)
    assert bench.take().delivery == 2


def test_a_frame_revoked_and_leased_again_is_worked_on_once(bench: Bench) -> None:
    bench.offer(0)
    bench.grant()
    bench.edge.expire(now_ns=500)
    bench.edge.finish(bench.session, (), 501)
    bench.grant(502)
    lease = bench.take()
    assert lease.delivery == 2
    bench.intake.finish((1, 0), lease.grant)
    assert bench.intake.take() is None
    assert bench.given_back() == [(1, 0, lease.grant)]


def test_what_is_given_back_is_told_only_to_a_producer_that_waits(bench: Bench) -> None:
    bench.offer(0, 1)
    bench.grant()
    bench.intake.finish((1, 0), bench.take().grant)
    bench.intake.flush()
    assert bench.outbox.sent == []
    bench.journal[layout.EDGE_WORD_WANTED] = 1
    assert bench.told().failed == ()
    assert bench.given_back() == [(1, 0, 1)]
    bench.intake.flush()
    assert bench.outbox.sent == []


def test_the_page_says_finished_no_further_than_a_failure_that_was_not_heard(bench: Bench) -> None:
    bench.offer(0, 1, 2)
    bench.grant()
    bench.take()
    bench.intake.fail((1, 0), "ValueError")
    failed: Any = bench.told().failed
    bench.intake.finish((1, 1), bench.take().grant)
    assert bench.page[FINISHED] == 0
    bench.edge.fail(bench.session, *failed[0])
    bench.intake.finish((1, 2), bench.take().grant)
    assert bench.page[FINISHED] == 3
