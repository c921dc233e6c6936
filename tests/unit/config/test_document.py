from __future__ import annotations

import pytest

from detektr.config.document import Document, read_document, read_scalar


def only_fault(document: Document) -> tuple[int, str]:
    assert len(document.faults) == 1, document.faults
    return document.faults[0].line, document.faults[0].text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None), ("~", None), ("null", None), ("true", True), ("False", False), ("yes", "yes"), ("no", "no"),
        ("12", 12), ("-3", -3), ("0x1f", 31), ("0o17", 15), ("010", 10), ("1.5", 1.5), ("1e3", 1000.0),
        (".5", 0.5), ("-.inf", float("-inf")), ("1:30", "1:30"), ("2024-01-01", "2024-01-01"), ("1_000", "1_000"),
    ],
)  # fmt: skip
def test_an_unquoted_text_means_what_yaml_1_2_says(text: str, value: object) -> None:
    found = read_scalar(text)
    assert found == value and type(found) is type(value)


def test_not_a_number_is_a_number_of_its_own() -> None:
    found = read_scalar(".nan")
    assert isinstance(found, float) and found != found


def test_each_key_and_item_knows_its_line() -> None:
    document = read_document("a: 1\nb:\n  c: {d: 2,\n      e: [x,\n       y]}\n", {})
    assert document.values == {"a": 1, "b": {"c": {"d": 2, "e": ["x", "y"]}}}
    assert document.line("a") == 1
    assert document.line("b", "c") == 3
    assert document.line("b", "c", "e") == 4
    assert document.line("b", "c", "e", 1) == 5
    assert document.line("b", "missing", "deeper") == 2


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("", 1, "empty"),
        ("# only words\n", 1, "empty"),
        ("---\n", 2, "empty"),
        ("\n- a\n- b\n", 2, "a list"),
        ("\n\nword\n", 3, "'word'"),
        ("a: 1\nb: 2\na: 3\n", 3, "'a' a second time (first on line 1)"),
        ("a: 1\n\tb: 2\n", 2, "a tab"),
        ("a: [1,\n2", 2, "not YAML"),
        ("a: b: c\n", 1, "not YAML"),
        ("a: 'open\n", 2, "not YAML"),
        ("a: 1\n---\nb: 2\n", 2, "second document"),
        ("a: *nobody\n", 1, "undefined alias"),
        ("a: &x [*x]\n", 1, "alias inside"),
        ("a: &x\n  <<: *x\n", 1, "`<<` inside"),
        ("a: 1\nb: \x07\n", 2, "U+0007"),
        ('a: "\\Uffffffff"\n', 1, "no character"),
        ('a: "\\ud800"\n', 1, "surrogate"),
        ('"\\ud800": 1\n', 1, "surrogate"),
        ("a: 1\n2: b\n", 2, "the key '2'"),
        ("a: 1\n? \n: b\n", 2, "empty key"),
        ("null: b\n", 1, "the key 'null'"),
        ("a: 1\n? [x]\n: b\n", 2, "a list as a key"),
        ("a: !!python/object:os.system x\n", 1, "tag"),
        ("a: !secret x\n", 1, "tag"),
        ("a: " + "9" * 5000 + "\n", 1, "5000 digits"),
        ("a: " + "[" * 5000 + "\n", 1, "32 levels"),
        ("a: \ue000\n", 1, "private-use"),
        ("a:\n  <<: [1]\n", 2, "not a mapping"),
        ("${KEY}: 1\n", 1, "'${KEY}'"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_told_with_its_line(text: str, line: int, part: str) -> None:
    found_line, found_text = only_fault(read_document(text, {}))
    assert found_line == line
    assert part in found_text


def test_aliases_that_explode_are_refused() -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    assert "20000 values" in only_fault(read_document(bomb, {}))[1]
    chain = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 2000))
    assert "32 levels" in only_fault(read_document(chain, {}))[1]


def test_an_anchor_is_shared_and_its_keys_can_be_told_anew() -> None:
    document = read_document("a: &x {k: 1, l: 2}\nb: *x\nc:\n  <<: *x\n  l: 3\n", {})
    assert document.faults == ()
    assert document.values == {"a": {"k": 1, "l": 2}, "b": {"k": 1, "l": 2}, "c": {"k": 1, "l": 3}}


def test_variables_are_replaced_also_within_braces_and_remembered() -> None:
    text = 'a: {port: ${PORT}, url: "rtsp://u:${PW}@h"}\nb: ${GONE:-x: y}\nc: $${kept}\nd: "${PORT}"\n'
    document = read_document(text, {"PORT": "80", "PW": "hunter2"})
    assert document.faults == ()
    assert document.values == {
        "a": {"port": 80, "url": "rtsp://u:hunter2@h"}, "b": "x: y", "c": "${kept}", "d": "80",
    }  # fmt: skip
    assert document.secrets == {"80": "${PORT}", "hunter2": "${PW}"}
    assert document.variables["a", "url"].raw == "rtsp://u:${PW}@h"
    assert ("c",) not in document.variables or not document.variables["c",].secrets


def test_an_empty_variable_takes_its_default_and_what_it_holds_is_no_yaml() -> None:
    document = read_document("a: ${E:-d}\nb: ${Y}\n", {"E": "", "Y": "{k: [1"})
    assert document.values == {"a": "d", "b": "{k: [1"}


@pytest.mark.parametrize(
    ("text", "part"),
    [("a: ${GONE}", "GONE is not set"), ("a: ${1x}", "'${1x}'"), ("a: ${open", "not closed"), ("a: ${}", "'${}'")],
)
def test_a_variable_that_gives_nothing_is_told(text: str, part: str) -> None:
    line, found = only_fault(read_document(f"k: 1\n{text}\n", {}))
    assert line == 2 and part in found


def test_a_variable_in_a_comment_is_nobodys_business() -> None:
    assert read_document("a: 1  # ${GONE}\n", {}).faults == ()
