"""`cameras:` written out: each camera becomes a capture, each node with `per_camera` one node a camera. Pure.

What comes out is a document as if all had been written by hand, every key on the line it came from; so whoever reads
the nodes knows nothing of cameras, and `Expansion.in_words` turns what is then said of them back into the file's names.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from detektr.config.document import Document, Fault, Path, Variable, read_scalar
from detektr.config.suggestions import listed, nearest

CAMERAS, DEFAULTS, PER_CAMERA = "cameras", "camera_defaults", "per_camera"
NAME_CHARS_MAX = 32
NODES_MAX = 256
_OWN_KEYS = ("kind", "source", "camera")  # nothing that cameras could share


@dataclass(frozen=True)
class Expansion:
    """A document whose nodes are all written out, and what was wrong with its cameras."""

    document: Document
    faults: tuple[Fault, ...] = ()
    cameras: tuple[str, ...] = ()
    made: Mapping[str, str] = field(default_factory=dict)
    """Nodes that were made for one camera, and the node of the file that each was made from."""
    default_lines: frozenset[int] = frozenset()

    def in_words(self, faults: Iterable[Fault]) -> list[Fault]:
        """Return faults of written-out nodes in the file's own names, each once."""
        return list(dict.fromkeys(self._in_words(fault) for fault in faults))

    def _in_words(self, fault: Fault) -> Fault:
        said = {name: re.escape(name) for name in (*self.made, *self.cameras)}
        if not said:
            return fault
        any_made = "|".join(said[name] for name in sorted(self.made, key=len, reverse=True)) or r"(?!)"
        any_camera = "|".join(said[name] for name in self.cameras)
        label = f"`{DEFAULTS}`" if fault.line in self.default_lines else r"camera \1"

        def told(text: str) -> str:
            text = re.sub(rf"(?<![\w-])({any_made})(?![\w-])", lambda match: self.made[match.group()], text)
            return re.sub(rf"\bnode ('(?:{any_camera})')", label, text)

        return replace(fault, what=told(fault.what), hint=told(fault.hint))


def expand_cameras(document: Document) -> Expansion:
    """Write out the cameras of a document, and the nodes that are wanted for each of them."""
    return _Expander(document).expand()


class _Expander:
    """One pass over one document."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.values = dict(document.values or {})
        self.faults: list[Fault] = []
        self.lines: dict[Path, int] = dict(document.lines)
        self.variables: dict[Path, Variable] = dict(document.variables)
        self.made: dict[str, str] = {}
        self._below: dict[Path, list[Path]] = defaultdict(list)
        for path in (*document.lines, *document.variables):
            self._below[path[:2]].append(path)

    def expand(self) -> Expansion:
        is_given, has_defaults = CAMERAS in self.values, DEFAULTS in self.values
        given, defaults = self.values.pop(CAMERAS, None), self.values.pop(DEFAULTS, {})
        nodes = self.values.get("nodes")
        nodes = nodes if isinstance(nodes, dict) else {}
        cameras = self._cameras(given, self._defaults(defaults)) if is_given else {}
        if has_defaults and not is_given:
            self._fault(
                (DEFAULTS,),
                f"the file has `{DEFAULTS}`, but no `{CAMERAS}`",
                "cameras",
                f"add `{CAMERAS}:`, or remove it",
            )
        each = [name for name, node in nodes.items() if self._is_per_camera(name, node)]
        if each and not is_given:
            what = f"node {each[0]!r} has `{PER_CAMERA}: true`, but this file has no `{CAMERAS}`"
            hint = f"add `{CAMERAS}:`, or remove `{PER_CAMERA}`"
            self._fault(("nodes", each[0], PER_CAMERA), what, "cameras", hint)
        count = len(cameras) + len(nodes) + len(each) * (len(cameras) - 1)
        if is_given and count > NODES_MAX:
            what = f"with one of each `{PER_CAMERA}` node for {len(cameras)} cameras, the file has {count} nodes"
            self._fault((CAMERAS,), what, f"at most {NODES_MAX} in one pipeline", "split it into several pipelines")
        elif is_given:
            self._refuse_same_names(cameras, nodes, each)
            self.values["nodes"] = cameras | self._nodes(list(cameras), nodes, each)
        default_lines = frozenset(line for path, line in self.document.lines.items() if path[:1] == (DEFAULTS,))
        whole = replace(self.document, values=self.values, lines=self.lines, variables=self.variables)
        return Expansion(whole, tuple(self.faults), tuple(cameras), self.made, default_lines)

    def _fault(self, path: Path, what: str, expected: str, hint: str) -> None:
        self.faults.append(Fault(self.document.line(*path), what, expected, hint))

    def _defaults(self, values: object) -> dict[str, Any]:
        if not isinstance(values, dict):
            hint = "write for example `{fps: 10, transport: tcp}`"
            self._fault((DEFAULTS,), f"`{DEFAULTS}` is not a mapping", "keys of a capture", hint)
            return {}
        for key in _OWN_KEYS:
            if key in values:
                hint = "remove it" if key == "kind" else "write it at each camera"
                self._fault((DEFAULTS, key), f"`{DEFAULTS}` has `{key}`", "keys that cameras can share", hint)
        return {key: value for key, value in values.items() if key not in _OWN_KEYS}

    def _cameras(self, given: object, defaults: Mapping[str, Any]) -> dict[str, Any]:
        """Return a capture for each camera that can be read, as the file would have it."""
        example = f"write for example `door: rtsp://10.0.0.5/stream` below `{CAMERAS}:`"
        if not isinstance(given, dict) or not given:
            kind = "empty" if not given else "a list" if isinstance(given, list) else "not a mapping"
            self._fault((CAMERAS,), f"`{CAMERAS}` is {kind}", "a mapping of names to cameras", example)
            return {}
        captures = {}
        for name, value in given.items():
            path: Path = (CAMERAS, name)
            own = {"source": value} if isinstance(value, str) else value
            if not isinstance(own, dict):
                kind = "empty" if value is None else "neither text nor a mapping"
                self._fault(path, f"camera {name!r} is {kind}", "a source, or a mapping with `source`", example)
                continue
            if own.get("kind", "capture") != "capture":
                self._fault((*path, "kind"), f"camera {name!r} has a `kind`", "a capture", "remove `kind`")
            self._stands(("nodes", name), path)
            if isinstance(value, str):
                self._stands(("nodes", name, "source"), path)
            for key in defaults.keys() - own.keys():
                self._stands(("nodes", name, key), (DEFAULTS, key))
            captures[name] = {**defaults, **own, "kind": "capture"}
        return captures

    def _is_per_camera(self, name: str, node: object) -> bool:
        if not isinstance(node, dict) or node.get("kind") == "capture":
            return False  # a capture has no such key, as whoever reads it will say
        variable = self.document.variables.get(("nodes", name, PER_CAMERA))
        return (node.get(PER_CAMERA) if variable is None else read_scalar(variable.text)) is True

    def _refuse_same_names(self, cameras: Iterable[str], nodes: Mapping[str, Any], each: list[str]) -> None:
        for name in cameras:
            if name == CAMERAS:
                self._fault(
                    (CAMERAS, name),
                    f"a camera named {name!r}",
                    "another name, as this one means all cameras",
                    "rename it",
                )
            if name in nodes:
                what = f"node {name!r} has the name of a camera (line {self.document.line(CAMERAS, name)})"
                self._fault(("nodes", name), what, "each name once", "rename one of them")
        if CAMERAS in nodes:
            what, expected = f"a node named {CAMERAS!r}", "another name, as this one means all cameras"
            self._fault(("nodes", CAMERAS), what, expected, "rename the node, also in each `input` that names it")
        for name in each:
            for camera in cameras:
                made = f"{name}-{camera}"
                if made in nodes or made in cameras:
                    what = f"node {name!r} becomes {made!r} for camera {camera!r}, and that name is taken"
                    self._fault(("nodes", name), what, "each name once", "rename one of them")
                if len(made) > NAME_CHARS_MAX >= max(len(name), len(camera)):
                    what = f"node {name!r} becomes {made!r} for camera {camera!r}, which has {len(made)} characters"
                    self._fault(("nodes", name), what, f"at most {NAME_CHARS_MAX}", "shorten one of the names")

    def _nodes(self, cameras: list[str], nodes: Mapping[str, Any], each: list[str]) -> dict[str, Any]:
        """Return the nodes with their inputs written out, those of `each` once a camera."""
        whole: dict[str, Any] = {}
        groups = {CAMERAS: cameras} | {name: [f"{name}-{camera}" for camera in cameras] for name in each}
        for name, node in nodes.items():
            inputs = node.get("input") if isinstance(node, dict) else None
            listed_inputs = inputs if isinstance(inputs, list) else [] if inputs is None else [inputs]
            if name not in each:
                whole[name] = node
                if isinstance(node, dict) and any(_source_of(one) in groups for one in listed_inputs):
                    whole[name] = {**node, "input": self._whole_inputs(name, inputs, groups)}
                continue
            self._refuse_shared(name, map(_source_of, listed_inputs), groups)
            for place, camera in enumerate(cameras):
                made = f"{name}-{camera}"
                self.made[made] = name
                self._stands(("nodes", made), ("nodes", name))
                own = [
                    _reading_from(one, groups[source][place]) if (source := _source_of(one)) in groups else one
                    for one in listed_inputs
                ]
                if isinstance(inputs, dict):
                    self.variables.pop(("nodes", made, "input", "from"), None)  # its text is the group's name
                whole[made] = (
                    node if "input" not in node else {**node, "input": own[0] if isinstance(inputs, dict) else own}
                )
        return whole

    def _whole_inputs(self, name: str, inputs: object, groups: Mapping[str, Any]) -> list[Any]:
        """Return a node's inputs with each group written out as its members."""
        found = [
            (_reading_from(one, member), index)
            for index, one in enumerate(inputs if isinstance(inputs, list) else [inputs])
            for member in groups.get(_source_of(one), [None])
        ]
        if not isinstance(inputs, str):
            self._move_inputs(name, found, is_list=isinstance(inputs, list))
        return [member for member, _ in found]

    def _refuse_shared(self, name: str, inputs: Iterable[object], groups: Mapping[str, Any]) -> None:
        """Refuse a node of one camera that would get every camera's frames."""
        for index, one in enumerate(inputs):
            if one and isinstance(one, str) and one not in groups:
                near = nearest(one, groups)
                known = self.values["nodes"]
                is_shared = one in known or one in (self.document.values or {}).get(CAMERAS, {})
                hint = f"write `{near}`" if near else "correct the name, or add that node"
                if is_shared:
                    hint = f"write `{PER_CAMERA}: true` there too, or remove it here"
                what = f"node {name!r} has `{PER_CAMERA}: true` and reads from {one!r:.60}, which has not"
                expected = listed(group for group in groups if group != name)
                self._fault(("nodes", name, "input", index), what, expected, hint)

    def _stands(self, new: Path, old: Path) -> None:
        """Note that what is now at one path stands in the file at another, with all that is below it."""
        for path in self._below[old] if len(old) == 2 else ():
            moved = (*new, *path[2:])
            if path in self.document.lines:
                self.lines[moved] = self.document.lines[path]
            if path in self.document.variables:
                self.variables[moved] = self.document.variables[path]

    def _move_inputs(self, name: str, sources: list[tuple[Any, int]], *, is_list: bool) -> None:
        """Note where the inputs of a node that were written out stand in the file, with the keys of their edges."""
        base: Path = ("nodes", name, "input")
        old = [path for path in self._below["nodes", name] if path[:3] == base and len(path) > 3]
        for path in old:
            self.lines.pop(path, None)
            self.variables.pop(path, None)
        for place, (one, index) in enumerate(sources):
            was = (*base, index) if is_list else base
            self.lines[*base, place] = self.document.line(*was)
            for path in (was, *old):
                if path[: len(was)] != was:
                    continue
                at = (*base, place, *path[len(was) :])
                if path in self.document.lines:
                    self.lines[at] = self.document.lines[path]
                if path in self.document.variables and (isinstance(one, str) or path[-1] != "from"):
                    self.variables[at] = self.document.variables[path]


def _source_of(one: object) -> str:
    """Return the name of the node that an input reads from, as the file has it; empty where it names none."""
    source = one.get("from") if isinstance(one, dict) else one
    return source if isinstance(source, str) else ""


def _reading_from(one: object, source: str | None) -> object:
    """Return an input that reads from one node of a group in place of the whole group; None: there is no group."""
    if source is None:
        return one
    return {**one, "from": source} if isinstance(one, dict) else source
