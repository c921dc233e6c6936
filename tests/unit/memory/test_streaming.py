"""Streamed copies: byte for byte what numpy's own assignment makes, whatever the shapes, and nothing beside them."""

from __future__ import annotations

import math
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import detektr.memory.journal
import detektr.memory.streaming
from detektr.frame import UInt8Array
from tests.harness.interpreted import interpreted

INSTALLED = detektr.memory.streaming
(PYTHON,) = interpreted("detektr.memory.streaming")
IS_COMPILED = Path(str(INSTALLED.__file__)).suffix == ".so"


class Narrow(ModuleType):
    """The compiled one as it is on a processor without AVX-512."""

    @staticmethod
    def stream(*arguments: Any) -> None:
        assert not INSTALLED.use_wide(False)
        try:
            INSTALLED.stream(*arguments)
        finally:
            INSTALLED.use_wide(True)  # where it can


EACH = pytest.mark.parametrize("module", [PYTHON, *([INSTALLED, Narrow("narrow")] if IS_COMPILED else [])])
MARGIN = 200  # bytes before and after a target, which stay as they are


class Noting(np.ndarray):
    """An array that knows how often it was assigned to."""

    assigned = 0

    def __setitem__(self, where: Any, value: Any) -> None:
        self.assigned += 1
        super().__setitem__(where, value)


def picture(shape: tuple[int, ...], seed: int = 0) -> UInt8Array:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.skipif(not sysconfig.get_platform().endswith("x86_64"), reason="streaming stores are there for x86-64")
def test_it_is_compiled_where_the_rest_is() -> None:
    is_rest_compiled = Path(str(detektr.memory.journal.__file__)).suffix == ".so"
    assert is_rest_compiled == IS_COMPILED


@pytest.mark.skipif(not IS_COMPILED, reason="nothing is streamed by the Python file")
@pytest.mark.parametrize(
    ("turned", "is_streamed"),
    [
        (lambda array: array, True),
        (lambda array: array[:, :-7], True),
        (lambda array: array[::-1], True),
        (lambda array: array[::2], True),
        (lambda array: array[:, :3], True),
        (lambda array: array[:, 0, 0], False),
        (lambda array: array[:, ::-1], False),
        (lambda array: array[..., ::-1], False),
        (lambda array: array.transpose(1, 0, 2), False),
        (lambda array: array.astype(np.int16), False),
        (lambda array: array.astype(np.int8), False),
        (lambda array: array.tolist(), False),
    ],
)
def test_rows_of_bytes_are_streamed_and_all_else_is_assigned(turned: Any, *, is_streamed: bool) -> None:
    source = turned(picture((400, 500, 3)) // 2)
    target: Any = np.zeros(np.shape(source), np.uint8).view(Noting)
    INSTALLED.stream(target, source)
    assert target.assigned == (0 if is_streamed else 1)
    assert np.array_equal(target, source)


@EACH
@given(
    shape=st.tuples(st.integers(0, 40), st.integers(0, 3000), st.integers(1, 3)) | st.tuples(st.integers(0, 9000)),
    begin=st.integers(0, 70),
    shift=st.integers(0, 70),
    cut=st.integers(0, 70),
    is_upside_down=st.booleans(),
    is_target_so=st.booleans(),
)
def test_every_byte_arrives_and_no_other_is_touched(
    module: ModuleType,
    shape: tuple[int, ...],
    begin: int,
    shift: int,
    cut: int,
    *,
    is_upside_down: bool,
    is_target_so: bool,
) -> None:
    wide = picture((shift + shape[0] * (math.prod(shape[1:]) + cut),))[shift:]
    source = wide.reshape(shape[0], math.prod(shape[1:]) + cut)[:, : math.prod(shape[1:])].reshape(shape)
    assert np.shares_memory(source, wide) or not source.size
    if is_upside_down:
        source = source[::-1]
    size = math.prod(shape)
    memory = picture((MARGIN + begin + size + MARGIN,), 1)
    expected = memory.copy()
    inside = slice(MARGIN + begin, MARGIN + begin + size)
    target = memory[inside].reshape(shape)
    expected[inside] = (source[::-1] if is_target_so else source).reshape(-1)
    module.stream(target[::-1] if is_target_so else target, source)
    assert np.array_equal(memory, expected)


@EACH
@pytest.mark.parametrize(
    "turned",
    [
        lambda array: array[:, ::-1],
        lambda array: array[..., ::-1],
        lambda array: array[::3, ::2],
        lambda array: array.transpose(1, 0, 2),
        lambda array: np.broadcast_to(array[:1], array.shape),
        lambda array: np.broadcast_to(array[:, :1], array.shape),
    ],
    ids=["mirrored", "channels", "thinned", "transposed", "one row", "one column"],
)
def test_a_picture_of_any_strides_is_the_same_picture(module: ModuleType, turned: Any) -> None:
    source = turned(picture((600, 800, 3)))
    target = np.zeros(source.shape, np.uint8)
    module.stream(target, source)
    assert np.array_equal(target, source)


@EACH
def test_a_target_with_gaps_between_its_rows_keeps_what_is_in_them(module: ModuleType) -> None:
    whole, source = np.zeros((50, 4096), np.uint8), picture((50, 4000))
    module.stream(whole[:, 13:4013], source)
    assert np.array_equal(whole[:, 13:4013], source)
    assert not whole[:, :13].any() and not whole[:, 4013:].any()


@EACH
@pytest.mark.parametrize(
    "shape", [(540, 1920, 3), (2160, 1920, 3), (1080, 3, 1920), (1080, 5760), (1080, 1921, 3), (2, 1080, 1920, 3), (4,)]
)
def test_another_shape_is_refused_and_nothing_is_written(module: ModuleType, shape: tuple[int, ...]) -> None:
    target = np.zeros((1080, 1920, 3), np.uint8)
    with pytest.raises(ValueError, match="could not broadcast"):
        module.stream(target, picture(shape))
    assert not target.any()


@EACH
@pytest.mark.parametrize("shape", [(1, 1920, 3), (1920, 3), (1, 1, 1), ()])
def test_what_numpy_repeats_is_repeated(module: ModuleType, shape: tuple[int, ...]) -> None:
    source, target = picture(shape), np.zeros((1080, 1920, 3), np.uint8)
    module.stream(target, source)
    assert np.array_equal(target, np.broadcast_to(source, target.shape))


@EACH
def test_memory_that_the_two_share_is_copied_as_it_was_before(module: ModuleType) -> None:
    for apart in (0, 1, 3, 64, 700):
        memory = picture((300, 700))
        before, target = memory.copy(), memory.reshape(-1)[apart : apart + 200 * 700].reshape(200, 700)
        module.stream(target, memory[:200])
        assert np.array_equal(target, before[:200])
        memory = before.copy()
        module.stream(memory[::-1], memory)
        assert np.array_equal(memory[::-1], before)


@EACH
@pytest.mark.parametrize("kind", [np.bool_, np.int8, np.dtype("S1"), np.int64])
def test_what_is_no_uint8_is_what_numpy_makes_of_it(module: ModuleType, kind: Any) -> None:
    source, target, expected = picture((100, 2000)) % 10, np.zeros((100, 2000), kind), np.zeros((100, 2000), kind)
    expected[...] = source
    module.stream(target, source)
    assert target.tobytes() == expected.tobytes()


@EACH
def test_a_target_that_must_not_be_written_is_refused(module: ModuleType) -> None:
    target = np.zeros((100, 2000), np.uint8)
    target.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        module.stream(target, picture((100, 2000)))
    assert not target.any()


@EACH
def test_other_numbers_than_bytes_become_bytes_as_numpy_makes_them(module: ModuleType) -> None:
    source, target = picture((100, 2000)).astype(np.int32), np.zeros((100, 2000), np.uint8)
    module.stream(target, source)
    assert np.array_equal(target, source)


@EACH
def test_arguments_that_are_missing_are_refused(module: ModuleType) -> None:
    with pytest.raises(TypeError):
        module.stream(np.zeros(4, np.uint8))
    with pytest.raises(TypeError):
        module.stream(b"immutable", np.zeros(9, np.uint8))
