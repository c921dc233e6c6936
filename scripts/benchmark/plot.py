"""Lines as SVG, without a library: panels above each other, axes from 0, a legend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 640, 260  # of one panel
LEFT, RIGHT, TOP, BOTTOM = 62, 150, 26, 44
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd", "#17becf", "#8c564b", "#7f7f7f")
TICKS_MAX = 5
DOTS_MAX = 40  # a line of more values is drawn without its points


@dataclass(frozen=True)
class Line:
    """One line of a panel; a y of None is a gap."""

    label: str
    xs: Sequence[float]
    ys: Sequence[float | None]


@dataclass(frozen=True)
class Panel:
    """Lines over the same axes."""

    title: str
    x_label: str
    lines: Sequence[Line]


def draw_panels(path: Path, panels: Sequence[Panel]) -> None:
    """Write the panels, one above the other, as one SVG."""
    body = [f'<g transform="translate(0,{HEIGHT * place})">{_panel(panel)}</g>' for place, panel in enumerate(panels)]
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT * len(panels)}" '
        f'font-family="sans-serif" font-size="11">\n<rect width="100%" height="100%" fill="white"/>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


def _panel(panel: Panel) -> str:
    x_ticks = _ticks(max((x for line in panel.lines for x in line.xs), default=1.0))
    y_ticks = _ticks(max((y for line in panel.lines for y in line.ys if y is not None), default=1.0))
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at(x: float, y: float) -> tuple[float, float]:
        return round(LEFT + wide * x / x_ticks[-1], 1), round(TOP + high * (1 - y / y_ticks[-1]), 1)

    parts = [f'<text x="{LEFT}" y="16" font-weight="bold">{escape(panel.title)}</text>']
    for y in y_ticks:
        y_at = at(0, y)[1]
        parts.append(f'<line x1="{LEFT}" y1="{y_at}" x2="{LEFT + wide}" y2="{y_at}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y_at + 4}" text-anchor="end">{y:,g}</text>')
    for x in x_ticks:
        x_at = at(x, 0)[0]
        parts.append(f'<text x="{x_at}" y="{TOP + high + 15}" text-anchor="middle">{x:,g}</text>')
    middle = LEFT + wide / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 12}" text-anchor="middle">{escape(panel.x_label)}</text>')
    for place, line in enumerate(panel.lines):
        colour = COLOURS[place % len(COLOURS)]
        points = [at(x, y) for x, y in zip(line.xs, line.ys, strict=True) if y is not None]
        drawn = " ".join(f"{x},{y}" for x, y in points)
        parts.append(f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        if len(points) <= DOTS_MAX:
            parts += [f'<circle cx="{x}" cy="{y}" r="2.6" fill="{colour}"/>' for x, y in points]
        row, side = TOP + 8 + 16 * place, LEFT + wide + 12
        parts.append(f'<line x1="{side}" y1="{row}" x2="{side + 16}" y2="{row}" stroke="{colour}" stroke-width="1.6"/>')
        parts.append(f'<text x="{side + 21}" y="{row + 4}">{escape(line.label)}</text>')
    return "\n".join(parts)


def _ticks(most: float) -> list[float]:
    """Return where an axis that reaches `most` is labelled: from 0, at most `TICKS_MAX` steps."""
    least = max(most, 1e-9) / TICKS_MAX
    power = 10.0 ** math.floor(math.log10(least))
    step = next(step * power for step in (1, 2, 2.5, 4, 5, 10) if least <= step * power * (1 + 1e-9))
    return [step * tick for tick in range(math.ceil(most / step - 1e-9) + 1)] if most > 0 else [0.0, step]
