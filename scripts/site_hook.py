"""What MkDocs is told beside mkdocs.yml: pages of the repository's root, the decisions, and links between all of them.

Documents are written to be read where they lie, so their links lead from file to file of the repository. Here each
becomes a link of the site; one to a file that is no page (`scripts/test`) becomes its name.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES: Mapping[str, str] = MappingProxyType(
    {
        "ARCHITECTURE.md": "internals/architecture.md",
        "CONTRIBUTING.md": "internals/contributing.md",
        "CHANGELOG.md": "internals/changelog.md",
        "SECURITY.md": "internals/security.md",
        "README.md": "index.md",
    }
)
"""Documents of the root, and where they stand in the site."""
LINK = re.compile(r"(?<!\!)\[([^\]]*)\]\(([^)#\s]+)?(#[^)\s]*)?\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the decisions to what can be found, in the order of their numbers."""
    decisions: list[Any] = [f"decisions/{path.name}" for path in sorted((ROOT / "docs" / "decisions").glob("*.md"))]
    (internals,) = (part["Internals"] for part in config.nav or [] if "Internals" in part)
    internals.append({"Decisions": decisions})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the root."""
    for name, uri in PAGES.items():
        if uri != "index.md":
            files.append(File.generated(config, uri, content=(ROOT / name).read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages."""
    source = {uri: name for name, uri in PAGES.items() if uri != "index.md"}.get(page.file.src_uri)
    origin = source or f"docs/{page.file.src_uri}"
    parts = re.split(r"(^```.*?^```|`[^`\n]*`)", markdown, flags=re.DOTALL | re.MULTILINE)  # code has no links
    return "".join(
        part if index % 2 else _with_links(part, origin, page.file.src_uri) for index, part in enumerate(parts)
    )


def _with_links(text: str, origin: str, uri: str) -> str:
    def turn(found: re.Match[str]) -> str:
        words, target, anchor = found[1], found[2], found[3] or ""
        if target is None or "://" in target or target.startswith("mailto:"):
            return found[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(origin), target))
        to = PAGES.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
        if to is None or not (to.endswith((".md", ".svg", ".png"))):
            return words
        return f"[{words}]({posixpath.relpath(to, posixpath.dirname(uri) or '.')}{anchor})"

    return LINK.sub(turn, text)
