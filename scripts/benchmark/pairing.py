"""Paired rounds: everybody once a round, in an order that turns; medians, and medians of the ratios within a round."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from entrant import Entrant
from run import Figures, RunFailed
from trial import Trial


def add_pairing(parser: argparse.ArgumentParser) -> None:
    """Add how often everybody runs, and where the peers are."""
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--peers", type=Path, nargs="*", metavar="DIR",
        help="run the peers too: those of this environment, and of the environments in these folders",
    )  # fmt: skip


class Pairing:
    """The figures of all rounds, by name; a run that failed is missing in its round."""

    def __init__(self, rounds: list[dict[str, Figures]], names: list[str]) -> None:
        """Take the rounds, and the order of the names."""
        self.rounds, self.names = rounds, [name for name in names if any(name in one for one in rounds)]
        self.names_failed = [name for name in names if name not in self.names]

    def median(self, name: str, figure: str) -> float:
        """Return the median of a figure."""
        return statistics.median(self._values(name, figure))

    def most(self, name: str, figure: str) -> float:
        """Return the highest value of a figure."""
        return max(self._values(name, figure))

    def count(self, name: str) -> int:
        """Return in how many rounds this one ended well."""
        return sum(name in one for one in self.rounds)

    def failed(self, name: str) -> int:
        """Return in how many rounds this one did not end well."""
        return len(self.rounds) - self.count(name)

    def ratio(self, name: str, other: str, figure: str) -> float | None:
        """Return the median of the rounds' ratios to another; None: it is not there."""
        return self._median_of(name, other, lambda own, theirs: getattr(own, figure) / getattr(theirs, figure))

    def beyond(self, name: str, other: str, figure: str) -> float | None:
        """Return the median of the rounds' differences to another; None: it is not there."""
        return self._median_of(name, other, lambda own, theirs: getattr(own, figure) - getattr(theirs, figure))

    def by_process(self, name: str) -> dict[str, float]:
        """Return the median CPU ms of each process for each frame, the dearest first."""
        found: dict[str, list[float]] = {}
        for one in self.rounds:
            for process, spent in one[name].cpu_by_process.items() if name in one else ():
                found.setdefault(process, []).append(spent)
        medians = {process: statistics.median(spent) for process, spent in found.items()}
        return dict(sorted(medians.items(), key=lambda item: -item[1]))

    def each(self, name: str) -> dict[str, list[float]]:
        """Return what every round gave."""
        return {figure: self._values(name, figure) for figure in ("fps", "p50_ms", "p99_ms", "cpu_ms_per_frame")}

    def _values(self, name: str, figure: str) -> list[float]:
        return [getattr(one[name], figure) for one in self.rounds if name in one]

    def _median_of(self, name: str, other: str, of: Callable[[Figures, Figures], float]) -> float | None:
        both = [of(one[name], one[other]) for one in self.rounds if name in one and other in one]
        return statistics.median(both) if both else None


def run_paired(found: dict[Entrant, str], trial_in: Callable[[str], Trial], rounds: int) -> Pairing:
    """Run everybody `rounds` times; who fails is told on stderr, and is missing in that round.

    Args:
        found: who runs, and with which interpreter.
        trial_in: what is run, in the folder it is given.
        rounds: how often.
    """
    entrants, done = list(found), list[dict[str, Figures]]()
    for number in range(rounds):
        turn = number % len(entrants)
        figures: dict[str, Figures] = {}
        for entrant in entrants[turn:] + entrants[:turn]:
            with tempfile.TemporaryDirectory(prefix="dtk") as folder:
                try:
                    own = figures[entrant.name] = entrant.launch(trial_in(folder), found[entrant])
                    word = (
                        f"{own.fps:,.1f} frames/s, p50 {own.p50_ms:.2f} ms, {own.cpu_ms_per_frame:.2f} ms CPU a frame"
                    )
                except RunFailed as fault:
                    word = str(fault)
                print(f"round {number + 1} of {rounds}: {entrant.name}: {word}", file=sys.stderr, flush=True)
        done.append(figures)
    return Pairing(done, [entrant.name for entrant in entrants])
