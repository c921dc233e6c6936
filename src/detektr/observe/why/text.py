"""The answer of `detektr why`, and the list of runs, as plain text."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import Any

from detektr.ledger import describe_counts
from detektr.observe.status_text import aligned


def describe_answer(answer: Mapping[str, Any]) -> str:
    """Write what `explain` returned: a headline, then each finding with what to do."""
    window = answer["window"]
    span = f"{_clock(window['begin'])} to {_clock(window['end'])}"
    when = "now" if answer["live"] else f"run {answer['run']}"
    lines = [f"{answer['pipeline']}, {when}, from {span}"]
    lossy = [edge for edge in answer["evidence"] if edge["dropped"] or edge["dead_lettered"]]
    if not answer["sickest"] and not lossy:
        offered = sum(edge["offered"] for edge in answer["evidence"])
        lines.append(f"nothing was lost or late; {offered} frames and events were offered")
    elif not answer["sickest"]:
        lines.append("little was lost, or as the file asks; nobody is to blame:")
    lines += describe_findings(answer["sickest"])
    for edge in lossy:
        lost = describe_counts(edge["dropped"] | ({"dead_lettered": n} if (n := edge["dead_lettered"]) else {}))
        lines.append(f"   {edge['from']} -> {edge['to']}: {edge['offered']} offered, lost: {lost}")
    return "\n".join(lines)


def describe_findings(sickest: Iterable[Mapping[str, Any]]) -> list[str]:
    """Write what is wrong, the worst first: a line each, and one with what to do."""
    lines = []
    for one in sickest:
        lines.append(f"{one['rank']}. {one['code']}, since {_clock(one['since'])}: {one['text']}")
        lines.append(f"   {one['next']}")
    return lines


def describe_runs(runs: Iterable[Mapping[str, Any]]) -> str:
    """Write the runs of a pipeline, one a line."""
    rows: list[tuple[str, ...]] = [("run", "began", "for", "exit", "unaccounted", "file")]
    for run in runs:
        began = datetime.datetime.fromtimestamp(run["started_utc_ns"] / 1e9).astimezone()
        ended_ns = run["ended_utc_ns"]
        for_ = f"{(ended_ns - run['started_utc_ns']) / 1e9:.0f} s" if ended_ns else run["state"]
        report = run.get("report") or {}
        exit_code, missing = str(run.get("exit_code", "-")), str(report.get("unaccounted", "-"))
        rows.append((run["run"], f"{began:%Y-%m-%d %H:%M:%S}", for_, exit_code, missing, str(run.get("file"))))
    return "\n".join(aligned(rows))


def _clock(utc: str) -> str:
    """Write a time in this machine's own zone; with the day where it is not today's."""
    moment = datetime.datetime.fromisoformat(utc).astimezone()
    is_today = moment.date() == datetime.datetime.now().astimezone().date()
    return f"{moment:%H:%M:%S}" if is_today else f"{moment:%Y-%m-%d %H:%M:%S}"
