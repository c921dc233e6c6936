"""`detektr pipeline up`: from a file to a run, and from its end to its ledger."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detektr.config.load import Pipeline, PipelineFileError, check_machine, load_pipeline
from detektr.config.plan import plan_processes
from detektr.errors import RefusedError
from detektr.ledger import EdgeLedger, merge
from detektr.memory.run_folder import RunFolder, state_root
from detektr.memory.status_block import NodeSnapshot
from detektr.nodes.spec import NodeSpec
from detektr.observe.logbook import Logbook, log_folder
from detektr.observe.run_reader import RunReader
from detektr.observe.run_state import write_json, write_run_state
from detektr.observe.screen import Screen
from detektr.observe.status import describe_nodes
from detektr.observe.table import Flow, summary
from detektr.redaction import mask, register_secret
from detektr.supervisor.fork_client import ForkServer
from detektr.supervisor.run_lock import acquire_run_lock
from detektr.supervisor.signals import SignalPipe
from detektr.supervisor.supervisor import Supervisor
from detektr.telemetry.log import setup_log
from detektr.telemetry.report import build_report, ledger_table, undelivered

LOOK_LIVE_NS = 1_000_000_000  # the table in a terminal
LOOK_NS = 2_000_000_000
SUMMARY_NS = 10_000_000_000
AUDIT_CLOSE_S = 2.0
SHOW_CLOSE_S = 1.0
_log = logging.getLogger(__name__)


def run_up(
    path: Path, forks: ForkServer, *, for_ns: int | None = None, report: Path | None = None, quiet: bool = False
) -> int:
    """Run a pipeline to its end, and print its ledger.

    Args:
        path: the pipeline file.
        forks: what nodes are forked from, started or not; closed with the run.
        for_ns: stop after this time, in nanoseconds; None: when its sources end, or on SIGINT or SIGTERM.
        report: where the report goes, as JSON; None: nowhere.
        quiet: no table, and no log lines but warnings and errors.
    Returns:
        The exit code: 0; 1: a node failed for good, or gave up every frame that it began, or the report could not be
        written; 128+n: ended by signal n.
    Raises:
        RefusedError: the file, the machine or a node refused; nothing is left behind.
    """
    if report is not None:
        _check_report(report)
    pipeline = load_pipeline(path)
    for secret in pipeline.secrets:
        register_secret(secret)
    with SignalPipe() as signals:
        folder, lock = acquire_run_lock(pipeline.options.name, pipeline.options.nodes)
        try:
            faults = check_machine(pipeline)
            if faults:
                raise PipelineFileError(path, faults, pipeline.secrets)
            run = _Run(pipeline, folder, signals, forks, is_quiet=quiet)
            try:
                run.begin()
                run.supervise(for_ns)
            finally:
                run.end()
        finally:
            folder.sweep()
            lock.close()
    if run.has_begun:
        _print(ledger_table(run.ledgers, run.nodes()))
    else:
        _print("ended before any frame flowed")
    if report is not None:
        try:
            write_json(report, run.report())
        except OSError as fault:
            _log.error("--report %s: it could not be written at the end: %s", report, fault.strerror)
            return run.exit_code or 1
    return run.exit_code


def _check_report(path: Path) -> None:
    """Refuse a report that cannot be written, before anything runs for days."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise RefusedError(f"--report {path}: there is no folder {folder}; make it first")
    if path.is_dir():
        raise RefusedError(f"--report {path}: that is a folder; name a file in it, as in {path / 'report.json'}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise RefusedError(f"--report {path}: {folder} may not be written to; name a file elsewhere")


class _Run:
    """Everything that one run has open."""

    def __init__(
        self, pipeline: Pipeline, folder: RunFolder, signals: SignalPipe, forks: ForkServer, *, is_quiet: bool
    ) -> None:
        self.pipeline, self.folder = pipeline, folder
        self.ledgers: list[EdgeLedger] = []
        self._status_blocks: list[NodeSnapshot] = []
        setup_log(pipeline.options.name)
        self._screen = Screen(is_quiet=is_quiet)
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.StreamHandler):
                handler.setStream(self._screen)
        self._logbook = Logbook(log_folder(pipeline.options.name), self._screen.line)
        specs = plan_processes(
            pipeline.options.name,
            pipeline.graph,
            pipeline.options.nodes,
            pipeline.folder,
            secrets=tuple(pipeline.secrets),
            is_audited=pipeline.options.audit.to != "none",
        )
        self.supervisor = Supervisor(
            specs,
            folder,
            self._logbook,
            signals,
            forks,
            look=self._show,
            look_ns=LOOK_LIVE_NS if self._screen.is_live else LOOK_NS,
            change=self._write_run_state,
        )
        self._flow = Flow()
        self._begun_ns, self._begun_utc_ns = time.monotonic_ns(), time.time_ns()
        self._next_summary_ns = 0
        self._seconds = 0.0
        self._metrics: str | None = None
        self._supervised: Mapping[str, dict[str, Any]] = {}
        self._closing: list[Any] = []

    def begin(self) -> None:
        """Start everything; when this returns every node is ready, or a signal has come.

        Raises:
            RefusedError: a node, the audit trail or the metrics refused.
        """
        name, supervisor = self.pipeline.options.name, self.supervisor
        _log.info("starting %d processes", len(supervisor.processes))
        supervisor.warm_up()
        self._open_telemetry()  # meanwhile
        supervisor.start()
        refusals = supervisor.wait_ready()
        if refusals:
            raise _refusal(self.pipeline, refusals)
        if supervisor.stop_signal is not None:
            return
        seconds = (time.monotonic_ns() - self._begun_ns) / 1e9
        where = f"; metrics on {self._metrics}" if self._metrics else ""
        _log.info("%d processes ready after %.2f s%s", len(supervisor.processes), seconds, where)
        _log.info("logs: %s", log_folder(name))

    def supervise(self, for_ns: int | None) -> None:
        """Let the frames flow until all has ended."""
        if self.supervisor.stop_signal is None:
            begun_ns = time.monotonic_ns()
            self.supervisor.run(for_ns)
            self._seconds = (time.monotonic_ns() - begun_ns) / 1e9

    def end(self) -> None:
        """End what is left, read the ledgers, and close telemetry last."""
        self.supervisor.close()
        reader = RunReader(self.folder)
        self.ledgers, self._status_blocks = reader.read()
        reader.close()
        if self._seconds:
            edges = [edge.as_record() for edge in merge(self.ledgers)]
            self.supervisor.record({"event": "LedgerRead", "node": "", "edges": edges})
        for close in reversed(self._closing):
            close()
        self._logbook.close(SHOW_CLOSE_S)
        self._screen.close(SHOW_CLOSE_S)
        setup_log(self.pipeline.options.name)  # what is still to be said goes to stderr again

    @property
    def has_begun(self) -> bool:
        """Whether frames could flow."""
        return self._seconds > 0

    @property
    def exit_code(self) -> int:
        """The supervisor's; 1 also where a consumer that is not optional was delivered nothing of what it got."""
        nodes = self.pipeline.options.nodes
        names = [edge.consumer for edge in undelivered(self.ledgers)]
        has_none = any(name in nodes and not nodes[name].optional for name in names)
        return self.supervisor.exit_code or int(has_none)

    def report(self) -> dict[str, Any]:
        """Build the report of the ended run."""
        return build_report(self.pipeline.options.name, self._seconds, self.nodes(), self.ledgers)

    def nodes(self) -> dict[str, dict[str, Any]]:
        """Return what is known of each node of the ended run."""
        return describe_nodes(self.supervisor.describe(), self.ledgers, self._status_blocks)

    def _open_telemetry(self) -> None:
        options = self.pipeline.options
        if options.audit.to != "none":
            from detektr.telemetry.audit import open_audit

            spool = state_root() / options.name / "spool"
            audit = open_audit(options.audit.to, spool, options.name, self.pipeline.folder)
            self._closing.append(lambda: audit.close(AUDIT_CLOSE_S))
            self.supervisor.record = audit.record
        if options.metrics.port is not None:
            from detektr.telemetry.metrics import NodeSupervision, PipelineCollector, serve_metrics

            reader, turn = RunReader(self.folder), threading.Lock()

            def read() -> tuple[list[EdgeLedger], list[NodeSnapshot]]:
                with turn:
                    return reader.read()

            def supervision() -> dict[str, NodeSupervision]:
                return {
                    name: NodeSupervision(node["restarts"], node["state"]) for name, node in self._supervised.items()
                }

            collector = PipelineCollector(read, options.name, supervision)
            server = serve_metrics(collector, options.metrics.host, options.metrics.port)
            self._closing += [reader.close, server.close]
            self._metrics = f"http://{options.metrics.host}:{server.port}/metrics"
            self._write_run_state()

    def _write_run_state(self) -> None:
        self._supervised = self.supervisor.describe()
        run_state = {
            "pipeline": self.pipeline.options.name,
            "file": str(self.pipeline.path.absolute()),
            "pid": os.getpid(),
            "started_utc_ns": self._begun_utc_ns,
            "metrics": self._metrics,
            "nodes": self._supervised,
        }
        try:
            write_run_state(self.folder, run_state)
        except OSError as fault:  # somebody filled shared memory; the frames have their room already
            _log.warning("`status` is behind: %s: %s", self.folder.path, fault.strerror)

    def _show(self, ledgers: list[EdgeLedger], snapshots: list[NodeSnapshot]) -> None:
        now_ns = time.monotonic_ns()
        nodes = describe_nodes(self.supervisor.describe(), ledgers, snapshots)
        self._supervised = nodes
        rows = self._flow.rows(now_ns, nodes, ledgers, snapshots)
        if self._screen.is_live:
            seconds = (now_ns - self.supervisor.started_ns) / 1e9
            self._screen.table(f"{self.pipeline.options.name}  {self.supervisor.phase}  {seconds:.0f} s", rows)
        elif now_ns >= self._next_summary_ns:
            if self._next_summary_ns:
                _log.info("%s", summary(rows))
            self._next_summary_ns = now_ns + SUMMARY_NS


def _refusal(pipeline: Pipeline, refusals: Sequence[tuple[NodeSpec, str]]) -> RefusedError:
    """Return the error that lists every node that cannot begin, with the line of the file that it stands on."""
    faults = {(pipeline.document.line("nodes", spec.node), spec.node, " ".join(why.split())) for spec, why in refusals}
    lines = [f"{pipeline.path}:{line}: node {node}: {mask(why)}" for line, node, why in sorted(faults)]
    return RefusedError("\n".join([*lines, f"{pipeline.path}: refused, nothing was started"]))


def _print(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:  # whoever read our output has left; the interpreter shall not stumble over it at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
