from __future__ import annotations

import pytest

from detektr.quantity import size_bytes


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [
        ("64MiB", 64 << 20),
        ("1 GiB", 1 << 30),
        ("1.5KiB", 1536),
        ("64MB", 64_000_000),
        ("2GB", 2 * 10**9),
        ("1kB", 1000),
    ],
)
def test_a_size_is_a_number_and_a_unit(text: str, nbytes: int) -> None:
    assert size_bytes(text) == nbytes


@pytest.mark.parametrize("text", ["64", "MiB", "-1MiB", "0MiB", "64mib", "64 M", "1e3MiB", "", "64MiB and more"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"write a number with a unit out of KiB, MiB, GiB, e\.g\. 64MiB"):
        size_bytes(text)
