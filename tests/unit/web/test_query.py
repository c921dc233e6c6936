"""The values of a request: what is wrong is said, with what would be right."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from detektr.web.problem import Problem
from detektr.web.query import NAME, Parameter, read_query

COUNT = Parameter("count", "how many", "integer", 10, 1, 100)
WAIT = Parameter("wait", "seconds", "number", 0, 0, 30)
NODE = Parameter("node", "which", pattern=NAME)
FORMAT = Parameter("format", "which", default="jpeg", choices=("jpeg", "png"))


def asked(query: str) -> Request:
    return Request({"type": "http", "query_string": query.encode(), "headers": [], "path": "/", "method": "GET"})


def test_what_is_not_given_has_its_default() -> None:
    found = read_query(asked("wait=1.5&node=buffer"), (COUNT, WAIT, NODE, FORMAT))
    assert found == {"count": 10, "wait": 1.5, "node": "buffer", "format": "jpeg"}


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("count=0", "a whole number from 1 to 100"),
        ("count=101", "a whole number from 1 to 100"),
        ("count=1.5", "a whole number"),
        ("count=ten", "a whole number"),
        ("count=" + "9" * 5000, "a whole number"),
        ("count=", "a whole number"),
        ("wait=nan", "a number from 0 to 30"),
        ("wait=inf", "a number from 0 to 30"),
        ("wait=1e400", "a number from 0 to 30"),
        ("node=../etc", "a text like"),
        ("node=" + "a" * 40, "a text like"),
        ("format=gif", "one of jpeg, png"),
        ("cuont=1", "there is no parameter 'cuont'"),
        ("count=1&count=2", "given twice"),
    ],
)
def test_a_wrong_value_is_refused_in_words(query: str, said: str) -> None:
    with pytest.raises(Problem) as refused:
        read_query(asked(query), (COUNT, WAIT, NODE, FORMAT))
    assert refused.value.status == 400 and said in refused.value.detail


def test_what_must_be_given_is_missed() -> None:
    with pytest.raises(Problem, match="the parameter lease is missing"):
        read_query(asked(""), (Parameter("lease", "whose", pattern=".+", is_required=True),))
