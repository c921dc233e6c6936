"""How long tests with hypothesis search: `DETEKTR_HYPOTHESIS=long` for a new and longer search each time."""

from __future__ import annotations

import os

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
