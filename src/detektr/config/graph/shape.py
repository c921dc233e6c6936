"""Who reads whom in a pipeline: nodes in order, and every fault of that."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from detektr.config.document import Fault
from detektr.config.graph.ways import Ways
from detektr.config.suggestions import listed, nearest
from detektr.options import (
    BufferOptions,
    CaptureOptions,
    NodeOptions,
    ProcessorOptions,
    edge_inputs,
    inputs_of,
    wants_newest,
)
from detektr.registry.node_kinds import NODE_KINDS


class Shape:
    """Who reads from whom, and what is wrong with it."""

    def __init__(self, nodes: Mapping[str, NodeOptions], line_of: Callable[..., int], unsure: frozenset[str]) -> None:
        self.nodes = nodes
        self.line_of = line_of
        self.unsure = unsure
        self.faults: list[Fault] = []
        self.refused: frozenset[str] = frozenset()
        self.reads: dict[str, list[str]] = {}  # only what exists and may be read

    def check(self) -> list[str] | None:
        """Return the nodes, producers first; None where the graph cannot be sized."""
        for name, node in self.nodes.items():
            self.reads[name] = [] if name in self.unsure else self._inputs(name, node)
        order = self._order()
        if self.unsure or not self.nodes:  # whatever seems to be missing may be what a broken node meant
            return order
        if not any(isinstance(node, CaptureOptions) for node in self.nodes.values()):
            what, hint = "a pipeline without a capture", "add a node `{kind: capture, source: ...}`"
            self.faults.append(Fault(self.line_of("nodes"), what, "at least one capture", hint))
        read = {source for name, node in self.nodes.items() for source in inputs_of(node) if source != name}
        for name, node in self.nodes.items():
            if isinstance(node, CaptureOptions | BufferOptions) and name not in read:
                self._dead_end(name, node.kind)
        self._find_branches(order or [])
        return order

    def _find_branches(self, order: list[str]) -> None:
        """Fault nodes to which the same frame comes twice where that cannot be, and joins of what are no branches."""
        captures: dict[str, set[str]] = {}  # above each node
        coming: dict[str, set[str]] = {}  # those of them whose frames come to it
        relays = {source for name in order if self.nodes[name].kind != "sink" for source in self.reads[name]}
        ways = Ways(self.nodes, order, self.reads)
        for name in order:
            node = self.nodes[name]
            is_joined = isinstance(node, ProcessorOptions) and node.join is not None
            if not is_joined and (isinstance(node, BufferOptions) or name in relays or ways.is_ordered(name)):
                self._check_once(name, node, coming, is_passed_on=name in relays)
            own = {name} if isinstance(node, CaptureOptions) else set[str]()
            reads = self.reads[name]
            captures[name] = own.union(*[captures[source] for source in reads])
            coming[name] = own.union(*[self._passing(node, source, coming[source]) for source in reads])
            if isinstance(node, ProcessorOptions) and name not in self.refused:
                self._check_gathering(name, node, captures)

    def _check_once(self, name: str, node: NodeOptions, coming: Mapping[str, set[str]], *, is_passed_on: bool) -> None:
        """Fault a node that would pass the same frame on twice, or get it twice where each comes in its order."""
        found = set[str]()
        for index, source in enumerate(self.reads[name]):
            passing = self._passing(node, source, coming[source])
            twice = sorted(found & passing)
            if twice:
                is_processor = isinstance(node, ProcessorOptions)
                what = f"{node.kind} {name!r} gets the frames of {', '.join(twice)} twice: by {source!r} too"
                why = "is passed on" if is_passed_on or not is_processor else "comes in order"
                others = "read only one of them, or let a processor with `join: frame` read both"
                hint = (
                    "add `join: frame`, which brings both together, or read only one of them"
                    if is_processor
                    else others
                )
                self._fault(("nodes", name, "input", index), what, f"one way for each frame that {why}", hint)
                self.refused |= {name}
            found |= passing

    def _passing(self, node: NodeOptions, source: str, captures: set[str]) -> set[str]:
        """Return the captures whose frames come by an input, as its `cameras` say."""
        asked = next(edge.camera_names for edge in edge_inputs(node) if edge.from_ == source)
        if not asked:
            return captures
        cameras = {
            name: capture.camera or name
            for name, capture in self.nodes.items()
            if name in captures and isinstance(capture, CaptureOptions)
        }
        return {name for name, camera in cameras.items() if camera in asked}

    def _check_gathering(self, name: str, node: ProcessorOptions, captures: Mapping[str, set[str]]) -> None:
        """Fault a join of what are no branches, and what cannot be fresh since it holds frames back."""
        reads = self.reads[name]
        if node.join is not None and len(reads) == 1:
            what = f"node {name!r} joins the frames of one input"
            hint = "name the other branches in `input`, or leave `join` out"
            self._fault(("nodes", name, "join"), what, "two inputs or more", hint)
        for index, source in enumerate(reads[1:] if node.join is not None else [], 1):
            other = sorted(captures[source] ^ captures[reads[0]])
            if other:
                both = f"{reads[0]!r} and {source!r}"
                what = f"node {name!r} joins {both}, but only one of them gets the frames of {', '.join(other)}"
                hint = "let both read the same cameras (`cameras` of an input may leave some out), or leave `join` out"
                self._fault(("nodes", name, "input", index), what, "branches of the same cameras", hint)
        key = "join" if node.join is not None else "order"
        if (node.join or node.order) and wants_newest(node):
            what = f"node {name!r} has `{key}: {getattr(node, key)}` and `fresh: true`"
            hint = "remove one of them, or, to drop frames, write `fresh` at the processors that it reads"
            self._fault(
                ("nodes", name, key), what, f"`{key}`, which holds frames back, or `fresh`, which drops them", hint
            )

    def _inputs(self, name: str, node: NodeOptions) -> list[str]:
        """Return the inputs that exist and may be read."""
        good: list[str] = []
        inputs = inputs_of(node)
        allowed = NODE_KINDS[node.kind].may_read
        kinds = " or ".join(f"a {kind}" for kind in allowed)
        if allowed and not inputs:
            fit = [other for other, node in self.nodes.items() if node.kind in allowed and other != name]
            what = f"node {name!r} reads from nothing (`input` is an empty list)"
            hint = f"name one: {listed(fit)}" if fit else f"add {kinds}"
            self.faults.append(Fault(self.line_of("nodes", name, "input"), what, kinds, hint))
        for index, source in enumerate(inputs):
            path = ("nodes", name, "input", index)
            if source in inputs[:index]:
                self._fault(path, f"node {name!r} reads twice from {source!r}", "each input once", "remove one")
            elif source == name:
                self._fault(path, f"node {name!r} reads from itself", f"another node, {kinds}", "name another node")
            elif source not in self.nodes and source not in self.unsure:
                self._missing(path, name, source)
            elif source in self.nodes and self.nodes[source].kind not in allowed:
                kind = self.nodes[source].kind
                hint = self._hint(node.kind, kind, source)
                self._fault(path, f"{node.kind} {name!r} reads from the {kind} {source!r}", kinds, hint)
            elif source in self.nodes:
                good.append(source)
        if len(good) < len(inputs):
            self.refused |= {name}
        return good

    def _hint(self, reader: str, kind: str, source: str) -> str:
        allowed = NODE_KINDS[reader].may_read
        if allowed == ("processor",):
            feeders = [name for name, node in self.nodes.items() if node.kind in allowed]
            return f"read a processor ({listed(feeders)})" if feeders else "put a processor between them"
        return "a sink ends its branch: read a capture, buffer or processor"

    def _missing(self, path: tuple[str | int, ...], name: str, source: str) -> None:
        near = nearest(source, (other for other in self.nodes if other != name))
        names = [*self.nodes, *self.unsure]
        hint = f"write `{near}`" if near else "correct the name, or add that node"
        what = f"node {name!r} reads from {source!r:.60}, which is not in this file"
        self._fault(path, what, f"one of its nodes ({', '.join(dict.fromkeys(names))})", hint)

    def _fault(self, path: tuple[str | int, ...], what: str, expected: str, hint: str) -> None:
        self.faults.append(Fault(self.line_of(*path), what, expected, hint))

    def _dead_end(self, name: str, kind: str) -> None:
        what = f"nobody reads from the {kind} {name!r}: its frames would pile up with nobody to take them (a dead end)"
        hint = f"add a processor with `input: {name}`, or remove {name!r}"
        self.faults.append(Fault(self.line_of("nodes", name), what, "at least one reader", hint))

    def _order(self) -> list[str] | None:
        """Sort producers before consumers, else in the file's order; fault each cycle once."""
        order: list[str] = []
        waiting = dict(self.reads)
        while waiting:
            ready = next((name for name, reads in waiting.items() if not any(read in waiting for read in reads)), None)
            if ready is None:
                break
            order.append(ready)
            del waiting[ready]
        if not waiting:
            return order
        seen: set[str] = set()
        for start in waiting:
            walk: list[str] = []
            name = start
            while name not in seen:
                seen.add(name)
                walk.append(name)
                name = next(read for read in self.reads[name] if read in waiting)
            if name in walk:
                cycle = walk[walk.index(name) :][::-1]
                first = min(cycle, key=lambda other: list(self.nodes).index(other))
                turned = cycle[cycle.index(first) :] + cycle[: cycle.index(first)]
                what = f"a cycle: {' -> '.join([*turned, first])}"
                hint = f"let {first!r} read from a capture, or remove one of these inputs"
                self._fault(("nodes", first, "input"), what, "frames that flow one way", hint)
        return None
