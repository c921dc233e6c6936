"""The benchmark that takes a pipeline apart names functions of ours: each must be there."""

from __future__ import annotations

import functools
import importlib
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[3] / "scripts/benchmark"


def test_every_step_that_the_journey_times_is_a_function_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(BENCHMARK)])
    steps = importlib.import_module("journey").STEPS
    targets = {target for station in steps.values() for _, target in station}
    assert len(targets) > 10
    for target in targets:
        module, _, path = target.partition(":")
        assert callable(functools.reduce(getattr, path.split("."), importlib.import_module(module))), target
