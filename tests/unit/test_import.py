"""`import detektr` costs next to nothing, and what it offers is there when asked for."""

from __future__ import annotations

import importlib
import importlib.metadata
import subprocess
import sys

import pytest

import detektr

HEAVY = ("av", "msgpack", "numpy", "prometheus_client", "pydantic", "redis", "rich", "typer", "yaml", "zmq")


def loaded_after(statement: str) -> set[str]:
    """Return which heavy modules a fresh interpreter holds after `statement`."""
    script = f"import sys\n{statement}\nprint(*(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    return set(done.stdout.split())


def test_import_of_detektr_loads_nothing_heavy() -> None:
    assert loaded_after("import detektr, importlib.util") == set()


def test_a_name_asked_for_loads_only_its_own_home() -> None:
    loaded = loaded_after("import detektr; detektr.Processor")
    assert loaded.isdisjoint({"prometheus_client", "pydantic", "redis", "rich", "typer", "yaml", "zmq"})


@pytest.mark.parametrize("name", ["Event", "Frame", "Processor", "RefusedError", "Sink", "Source", "attach", "run"])
def test_no_public_name_loads_a_file_reader_or_a_terminals_tables(name: str) -> None:
    loaded = loaded_after(f"import detektr; detektr.{name}")
    assert loaded.isdisjoint({"av", "prometheus_client", "pydantic", "redis", "rich", "typer"})


def test_a_buffer_loads_neither_numpy_nor_av() -> None:
    assert loaded_after("import detektr.nodes.buffer").isdisjoint({"numpy", "av", "pydantic", "prometheus_client"})


@pytest.mark.parametrize(
    ("name", "home"),
    [
        ("Frame", "detektr.frame"),
        ("Processor", "detektr.processors"),
        ("Sink", "detektr.sinks"),
        ("attach", "detektr.api.attachment"),
        ("Event", "detektr.sinks"),
        ("Frames", "detektr.api.attachment"),
        ("LeaseOverError", "detektr.errors"),
        ("RefusedError", "detektr.errors"),
        ("RunResult", "detektr.supervisor.up"),
        ("Source", "detektr.source"),
        ("run", "detektr.api.running"),
    ],
)
def test_each_public_name_is_the_one_of_its_home(name: str, home: str) -> None:
    assert getattr(detektr, name) is getattr(importlib.import_module(home), name)
    assert name in detektr.__all__
    assert name in dir(detektr)


def test_metrics_are_there_without_an_import_of_their_own_and_load_nothing_heavy() -> None:
    assert loaded_after("import detektr; detektr.metrics.counter('seen', 'Seen.').inc()") == set()
    assert loaded_after("from detektr import metrics; metrics.gauge('level', 'Level.').set(2)") == set()


def test_version_is_that_of_the_installed_package() -> None:
    assert detektr.__version__ == importlib.metadata.version("detektr")


@pytest.mark.parametrize("name", ["Framess", "frame_"])
def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(
        AttributeError, match=rf"no '{name}'; it has: DetektrError, Event, Frame, .*attach, metrics, run"
    ):
        getattr(detektr, name)
