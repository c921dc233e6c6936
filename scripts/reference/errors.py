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
            "The ledger of an edge does not add up: detektr has a defect.",
            "Report it with `detektr status NAME --json`.",
        ),
        "failed": ("A process of a node died, or the node has failed for good.", "`detektr logs NAME NODE`"),
        "hung": (
            "Your code has worked on one frame for longer than `timeout`, or a process is suspended.",
            "`detektr stacks NAME --node NODE`",
        ),
        "camera_down": ("A camera brings no frames.", "`detektr probe SOURCE`"),
        "failing": (
            "Frames or events were given up as dead letters, or a sink waits for an outage to end.",
            "`detektr dead-letters list NAME`",
        ),
        "paused": (
            "An operator has paused a node, or a pause that has ended made edges lose frames.",
            "`detektr resume NAME NODE`",
        ),
        "stalled": (
            "Frames wait, no consumer takes them, and no other code explains why.",
            "`detektr stacks NAME --node NODE`",
        ),
        "no_puller": (
            "Frames wait at a `pull`, and no client has asked for 10 s, or for 30 s while others are out at clients.",
            "Start the clients; `detektr leases NAME` says what is out.",
        ),
        "losing": (
            "An edge lost more than 1 % of its frames: a node is too slow, or a queue is too small for bursts.",
            "`detektr why NAME` says which it is, and what to write in the file.",
        ),
        "memory_low": (
            "Less than a tenth of shared memory is free, so there may be no room for the next ring.",
            "`detektr doctor FILE` says how much is needed.",
        ),
        "late": (
            "No frames are lost, but they are older than 2 s when the work on them begins; or a sink has outlasted an"
            " outage, and its events came that late.",
            "Set `max_age`, or `fresh: true`, at the input; after an outage, look why the target was away.",
        ),
    }
)
STATES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "starting": ("The process gets ready: it imports your code and calls `open`.", ""),
        "waiting": (
            "The node waits for its producer or consumer, or frames wait and no client asks for them.",
            "Start what it waits for.",
        ),
        "connecting": ("The capture is opening its source, or the source does not answer.", "`detektr probe SOURCE`"),
        "running": ("The node works.", ""),
        "stalled": (
            "A camera has brought no picture for `stall_timeout`, or frames wait and no consumer is attached.",
            "`detektr why NAME`",
        ),
        "paused": ("An operator has paused the node.", "`detektr resume NAME NODE`"),
        "draining": ("The node finishes what is queued, for its `drain` at most.", ""),
        "ended": ("The node has done its work.", ""),
        "failed": (
            "The node failed more often than `restart` allows, and is not started again.",
            "`detektr logs NAME NODE`",
        ),
        "unauthorized": ("The camera refused user or password.", "Correct them in `source`."),
        "forbidden": ("The camera does not allow this user, or has too many viewers.", "Look at its users and limits."),
        "not_found": ("The camera has no such path, or a device is not plugged in.", "Look up the stream's path."),
        "tls_failed": (
            "The capture and the camera could not agree on encryption.",
            "See whether this port speaks TLS.",
        ),
        "retrying": (
            "A sink waits before it tries an event again, or a capture before it opens its source again.",
            "`detektr status NAME`",
        ),
        "restarting": ("The process ended; the supervisor starts it again after a pause.", "`detektr logs NAME NODE`"),
        "hanging": (
            "One frame takes longer than `timeout`, or one picture of a python: source longer than `stall_timeout`.",
            "`detektr stacks NAME --node NODE`",
        ),
        "suspended": (
            "A signal has stopped the process, or its control group is frozen.",
            "`kill -CONT` with the number of the process",
        ),
    }
)


PARTS: Mapping[str, str] = MappingProxyType(
    {
        "api.attachment": "`detektr.attach`",
        "api.running": "`detektr.run`",
        "cli.dead_letters": "`detektr dead-letters`",
        "cli.looking": "`detektr top`: its package",
        "cli.trail": "`detektr traces`: its package",
        "cli.web": "`detektr web`: its arguments",
        "frame": "The pixels of a frame",
        "http": "`detektr.http`",
        "memory.run_folder": "Folders and names",
        "memory.segment": "Room in shared memory",
        "memory.status_block": "A process that is running already",
        "nodes.capturing.capture": "The first picture of a source",
        "nodes.dead_letter": "The picture of a dead letter",
        "nodes.node": "The inputs of a node",
        "nodes.working.event_stream": "What a processor returns",
        "nodes.working.worker": "`open` of your code",
        "observe.dead_letters": "Looking up dead letters",
        "observe.logbook": "`detektr logs`",
        "observe.stacks": "`detektr stacks`",
        "observe.status": "`detektr status`",
        "observe.top": "`detektr top`",
        "observe.trail.places": "Reading the audit trail",
        "observe.trail.times": "Times on the command line",
        "observe.why.answer": "`detektr why` and `detektr runs`",
        "plugins": "Short names of `use` and `python:`",
        "process.open_files": "The limit of open files",
        "process.placement": "`env`, `cpus` and `nice`",
        "process.web_process": "The port of the web server",
        "registry.code_checks": "Calling your code",
        "registry.user_code": "Finding and building your code",
        "registry.stateful": "`stateful` of your code",
        "sinks.jsonl": "The sink `jsonl`",
        "sources.decoding.decoded_picture": "Pictures of several sizes",
        "sources.decoding.picture_decoder": "The codec of a source",
        "sources.opening": "The pixel format of a capture",
        "sources.survey": "Measuring a source",
        "supervisor.child_process": "Starting one process",
        "supervisor.fork_client": "Starting processes at all",
        "supervisor.operating.line": "The socket on which operators ask",
        "supervisor.run_lock": "A pipeline that is running already",
        "supervisor.standalone": "Nodes that are started by themselves",
        "supervisor.stopping": "`detektr down`",
        "telemetry.audit": "`audit`: where the trail goes",
        "telemetry.audit_redis": "`audit`: a trail in Redis",
        "telemetry.audit_sqlite": "`audit`: a trail in SQLite",
        "telemetry.endpoint": "The port of the metrics",
        "telemetry.history.reader": "The history of a run",
        "telemetry.history.record_reader": "The record of a run",
        "telemetry.log": "`DETEKTR_LOG`",
        "telemetry.report": "`detektr up --report`",
        "telemetry.spool": "The spool of the audit trail",
        "telemetry.trail.wanted": "`detektr trace`: the frame",
        "testing": "`detektr.testing`",
        "tooling.catalogue": "`detektr list`",
        "tooling.doctor": "`detektr doctor`",
        "tooling.probe": "`detektr probe`",
        "tooling.scaffold": "`detektr new`",
        "web.pulling.puller": "Frames for clients over HTTP",
        "web.token": "The token of the web server",
        "wire.link": "Doorbells of processes",
    }
)
"""What the texts of each module are about, as a heading; of a module that is not here, the head of its docstring."""


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
        "How to use this page: [find out why](../how-to/find-out-why.md) and [troubleshooting](../troubleshooting.md).",
        "## What `why` finds\n\n"
        "`detektr why`, `detektr status`, `/ready` and `/pipeline` give these codes, the worst first.\n\n"
        + table(("code", "what has happened", "next"), findings),
        "## States of a node\n\n" + table(("state", "what it means", "next"), states),
        "## Errors that your code can raise or catch\n\n" + table(("class", "what it means"), _classes()),
        "## Problems of the web server\n\n"
        "Each problem is an `application/problem+json` with `status`, `code`, `detail` and `next`. "
        f"In this table, {BLANK} stands for a value.\n\n"
        + table(("status", "code", "what is wrong", "next"), _problems()),
        "## Faults of a file\n\n`detektr validate` and `detektr up` list them all at once, each with file and line: "
        "`FILE:LINE: what is wrong, expected ..., what to do`. "
        f"In this table, {BLANK} stands for a value.\n\n{_faults()}",
        "## Texts\n\n"
        "These are the texts of errors for the author of the file, the command or the code. Each heading says what "
        f"they are about. In these tables, {BLANK} stands for a value; a text about a file begins with its name and "
        "line.",
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
            parts.append(f"### {_heading(module)}\n\n{table(('what is wrong', 'what to do'), rows)}")
    return parts


def _heading(module: str) -> str:
    return PARTS.get(module) or sentence(purpose(module)).rstrip(".")


def _plain(text: str) -> str:
    """Return a text in which nothing is markup."""
    return text.replace("<", "\\<").replace("*", "\\*").replace("[", "\\[").replace("\n", " ")
