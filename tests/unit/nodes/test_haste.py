"""How much leases are wanted back, by what those before us want."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from detektr.memory.layout import WANTED, WANTED_ALL, WANTED_SOON
from detektr.nodes.node import Node
from detektr.nodes.terms import Haste


@pytest.mark.parametrize(
    ("wanted", "haste"),
    [
        ([], Haste.NONE),
        ([0, 0], Haste.NONE),
        ([WANTED_SOON], Haste.PASSED_ON),
        ([0, WANTED_SOON], Haste.PASSED_ON),
        ([WANTED], Haste.ALL),
        ([WANTED_ALL], Haste.ALL),
        ([WANTED_SOON, WANTED_ALL], Haste.ALL),
        ([WANTED, WANTED_SOON], Haste.ALL),
    ],
)
def test_the_most_urgent_of_those_before_us_counts(wanted: list[int], haste: Haste) -> None:
    node: Any = SimpleNamespace(intakes=[SimpleNamespace(wanted=one) for one in wanted])
    assert Node.haste(node) is haste
