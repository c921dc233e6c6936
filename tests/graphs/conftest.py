"""Graphs are tried on every lane, as faults are: the fixture `lane` is theirs.

Each test is tried on one lane every time, and on the other one as one more of several alike (`thorough`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.faults.conftest import lane

__all__ = ["lane"]
ON_SHM = ("test_order", "test_join")
"""The modules that are tried on shared memory every time; all others are on messages."""


@pytest.hookimpl(tryfirst=True)  # before those that are not asked for are left out
def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Mark the tests of graphs on the lane that they need not be tried on every time."""
    for item in items:
        always = "shm" if item.path.stem in ON_SHM else "zmq"
        params = getattr(getattr(item, "callspec", None), "params", {})
        if item.path.parent == Path(__file__).parent and params.get("lane", always) != always:
            item.add_marker(pytest.mark.thorough)
