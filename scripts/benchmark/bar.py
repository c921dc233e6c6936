"""A bar as a statement that a run can check: what, the value found, and the most or the least it may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=False)
class Bar:
    """One line of the table of bars; give `least` or `most`."""

    what: str
    value: float | None
    """As measured; None: this run did not measure it."""
    least: float | None = None
    """The bar holds from here up."""
    most: float | None = None
    """The bar holds up to here."""

    @property
    def holds(self) -> bool | None:
        """Whether it holds; None where nothing was measured."""
        if self.value is None:
            return None
        return (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)

    def as_record(self) -> dict[str, object]:
        """Return it for a file."""
        return {"what": self.what, "value": self.value, "least": self.least, "most": self.most, "holds": self.holds}


def show_bars(bars: Sequence[Bar]) -> bool:
    """Print each bar; returns whether none misses."""
    print("\nbars")
    for bar in bars:
        bound = f">= {bar.least:g}" if bar.least is not None else f"<= {bar.most:g}"
        value = "-" if bar.value is None else f"{bar.value:,.3f}"
        word = {True: "holds", False: "MISSES", None: "not measured in this run"}[bar.holds]
        print(f"  {bar.what:58} {value:>12}  {bound:>10}  {word}")
    return not any(bar.holds is False for bar in bars)
