"""Checks the values of a pipeline file, and returns options, or all faults at once."""

from __future__ import annotations

import json
import keyword
import re
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

from detektr import plugins
from detektr.config.cameras import CAMERAS, DEFAULTS, NODES_MAX
from detektr.config.document import Document, Fault, Path, read_scalar
from detektr.config.node_env import read_env
from detektr.config.pipeline_options import AuditOptions as AuditOptions
from detektr.config.pipeline_options import MetricsOptions as MetricsOptions
from detektr.config.pipeline_options import PipelineOptions as PipelineOptions
from detektr.config.pipeline_options import PipelineWords
from detektr.config.pipeline_options import WebOptions as WebOptions
from detektr.config.suggestions import (
    default_of,
    item_type,
    key_of,
    keys_of,
    listed,
    literals,
    nearest,
    plain_types,
    section_of,
    words_of,
)
from detektr.errors import RefusedError
from detektr.options import (
    NAME_PATTERN,
    CaptureOptions,
    EdgeInput,
    NodeOptions,
    OptionError,
    WorkerOptions,
)
from detektr.registry.node_kinds import NODE_KINDS
from detektr.source_uri import STREAM_SCHEMES, scheme_of, source_kind

if TYPE_CHECKING:
    from pydantic import TypeAdapter

KINDS: dict[str, type[NodeOptions]] = {name: kind.options for name, kind in NODE_KINDS.items()}
# What stands in for a missing key while the rest of its section is looked at; never leaves this module unfaulted.
_STAND_IN = {"source": "lavfi:nullsrc", "use": "unknown:unknown", "to": "none", "size": 1}
_STAND_IN |= {"input": "unknown", "from_": "unknown"}
SECRET_KEY: Path = ("web", "token")  # never shown, also where it stands in the file itself
_NOT_GIVEN = object()
T = TypeVar("T")
_ADAPTERS: dict[type, TypeAdapter[Any]] = {}  # building one takes milliseconds


@dataclass(frozen=True)
class OptionsReading:
    """What a document came to: options as far as they could be read, and everything that is wrong.

    `broken` names the nodes with a fault of their own, `unsure` those whose kind or input is not known: what others
    miss may be what they meant.
    """

    options: PipelineOptions
    faults: tuple[Fault, ...]
    broken: frozenset[str] = frozenset()
    unsure: frozenset[str] = frozenset()


def read_options(document: Document) -> OptionsReading:
    """Turn a document into options; every fault of every section is found, not only the first."""
    return _Reader(document).read()


class _Reader:
    """One pass over one document."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.faults: list[Fault] = list(document.faults)
        self.broken: set[str] = set()
        self.unsure: set[str] = set()

    def read(self) -> OptionsReading:
        values = dict(self.document.values or {})
        others = [key for key in keys_of(PipelineOptions) if key not in ("name", "nodes")]
        known = ("name", CAMERAS, DEFAULTS, "nodes", *others)  # cameras are nodes by now
        self._refuse_unknown(values, known, (), "the pipeline")
        name = self._name(values)
        audit = values.get("audit", _NOT_GIVEN)
        audit_values = {} if audit is _NOT_GIVEN else {"to": audit} if isinstance(audit, str) else audit
        words = {key: values[key] for key in keys_of(PipelineWords) if key in values}
        options = PipelineOptions(
            name=name,
            nodes=self._nodes(values),
            audit=self._section(AuditOptions, audit_values, ("audit",), "`audit`", _AUDIT_WORDS),
            metrics=self._section(MetricsOptions, values.get("metrics", {}), ("metrics",), "`metrics`"),
            web=self._section(WebOptions, values["web"], ("web",), "`web`") if "web" in values else None,
            **vars(self._section(PipelineWords, words, (), "the pipeline")),
        )
        return OptionsReading(options, tuple(self.faults), frozenset(self.broken), frozenset(self.unsure))

    def _fault(self, path: Path, what: str, expected: str, hint: str) -> None:
        variable = self.document.variables.get(path)
        if variable is None or variable.is_set:  # else that was told, and is why
            self.faults.append(Fault(self.document.line(*path), what, expected, hint))
        if len(path) > 1 and path[0] == "nodes":
            self.broken.add(str(path[1]))

    def _shown(self, value: object, path: Path) -> str:
        """Return a value as a fault may print it: what came from a variable as the file has it."""
        if value is None:
            return "empty"
        if path == SECRET_KEY and isinstance(value, str):
            return f"a text of {len(value)} characters"
        variable = self.document.variables.get(path)
        if variable is not None:
            return repr(variable.raw[:60])
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, dict):
            return "a mapping"
        has_variable = any(other[: len(path)] == path for other in self.document.variables)
        if isinstance(value, list) and (has_variable or not value):
            return "a list" if value else "an empty list"
        text = str(value)
        return repr(text if len(text) <= 60 else f"{text[:57]}...") if isinstance(value, str) else text[:60]

    def _name(self, values: Mapping[str, Any]) -> str:
        words = words_of(typing.get_type_hints(PipelineOptions, include_extras=True)["name"])
        if "name" not in values:
            self._fault((), "`name` is missing", words, "write `name: demo` at the top")
            return "unnamed"
        name = self._coerced(values["name"], str, ("name",))
        if not isinstance(name, str) or not re.fullmatch(NAME_PATTERN, name):
            self._fault(("name",), f"`name` is {self._shown(name, ('name',))}", words, "give the pipeline such a name")
            return "unnamed"
        return name

    def _nodes(self, values: Mapping[str, Any]) -> dict[str, NodeOptions]:
        nodes = values.get("nodes", _NOT_GIVEN)
        example = "write for example `camera: {kind: capture, source: clip.mp4}` below `nodes:`"
        if nodes is _NOT_GIVEN:
            self._fault((), "`nodes` is missing", "a mapping of names to nodes", example)
            return {}
        if not isinstance(nodes, dict) or not nodes:
            shown = "empty" if not nodes else self._shown(nodes, ("nodes",))
            self._fault(("nodes",), f"`nodes` is {shown}", "a mapping of names to nodes", example)
            return {}
        if len(nodes) > NODES_MAX:
            hint = "split it into several pipelines"
            self._fault(("nodes",), f"{len(nodes)} nodes", f"at most {NODES_MAX} in one pipeline", hint)
            return {}
        return {name: node for name, value in nodes.items() if (node := self._node(name, value)) is not None}

    def _node(self, name: str, values: object) -> NodeOptions | None:
        path: Path = ("nodes", name)
        where = f"node {name!r:.60}"
        if not re.fullmatch(NAME_PATTERN, name):
            words = "a letter, then at most 31 letters, digits, _ or -"
            self._fault(path, f"the node name {name!r:.60}", words, "rename the node, and what reads from it")
        if not isinstance(values, dict):
            self._fault(path, f"{where} is {self._shown(values, path)}", "a mapping", "write `{kind: ..., ...}`")
            self.unsure.add(name)
            return None
        kind = values.get("kind")
        if not isinstance(kind, str) or kind not in KINDS:
            near = nearest(kind, KINDS) if isinstance(kind, str) else None
            what = f"has the kind {self._shown(kind, (*path, 'kind'))}" if "kind" in values else "has no `kind`"
            hint = f"write `kind: {near}`" if near else "say what it is"
            self._fault((*path, "kind"), f"{where} {what}", listed(KINDS), hint)
            self.unsure.add(name)
            if near:  # what else is wrong with it, were it that
                self._options(KINDS[near], {**values, "kind": near}, path, where)
            return None
        return self._options(KINDS[kind], values, path, where)

    def _options(self, cls: type[NodeOptions], values: Mapping[str, Any], path: Path, where: str) -> NodeOptions:
        options = self._section(cls, values, path, where)
        if isinstance(options, CaptureOptions) and "source" in values:
            self._source(options, path, where)
        if isinstance(options, WorkerOptions) and "use" in values and ":" not in options.use:
            self._short_name(options.use, NODE_KINDS[options.kind].plugins, (*path, "use"), where)
        return options

    def _short_name(self, name: str, group: str, path: Path, where: str) -> None:
        """Look whether a package that is installed here offers a short name."""
        try:
            plugins.resolve(group, name)
        except RefusedError as fault:
            known, label = plugins.names(group), f"{where}: `{path[-1]}`"
            if name in known:  # of several packages
                self._fault(path, f"{label}: {str(fault).partition(': ')[0]}", "one", str(fault).partition(": ")[2])
                return
            near = nearest(name, known)
            others = [other for other in plugins.GROUPS if name in plugins.names(other)]
            hint = f"write `{near}`" if near else f"write module:Name, or see `detektr list {group}`"
            if others:
                hint = f"`{name}` is one of the {listed(others)}; see `detektr list {group}`"
            broken = [plugin.fault for plugin in plugins.find_plugins(group) if plugin.name == name]
            if broken:
                hint = f"mend its package ({broken[0]}), or write module:Name"
            prefix = "python:" if group == "sources" else ""
            expected = f"{prefix}module:Name or a short name ({listed(known)})"
            self._fault(path, f"{label} is {self._shown(prefix + name, path)}", expected, hint)

    def _source(self, options: CaptureOptions, path: Path, where: str) -> None:
        """Look at what a source's text says; whether it is there is for the machine to say."""
        text, kind = options.source, source_kind(options.source)
        path = (*path, "source")
        if not text.strip() or text.lower() in ("lavfi:", "file:", "file://"):
            hint = "write a file, rtsp://..., http(s)://..., /dev/video0, lavfi:... or python:module:name"
            self._fault(path, f"{where}: `source` is empty", "where its frames come from", hint)
        elif "\0" in text or "\n" in text:
            self._fault(path, f"{where}: `source` has more than one line", "one line", "join them or quote it")
        elif kind == "python":
            reference = text.partition(":")[2]
            if re.fullmatch(plugins.SHORT_NAME, reference):
                self._short_name(reference, "sources", path, where)
            elif not re.fullmatch(plugins.REFERENCE, reference):
                hint = "write `python:my.module:pictures`"
                self._fault(path, f"{where}: `source` is {self._shown(text, path)}", "python:module:name", hint)
        elif kind == "stream" and (scheme := scheme_of(text)) not in STREAM_SCHEMES:
            near = nearest(scheme or "", STREAM_SCHEMES)
            hint = f"write `{near}://...`" if near else "see which of these your camera speaks"
            self._fault(path, f"{where}: `source` begins with '{scheme}://'", listed(STREAM_SCHEMES), hint)
        elif kind == "stream" and (" " in text or text.endswith("://")):
            what = "has a space in its URL" if " " in text else "names no host"  # the text may hold a password
            self._fault(path, f"{where}: `source` {what}", "a complete URL", "write %20 for a space in a password")
        elif options.with_:
            hint = "remove `with`, or write `source: python:module:name`"
            self._fault((*path[:-1], "with"), f"{where}: `with` has no effect here", "a python: source", hint)

    def _refuse_unknown(self, values: Mapping[str, Any], keys: tuple[str, ...], path: Path, where: str) -> list[str]:
        unknown = [key for key in values if key not in keys]
        for key in unknown:
            near = nearest(key, (other for other in keys if other not in values)) or nearest(key, keys)
            others = [kind for kind, options in KINDS.items() if path[:1] == ("nodes",) and key in keys_of(options)]
            hint = f"write `{near}`" if near else "remove it"
            if others:
                hint = f"remove it (it is a key of a {listed(others)})"
            self._fault((*path, key), f"{where} has the unknown key {key!r:.60}", listed(keys), hint)
        return unknown

    def _coerced(self, value: object, annotation: Any, path: Path) -> object:
        """Read a variable's text as what its key takes, whether it stands in quotes or not."""
        variable = self.document.variables.get(path)
        if variable is None:
            return value
        return variable.text if str in plain_types(annotation) else read_scalar(variable.text)

    def _section(self, cls: type[T], values: object, path: Path, where: str, words: str = "a mapping") -> T:
        """Read one mapping into its dataclass; what is wrong is faulted and left out, so that the rest is seen too."""
        clean: dict[str, Any] = {}
        if isinstance(values, dict):
            unknown = self._refuse_unknown(values, keys_of(cls), path, where)
            given = {key: value for key, value in values.items() if key not in unknown}
            clean = {f"{key}_" if keyword.iskeyword(key) else key: value for key, value in given.items()}
        else:
            self._fault(path, f"{where} is {self._shown(values, path)}", words, "write it so, or leave it out")
        hints = typing.get_type_hints(cls, include_extras=True)
        for name, value in clean.items():
            if name == "input":
                clean[name] = self._inputs(value, hints[name], (*path, name), where)
            elif (section := section_of(hints[name])) is not None:
                inner: Any = self._section(section, value, (*path, name), f"{where}: `{name}`")
                clean[name] = {other.name: getattr(inner, other.name) for other in fields(inner)}
            elif name == "env":
                clean[name] = read_env(value, self.document, (*path, name), where, self._fault)
            elif isinstance(value, list):
                kind = item_type(hints[name])
                clean[name] = [self._coerced(item, kind, (*path, name, index)) for index, item in enumerate(value)]
            elif name != "with_":
                clean[name] = self._coerced(value, hints[name], (*path, key_of(name)))
        left_out: set[str] = set()
        while True:
            options, wrong = _validated(cls, clean)
            if options is not None:
                return options
            for name, expected in wrong.items():
                is_told = not isinstance(values, dict) or any(other in expected for other in left_out)
                if not is_told:  # or it would be told against a default
                    self._key_fault(cls, hints[name], name, clean.get(name, _NOT_GIVEN), expected, path, where)
                left_out.add(name)
                clean.pop(name, None)
                if name in _STAND_IN and default_of(cls, name) is MISSING:
                    clean[name] = _STAND_IN[name]

    def _inputs(self, value: object, annotation: Any, path: Path, where: str) -> object:
        """Read a node's inputs: names, and mappings with what is agreed for one edge."""
        if isinstance(value, list):
            return [self._inputs(one, str, (*path, index), where) for index, one in enumerate(value)]
        if not isinstance(value, dict):
            return self._coerced(value, annotation, path)
        return vars(self._section(EdgeInput, value, path, f"{where}: `input`"))

    def _key_fault(
        self, cls: type, annotation: Any, name: str, value: object, expected: str, path: Path, where: str
    ) -> None:
        if path[:1] == ("nodes",) and name in ("input", "from_"):
            self.unsure.add(str(path[1]))
        key_path, label = (*path, key_of(name)), f"{where}: `{key_of(name)}`"
        if path == ("audit",) and path in self.document.lines and key_path not in self.document.lines:
            key_path, label = path, where  # given as one text, not as a mapping
        if value is _NOT_GIVEN:
            self._fault(path, f"{label} is missing", words_of(annotation), f"write `{key_of(name)}: ...`")
            return
        default, choices = default_of(cls, name), literals(annotation)
        near = nearest(value, choices) if isinstance(value, str) and choices else None
        hint = "correct it"
        if near is not None:
            hint = f"write `{near}`"
        elif isinstance(default, str | int):
            hint = f"correct it, or leave it out ({json.dumps(default).strip(chr(34))})"
        elif default is not MISSING:
            hint = "correct it, or leave it out"
        self._fault(key_path, f"{label} is {self._shown(value, key_path)}", expected or words_of(annotation), hint)


def adapter(cls: type[T]) -> TypeAdapter[T]:
    """Return what reads and describes a dataclass."""
    if cls not in _ADAPTERS:
        from pydantic import TypeAdapter  # costs 80 ms, which a process that reads no file need not pay

        _ADAPTERS[cls] = TypeAdapter(cls)
    return _ADAPTERS[cls]


def _validated(cls: type[T], values: Mapping[str, Any]) -> tuple[T | None, dict[str, str]]:
    """Return the options, or the fields that are wrong (with what is expected where the dataclass itself refused)."""
    from pydantic import ValidationError

    try:
        # As JSON, because strict means there what a file means: true is no number, and a mapping is a dataclass.
        return adapter(cls).validate_json(json.dumps(values), strict=True), {}
    except ValidationError as error:
        wrong: dict[str, str] = {}
        for fault in error.errors(include_url=False):
            if fault["loc"]:
                wrong.setdefault(str(fault["loc"][0]), "")
            else:
                refusal = fault["ctx"]["error"]
                assert isinstance(refusal, OptionError)
                wrong.setdefault(refusal.name, refusal.expected)
        return None, wrong


_AUDIT_WORDS = "sqlite:PATH, redis://..., rediss://..., none or a mapping with `to`"
