"""Writes the record of a run: at its begin what runs, at its end how it went."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from detektr.errors import RefusedError
from detektr.nodes.spec import NodeSpec
from detektr.options import CaptureOptions, ProcessorOptions, SinkOptions, wants_newest
from detektr.process.json_file import write_json
from detektr.process.start_ticks import start_ticks
from detektr.redaction import redact
from detektr.telemetry.history.record_reader import RunRecords, new_run_id

_log = logging.getLogger(__name__)


class RunRecord:
    """The record of one run; a disk that is full costs the record, not the run."""

    def __init__(self, state_folder: Path, begun_utc_ns: int) -> None:
        """Draw an id for the run.

        Args:
            state_folder: the pipeline's folder for what outlives a run.
            begun_utc_ns: when it begins.
        """
        self.run = new_run_id(begun_utc_ns)
        self._records = RunRecords(state_folder)
        self._values: dict[str, Any] = {"run": self.run, "started_utc_ns": begun_utc_ns}

    def begin(self, pipeline: str, file: Path, audit: tuple[str, str, str], specs: Sequence[NodeSpec]) -> None:
        """Write down what runs.

        Args:
            pipeline: its name.
            file: the pipeline file.
            audit: where the audit trail is, the prefix of its streams, and which frames are in it.
            specs: of all processes.
        """
        self._values |= {
            "pipeline": pipeline,
            "file": str(file.absolute()),
            "version": version("detektr"),
            "audit": redact(audit[0]),
            "audit_prefix": audit[1],
            "audit_frames": audit[2],
            "pid": os.getpid(),
            "pid_started": start_ticks(os.getpid()),
            "ended_utc_ns": None,
            "nodes": _nodes(specs),
            "edges": _edges(specs),
        }
        self._write()
        self._records.forget_old()

    def note_replicas(self, replicas: Mapping[str, int]) -> None:
        """Write down how many processes the nodes are to have from now on, where that has changed."""
        nodes: Mapping[str, dict[str, Any]] = self._values.get("nodes", {})
        changed = {
            name: count for name, count in replicas.items() if name in nodes and nodes[name]["replicas"] != count
        }
        for name, count in changed.items():
            nodes[name]["replicas"] = count
        if changed:
            self._write()

    def end(
        self, exit_code: int, stopped_by: str, report: Mapping[str, Any], sickest: Sequence[Mapping[str, Any]]
    ) -> None:
        """Write down how it went."""
        self._values |= {
            "ended_utc_ns": time.time_ns(),
            "exit_code": exit_code,
            "stopped_by": stopped_by,
            "report": report,
            "sickest": list(sickest),
        }
        self._write()

    def refuse(self, why: str) -> None:
        """Write down that it began nothing, since a node or the machine refused; to be called after `begin`."""
        self._values |= {"ended_utc_ns": time.time_ns(), "exit_code": RefusedError.exit_code, "refused": why}
        self._write()

    def _write(self) -> None:
        try:
            self._records.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_json(self._records.path(self.run), self._values, 0o600)
        except OSError as fault:
            _log.warning("%s: there is no record of this run: %s", self._records.folder, fault.strerror)


def _nodes(specs: Sequence[NodeSpec]) -> dict[str, dict[str, Any]]:
    nodes: dict[str, dict[str, Any]] = {}
    for spec in reversed(specs):  # producers first
        options = spec.options
        nodes[spec.node] = {
            "kind": options.kind,
            "replicas": options.replicas if isinstance(options, ProcessorOptions) else 1,
            "max_replicas": options.replicas_max if isinstance(options, ProcessorOptions) else 1,
            "optional": options.optional,
            "timeout_ms": options.timeout_ns // 10**6 if isinstance(options, ProcessorOptions | SinkOptions) else 0,
            "camera": (options.camera or spec.node) if isinstance(options, CaptureOptions) else "",
        }
    return nodes


def _edges(specs: Sequence[NodeSpec]) -> list[dict[str, Any]]:
    newest = {spec.node for spec in specs if isinstance(spec.options, ProcessorOptions) and wants_newest(spec.options)}
    edges: dict[tuple[str, str], dict[str, Any]] = {}
    for spec in reversed(specs):
        for consumer, edge in spec.edges.items():
            known = edges.get((spec.node, consumer))
            edges[spec.node, consumer] = {
                "from": spec.node,
                "to": consumer,
                "when_full": edge.when_full,
                "high_water_mark": edge.mark * edge.inputs + (known["high_water_mark"] if known else 0),
                "lossy": edge.is_optional or consumer in newest,
                "retries": edge.is_retried,
            }
    return list(edges.values())
