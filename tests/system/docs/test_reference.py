"""The reference is what the code gives, and has all of it; each example that it gives is accepted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields

import pytest
import yaml

from detektr.config.json_schema import json_schema
from detektr.config.pipeline_options import PipelineOptions
from detektr.config.suggestions import keys_of
from detektr.registry.node_kinds import NODE_KINDS
from detektr.telemetry.metrics import EXPORTED_STATES
from scripts.reference import errors, surroundings
from scripts.reference.__main__ import FOLDER
from scripts.reference.file_keys import SECTIONS, example_of
from scripts.reference.messages import raised, split
from scripts.reference.pages import PAGES
from tests.system.docs.pipeline_text import around, faults


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_code_gives(name: str) -> None:
    assert (FOLDER / name).read_text() == PAGES[name](), "stale: run `python -m scripts.reference`"


def test_there_is_no_page_that_nobody_writes() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(PAGES)


def keys() -> Iterator[tuple[str, str, type]]:
    """Yield each key of the file: where it stands, and the class that has it."""
    for place, options in (("", PipelineOptions), *((name, kind.options) for name, kind in NODE_KINDS.items())):
        yield from ((place, key, options) for key in keys_of(options) if key not in ("kind", "nodes"))
    for section, (cls, _) in SECTIONS.items():
        yield from ((section, key, cls) for key in keys_of(cls))


@pytest.mark.parametrize(("place", "key", "cls"), [*keys()], ids=lambda one: one if isinstance(one, str) else "")
def test_the_example_of_a_key_is_accepted(place: str, key: str, cls: type) -> None:
    example = example_of(cls, place if place in SECTIONS else "", key)
    value = yaml.safe_load(f"{key}: {example}")[key]
    assert list(faults(around(place, key, value))) == []


def test_each_key_of_the_schema_stands_in_the_page_of_the_file() -> None:
    page = (FOLDER / "file.md").read_text()
    schema = json_schema()
    names = {key for one in (schema, *schema["$defs"].values()) for key in one.get("properties", {}) if key != "kind"}
    assert len(names) > 60
    assert {name for name in names if f"`{name}`" not in page} == set()


def test_each_error_class_and_state_stands_in_the_page_of_errors() -> None:
    page = (FOLDER / "errors.md").read_text()
    assert {state for state in EXPORTED_STATES if f"| `{state}` |" not in page} == set()
    assert {code for code in errors.FINDINGS if f"| `{code}` |" not in page} == set()


def test_a_variable_that_is_read_and_not_described_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "read", lambda: {*surroundings.VARIABLES, "DETEKTR_NEW"})
    with pytest.raises(ValueError, match="DETEKTR_NEW"):
        surroundings.environment()


def test_texts_are_read_with_a_blank_for_each_value() -> None:
    (text,) = [
        one.arguments[0] for one in raised("RefusedError", below="api") if "is not pipeline/node" in one.arguments[0]
    ]
    assert split(text) == ("attach: … is not pipeline/node", "write for example 'demo/buffer'")


def test_the_fields_of_each_section_are_described() -> None:
    for name, (cls, _) in SECTIONS.items():
        section = (FOLDER / "file.md").read_text().partition(f"\n## `{name}`\n")[2].partition("\n## ")[0]
        assert len(re.findall(r"^\| `", section, re.MULTILINE)) == len(fields(cls)), name
