from __future__ import annotations

import dataclasses
import importlib
import typing

import pytest

from detektr import plugins
from detektr.memory.status_block import KINDS
from detektr.nodes.node import Node
from detektr.nodes.working.processor import ProcessorNode
from detektr.options import BatchOptions, CaptureOptions, NodeOptions, ProcessorOptions, RestartOptions
from detektr.registry.node_kinds import NODE_KINDS, options_from


@pytest.mark.parametrize("name", NODE_KINDS)
def test_the_class_of_a_kind_is_where_its_record_says_and_says_the_same_kind(name: str) -> None:
    module, _, attribute = NODE_KINDS[name].node.partition(":")
    node = getattr(importlib.import_module(module), attribute)
    assert issubclass(node, Node) and node.kind == name
    assert NODE_KINDS[name].module == module


def test_every_options_class_has_a_record_and_shared_memory_knows_each_kind() -> None:
    assert {kind.options for kind in NODE_KINDS.values()} == set(typing.get_args(NodeOptions))
    assert set(NODE_KINDS) < set(KINDS)


@pytest.mark.parametrize("name", NODE_KINDS)
def test_what_a_record_says_of_keys_is_said_of_keys_that_there_are(name: str) -> None:
    kind = NODE_KINDS[name]
    keys = {field.name for field in dataclasses.fields(kind.options)}
    assert kind.file_only - keys <= {"per_camera"}  # a capture is one camera
    assert set(kind.defaults_alone) <= keys
    assert set(kind.may_read) <= set(NODE_KINDS)


def test_only_a_capture_that_is_no_python_code_needs_ffmpeg() -> None:
    assert NODE_KINDS["capture"].needs(CaptureOptions(source="clip.mp4")) == {"av"}
    assert NODE_KINDS["capture"].needs(CaptureOptions(source="python:mine:pictures")) == frozenset()
    assert NODE_KINDS["processor"].needs(ProcessorOptions(input="a", use="m:C")) == frozenset()


def test_options_come_back_from_plain_values() -> None:
    options = ProcessorOptions(input="a", use="m:C", restart=RestartOptions(when="never"))
    assert options_from(dataclasses.asdict(options)) == options


def test_a_processor_with_a_batch_has_a_class_and_a_module_of_its_own() -> None:
    kind = NODE_KINDS["processor"]
    single = ProcessorOptions(input="a", use="m:C")
    assert kind.variant(single) == "" and kind.needs(single) == frozenset()
    batching = ProcessorOptions(input="a", use="m:C", batch=BatchOptions(size=8))
    module, _, name = kind.variant(batching).partition(":")
    assert kind.needs(batching) == {module}
    assert issubclass(getattr(importlib.import_module(module), name), ProcessorNode)
    assert options_from(dataclasses.asdict(batching)) == batching


def test_the_table_knows_which_shipped_processors_take_batches() -> None:
    for name, reference in plugins.GROUPS["processors"].items():
        module, _, found = reference.partition(":")
        has_method = callable(getattr(getattr(importlib.import_module(module), found), "process_batch", None))
        assert (name in plugins.BATCHING) == has_method
