"""All links lead somewhere, what a page names is there, and the site builds without a network."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.docs.document import DOCS, DOCUMENTS, ROOT, anchors, links, name_of

NO_NETWORK = """
import socket, sys
def refuse(*arguments, **options):
    raise OSError(f"the site asked the network: {arguments}")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
from mkdocs.__main__ import cli
cli(["build", "--strict", "--quiet", "--site-dir", sys.argv[1]])
"""


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_the_links_of_a_document_lead_somewhere(path: Path) -> None:
    wrong = []
    for target, anchor in links(path):
        if "://" in target:
            continue
        to = (path.parent / target).resolve() if target else path
        if not to.exists() or (anchor and anchor not in anchors(to)):
            wrong.append(f"{target}#{anchor}")
    assert wrong == []


def test_tests_and_scripts_that_documents_name_are_there() -> None:
    named = {
        (name_of(path), found)
        for path in DOCUMENTS
        if path.name != "CHANGELOG.md" and "decisions" not in path.parts
        for found in re.findall(r"`((?:tests|scripts|deploy)/[\w./-]+)", path.read_text())
    }
    assert len(named) > 30
    assert {(page, name) for page, name in named if not list(ROOT.glob(name.rstrip("/")))} == set()


def test_what_troubleshooting_quotes_is_what_detektr_says() -> None:
    said = (DOCS / "reference" / "errors.md").read_text()
    rows = re.findall(r"^\| `([^`]+)` \|", (DOCS / "troubleshooting.md").read_text(), re.MULTILINE)
    quoted = [text for text in rows if len(text.split()) >= 3 and not text.startswith("ValueError")]
    assert len(quoted) >= 5
    assert [text for text in quoted if text not in said] == []


def test_the_site_builds_without_a_network_and_asks_none(tmp_path: Path) -> None:
    site = tmp_path / "site"
    command = [sys.executable, "-c", NO_NETWORK, str(site)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=55)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = list(site.rglob("*.html"))
    assert len(pages) > 80
    foreign = re.compile(r"<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=\"?https?://[^\s\">]+")
    assert {found for page in pages for found in foreign.findall(page.read_text())} == set()
    python = (site / "reference" / "python.html").read_text()
    assert "max_deliveries" in python and ":::" not in python  # it was filled in from the docstrings
