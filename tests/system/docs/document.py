"""The documents of this repository, their blocks of code, their links and their headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
OF_THE_ROOT = ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
DOCUMENTS = [*(ROOT / name for name in OF_THE_ROOT), *sorted(DOCS.rglob("*.md"))]
FOR_USERS = [path for path in DOCUMENTS if not {"internals", "decisions"} & set(path.parts)]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)#\s]*)(?:#([^)\s]*))?\)")
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """One block of code of a document."""

    where: str
    language: str
    text: str


def name_of(path: Path) -> str:
    """Return a document's path within the repository."""
    return str(path.relative_to(ROOT))


def blocks(*languages: str) -> list[Block]:
    """Return the blocks of these languages in all documents for users."""
    return [
        Block(f"{name_of(path)}:{text[: found.start()].count(chr(10)) + 1}", found[1], found[2])
        for path in FOR_USERS
        for text in [path.read_text()]
        for found in BLOCK.finditer(text)
        if found[1] in languages
    ]


def links(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the targets of a document's links, each with its anchor."""
    for found in LINK.finditer(CODE.sub("", path.read_text())):
        yield found[1], found[2] or ""


def anchors(path: Path) -> set[str]:
    """Return the anchors of a document's headings."""
    headings = re.findall(
        r"^#+ (.*)$", re.sub(r"^```.*?^```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE), re.M
    )
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in plain}
