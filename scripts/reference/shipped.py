"""The page of what detektr ships for `use:`: the options of each, with defaults, and what it returns or writes."""

from __future__ import annotations

import inspect
import re
from textwrap import dedent

from detektr.processors.motion import Motion
from detektr.sinks.jsonl import JsonLines
from scripts.reference.markdown import code, document, sentence, table

SHIPPED: tuple[tuple[str, str, type], ...] = (("motion", "processor", Motion), ("jsonl", "sink", JsonLines))


def page() -> str:
    """Return the page."""
    head = (
        "`detektr list` shows these names, and those that other packages add. Their options"
        " stand under `with:`. A pipeline does not start if one is out of range."
    )
    return document("Shipped processors and sinks", head, *(_part(*one) for one in SHIPPED))


def _part(name: str, kind: str, cls: type) -> str:
    text, args = _described(cls)
    example = f"```yaml\nname: shop\nnodes:\n  {_EXAMPLES[name]}\n```"
    rows = [
        (code(one.name), sentence(args[one.name]), "required" if one.default is one.empty else code(repr(one.default)))
        for one in inspect.signature(cls).parameters.values()
    ]
    return f"## `use: {name}` (a {kind})\n\n{text}\n\n{table(('option', 'what it does', 'default'), rows)}\n\n{example}"


def _described(cls: type) -> tuple[str, dict[str, str]]:
    """Return what a class's docstring says, and what it says of each argument."""
    whole = inspect.getdoc(cls) or ""
    text, _, rest = whole.partition("\nArgs:\n")
    block = rest.partition("\nRaises:")[0]
    found = re.findall(r"^(\w+): (.*(?:\n +.*)*)", dedent(block), re.MULTILINE)
    return text.strip(), {name: " ".join(told.split()) for name, told in found}


_EXAMPLES = {
    "motion": """cam:    {kind: capture, source: "lavfi:testsrc2=size=320x180:rate=10:duration=2"}
  motion: {kind: processor, input: cam, use: motion, with: {threshold: 0.02, every: 0}}
  events: {kind: sink, input: motion, use: jsonl, with: {path: motion.jsonl}}""",
    "jsonl": """cam:    {kind: capture, source: "lavfi:testsrc2=size=320x180:rate=10:duration=2"}
  motion: {kind: processor, input: cam, use: motion}
  events: {kind: sink, input: motion, use: jsonl, with: {path: events.jsonl, rotate_bytes: 10_000_000, keep: 7}}""",
}
