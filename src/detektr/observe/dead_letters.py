"""The dead letters of a pipeline, running or not, as people and programs read them."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detektr.errors import RefusedError
from detektr.memory.run_folder import NAME
from detektr.nodes.dead_letter_spool import DeadLetterSpool, SpoolContent, dead_letter_folder
from detektr.nodes.working.event_stream import unpack_event
from detektr.redaction import disarm

WHY_CHARS_MAX = 100


def open_spool(pipeline: str) -> DeadLetterSpool:
    """Return the spool of a pipeline, to be read; what its runs may write into it, their files say.

    Raises:
        RefusedError: that is no pipeline's name, or this user has no folder for dead letters.
    """
    if NAME.match(pipeline) is None:
        raise RefusedError(f"{pipeline!r} is not a name; use a letter, then up to 31 letters, digits, _ or -")
    return DeadLetterSpool(dead_letter_folder(pipeline), 0)


def list_dead_letters(content: SpoolContent, *, with_resent: bool) -> list[dict[str, Any]]:
    """Return what there is, oldest first, without payloads; `resent` says when one was resent, None: not yet.

    Args:
        content: of the spool.
        with_resent: whether those that were resent are wanted too.
    """
    rows = []
    for letter, record in content.letters.items():
        if with_resent or letter not in content.resent:
            plain = {key: value for key, value in record.items() if key != "payload"}
            rows.append({**plain, "resent": content.resent.get(letter)})
    return rows


def describe_dead_letters(pipeline: str, content: SpoolContent, rows: list[dict[str, Any]]) -> str:
    """Write dead letters, one a line, and what is not among them."""
    lines = []
    if rows:
        table = [("id", "at", "kind", "edge", "frame", "why")]
        for row in rows:
            why = _last_line(str(row["why"]))
            resent = f"resent {row['resent']}; " if row["resent"] else ""
            edge = f"{row['producer']} -> {row['consumer']}"
            shown = f"{resent}{why}"[:WHY_CHARS_MAX]
            table.append((row["id"], row["at"], row["kind"], edge, row["frame"], shown))
        widths = [max(len(cells[column]) for cells in table) for column in range(len(table[0]))]
        lines += [
            disarm("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
            for cells in table
        ]
    shown_ids = {row["id"] for row in rows}
    hidden = sum(letter in content.resent and letter not in shown_ids for letter in content.letters)
    if not rows:
        lines.append(
            f"{pipeline} has no dead letters that were not resent" if hidden else f"{pipeline}: no dead letters"
        )
    if hidden:
        lines.append(f"{hidden} that were resent are left out; --all lists them too")
    if content.let_go:
        lines.append(f"{content.let_go} older ones had to go, as the spool was full; `dead_letters` bounds it")
    return "\n".join(lines)


def find_dead_letter(pipeline: str, content: SpoolContent, letter: str) -> dict[str, Any]:
    """Return one record.

    Raises:
        RefusedError: there is none of this id.
    """
    record = content.letters.get(letter)
    if record is None:
        raise RefusedError(
            f"{pipeline} has no dead letter {letter!r}; see `detektr dead-letters list {pipeline} --all`"
        )
    return record


def whole_dead_letter(pipeline: str, content: SpoolContent, letter: str) -> dict[str, Any]:
    """Return all of one dead letter: the record, with the event or the path of the picture.

    Raises:
        RefusedError: there is none of this id.
    """
    record = dict(find_dead_letter(pipeline, content, letter))
    payload = base64.b64decode(record.pop("payload"))
    if record["kind"] == "event":
        record["event"] = unpack_event(payload)
    elif record.get("picture"):
        name, path = str(record["picture"]), picture_path(pipeline, record)
        record["picture"] = str(path or "")
        if path is not None and "show" in record:  # from whichever folder
            record["show"] = str(record["show"]).replace(Path(name).name, shlex.quote(str(path)))
        if not record["picture"]:
            record["no_picture"] = "it made room for newer ones"
    record["resent"] = content.resent.get(letter)
    return record


def describe_dead_letter(whole: Mapping[str, Any]) -> str:
    """Write one dead letter: its facts, its event, and why it was given up."""
    rest = {key: value for key, value in whole.items() if key not in ("why", "event") and value not in (None, "")}
    width = max(map(len, rest))
    lines = [f"{key.ljust(width)}  {value}" for key, value in rest.items()]
    if "event" in whole:
        lines += ["", *json.dumps(whole["event"], indent=2, default=str).splitlines()]
    lines += ["", *str(whole["why"]).rstrip().splitlines()]
    return "\n".join(map(disarm, lines))


def picture_path(pipeline: str, record: Mapping[str, Any]) -> Path | None:
    """Return where the picture of a frame's dead letter is; None: there is none, or none any more."""
    name = str(record.get("picture") or "")
    path = dead_letter_folder(pipeline) / Path(name).name
    return path if name and path.is_file() else None


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""
