"""Since when a node has been losing or giving up frames: a window begins where somebody looks, and trouble before that.

What a look finds is traced back through the history, for as long as no minute was without trouble. Looks of one process
remember it, so that a page that looks each second does not read a day of history each second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

from detektr.observe.why.blame import charge
from detektr.observe.why.terms import Terms
from detektr.telemetry.history.window import Window

GAP_S = 60
"""Trouble after a longer time without any is new."""
SPANS_S = (900, 9_000, 86_400)
"""How far back it is looked for, each time in coarser rows: a window has at most 900 of them."""
_KNOWN_MAX = 1024
Earlier = Callable[[int, int], Window | None]


class Episodes:
    """Knows since when the trouble of each node goes on."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[int, int]] = {}  # run and node: since when, and when it was last so

    def begun(self, run: str, names: Iterable[str], window: Window, terms: Terms, earlier: Earlier) -> dict[str, int]:
        """Return when the trouble of nodes that have some in a window began (UTC, in seconds).

        Args:
            run: id of the run.
            names: which nodes; those without trouble in the window are left out.
            window: the last rows of the run.
            terms: what was agreed.
            earlier: returns the run's rows between two times; None: nothing is known of them.
        """
        times = trouble(window, terms)
        found: dict[str, int] = {}
        asked: dict[str, int] = {}
        for name in names:
            if not times.get(name):
                continue
            first_s = _first(times[name], times[name][-1], GAP_S)
            since_s, seen_s = self._known.get((run, name), (0, 0))
            if first_s - seen_s <= GAP_S:
                found[name] = since_s
            elif first_s - window.begin_s > GAP_S:
                found[name] = first_s
            else:
                asked[name] = first_s
        found |= _traced(asked, window.begin_s, terms, earlier)
        if len(self._known) > _KNOWN_MAX:
            self._known.clear()
        self._known |= {(run, name): (since_s, times[name][-1]) for name, since_s in found.items()}
        return found


def trouble(window: Window, terms: Terms) -> dict[str, list[int]]:
    """Return the times of the rows in which frames were lost because of a node, or given up by it, in order."""
    times = {name: set(blame.times) for name, blame in charge(window, terms).items()}
    for (_, consumer), rows in window.edges.items():
        given_up = [after for before, after in pairwise(rows) if after[1].dead_lettered > before[1].dead_lettered]
        times.setdefault(consumer, set()).update(utc_s for utc_s, _ in given_up)
    return {name: sorted(found) for name, found in times.items()}


def _traced(asked: dict[str, int], end_s: int, terms: Terms, earlier: Earlier) -> dict[str, int]:
    """Return when the trouble of nodes began that had it at these times already."""
    found = dict(asked)
    for span_s in SPANS_S:
        window = earlier(end_s - span_s, end_s) if asked else None
        if window is None:
            break
        times, gap_s = trouble(window, terms), max(GAP_S, 2 * window.step_s)
        for name, first_s in list(asked.items()):
            found[name] = _first(times.get(name, []), first_s, gap_s)
            if found[name] - window.begin_s > gap_s:
                del asked[name]
    return found


def _first(times: list[int], last_s: int, gap_s: int) -> int:
    """Return the first of the times from which on no gap is longer, up to the last one."""
    for utc_s in reversed(times):
        if utc_s < last_s - gap_s:
            break
        last_s = min(last_s, utc_s)
    return last_s
