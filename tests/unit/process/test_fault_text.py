from __future__ import annotations

from typing import Any

import pytest

from detektr.process.fault_text import TEXT_CHARS_MAX, fault_line, fault_text, fault_traceback, shown


class Raises(Exception):
    def __str__(self) -> str:
        raise SystemExit("no text")


class GivesANumber(Exception):
    def __str__(self) -> Any:
        return 5

    __repr__ = __str__


class Endless(Exception):
    def __str__(self) -> str:
        return str(self)


class Stubborn(str):
    def __getitem__(self, key: object) -> str:
        raise ValueError(key)

    def encode(self, *how: str) -> bytes:
        raise ValueError(how)

    def split(self, *how: object) -> list[str]:
        raise ValueError(how)


class HasItsOwnText(Exception):
    def __str__(self) -> str:
        return Stubborn("mine")


class HasStrangeNotes(Exception):
    def __init__(self) -> None:
        vars(self)["__notes__"] = [Raises(), 5]


def raised(fault: BaseException) -> BaseException:
    try:
        raise fault
    except BaseException as caught:
        return caught


@pytest.mark.parametrize("kind", [Raises, GivesANumber, Endless, HasItsOwnText, HasStrangeNotes])
def test_an_exception_that_cannot_become_text_is_told_all_the_same(kind: type[Exception]) -> None:
    fault = raised(kind())
    for text in (fault_line(fault), fault_traceback(fault)):
        assert kind.__name__ in text and "test_fault_text.py" in text
        assert type(text) is str


def test_a_text_is_told_as_it_stands_with_its_place() -> None:
    fault = raised(ValueError("two\n lines"))
    assert fault_text(fault) == "two\n lines"
    assert fault_line(fault).startswith("ValueError: two lines (test_fault_text.py:")


def test_a_text_that_utf_8_lacks_or_that_is_very_long_can_be_sent() -> None:
    assert fault_text(ValueError("\ud800")) == "\\ud800"
    assert len(fault_text(ValueError("x" * 10**6))) == TEXT_CHARS_MAX


def test_an_object_that_cannot_show_itself_is_named_by_its_kind() -> None:
    assert shown(GivesANumber()) == "<a GivesANumber whose __repr__ raised TypeError>"
    assert shown([1]) == "[1]"
