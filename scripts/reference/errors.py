"""The page of what may go wrong: codes, states, errors and texts, each with its cause and the next step."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from types import MappingProxyType

import detektr
from detektr.errors import DetektrError
from detektr.observe.why.findings import WORST_TO_BEST
from detektr.telemetry.metrics import EXPORTED_STATES
from scripts.reference.markdown import code, document, first_paragraph, sentence, table
from scripts.reference.messages import BLANK, is_text, purpose, raised, split

FINDINGS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "supervisor_dead": (
            "The process of `detektr up` was killed, so the run ended without a record.",
            "`detektr up` starts it again; `detektr shm clean` removes what nobody owns.",
        ),
        "ledger": (
            "Frames stand in no term of an edge's ledger, or in two: a defect of detektr.",
            "Report it with `detektr status NAME --json`.",
        ),
        "failed": ("A node died, or has failed for good.", "`detektr logs NAME NODE`"),
        "hung": (
            "Your code works on one frame for longer than `timeout`, or a process is suspended.",
            "`detektr pipeline stacks NAME --node NODE`",
        ),
        "camera_down": ("A camera brings no frame.", "`detektr probe SOURCE`"),
        "failing": (
            "Frames or events were given up, or a sink waits out an outage.",
            "`detektr dead-letters list NAME`",
        ),
        "paused": (
            "An operator has paused a node, or had while frames were lost because of it.",
            "`detektr resume NAME NODE`",
        ),
        "stalled": (
            "Frames wait, nobody takes them, and nothing else explains it.",
            "`detektr pipeline stacks NAME --node NODE`",
        ),
        "no_puller": (
            "Frames wait for clients at a `pull`, and none has asked for 10 s, or for 30 s while others are out at them.",
            "Start the clients; `detektr leases NAME` says what is out.",
        ),
        "losing": (
            "More than 1 % of an edge's frames were lost: a node is too slow, or a queue too small for bursts.",
            "`detektr why NAME` says which, and what to write.",
        ),
        "memory_low": (
            "Less than a tenth of shared memory is free: the next ring may find no room.",
            "`detektr doctor FILE` says how much is needed.",
        ),
        "late": (
            "Nothing is lost, and frames are older than 2 s before the work on them begins.",
            "Set `max_age`, or `fresh: true`, at the input.",
        ),
    }
)
STATES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "starting": ("The process gets ready: it imports your code and calls `open`.", ""),
        "waiting": ("Frames wait and nobody reads them.", "Start the reader."),
        "connecting": ("The capture is opening its source, or the source does not answer.", "`detektr probe SOURCE`"),
        "running": ("Frames flow.", ""),
        "stalled": ("A camera stands without a picture; or frames wait and nobody takes them.", "`detektr why NAME`"),
        "paused": ("An operator has paused the node.", "`detektr resume NAME NODE`"),
        "draining": ("The node finishes what is queued, for its `drain` at most.", ""),
        "ended": ("The node has done its work.", ""),
        "failed": ("The node was started as often as `restart` allows.", "`detektr logs NAME NODE`"),
        "unauthorized": ("The camera refused user or password.", "Correct them in `source`."),
        "forbidden": ("The camera does not allow this user, or has too many viewers.", "Look at its users and limits."),
        "not_found": ("The camera has no such path, or a device is not plugged in.", "Look up the stream's path."),
        "tls_failed": ("Capture and camera could not agree on encryption.", "See whether this port speaks TLS."),
        "retrying": ("A sink waits to try an event again, or a source to be opened again.", "`detektr status NAME`"),
        "restarting": ("The process ended, and is started again after a pause.", "`detektr logs NAME NODE`"),
        "hanging": ("One frame takes longer than `timeout`.", "`detektr pipeline stacks NAME --node NODE`"),
        "suspended": ("The process was stopped by a signal, or frozen.", "`kill -CONT`, and its number"),
    }
)


def page() -> str:
    """Return the page.

    Raises:
        ValueError: a code or state of the sources is not described here.
    """
    for known, described in ((WORST_TO_BEST, FINDINGS), (EXPORTED_STATES, STATES)):
        if set(known) != set(described):
            raise ValueError(f"scripts/reference/errors.py: {set(known) ^ set(described)} differ; describe each, once")
    findings = [(code(name), *FINDINGS[name]) for name in WORST_TO_BEST]
    states = [(code(name), *STATES[name]) for name in dict.fromkeys(EXPORTED_STATES)]
    return document(
        "Errors",
        "How to go about it: [find out why](../how-to/find-out-why.md), and [troubleshooting](../troubleshooting.md).",
        "## What `why` finds\n\n"
        "`detektr why`, `detektr status`, `/ready` and `/pipeline` name these, the worst first.\n\n"
        + table(("code", "what is so", "next"), findings),
        "## States of a node\n\n" + table(("state", "what is so", "next"), states),
        "## Errors that your code can raise or catch\n\n" + table(("class", "what it says"), _classes()),
        "## Problems of the web server\n\n"
        "Each is an `application/problem+json` with `status`, `code`, `detail` and `next`. "
        f"A value stands where there is {BLANK} here.\n\n"
        + table(("status", "code", "what is wrong", "next"), _problems()),
        "## Faults of a file\n\n`detektr validate` and `detektr up` list them all at once, each with file and line: "
        "`FILE:LINE: what is wrong, expected ..., what to do`. "
        f"A value stands where there is {BLANK} here.\n\n{_faults()}",
        "## Texts\n\n"
        "Each text that is raised for whoever wrote the file, the command or the code, by the part that raises it. "
        f"A value stands where there is {BLANK} here; the file's name and line stand in front where there are some.",
        *_texts(),
    )


def _classes() -> list[tuple[str, str]]:
    found = [getattr(detektr, name) for name in detektr.__all__ if name.endswith("Error")]
    return [(code(f"detektr.{one.__name__}"), first_paragraph(one)) for one in found if issubclass(one, DetektrError)]


def _problems() -> list[tuple[str, str, str, str]]:
    rows: dict[tuple[str, str, str, str], None] = {}
    for message in raised("Problem", below="web"):
        status, name, detail, next_ = (*message.arguments[:4], BLANK, BLANK, BLANK, BLANK)[:4]
        if status.isdecimal() and name != BLANK:
            rows[status, code(name), _plain(detail), _plain(next_)] = None
    return sorted(rows)


def _faults() -> str:
    """Return the table of what may be wrong with a file."""
    found = [one.arguments[1:4] for one in raised("Fault", "_fault", below="config") if len(one.arguments) == 4]
    rows = {tuple(map(_plain, told)): None for told in found if any(map(is_text, told))}
    return table(("what is wrong", "expected", "what to do"), rows)


def _texts() -> list[str]:
    errors = (
        "DetektrError",
        "LeaseOverError",
        "NoRoomError",
        "RefusedError",
        "ResultError",
        "SourceError",
        "UserCodeError",
    )
    parts = []
    for module, messages in groupby(raised(*errors), key=lambda one: one.module):
        rows = {
            tuple(map(_plain, one.arguments[:2] if one.error == "UserCodeError" else split(one.arguments[0]))): None
            for one in messages
            if one.arguments and is_text(" ".join(one.arguments))
        }
        if rows:
            parts.append(
                f"### {sentence(purpose(module)).rstrip('.')}\n\n{table(('what is wrong', 'what to do'), rows)}"
            )
    return parts


def _plain(text: str) -> str:
    """Return a text in which nothing is markup."""
    return text.replace("<", "\\<").replace("*", "\\*").replace("[", "\\[").replace("\n", " ")
