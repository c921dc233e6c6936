"""Rows as people read them: those of one run under one title, a column for each figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the rows; those that follow each other with the same `run` are one table. Nested figures are left out."""
    for title, group in groupby(rows, key=lambda row: row["run"]):
        cells = [{key: _cell(value) for key, value in row.items() if key != "run"} for row in group]
        names = [name for name in cells[0] if cells[0][name] is not None]
        print(f"\n{title}")
        if len(cells) == 1 and "who" not in names:
            for name in names:
                print(f"  {name:24} {cells[0][name]:>12}")
            continue
        widths = {name: max(len(name), *(len(row.get(name) or "-") for row in cells)) for name in names}
        print("  " + "  ".join(f"{name:>{widths[name]}}" for name in names))
        for row in cells:
            print("  " + "  ".join(f"{row.get(name) or '-':>{widths[name]}}" for name in names))


def _cell(value: Any) -> str | None:
    if isinstance(value, Mapping | list):
        return None
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) >= 100 else f"{value:.2f}"
    return "-" if value is None else str(value)
