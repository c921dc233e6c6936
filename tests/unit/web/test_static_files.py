"""The files of the page: modules that one can read, which ask nobody else, and make nothing of a run markup."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import detektr.web

FOLDER = Path(detektr.web.__path__[0]) / "static"
FILES = sorted(FOLDER.iterdir())
MODULES = [path for path in FILES if path.suffix == ".js"]
MARKUP = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b|new Function")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_asks_anybody_else_or_is_too_long(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"https?://|//[a-z0-9-]+\.[a-z]{2,}", text), "outside requests"
    assert len(text.splitlines()) <= 400


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_no_module_makes_markup_of_text_and_each_imports_what_is_there(path: Path) -> None:
    text = path.read_text()
    assert not MARKUP.search(text)
    for names, module in re.findall(r'^import \{(.*?)\} from "\./(\w+\.js)";$', text, re.MULTILINE):
        exported = set(
            re.findall(r"^export (?:async )?(?:function|const|class) (\w+)", (FOLDER / module).read_text(), re.M)
        )
        assert {name.strip() for name in names.split(",")} <= exported, (path.name, module)


def test_the_page_has_no_script_or_style_of_its_own() -> None:
    text = (FOLDER / "index.html").read_text()
    assert re.findall(r"<script[^>]*>", text) == ['<script type="module" src="/page/page.js">']
    assert "<style" not in text and not re.search(r"\s(style|on\w+)=", text)
