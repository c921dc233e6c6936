"""A record of each run of a pipeline, as a JSON file: what ran, from when to when, and its ledger at the end."""

from __future__ import annotations

import datetime
import json
import math
import re
from pathlib import Path
from typing import Any, Final

from detektr.errors import DetektrError

FOLDER: Final = "runs"
RUNS_MAX: Final = 500
ID: Final = re.compile(r"^[0-9]{8}-[0-9]{6}-[0-9]{3}\Z")


_KEYS: Final = {
    **{"run": (str,), "pipeline": (str,), "started_utc_ns": (int,), "pid": (int,)},
    **{"ended_utc_ns": (int, type(None)), "nodes": (dict,), "edges": (list,)},
}
"""What each record has, and its types."""


def new_run_id(utc_ns: int) -> str:
    """Return the id of a run that begins now: its time (UTC), with milliseconds, by which ids sort."""
    return (
        f"{datetime.datetime.fromtimestamp(utc_ns // 10**9, datetime.UTC):%Y%m%d-%H%M%S}-{utc_ns // 10**6 % 1000:03d}"
    )


class RunRecords:
    """The records of one pipeline's runs."""

    def __init__(self, state_folder: Path) -> None:
        """Name the folder; nothing is made yet.

        Args:
            state_folder: the pipeline's folder for what outlives a run.
        """
        self.folder = state_folder / FOLDER

    def path(self, run: str) -> Path:
        """Path of the record of a run."""
        return self.folder / f"{run}.json"

    def ids(self) -> list[str]:
        """Return the ids of the runs that have a record, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(path.stem for path in self.folder.glob("*.json") if ID.match(path.stem))

    def read(self, run: str) -> dict[str, Any]:
        """Return the record of a run.

        Args:
            run: its id, the begin of one, or `last`.
        Raises:
            DetektrError: there is none, or several begin so.
        """
        known = self.ids()
        found = known[-1:] if run == "last" else [one for one in known if one.startswith(run)]
        if len(found) != 1:
            pipeline, what = self.folder.parent.name, "no run" if not found else f"{len(found)} runs"
            these = ", ".join((found or known)[-3:])
            raise DetektrError(
                f"pipeline {pipeline!r} has {what} {run!r}; "
                + (f"name one of them, as {these}" if these else "start one with `detektr up` and its file")
            )
        record = self._read(found[0])
        if record is None:
            raise DetektrError(f"the record of run {found[0]} cannot be read: {self.path(found[0])}; remove it")
        return record

    def all(self) -> list[dict[str, Any]]:
        """Return the records that can be read, oldest first."""
        return [record for run in self.ids() if (record := self._read(run)) is not None]

    def at(self, begin_s: float, end_s: float) -> dict[str, Any] | None:
        """Return the record of the run that was on for most of a time (UTC, in seconds); None: none was."""
        overlaps: list[tuple[float, dict[str, Any]]] = []
        for record in self.all():
            ended_s = math.inf if record["ended_utc_ns"] is None else record["ended_utc_ns"] / 1e9
            overlaps.append((min(end_s, ended_s) - max(begin_s, record["started_utc_ns"] / 1e9), record))
        longest = max(overlaps, key=lambda one: one[0], default=None)
        return None if longest is None or longest[0] <= 0 else longest[1]

    def forget_old(self) -> None:
        """Remove the oldest records beyond `RUNS_MAX`."""
        for run in self.ids()[:-RUNS_MAX]:
            self.path(run).unlink(missing_ok=True)

    def _read(self, run: str) -> dict[str, Any] | None:
        try:
            record = json.loads(self.path(run).read_text())
        except (OSError, ValueError):
            return None
        is_whole = isinstance(record, dict) and all(type(record.get(key)) in kinds for key, kinds in _KEYS.items())
        return record if is_whole else None
