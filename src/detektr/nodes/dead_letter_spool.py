"""The spool of dead letters: records in files of lines, bounded in bytes, written by all processes of a pipeline.

Each process appends whole lines, so none waits for another, and a kill costs at most the line that it was writing. A
record begins with a line end too: half a line that was left behind spoils no other. When the spool is full its oldest
file goes, and a line says how many dead letters went with it.
"""

from __future__ import annotations

import datetime
import json
import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detektr.memory.run_folder import state_root

FILES = 16  # a full spool has about so many files, and loses one of them at a time
_LET_GO_BYTES = 80  # of the line that says how many had to go
_SEGMENT = re.compile(r"\d{20}\.jsonl")
_log = logging.getLogger(__name__)


def dead_letter_folder(pipeline: str) -> Path:
    """Return where the dead letters of a pipeline are; they outlive its runs."""
    return state_root() / pipeline / "dead-letters"


@dataclass(frozen=True)
class SpoolContent:
    """What a spool holds."""

    letters: Mapping[str, dict[str, Any]]
    """Dead letters by id, oldest first."""
    resent: Mapping[str, str]
    """When each of them was resent that was: by id, in UTC."""
    let_go: int
    """Older dead letters that had to go, as the spool was full."""


class DeadLetterSpool:
    """The files of one folder."""

    def __init__(self, folder: Path, bytes_max: int) -> None:
        """Name the folder; nothing is made yet.

        Args:
            folder: is made (mode 0700) with the first record.
            bytes_max: most bytes that all files have together; one record more than that is kept alone.
        """
        self.folder = folder
        self._bytes_max, self._segment_bytes = bytes_max, max(1, bytes_max // FILES)

    def add(self, record: Mapping[str, Any]) -> str:
        """Add a dead letter; returns its id.

        Args:
            record: plain values.
        Raises:
            OSError: the folder cannot be made or written.
        """
        letter = secrets.token_hex(5)
        self._append({"id": letter, "at": _now(), **record})
        return letter

    def mark_resent(self, letter: str) -> None:
        """Note that a dead letter was resent.

        Raises:
            OSError: the folder cannot be written.
        """
        self._append({"resent": letter, "at": _now()})

    def read(self) -> SpoolContent:
        """Return what there is; half a line, and what is no record, is passed over."""
        letters: dict[str, dict[str, Any]] = {}
        resent: dict[str, str] = {}
        let_go = 0
        for path, _ in self._segments():
            for record in _records(path):
                if "id" in record:
                    letters[str(record["id"])] = record
                elif "resent" in record:
                    resent[str(record["resent"])] = str(record.get("at", ""))
                else:
                    let_go += int(record.get("let_go", 0))
        return SpoolContent(letters, resent, let_go)

    def follow(self) -> Marks:
        """Return what reads the marks that come from now on."""
        return Marks(self._segments, self._segments())

    def _append(self, record: Mapping[str, Any]) -> None:
        line = f"\n{json.dumps(record, default=str)}\n".encode()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        segments = self._segments()
        let_go = self._make_room(segments, len(line) + _LET_GO_BYTES)
        if let_go:
            line += json.dumps({"let_go": let_go, "at": _now()}).encode() + b"\n"
        path, nbytes = segments[-1] if segments else (None, 0)
        if path is None or nbytes + len(line) > self._segment_bytes:
            path = self.folder / f"{time.time_ns():020d}.jsonl"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            view = memoryview(line)
            while view:
                view = view[os.write(fd, view) :]
        finally:
            os.close(fd)

    def _segments(self) -> list[tuple[Path, int]]:
        """Return the files and their sizes, oldest first."""
        found = []
        try:
            for entry in os.scandir(self.folder):
                if _SEGMENT.fullmatch(entry.name):
                    try:
                        found.append((Path(entry.path), entry.stat().st_size))
                    except FileNotFoundError:  # another process has just let it go
                        continue
        except FileNotFoundError:
            return []
        return sorted(found)

    def _make_room(self, segments: list[tuple[Path, int]], nbytes: int) -> int:
        """Remove the oldest files until `nbytes` fit; returns how many dead letters went, by all that is known."""
        count = 0
        while segments and sum(size for _, size in segments) + nbytes > self._bytes_max:
            path, _ = segments.pop(0)
            records = list(_records(path))
            try:
                path.unlink()
            except FileNotFoundError:  # another process let it go, and counts
                continue
            gone = sum("id" in record for record in records)
            count += gone + sum(int(record.get("let_go", 0)) for record in records)
            _log.warning(
                "the spool of dead letters is full (%d bytes): the oldest %d had to go; resend them earlier, or raise"
                " dead_letters",
                self._bytes_max,
                gone,
            )
        return count


class Marks:
    """Reads which dead letters are marked as resent, from one look to the next."""

    def __init__(self, segments: Callable[[], list[tuple[Path, int]]], read: list[tuple[Path, int]]) -> None:
        """Begin behind what the files hold now.

        Args:
            segments: returns the files and their sizes, oldest first.
            read: what it returns now.
        """
        self._segments = segments
        self._offsets = dict(read)

    def read(self) -> list[str]:
        """Return the ids that were marked since the last call."""
        found = []
        for path, nbytes in self._segments():
            offset = self._offsets.get(path, 0)
            if nbytes <= offset:
                continue
            try:
                with path.open("rb") as file:
                    file.seek(offset)
                    lines = file.read().rpartition(b"\n")[0] + b"\n"  # the last one may be only half written yet
            except FileNotFoundError:
                continue
            self._offsets[path] = offset + len(lines)
            found += [str(record["resent"]) for record in map(_record, lines.splitlines()) if "resent" in record]
        return found


def _record(line: bytes) -> dict[str, Any]:
    """Return the record of a line; empty: it has none."""
    try:
        record = json.loads(line) if line.strip() else None
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _records(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open("rb") as file:
            for line in file:
                if record := _record(line):
                    yield record
    except FileNotFoundError:
        return


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
