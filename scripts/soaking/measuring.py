"""What processes cost: memory of their own, open files and CPU time, from /proc."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20
GROWTH_BYTES_MAX = 16 * MIB
FILES_GROWTH_MAX = 8
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """One process at one moment."""

    rss_bytes: int
    """Resident memory without the shared rings, which every reader maps."""
    files: int
    cpu_s: float


def cost_of(pid: int) -> Cost | None:
    """Return what a process costs; None: it has ended."""
    folder = Path(f"/proc/{pid}")
    try:
        fields = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        kib = sum(int(fields[key].split()[0]) for key in ("RssAnon", "RssFile"))
        files = len(list((folder / "fd").iterdir()))
        times = (folder / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError, KeyError):  # a zombie has a status without memory
        return None
    return Cost(kib * 1024, files, (int(times[11]) + int(times[12])) / _TICKS)


@dataclass
class Course:
    """One process from the first look to the last."""

    name: str
    first: Cost
    last: Cost
    rss_bytes_max: int

    def add(self, cost: Cost) -> None:
        """Take a look."""
        self.last = cost
        self.rss_bytes_max = max(self.rss_bytes_max, cost.rss_bytes)

    @property
    def breaches(self) -> list[str]:
        """What grew."""
        found = []
        growth = self.last.rss_bytes - self.first.rss_bytes
        if growth > GROWTH_BYTES_MAX:
            found.append(f"{self.name}: memory grew by {growth / MIB:.1f} MiB, at most {GROWTH_BYTES_MAX / MIB:.0f}")
        if self.last.files - self.first.files > FILES_GROWTH_MAX:
            found.append(f"{self.name}: open files grew from {self.first.files} to {self.last.files}")
        return found


def look(courses: dict[int, Course], pids: Mapping[int, str]) -> None:
    """Add a look at each process; a new one begins its course."""
    for pid, name in pids.items():
        cost = cost_of(pid)
        if cost is None:
            continue
        if pid in courses:
            courses[pid].add(cost)
        else:
            courses[pid] = Course(name, cost, cost, cost.rss_bytes)


def cpu_s(courses: Iterable[Course]) -> float:
    """Return the CPU time that processes used between their first look and their last."""
    return sum(course.last.cpu_s - course.first.cpu_s for course in courses)
