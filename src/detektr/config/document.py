"""YAML text to plain values, each with its line; the only module that knows PyYAML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from detektr.config.secret_file import SecretFileError, read_secret_file

DEPTH_MAX = 32
VALUES_MAX = 20_000  # after aliases are followed; some 2,000 nodes
DIGITS_MAX = 40

Path = tuple[str | int, ...]

_VARIABLE = re.compile(r"(\$?)\$\{([^{}\n]*)\}")
_VARIABLE_BODY = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?")
_SECRET_FILE = re.compile(r"file:(?!-)")  # ${file:-default} is a variable named file
# A variable stands in the text as a number between two characters of private use while YAML is read,
# so that `{port: ${PORT}}` is not taken for a mapping in a mapping.
_OPEN, _CLOSE = "\ue000", "\ue001"
_PLACE = re.compile(f"{_OPEN}([0-9]+){_CLOSE}")
_SURROGATE = re.compile("[\ud800-\udfff]")
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"([-+]?)\.(?:inf|Inf|INF)|\.(nan|NaN|NAN)")


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong in a file: where, what with the value, what was expected, and what to do."""

    line: int
    what: str
    expected: str
    hint: str

    @property
    def text(self) -> str:
        """What, expected and what to do, as a sentence without its line."""
        return f"{self.what}, expected {self.expected}, {self.hint}"


@dataclass(frozen=True)
class Variable:
    """A value from the environment or a secret's file: as the file has it, as text, and the secrets it brought in."""

    raw: str
    text: str
    secrets: Mapping[str, str]
    is_set: bool
    """False: one of its variables is missing, which is a fault of the document."""


@dataclass(frozen=True)
class Document:
    """What a file says: plain values (None where it cannot be read at all), their lines, and its faults."""

    values: dict[str, Any] | None
    lines: Mapping[Path, int] = field(default_factory=dict)
    variables: Mapping[Path, Variable] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()

    def line(self, *path: str | int) -> int:
        """Return the line of a key or value; of the nearest one around it where there is none."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    @property
    def secrets(self) -> dict[str, str]:
        """What came from the environment and secrets' files, and the `${NAME}` to print in its place."""
        return {text: name for variable in self.variables.values() for text, name in variable.secrets.items()}


class _Refused(yaml.YAMLError):
    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.what)
        self.fault = fault


class _Loader(yaml.SafeLoader):
    """Composes nodes whose tag is None unless the file wrote one, no deeper than is sane."""

    depth = 0

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        return None

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.depth >= DEPTH_MAX:
            loader: Any = self  # PyYAML's types leave `peek_event` out
            line = loader.peek_event().start_mark.line + 1
            raise _Refused(
                Fault(
                    line, f"values that are nested more than {DEPTH_MAX} levels deep", "a pipeline file", "nest it less"
                )
            )
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def read_document(text: str, environment: Mapping[str, str]) -> Document:
    """Read a pipeline file's text; its errors are in the document's faults.

    Args:
        text: the file.
        environment: what `${NAME}` and `${NAME:-default}` are replaced from; `${file:NAME}` is read from its file.
    """
    place = next((text.count("\n", 0, match.start()) + 1 for match in re.finditer(f"[{_OPEN}{_CLOSE}]", text)), None)
    if place is not None:
        return _unreadable(Fault(place, "a private-use character (U+E000 or U+E001)", "text", "remove it"))
    variables: list[str] = []

    def stand_in(match: re.Match[str]) -> str:
        variables.append(match.group())
        return f"{_OPEN}{len(variables) - 1}{_CLOSE}"

    loader = None
    try:
        loader = _Loader(_VARIABLE.sub(stand_in, text))
        root = loader.get_single_node()
        if root is None:
            return _unreadable(Fault(1, "the file is empty", "a mapping", "write `name:` and `nodes:`"))
        builder = _Builder(variables, environment)
        values = builder.build(root, ())
    except _Refused as refused:
        return _unreadable(refused.fault)
    except yaml.YAMLError as fault:
        return _unreadable(_yaml_fault(fault, text))
    except (ValueError, OverflowError):  # "\\Uffffffff": PyYAML lets chr() say so
        line = 1 if loader is None else loader.line + 1
        return _unreadable(
            Fault(
                line,
                "an escape sequence that stands for no character",
                "at most \\U0010ffff",
                "write the character itself as UTF-8",
            )
        )
    if not isinstance(values, dict):
        kind = "a list" if isinstance(values, list) else f"the value {values!r:.60}"
        what = f"the file is {kind}" if values is not None else "the file is empty"
        wrong = Fault(root.start_mark.line + 1, what, "a mapping", "write `name:` and `nodes:` at its top")
        return Document(None, variables=builder.variables, faults=(*builder.faults, wrong))
    return Document(values, builder.lines, builder.variables, tuple(builder.faults))


def read_scalar(text: str) -> str | int | float | bool | None:
    """Return what an unquoted text means: YAML 1.2's core schema, so `no` and `1:30` stay text."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return text[0] in "tT"
    if _INTEGER.fullmatch(text):
        if len(text) > DIGITS_MAX:
            return text
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if _NUMBER.fullmatch(text):
        return float(text)
    match = _NOT_FINITE.fullmatch(text)
    return text if match is None else float("nan" if match.group(2) else f"{match.group(1)}inf")


class _Builder:
    """Turns composed nodes into values; collects lines, variables and faults on the way."""

    def __init__(self, texts: list[str], environment: Mapping[str, str]) -> None:
        self.texts = texts
        self.environment = environment
        self.lines: dict[Path, int] = {}
        self.variables: dict[Path, Variable] = {}
        self.faults: list[Fault] = []
        self._count = 0
        self._open: list[yaml.Node] = []

    def build(self, node: yaml.Node, path: Path) -> Any:
        line = node.start_mark.line + 1
        self.lines.setdefault(path, line)
        self._count += 1
        if self._count > VALUES_MAX:
            what = f"more than {VALUES_MAX} values, counting those that its aliases repeat"
            raise _Refused(Fault(line, what, "a pipeline file", "use fewer aliases, or split the pipeline"))
        if len(self._open) > DEPTH_MAX:
            what = f"more than {DEPTH_MAX} levels, counting those that its aliases repeat"
            raise _Refused(Fault(line, what, "a pipeline file", "nest it less"))
        if node in self._open:
            raise _Refused(
                Fault(
                    line,
                    "an alias inside the value that it names",
                    "a value that does not contain itself",
                    "remove the alias",
                )
            )
        if node.tag is not None:
            what = f"the tag {node.tag.replace('tag:yaml.org,2002:', '!!')!r:.60}"
            self.faults.append(Fault(line, what, "plain values", "remove it; put text in quotes"))
        self._open.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
            assert isinstance(node, yaml.ScalarNode)
            return self._scalar(node, path)
        finally:
            self._open.pop()

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        merged: list[yaml.Node] = []
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if isinstance(key_node, yaml.ScalarNode) and key_node.value == "<<" and key_node.style is None:
                merged += value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
                continue
            key = self._key(key_node, line)
            if key is None:
                continue
            if key in values:
                what = f"the key {key!r:.60} a second time (first on line {self.lines[(*path, key)]})"
                self.faults.append(Fault(line, what, "each key once", "remove one of them or rename it"))
                continue
            self.lines[(*path, key)] = line
            values[key] = self.build(value_node, (*path, key))
        for source in merged:
            if not isinstance(source, yaml.MappingNode):
                what = "`<<` with something that is not a mapping"
                line = source.start_mark.line + 1
                hint = "write `<<: *name` of an anchored mapping"
                self.faults.append(Fault(line, what, "an alias of a mapping", hint))
                continue
            if source in self._open:
                line = source.start_mark.line + 1
                raise _Refused(
                    Fault(
                        line,
                        "a `<<` inside the mapping that it names",
                        "a mapping that does not contain itself",
                        "remove it",
                    )
                )
            rest = [(key, value) for key, value in source.value if not self._is_known(key, values)]
            self._open.append(source)
            values |= self.build(yaml.MappingNode(source.tag, rest, source.start_mark), path)
            self._open.pop()
        return values

    @staticmethod
    def _is_known(key: yaml.Node, values: Mapping[str, Any]) -> bool:
        return isinstance(key, yaml.ScalarNode) and key.value in values

    def _key(self, node: yaml.Node, line: int) -> str | None:
        if not isinstance(node, yaml.ScalarNode):
            kind = "list" if isinstance(node, yaml.SequenceNode) else "mapping"
            self.faults.append(Fault(line, f"a {kind} as a key", "text", "write a plain word before the colon"))
            return None
        key = str(node.value)
        if _PLACE.search(key):
            raw = _PLACE.sub(lambda match: self.texts[int(match.group(1))], key)
            self.faults.append(
                Fault(line, f"the key {raw!r:.60}", "a key without variables", "use variables in values only")
            )
            return None
        if node.style is None and not isinstance(read_scalar(key), str):
            what = f"the key {key!r:.60}" if key else "an empty key"
            self.faults.append(Fault(line, what, "text as a key", f'write "{key:.60}" in quotes, or another word'))
            return None
        if _SURROGATE.search(key):
            self.faults.append(Fault(line, "half a character (a lone surrogate) in a key", "text", "write it as UTF-8"))
            return None
        return key

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        line = self.lines[path]
        text = str(node.value)
        if _PLACE.search(text):
            text = self._replaced(text, path, line)
        elif "${" in text:
            hint = "close it, or write $${ for the two characters themselves"
            self.faults.append(Fault(line, f"{text!r:.60} with a `${{` that is not closed", "${NAME}", hint))
        if _SURROGATE.search(text):
            self.faults.append(Fault(line, "half a character (a lone surrogate)", "text", "write it as UTF-8"))
            return ""
        if node.style is not None:
            return text
        value = read_scalar(text)
        if isinstance(value, str) and len(text) > DIGITS_MAX and _INTEGER.fullmatch(text):
            what = f"a number of {len(text)} digits"
            self.faults.append(Fault(line, what, f"at most {DIGITS_MAX}", "put it in quotes if it is a text"))
        return value

    def _replaced(self, text: str, path: Path, line: int) -> str:
        secrets: dict[str, str] = {}
        faults_before = len(self.faults)

        def value(match: re.Match[str]) -> str:
            raw = self.texts[int(match.group(1))]
            if raw.startswith("$$"):
                return raw[1:]
            if _SECRET_FILE.match(raw, 2):
                return self._secret(raw, line, secrets)
            body = _VARIABLE_BODY.fullmatch(raw[2:-1])
            if body is None:
                hint = "write $${ for the two characters themselves"
                self.faults.append(Fault(line, f"{raw!r:.60}", "${NAME}, ${NAME:-default} or ${file:NAME}", hint))
                return ""
            name, default = body.group(1), body.group(2)
            found = self.environment.get(name)
            if default is not None and not found:
                return str(default)
            if found is None:
                what, hint = f"the variable {name} is not set", f"set it, or write ${{{name}:-default}}"
                self.faults.append(Fault(line, what, "a value in the environment", hint))
                return ""
            secrets[found] = f"${{{name}}}"
            return found

        replaced = _PLACE.sub(value, text)
        raw = _PLACE.sub(lambda match: self.texts[int(match.group(1))], text)
        if raw != replaced:
            self.variables[path] = Variable(raw, replaced, secrets, len(self.faults) == faults_before)
        return replaced

    def _secret(self, raw: str, line: int, secrets: dict[str, str]) -> str:
        """Return what a secret's file holds; that, and each line of it, is a secret."""
        name = raw[len("${file:") : -1].strip()
        try:
            if not name:
                raise SecretFileError(f"{raw!r} names no file", "${file:NAME}", "write the name of the secret's file")
            found = read_secret_file(name, self.environment)
        except SecretFileError as fault:
            self.faults.append(Fault(line, fault.what, fault.expected, fault.hint))
            return ""
        secrets.update(dict.fromkeys((found, *map(str.strip, found.splitlines())), raw))
        return found


def _unreadable(fault: Fault) -> Document:
    return Document(None, faults=(fault,))


def _yaml_fault(fault: yaml.YAMLError, text: str) -> Fault:
    """Say in words what PyYAML found."""
    if isinstance(fault, yaml.reader.ReaderError):
        line = text.count("\n", 0, fault.position) + 1
        return Fault(line, f"the character U+{fault.character:04X}", "printable text", "remove it")
    mark = getattr(fault, "problem_mark", None) or getattr(fault, "context_mark", None)
    line = 1 if mark is None else mark.line + 1
    problem = str(getattr(fault, "problem", None) or fault)
    if "'\\t'" in problem or "tab" in problem.split():
        return Fault(line, "a tab", "spaces", "indent with spaces")
    if "another document" in problem:
        return Fault(line, "a second document (after `---`)", "one document", "put it in a file of its own")
    if "undefined alias" in problem:
        return Fault(line, problem, "an anchor above it", "write `&name` where the values are, or spell it alike")
    context = getattr(fault, "context", None)
    what = f"this is not YAML: {f'{context}, ' if context else ''}{problem}"
    what = _PLACE.sub("${...}", what)
    return Fault(line, what, "valid YAML", "look at the indentation, quotes, colons and brackets here and just above")
