"""A lease that waited its turn in a batch, at the moment at which the producer hears of a failure before it."""

from __future__ import annotations

from typing import cast

import pytest

from detektr.edge.subscriber import EdgeSubscriber
from detektr.memory.announcement import Lease
from tests.harness.interpreted import interpreted

CHAIN = ("node_process", "node_life", "node", "working.worker", "working.processor", "working.batch_processor")
*_, batch_processor = interpreted(*(f"detektr.nodes.{name}" for name in CHAIN))
LATER = Lease(7, 54, 0, b"", 3, 61, 1)


class Hearing:
    """What a subscriber says while its producer ends the later lease, then the failed one: after so many questions."""

    def __init__(self, heard_after: int) -> None:
        self.held = {LATER.name: LATER}
        self._left, self.let_go_of = heard_after, list[Lease]()

    def puts_aside(self, lease: Lease) -> bool:
        return not self._is_heard()

    def still_holds(self, lease: Lease) -> bool:
        return not self._is_heard()

    def let_go(self, lease: Lease) -> None:
        self.let_go_of.append(lease)

    def _is_heard(self) -> bool:
        self._left -= 1
        return self._left < 0


@pytest.mark.parametrize("heard_after", [0, 1, 2])
def test_a_lease_behind_a_failure_is_never_begun_whenever_the_producer_hears_of_it(heard_after: int) -> None:
    assert not batch_processor._is_held(cast(EdgeSubscriber, Hearing(heard_after)), LATER)
