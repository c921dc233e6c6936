"""Streamed copies: byte for byte what numpy's own assignment makes, whatever the shapes, and nothing beside them."""

from __future__ import annotations

import math
import platform
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import detektr.memory.journal
import detektr.memory.streaming
from detektr.frame import Bytes
from detektr.testing.interpreted import interpreted

COMPILED = detektr.memory.streaming
(PYTHON,) = interpreted("detektr.memory.streaming")
BOTH = pytest.mark.parametrize("module", [COMPILED, PYTHON], ids=["compiled", "python"])
MARGIN = 200  # bytes before and after a target, which stay as they are


def picture(shape: tuple[int, ...], seed: int = 0) -> Bytes:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def is_compiled(module: ModuleType) -> bool:
    return Path(str(module.__file__)).suffix == ".so"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="streaming stores are there for x86-64")
def test_it_is_compiled_where_the_rest_is() -> None:
    assert is_compiled(COMPILED) == is_compiled(detektr.memory.journal)


@BOTH
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 3000), st.integers(1, 3)) | st.tuples(st.integers(1, 9000)),
    begin=st.integers(0, 70),
    shift=st.integers(0, 70),
    cut=st.integers(0, 70),
    is_upside_down=st.booleans(),
)
def test_every_byte_arrives_and_no_other_is_touched(
    module: ModuleType, shape: tuple[int, ...], begin: int, shift: int, cut: int, *, is_upside_down: bool
) -> None:
    wide = picture((shift + shape[0] * (math.prod(shape[1:]) + cut),))[shift:]
    source = wide.reshape(shape[0], -1)[:, : math.prod(shape[1:])].reshape(shape)
    assert np.shares_memory(source, wide)
    if is_upside_down:
        source = source[::-1]
    size = math.prod(shape)
    memory = picture((MARGIN + begin + size + MARGIN,), 1)
    expected = memory.copy()
    inside = slice(MARGIN + begin, MARGIN + begin + size)
    expected[inside] = source.reshape(-1)
    module.stream(memory[inside].reshape(shape), source)
    assert np.array_equal(memory, expected)


@BOTH
@pytest.mark.parametrize(
    "turned",
    [
        lambda array: array[:, ::-1],
        lambda array: array[..., ::-1],
        lambda array: array[::3, ::2],
        lambda array: array.transpose(1, 0, 2),
        lambda array: np.broadcast_to(array[:1], array.shape),
    ],
    ids=["mirrored", "channels", "thinned", "transposed", "repeated"],
)
def test_what_does_not_lie_in_rows_is_the_same_picture(module: ModuleType, turned: Any) -> None:
    source = turned(picture((600, 800, 3)))
    target = np.zeros(source.shape, np.uint8)
    module.stream(target, source)
    assert np.array_equal(target, source)


@BOTH
def test_a_target_with_gaps_between_its_rows_keeps_what_is_in_them(module: ModuleType) -> None:
    whole, source = np.zeros((50, 4096), np.uint8), picture((50, 4000))
    module.stream(whole[:, 13:4013], source)
    assert np.array_equal(whole[:, 13:4013], source)
    assert not whole[:, :13].any() and not whole[:, 4013:].any()


@BOTH
@pytest.mark.parametrize("shape", [(10, 2000), (1080, 1921), (1080, 1920, 4), (4,)])
def test_another_shape_is_refused_and_nothing_is_written(module: ModuleType, shape: tuple[int, ...]) -> None:
    target = np.zeros((1080, 1920), np.uint8)
    with pytest.raises(ValueError, match="could not broadcast"):
        module.stream(target, picture(shape))
    assert not target.any()


@BOTH
def test_a_target_that_must_not_be_written_is_refused(module: ModuleType) -> None:
    target = np.zeros((100, 2000), np.uint8)
    target.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        module.stream(target, picture((100, 2000)))
    assert not target.any()


@BOTH
def test_other_numbers_than_bytes_become_bytes_as_numpy_makes_them(module: ModuleType) -> None:
    source, target = picture((100, 2000)).astype(np.int32), np.zeros((100, 2000), np.uint8)
    module.stream(target, source)
    assert np.array_equal(target, source)


@BOTH
def test_arguments_that_are_missing_are_refused(module: ModuleType) -> None:
    with pytest.raises(TypeError):
        module.stream(np.zeros(4, np.uint8))
    with pytest.raises(TypeError):
        module.stream(b"immutable", np.zeros(9, np.uint8))
