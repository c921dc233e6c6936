"""Faults that end, hold up or refuse what an edge has announced are tried on every lane, all others on one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness.lane import LANES, VARIABLE

if TYPE_CHECKING:
    from detektr.options import Lane


@pytest.fixture(params=LANES)
def lane(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Lane:
    """Let the test's pipelines announce leases on each lane in turn; `usefixtures("lane")` where nobody asks which."""
    announce: Lane = request.param
    monkeypatch.setenv(VARIABLE, announce)
    return announce
