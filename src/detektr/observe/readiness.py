"""Whether a run does its work now, and why not: what `/ready` and `detektr healthcheck` say."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any

from detektr.errors import DetektrError
from detektr.memory.run_folder import RunFolder
from detektr.observe.status import read_status
from detektr.observe.why.answer import explain

LOOK_BACK_S = 10  # what was so before that is over
READY_CODES = (
    *(
        "supervisor_dead",
        "ledger",
        "failed",
        "hung",
        "camera_down",
        "failing",
        "paused",
        "stalled",
        "losing",
        "no_puller",
    ),
)
STARTING = ("starting", "restarting", "connecting")
_START = "wait until it has started; `detektr why` says more if it does not"


def read_reasons(name: str) -> list[dict[str, Any]]:
    """Return why a pipeline is not ready, the worst first; empty: it is.

    Returns:
        Of each reason `code`, `node` or `edge`, `since` (UTC; None: not known), `text` and `next`.
    """
    folder = RunFolder(name)
    if folder.path.is_dir() and (folder.lock_holder() is not None or folder.live_processes()):
        with contextlib.suppress(DetektrError):  # it has just ended
            return reasons(explain(name, live_s=LOOK_BACK_S)["sickest"], read_status(name)["nodes"])
    dead = _dead(name)
    text, next_ = f"pipeline {name} does not run", "start it: `detektr up`"
    return dead or [{"code": "not_running", "since": None, "text": text, "next": next_, "node": name}]


def describe_reasons(name: str, found: list[dict[str, Any]]) -> str:
    """Write why a pipeline is not ready as lines."""
    if not found:
        return f"{name} is ready"
    return "\n".join(f"{one['code']}: {one['text']}; {one['next']}" for one in found)


def reasons(sickest: Iterable[Mapping[str, Any]], nodes: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return why a run is not ready: what `detektr why` finds in it, and the nodes that have not begun to work yet."""
    found = []
    for one in sickest:
        if one["code"] in READY_CODES:
            culprit = one["culprit"] or one["victim"]
            what = "edge" if "->" in culprit else "node"
            found.append({key: one[key] for key in ("code", "since", "text", "next")} | {what: culprit})
    told = {reason.get("node") for reason in found}
    for name, facts in nodes.items():
        if facts["state"] in STARTING and name not in told:
            text = f"{name} is not there yet ({facts['state']})"
            found.append({"code": "starting", "since": facts["since"], "text": text, "next": _START, "node": name})
    return found


def _dead(name: str) -> list[dict[str, Any]]:
    """Return that the supervisor of the last run died, where that was so."""
    try:
        sickest = explain(name, run="last")["sickest"]
    except DetektrError:  # it has never run, or nothing was recorded
        return []
    return reasons([one for one in sickest if one["code"] == "supervisor_dead"], {})
