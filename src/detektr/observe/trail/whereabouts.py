"""Where one frame is now, and what became of it: from the journals of a run that lives, and from its audit trail."""

from __future__ import annotations

import contextlib
import datetime
import time
from typing import Any

from detektr.descriptor import unpack_descriptor
from detektr.errors import DetektrError, WireError
from detektr.memory.journal_reader import open_journal
from detektr.memory.run_folder import RunFolder, state_root
from detektr.memory.status_block_reader import StatusBlockTable
from detektr.nodes.working.event_stream import identify_event, is_event
from detektr.observe.leases import lease_record
from detektr.observe.trail.trace import find_steps, reach
from detektr.telemetry.history.record_reader import RunRecords
from detektr.telemetry.trail.wanted import WantedFrame, wanted_frame

_KEEP_ALL = "write `audit: {to: sqlite:audit.db, frames: all}` into its file"


class UnknownFrameError(DetektrError):
    """Nothing is known of a frame; says why, and what would help."""

    def __init__(self, text: str, next_: str) -> None:
        """Say both."""
        super().__init__(f"{text}; {next_}")
        self.text, self.next = text, next_


def find_frame(name: str, text: str) -> dict[str, Any]:
    """Return where a frame of a pipeline is, and what became of it.

    Args:
        name: the pipeline.
        text: the frame's id, or `CAMERA/SEQUENCE`.
    Returns:
        `frame` (its id where that is known), `pipeline`, `camera`, `sequence`, `steps` as of `detektr trace` (empty:
        no trail has it), and `places`: where it is at this moment, the oldest first. Of each place `edge`, `what`
        (frame, or an event about it), `state` (queued or leased), `age_ms` (of a lease since it began, else since the
        capture); of a lease all of `detektr leases`.
    Raises:
        UnknownFrameError: nothing is known of it, or that is no frame.
        DetektrError: its trail cannot be read now.
    """
    try:
        wanted = wanted_frame(text)
    except DetektrError as fault:
        what, _, next_ = str(fault).partition("; ")
        raise UnknownFrameError(what, next_) from None
    found = _places(RunFolder(name), wanted)
    try:
        traced = find_steps(wanted, name, [])
    except DetektrError:
        if not found:
            raise
        traced = None
    if not found and traced is None:
        raise UnknownFrameError(*_why_unknown(name, wanted))
    about = traced or {"frame": text, "pipeline": name, "camera": None, "sequence": wanted.sequence, "steps": []}
    for known, _ in found:
        about |= {key: known[key] for key in ("frame", "camera") if known[key] is not None}
    places = [{key: value for key, value in place.items() if key not in ("frame", "camera")} for place, _ in found]
    return about | {"places": places}


def _places(folder: RunFolder, wanted: WantedFrame) -> list[tuple[dict[str, Any], int]]:
    """Return where a frame is, with its age in nanoseconds, the oldest first."""
    now_ns, utc_ns = time.monotonic_ns(), time.time_ns()
    blocks = StatusBlockTable(folder)
    found: list[tuple[dict[str, Any], int]] = []
    for producer, _, consumer, path in folder.journals():
        journal = open_journal(path, producer, consumer)
        if journal is None:
            continue
        with contextlib.closing(journal):
            for waiting in journal.waiting():
                if (about := _about(waiting.payload, wanted)) is not None:
                    age_ns = max(0, now_ns - waiting.captured_ns)
                    place = {"edge": f"{producer}->{consumer}", "state": "queued", "age_ms": age_ns // 10**6}
                    found.append((about | place, age_ns))
            holders = journal.replicas()
            for session, since_ns, lease in journal.given():
                if (about := _about(lease.payload, wanted)) is not None:
                    age_ns = max(0, now_ns - since_ns)
                    since = datetime.datetime.fromtimestamp((utc_ns - age_ns) / 1e9, datetime.UTC)
                    record = lease_record(journal, lease, holders.get(session, ""), session, blocks)
                    times = {"since": since.isoformat(timespec="milliseconds"), "age_ms": age_ns // 10**6}
                    found.append((record | about | {"state": "leased"} | times, age_ns))
    blocks.close()
    return sorted(found, key=lambda one: -one[1])


def _about(payload: bytes, wanted: WantedFrame) -> dict[str, Any] | None:
    """Return what an announcement is, where it is about a frame; None: it is about another."""
    try:
        descriptor = unpack_descriptor(payload)
    except WireError:  # an event
        is_it = wanted.mark is not None and is_event(payload) and identify_event(payload) == wanted.text
        return {"frame": wanted.text, "camera": None, "what": "event"} if is_it else None
    names = descriptor.camera if wanted.mark is None else f"{descriptor.node}_{descriptor.camera}"
    if (descriptor.sequence, names) != (wanted.sequence, wanted.names):
        return None
    if wanted.mark is not None and descriptor.id != wanted.text:
        return None
    return {"frame": descriptor.id, "camera": descriptor.camera, "what": "frame"}


def _why_unknown(name: str, wanted: WantedFrame) -> tuple[str, str]:
    """Return why nothing is known of a frame that is nowhere now, and what would help."""
    nowhere = f"frame {wanted.text} is in no queue and at no node of {name} now"
    try:
        record = RunRecords(state_root() / name).read("last")
    except DetektrError:
        return f"{nowhere}, and no run of it was recorded", "ask for a frame of a pipeline that has run"
    kept = record.get("audit_frames", "all")
    if record.get("audit", "none") == "none":
        return f"{nowhere}, and {name} keeps no audit trail, which would know what became of it", _KEEP_ALL
    if kept == "none":
        return f"{nowhere}, and its audit trail has no frames (`frames: none`)", _KEEP_ALL
    since = (reach(name, record["run"]) or {}).get("since")
    far = "has no row yet" if since is None else f"reaches back to {since}"
    if since is not None and wanted.captured_ms is not None and _utc(wanted.captured_ms) < since:
        return f"{nowhere}; it was captured at {_utc(wanted.captured_ms)}, and the audit trail {far}", (
            "raise `keep` and `most` of `audit`, and the trail of frames to come reaches further"
        )
    if kept == "all":
        return f"{nowhere}, and its audit trail, which {far}, does not have it", (
            "look whether it is a frame of this pipeline; a row may come a second late"
        )
    which = "only frames that were lost" if kept == "dropped" else f"frames that were lost, and {kept} of the others"
    return f"{nowhere}; its audit trail {far} and has {which} (`frames: {kept}`), so it was not lost", (
        "write `frames: all` at `audit` to have every frame"
    )


def _utc(captured_ms: int) -> str:
    return datetime.datetime.fromtimestamp(captured_ms // 1000, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
