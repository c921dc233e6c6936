"""Values of tests that are much alike: some are tried at each run, the others where there is time."""

from __future__ import annotations

from typing import Any

import pytest


def alike(value: Any) -> Any:
    """Mark a value of a parameter as one more of several alike: `thorough`."""
    return pytest.param(value, marks=pytest.mark.thorough)


SEEDS = [0, 1, 2, *map(alike, range(3, 8))]
"""Seeds of long histories."""
