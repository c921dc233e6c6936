from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from detektr import plugins
from detektr.config.document import read_document
from detektr.config.json_schema import json_schema
from detektr.config.schema import read_options
from detektr.errors import RefusedError
from detektr.registry.user_code import build_worker
from detektr.tooling.catalogue import describe_plugins

MakePackage = Callable[..., None]


@pytest.fixture
def make_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakePackage:
    """Return the maker of installed packages: a name, its entry points, and its one module."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    def make(name: str, entry_points: str, code: str | None = None) -> None:
        information = tmp_path / f"{name}-1.0.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (information / "entry_points.txt").write_text(entry_points)
        if code is not None:
            (tmp_path / f"{name}.py").write_text(code)
        importlib.invalidate_caches()

    return make


def test_a_package_adds_its_own_by_short_name(make_package: MakePackage, tmp_path: Path) -> None:
    make_package(
        "shop_of_test",
        "[detektr.processors]\ncount = shop_of_test:Count\n[detektr.sinks]\nhook = shop_of_test:Hook\n"
        "[detektr.sources]\nbasler = shop_of_test:pictures\n",
        'class Count:\n    """Counts people.\n\n    More."""\n    def process(self, frame): return {"n": 1}\n'
        "class Hook:\n    def write(self, event): pass\ndef pictures(): yield from ()\n",
    )
    assert plugins.names("processors") == ["motion", "count"]
    assert build_worker("count", {}, "process", "processors", tmp_path)[1](None) == {"n": 1}
    text = (
        "name: demo\nnodes:\n  cam: {kind: capture, source: 'python:basler', with: {serial: 1}}\n"
        "  it: {kind: processor, input: cam, use: count}\n  out: {kind: sink, input: it, use: hook}\n"
    )
    assert read_options(read_document(text, {})).faults == ()
    schema = json_schema()["$defs"]["ProcessorOptions"]["properties"]["use"]
    assert schema["anyOf"][0] == {"enum": ["motion", "count"]}
    table = describe_plugins()
    assert "shop_of_test:Count" in table and "Counts people." in table and "More" not in table
    assert "detektr.processors.motion:Motion" in table and "basler" in table
    assert "hook" not in describe_plugins("processors")


def test_a_broken_package_is_told_and_stops_nothing(make_package: MakePackage, tmp_path: Path) -> None:
    make_package("raising_plugin_of_test", "[detektr.processors]\nbad = raising_plugin_of_test:It\n", "1 / 0\n")
    make_package("gone_plugin_of_test", "[detektr.processors]\ngone = gone_plugin_of_test:It\n")
    make_package("strange_plugin_of_test", "[detektr.processors]\nodd = not a reference\n")
    make_package("garbled_plugin_of_test", "[detektr.processors]\nno equals sign\n")
    table = describe_plugins("processors")
    assert "motion" in table
    assert "importing raising_plugin_of_test raised ZeroDivisionError" in table
    assert "there is no module 'gone_plugin_of_test'" in table
    assert "its entry point is 'not a reference', which is not module:Class" in table
    assert "garbled_plugin_of_test" in table
    assert plugins.resolve("processors", "motion") == "detektr.processors.motion:Motion"
    with pytest.raises(RefusedError, match="'odd' of the package strange_plugin_of_test is broken: its entry point"):
        plugins.resolve("processors", "odd")
    text = "name: d\nnodes:\n  c: {kind: capture, source: x}\n  it: {kind: processor, input: c, use: odd}\n"
    assert "mend its package" in read_options(read_document(text, {})).faults[0].text


def test_no_package_takes_the_place_of_detektrs_own(make_package: MakePackage) -> None:
    make_package("thief_of_test", "[detektr.sinks]\njsonl = thief_of_test:Thief\n", "class Thief: pass\n")
    assert plugins.resolve("sinks", "jsonl") == "detektr.sinks.jsonl:JsonLines"
    assert "'jsonl' is detektr's own; write thief_of_test:Thief to use this one" in describe_plugins("sinks")


def test_a_name_that_two_packages_offer_is_refused_with_both(make_package: MakePackage) -> None:
    for name in ("first_of_test", "second_of_test"):
        make_package(name, f"[detektr.sinks]\nhook = {name}:Hook\n", "class Hook: pass\n")
    with pytest.raises(RefusedError, match="2 packages offer 'hook': write one as module:Class: first_of_test:Hook"):
        plugins.resolve("sinks", "hook")
    text = "name: d\nnodes:\n  c: {kind: capture, source: x}\n  it: {kind: sink, input: c, use: hook}\n"
    assert "second_of_test:Hook (second_of_test)" in read_options(read_document(text, {})).faults[0].text


def test_old_metadata_of_detektr_itself_is_not_looked_at(make_package: MakePackage) -> None:
    make_package("detektr", "[detektr.sinks]\nold = detektr.sinks.old:Old\n")
    assert plugins.names("sinks") == ["jsonl"]


def test_an_unknown_group_is_refused_with_the_known_ones() -> None:
    with pytest.raises(RefusedError, match="'proccessors'; write processors, sinks or sources"):
        describe_plugins("proccessors")


def test_what_is_known_of_our_own_without_importing_it_is_what_their_classes_say() -> None:
    for group, own in plugins.GROUPS.items():
        for name, reference in own.items():
            module, _, cls = reference.partition(":")
            says = getattr(getattr(importlib.import_module(module), cls), "stateful", False)
            assert plugins.is_known_stateful(group, name) is says is plugins.is_known_stateful(group, reference)
