"""What detektr says: every text that is raised or logged has a subject, the value it is about, and what to do.

The texts are read from the sources. A value that is put into one stands here as `{expression}`, in a log line as `%s`.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

SOURCES = Path(__file__).parents[2] / "src/detektr"
FOR_USERS = {
    "DetektrError", "LeaseOverError", "NoRoomError", "RefusedError", "ResultError", "SourceError", "TransportError",
}  # fmt: skip
"""Who reads these can do something: change the file, the machine or their code."""
BETWEEN_PROCESSES = {"OverwrittenError", "WireError"}
"""These are settled by who catches them: the frame goes to another, the message is refused."""
OF_VALUES = {"ValueError", "TypeError", "TimeoutError", "OSError"}
"""These are shown to users as reasons, by who knows the file and the line."""

IMPERATIVES = {
    "add", "allow", "attach", "call", "change", "check", "choose", "copy", "correct", "end", "fix", "free", "give",
    "have", "indent", "install", "keep", "leave", "look", "lower", "make", "mend", "move", "name", "pass", "point",
    "put", "raise", "read", "remove", "rename", "return", "run", "save", "see", "set", "shorten", "split", "start",
    "stop", "turn", "try", "use", "write", "yield",
}  # fmt: skip
ALTERNATIVES = (
    "detektr down",
    "e.g.",
    "expected",
    "it has:",
    "known are",
    "must be",
    "running:",
    "these have:",
)
"""What there is instead is said as well as what to do."""
PASSED_ON = {"fault", "hint", "why"}
"""Names of what is put in last, and says itself what to do."""
RELATIVE = {"what", "whatever", "who", "whoever", "whom", "whose"}
"""A clause that begins so has a riddle for a subject."""
HEADLESS = RELATIVE | {"it", "its", "not", "of", "off", "that", "these", "they", "this", "those", "which"}
"""A text that begins so has lost what it is about."""
OLD_WORDS = re.compile(
    r"\b(bites?|bur(?:y|ies|ied)|buttons?|claim-run|cures?|grant(?:s|ed)?|guests?|haste|heirs?|hopeless|incarnations?"
    r"|inflows?|intakes?|lanes?|(?<!dead[ -])(?<!a )(?<!31 )letters?|outlets?|pages?|recall(?:s|ed)?|rosters?"
    r"|running numbers?|thinners?|uprights?)\b"
)
"""Words that were replaced by the field's; a letter may stand in a name still, and `guests` is a key of the file."""
MAY_NOT = re.compile(r"\bmay not\b")
"""Is it forbidden, or does it perhaps not? Write cannot, must not, or is not allowed to."""

ALLOWED = {
    "frame {descriptor.id}: slot of": "an announcement contradicts its ring: no user can have caused it, or mend it",
    "this process cannot adopt": "it is the process that reads this line",
}
"""Beginnings of texts that break a rule, and why they may."""


class Text(NamedTuple):
    """One text, where it is and what is done with it."""

    where: str
    use: str
    """The name of the error, `log.LEVEL`, or nothing: another string."""
    text: str

    def clauses(self) -> list[str]:
        """Return the parts that stand for themselves."""
        return [part for part in re.split(r"[;:.] |, (?:or )?| \(", self.text) if part]


Known = Mapping[str, list[ast.expr]]
"""What a name in the same function, or a constant of the file, was set to."""


def templates(node: ast.expr, known: Known) -> list[str]:
    """Return each text that an expression can be, with `{expression}` where a value is put in; none: not a text."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.JoinedStr):
        return ["".join(texts) for texts in itertools.product(*(inserted(part, known) for part in node.values))]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [left + right for left in templates(node.left, known) for right in templates(node.right, known)]
    if isinstance(node, ast.IfExp):
        return templates(node.body, known) + templates(node.orelse, known)
    if isinstance(node, ast.Name):  # not what that was set from: it might be itself
        return [text for value in known.get(node.id, []) for text in templates(value, {})]
    return []


def inserted(part: ast.expr, known: Known) -> list[str]:
    """Return what a part of an f-string can be; an expression is written without punctuation of its own."""
    if not isinstance(part, ast.FormattedValue):
        return templates(part, known)
    texts = templates(part.value, known) if isinstance(part.value, ast.Name) else []
    return texts or ["{" + re.sub(r"[^\w.()\[\]]+", " ", ast.unparse(part.value)) + "}"]


def set_in(scope: ast.AST) -> dict[str, list[ast.expr]]:
    """Return what names are set to in a function, or at the top of a file."""
    inner = scope.body if isinstance(scope, ast.Module) else ast.walk(scope)
    known: dict[str, list[ast.expr]] = {}
    for each in inner:
        if isinstance(each, ast.Assign):
            for target in each.targets:
                if isinstance(target, ast.Name):
                    known.setdefault(target.id, []).append(each.value)
    return known


def texts_of(path: Path, folder: Path = SOURCES) -> Iterator[Text]:
    """Yield the texts of one file: what is raised, what is logged, and all other strings of three words and more."""
    module, where = ast.parse(path.read_text()), path.relative_to(folder)
    top = set_in(module)
    known: dict[ast.AST, Known] = {}
    for scope in ast.walk(module):  # from the outside in: the innermost function counts
        if isinstance(scope, (ast.Module, ast.FunctionDef)):
            here = {**top, **set_in(scope)}
            known.update((node, here) for node in ast.walk(scope))
    seen: set[ast.AST] = {each.value for each in ast.walk(module) if isinstance(each, ast.Expr)}  # docstrings
    for node in ast.walk(module):
        if isinstance(node, ast.JoinedStr):
            seen.update(part for part in ast.walk(node) if part is not node)
        use = use_of(node)
        if isinstance(node, ast.Call) and use and node.args:
            seen.update(ast.walk(node.args[0]))
            for text in templates(node.args[0], known[node]):
                yield Text(f"{where}:{node.lineno}", use, text)
    for node in ast.walk(module):
        if isinstance(node, (ast.Constant, ast.JoinedStr)) and node not in seen:
            for text in templates(node, {}):
                if len(re.findall(r"(?<![\w{.])[a-z]+(?![\w}.(])", text)) >= 3:
                    yield Text(f"{where}:{node.lineno}", "", text)


def use_of(node: ast.AST) -> str:
    """Return which error is made by this call, or at which level it logs; empty: neither."""
    if not isinstance(node, ast.Call):
        return ""
    if isinstance(node.func, ast.Name):
        return node.func.id if node.func.id in FOR_USERS | BETWEEN_PROCESSES | OF_VALUES else ""
    if isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) == "_log":
        return f"log.{node.func.attr}"
    return ""


TEXTS = [text for path in sorted(SOURCES.rglob("*.py")) for text in texts_of(path)]
RAISED = [text for text in TEXTS if text.use and not text.use.startswith("log.")]
LOGGED = [text for text in TEXTS if text.use.startswith("log.")]


def first_word(clause: str) -> str:
    return re.split(r"[^\w.{}%'-]", clause.strip(), maxsplit=1)[0].lower()


def says_what_to_do(text: Text) -> bool:
    """Say whether a later clause tells what to do, or what there is instead, or ends with a text that does."""
    last = re.search(r"\{([^{}]*)\}$", text.text)
    return (
        any(first_word(clause) in IMPERATIVES for clause in text.clauses()[1:])
        or any(alternative in text.text for alternative in ALTERNATIVES)
        or (last is not None and re.sub(r"\(.*\)", "", last[1]).split(".")[-1].strip("_") in PASSED_ON)
    )


def is_allowed(text: Text) -> bool:
    return any(text.text.startswith(beginning) for beginning in ALLOWED)


def hold(breaches: list[Text]) -> None:
    """Fail with every text that breaks a rule, where it is."""
    lines = [f"{text.where} {text.use}: {text.text}" for text in dict.fromkeys(breaches) if not is_allowed(text)]
    if lines:
        pytest.fail("\n".join(lines), pytrace=False)


def test_there_are_texts_to_look_at() -> None:
    assert len(RAISED) > 100
    assert len(LOGGED) > 30
    assert len(TEXTS) > 500


@pytest.mark.parametrize(
    ("source", "read"),
    [
        ("raise WireError('no')", "WireError: no"),
        (
            "raise RefusedError(f'{self.node!r} is ' + 'off; turn it on')",
            "RefusedError: {self.node} is off; turn it on",
        ),
        ("def f():\n    hint = 'mend it'\n    raise RefusedError(f'{a}: {hint}')", "RefusedError: {a}: mend it"),
        ("_log.info('a' if b else 'c')", "log.info: a\nlog.info: c"),
        ("x = 1\n'no words, an expression alone'\nwhy = 'one more replica died'", ": one more replica died"),
    ],
)
def test_texts_are_read_as_they_are_written(source: str, read: str, tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(source)
    assert "\n".join(f"{text.use}: {text.text}" for text in texts_of(path, tmp_path)) == read


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x is 3; write 1 or 2", True),
        ("x cannot be opened: {hint}", True),
        ("x cannot be opened: {self._why()}", True),
        ("x is 3, which is wrong", False),
        ("x cannot be opened: {fault.strerror}", False),
        ("write x", False),
    ],
)
def test_what_to_do_is_told_from_what_is_wrong(text: str, says: bool) -> None:
    assert says_what_to_do(Text("", "RefusedError", text)) == says


def test_an_error_has_the_value_that_it_is_about() -> None:
    hold([text for text in RAISED if "{" not in text.text])


def test_an_error_that_a_user_sees_says_what_to_do() -> None:
    silent = [text for text in RAISED if text.use not in BETWEEN_PROCESSES and not says_what_to_do(text)]
    hold(silent)


def test_a_text_begins_with_its_subject() -> None:
    hold([text for text in RAISED + LOGGED if first_word(text.text) in HEADLESS])


def test_no_clause_has_a_riddle_for_a_subject() -> None:
    riddles = [text for text in TEXTS for clause in text.clauses() if first_word(clause) in RELATIVE]
    hold(riddles)


def test_no_text_has_a_word_that_was_replaced() -> None:
    hold([text for text in TEXTS if OLD_WORDS.search(re.sub(r"\{.*?\}|`.*?`", "", text.text).lower())])


def test_no_text_says_may_not() -> None:
    hold([text for text in TEXTS if MAY_NOT.search(text.text)])


def test_an_error_and_a_log_line_end_without_punctuation() -> None:
    hold([text for text in RAISED + LOGGED if text.text.endswith((".", "!", ",", ";", ":", " "))])


def test_no_traceback_is_logged_but_of_what_nobody_foresaw() -> None:
    told = {
        str(path.relative_to(SOURCES))
        for path in SOURCES.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and (
            use_of(node) == "log.exception" or (use_of(node) and any(each.arg == "exc_info" for each in node.keywords))
        )
    }
    assert told == {"supervisor/entry.py"}  # where a node's process ends by it


def test_the_list_of_exceptions_has_none_that_is_gone() -> None:
    assert [beginning for beginning in ALLOWED if not any(text.text.startswith(beginning) for text in TEXTS)] == []
