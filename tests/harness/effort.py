"""How much is tried: of tests that are alike (`thorough` or not), and by hypothesis.

`DETEKTR_HYPOTHESIS=long` lets it search longer, and elsewhere each time.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

_CALM = {
    "deadline": None,
    "database": None,
    "phases": (Phase.explicit, Phase.generate, Phase.shrink),  # explaining traces every line: too slow for histories
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}
settings.register_profile("quick", derandomize=True, max_examples=100, **_CALM)  # type: ignore[arg-type]
settings.register_profile("long", derandomize=False, max_examples=1000, print_blob=True, **_CALM)  # type: ignore[arg-type]
settings.load_profile(os.environ.get("DETEKTR_HYPOTHESIS") or "quick")


def alike(*values: Any) -> Any:
    """Mark a value of a parameter, or of several, as one more of several alike: `thorough`."""
    return pytest.param(*values, marks=pytest.mark.thorough)


SEEDS = [0, 1, *map(alike, range(2, 8))]
"""Seeds of long histories."""
