"""Writes docs/reference/*.md out of the code, as `python -m scripts.reference`; a test fails when one is stale."""

from __future__ import annotations

from pathlib import Path

from scripts.reference.pages import texts

FOLDER = Path(__file__).parents[2] / "docs" / "reference"

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for old in set(FOLDER.glob("*.md")) - {FOLDER / file for file in texts()}:
        old.unlink()
    for file, text in texts().items():
        (FOLDER / file).write_text(text)
        print(FOLDER / file)
