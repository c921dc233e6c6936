"""Lines of a run's log as records: when, how grave, who, and which frame, with its trace and span. Pure.

A line names its frame by the frame's id, wherever that stands in it. Trace and span follow from the id as they do in
user code and in the trail (`detektr.tracing`), so that a tracing tool shows the line beside the frame's spans.
"""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from detektr.edge.frame_trail import is_in_share
from detektr.observe.trail.spans import Edges
from detektr.redaction import mask
from detektr.tracing import edge_between, span_of, trace_of, work_on

_LINE: Final = re.compile(
    r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}) ([A-Z]+) ([A-Za-z][\w.-]{0,63}): (.*)\Z", re.DOTALL
)
_FRAME: Final = re.compile(r"(?<![\w-])\d{1,15}_([A-Za-z][\w-]{0,80})_(\d{1,19})_([0-9a-f]{8})(?![\w-])")
_ATTEMPT: Final = re.compile(r", attempt (\d{1,8}):")  # behind the id, where a node says that one has failed


class LogRecord(NamedTuple):
    """One line."""

    utc_ns: int
    level: str
    """`INFO`, `WARNING`, ...; `PRINT`: it came past the log, from a library or a print()."""
    process: str
    """Who wrote it, as in `motion.0`."""
    node: str
    replica: int | None
    """None: the process is none of a node's replicas."""
    camera: str
    """Of the frame, or of the capture that wrote the line; empty: neither."""
    frame: str
    """Id of the first frame of the run that the line names; empty: none."""
    trace: int
    """0: it names no frame."""
    span: int
    """0: it names none, or it does not follow from the line which of its spans is meant."""
    is_sampled: bool
    """Whether `detektr traces` sends that trace."""
    text: str
    uid: str
    """The same whenever the line is read, and of no other line: whoever gets it twice can tell."""


class LogReading:
    """Reads the lines of one run, in their order."""

    def __init__(self, record: Mapping[str, Any], edges: Edges, share: int) -> None:
        """Take what is known of the run.

        Args:
            record: of the run.
            edges: of the run.
            share: how many of 2^32 frames are sampled.
        """
        self._run, self._edges, self._share = str(record["run"]), edges, share
        self._since_ns = int(record["started_utc_ns"]) // 1_000_000 * 1_000_000  # lines have milliseconds
        nodes = record["nodes"]
        self._kinds = {name: str(node.get("kind", "")) for name, node in nodes.items()}
        self._cameras = {name: str(node["camera"]) for name, node in nodes.items() if node.get("camera")}
        self._names: dict[str, tuple[str, str] | None] = {}  # as ids have them: capture and camera; None: ambiguous
        for name, camera in self._cameras.items():
            text = f"{name}_{camera}"
            self._names[text] = None if text in self._names else (name, camera)
        self._alike: dict[str, tuple[str, dict[str, int]]] = {}  # by process: its last moment, and the lines of it

    def record_of(self, line: str) -> LogRecord | None:
        """Return a line as a record; None: it is of an earlier run, or no line of a log."""
        match = _LINE.match(line)
        if match is None:
            return None
        moment, level, process, text = match.groups()
        try:
            utc_ns = round(datetime.datetime.fromisoformat(moment).timestamp() * 1000) * 1_000_000
        except (ValueError, OverflowError):
            return None
        if utc_ns < self._since_ns:
            return None
        head, _, number = process.rpartition(".")
        node, replica = (head, int(number)) if head and number.isdecimal() else (process, None)
        camera, frame, trace, span, is_sampled = self._cameras.get(node, ""), "", 0, 0, False
        for found in _FRAME.finditer(text):
            names, sequence = self._names.get(found[1]), int(found[2])
            if names is not None:
                camera, frame = names[1], found[0]
                trace = trace_of(*names, sequence, int(found[3], 16))
                attempt = _ATTEMPT.match(text, found.end())
                what = self._span(node, 1 if attempt is None else int(attempt[1]))
                span, is_sampled = span_of(trace, what) if what else 0, is_in_share(sequence, self._share)
                break
        uid = self._uid(process, moment, line)
        return LogRecord(utc_ns, level, process, node, replica, camera, frame, trace, span, is_sampled, mask(text), uid)

    def _span(self, node: str, attempt: int) -> str:
        """Return which span of a frame a node's line is about; empty: one of several."""
        if self._kinds.get(node) == "processor":
            return work_on(node, attempt)
        own = [edge for edge in self._edges if edge[0] == node]
        return edge_between(*own[0]) if len(own) == 1 else ""

    def _uid(self, process: str, moment: str, line: str) -> str:
        """Return what no other line has; lines of one process come in order, those of several may not."""
        before, alike = self._alike.get(process, ("", {}))
        if before != moment:
            alike = {}
        self._alike[process] = moment, alike
        number = alike[line] = alike.get(line, 0) + 1
        return hashlib.blake2b(f"{self._run} {number} {line}".encode(), digest_size=16, person=b"line").hexdigest()
