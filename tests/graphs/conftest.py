"""Graphs are tried on every lane, as faults are: the fixture `lane` is theirs."""

from tests.faults.conftest import lane

__all__ = ["lane"]
