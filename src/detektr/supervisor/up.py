"""`detektr up`: from a file to a run, and from its end to its ledger."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detektr.config.load import Pipeline, PipelineFileError, check_machine, load_pipeline
from detektr.config.pipeline_options import TOKEN_FILE
from detektr.config.plan import plan_processes
from detektr.errors import DetektrError, RefusedError
from detektr.ledger import EdgeLedger, merge
from detektr.memory.run_folder import RunFolder, state_root
from detektr.memory.status_block_reader import NodeSnapshot
from detektr.memory.user_metrics import UserMetrics
from detektr.nodes.spec import NodeSpec
from detektr.observe.logbook import Logbook, log_folder
from detektr.observe.run_reader import RunReader
from detektr.observe.run_state import write_run_state
from detektr.observe.screen import Screen
from detektr.observe.status import describe_nodes
from detektr.observe.table import Flow, summary
from detektr.observe.why.text import describe_findings
from detektr.process.json_file import write_json
from detektr.process.open_files import check_open_files
from detektr.process.web_process import WebProcess, end_left_behind
from detektr.redaction import mask, register_secret
from detektr.source_uri import host_and_port
from detektr.supervisor.file_count import files_needed
from detektr.supervisor.fork_client import ForkServer
from detektr.supervisor.run_lock import acquire_run_lock
from detektr.supervisor.signals import SignalPipe
from detektr.supervisor.supervisor import Supervisor
from detektr.telemetry.history.record_writer import RunRecord
from detektr.telemetry.history.rows import Sampler
from detektr.telemetry.history.writer import HistoryWriter
from detektr.telemetry.log import setup_log
from detektr.telemetry.report import build_report, check_report_path, count_unaccounted, ledger_table, undelivered

LOOK_NS = 1_000_000_000  # one look is one second of history
SUMMARY_NS = 10_000_000_000
AUDIT_CLOSE_S = 2.0
SHOW_CLOSE_S = 1.0
HISTORY_CLOSE_S = 2.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunResult:
    """The result of a run that began and has ended."""

    exit_code: int
    """0; 1: a node failed for good, or gave up every frame that it began; 128+n: ended by signal n, unless that is
    SIGTERM and everything was drained."""
    edges: tuple[EdgeLedger, ...]
    """The ledger of every edge; empty: it was ended before any frame flowed."""
    report: Mapping[str, Any]
    """The same with all nodes, as plain values: what `--report` writes."""
    sickest: tuple[Mapping[str, Any], ...] = ()
    """What was wrong, the worst first, as `detektr why` says it."""

    @property
    def unaccounted(self) -> int:
        """Frames that stand in no term of their edge's ledger; 0 unless there is a defect."""
        return count_unaccounted(self.edges)

    @property
    def summary(self) -> str:
        """The ledgers as a table, with the last lines of the run."""
        if not self.edges:
            return "ended before any frame flowed"
        return ledger_table(self.edges, self.report["nodes"], describe_findings(self.sickest))


def run_up(
    path: Path, forks: ForkServer, *, for_ns: int | None = None, report: Path | None = None, quiet: bool = False
) -> int:
    """Run a pipeline to its end, and print its ledger; see `run_pipeline`.

    Returns:
        The exit code of the run; 1 also where the report could not be written.
    """
    result = run_pipeline(path, forks, for_ns=for_ns, report=report, quiet=quiet)
    code = result.exit_code
    if report is not None:  # first: the reader of our output may have left
        try:
            write_json(report, result.report)
        except OSError as fault:
            _log.error("--report %s: it could not be written at the end: %s", report, fault.strerror)
            code = code or 1
    print(result.summary, flush=True)
    return code


def run_pipeline(
    path: Path, forks: ForkServer, *, for_ns: int | None = None, report: Path | None = None, quiet: bool = False
) -> RunResult:
    """Run a pipeline to its end.

    Args:
        path: the pipeline file.
        forks: the fork server's client, started or not; closed with the run.
        for_ns: stop after this time, in nanoseconds; None: when its sources end, or on SIGINT or SIGTERM.
        report: where a report will be written: refused before the start where that cannot be; None: nowhere.
        quiet: no table, and no log lines but warnings and errors.
    Returns:
        The result. The exit code is 0; 1: a node failed for good, or gave up every frame that it began, or the
        report could not be written; 128+n: ended by signal n, where that is not SIGTERM, or what was queued could not
        be drained.
    Raises:
        RefusedError: the file, the machine or a node refused; nothing is left behind.
    """
    if report is not None:
        check_report_path(report)
    state_root()  # before anything runs: without it, logs and dead letters have no place
    pipeline = load_pipeline(path)
    for secret in pipeline.secrets:
        register_secret(secret)
    with SignalPipe() as signals:
        folder, lock = acquire_run_lock(pipeline.options.name, pipeline.options.nodes)
        try:
            end_left_behind(state_root() / pipeline.options.name)
            faults = check_machine(pipeline)
            if faults:
                raise PipelineFileError(path, faults, pipeline.secrets)
            run = _Run(pipeline, folder, signals, forks, is_quiet=quiet)
            try:
                run.begin()
                run.supervise(for_ns)
            except RefusedError as fault:
                run.note_refusal(str(fault))
                raise
            finally:
                run.end()
        finally:
            folder.sweep()
            lock.close()
    edges = tuple(merge(run.ledgers)) if run.has_begun else ()
    result = RunResult(run.exit_code, edges, run.report(), run.sickest())
    if run.has_begun:
        run.end_record(result)
    return result


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
        self._specs = specs = plan_processes(
            pipeline.options.name,
            pipeline.graph,
            pipeline.options.nodes,
            pipeline.folder,
            secrets=tuple(pipeline.secrets),
            is_audited=pipeline.options.audit.to != "none",
            trail_share=pipeline.options.audit.share,
            announce=pipeline.options.announce,
            dead_letter_bytes=pipeline.options.dead_letter_bytes,
        )
        self.supervisor = Supervisor(
            specs,
            folder,
            self._logbook,
            signals,
            forks,
            look=self._show,
            look_ns=LOOK_NS,
            change=self._write_run_state,
        )
        self._flow = Flow()
        self._begun_ns, self._begun_utc_ns = time.monotonic_ns(), time.time_ns()
        self._state_folder = state_root() / pipeline.options.name
        self._record = RunRecord(self._state_folder, self._begun_utc_ns)
        self._history: HistoryWriter | None = None
        self._sampler = Sampler()
        self._next_summary_ns = 0
        self._seconds = 0.0
        self._metrics: str | None = None
        self._web: WebProcess | None = None
        self._supervised: Mapping[str, dict[str, Any]] = {}
        self._closing: list[Any] = []

    def begin(self) -> None:
        """Start everything; when this returns every node is ready, or a signal has come.

        Raises:
            RefusedError: a node, the audit trail or the metrics refused, or there may not be enough open files.
        """
        count, needed = len(self._specs), files_needed(self._specs, self.pipeline.options.metrics.port is not None)
        check_open_files(needed, f"{self.pipeline.path}: a pipeline of {count} processes")
        options, supervisor = self.pipeline.options, self.supervisor
        name = options.name
        count = sum(managed.is_wanted for managed in supervisor.processes)
        _log.info("starting %d processes", count)
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
        where += f"; web on {self._web.url}" if self._web is not None else ""
        _log.info("%d processes ready after %.2f s%s", count, seconds, where)
        if self._web is not None and options.web is not None and options.web.token is None:
            _log.info("the token of %s is in %s", self._web.url, state_root() / name / TOKEN_FILE)
        _log.info("logs: %s", log_folder(name))

    def supervise(self, for_ns: int | None) -> None:
        """Let the frames flow until all has ended."""
        if self.supervisor.stop_signal is None:
            begun_ns = time.monotonic_ns()
            self._begin_record()
            self._history = HistoryWriter(self._state_folder, self._record.run)
            self.supervisor.run(for_ns)
            self._seconds = (time.monotonic_ns() - begun_ns) / 1e9

    def end(self) -> None:
        """End processes that are left, read the ledgers, and close telemetry last."""
        self.supervisor.close()
        reader = RunReader(self.folder)
        self.ledgers, self._status_blocks = reader.read()
        reader.close()
        if self._seconds:
            edges = [edge.as_record() for edge in merge(self.ledgers)]
            self.supervisor.record({"event": "LedgerRead", "node": "", "edges": edges})
        if self._history is not None:
            self._add_to_history(self.nodes(), self.ledgers, self._status_blocks)
            self._history.close(HISTORY_CLOSE_S)
        for close in reversed(self._closing):
            close()
        self._logbook.close(SHOW_CLOSE_S)
        self._screen.close(SHOW_CLOSE_S)
        setup_log(self.pipeline.options.name)  # from here on, log lines go to stderr again

    @property
    def has_begun(self) -> bool:
        """Whether frames could flow."""
        return self._seconds > 0

    @property
    def exit_code(self) -> int:
        """The supervisor's; 0 after a SIGTERM that was drained; 1 where a consumer was delivered nothing that it got.

        And 1 where a ledger does not add up, which is a defect of ours. Consumers that are optional do not count.
        """
        nodes = self.pipeline.options.nodes
        needed = [edge for edge in self.ledgers if edge.consumer in nodes and not nodes[edge.consumer].optional]
        code = self.supervisor.exit_code
        is_cut = self.supervisor.has_failed or any(edge.dropped.get("stopped") for edge in needed)
        if code == 128 + signal.SIGTERM and not is_cut:
            code = 0
        return code or int(bool(undelivered(needed)) or count_unaccounted(self.ledgers) != 0)

    def note_refusal(self, why: str) -> None:
        """Write down why nothing began, so that whoever asks later is told of this start and not of the one before."""
        self._begin_record()
        self._record.refuse(mask(why))

    def _begin_record(self) -> None:
        options = self.pipeline.options
        self._record.begin(options.name, self.pipeline.path, options.audit.place(self.pipeline.folder), self._specs)

    def end_record(self, result: RunResult) -> None:
        """Write down how the run went."""
        self._record.end(result.exit_code, self.supervisor.stopped_by, result.report, result.sickest)

    def sickest(self) -> tuple[Mapping[str, Any], ...]:
        """Return what was wrong with the ended run; nothing where its history could not be written."""
        if self._history is None:
            return ()
        from detektr.observe.why.answer import explain  # here: it loads SQLite, for which no start waits

        with contextlib.suppress(DetektrError):
            return tuple(explain(self.pipeline.options.name, run=self._record.run)["sickest"])
        return ()

    def report(self) -> dict[str, Any]:
        """Build the report of the ended run."""
        return build_report(self.pipeline.options.name, self._seconds, self.nodes(), self.ledgers)

    def nodes(self) -> dict[str, dict[str, Any]]:
        """Return the state of each node of the ended run."""
        return describe_nodes(self.supervisor.describe(), self.ledgers, self._status_blocks)

    def _open_telemetry(self) -> None:
        options = self.pipeline.options
        if options.web is not None:
            self._web = WebProcess(options.web.host, options.web.port, options.web.settings(options.name))
            self._closing.append(self._web.close)
        if options.audit.to != "none":
            from detektr.telemetry.audit import open_audit
            from detektr.telemetry.trail.bounds import Bounds
            from detektr.telemetry.trail.harvester import Harvester, HarvestThread

            spool, terms = state_root() / options.name / "spool", options.audit
            bounds = Bounds(terms.keep_s, terms.bytes_max)
            audit = open_audit(terms.to, spool, options.name, self.pipeline.folder, bounds, terms.prefix)
            self._closing.append(lambda: audit.close(AUDIT_CLOSE_S))
            self.supervisor.record = audit.record
            if terms.share is not None:
                kinds = {name: node.kind for name, node in options.nodes.items()}
                self._closing.append(HarvestThread(Harvester(self.folder, kinds), audit.take_rows, audit.record).close)
        if options.metrics.port is not None:
            from detektr.telemetry.metrics import NodeSupervision, PipelineCollector, serve_metrics

            reader, turn = RunReader(self.folder), threading.Lock()

            def read() -> tuple[list[EdgeLedger], list[NodeSnapshot]]:
                with turn:
                    return reader.read()

            def read_user_metrics() -> list[UserMetrics]:
                with turn:
                    return reader.read_user_metrics()

            def supervision() -> dict[str, NodeSupervision]:
                return {name: NodeSupervision.of(node) for name, node in self._supervised.items()}

            collector = PipelineCollector(read, options.name, supervision, read_user_metrics)
            server = serve_metrics(collector, options.metrics.host, options.metrics.port)
            self._closing += [reader.close, server.close]
            self._metrics = f"http://{host_and_port(options.metrics.host, server.port)}/metrics"
            self._write_run_state()

    def _write_run_state(self) -> None:
        self._supervised = self.supervisor.describe()
        self._record.note_replicas({name: node["replicas"] for name, node in self._supervised.items()})
        run_state = {
            "pipeline": self.pipeline.options.name,
            "file": str(self.pipeline.path.absolute()),
            "pid": os.getpid(),
            "started_utc_ns": self._begun_utc_ns,
            "run": self._record.run,
            "metrics": self._metrics,
            "web": None if self._web is None else self._web.url,
            "nodes": self._supervised,
        }
        try:
            write_run_state(self.folder, run_state)
        except OSError as fault:  # somebody filled shared memory; the frames have their room already
            _log.warning("`status` is behind: %s: %s", self.folder.path, fault.strerror)

    def _add_to_history(
        self, nodes: Mapping[str, dict[str, Any]], ledgers: list[EdgeLedger], snapshots: list[NodeSnapshot]
    ) -> None:
        if self._history is not None:
            now_ns, utc_ns = time.monotonic_ns(), time.time_ns()
            self._history.add(self._sampler.sample(nodes, ledgers, snapshots, monotonic_ns=now_ns, utc_ns=utc_ns))

    def _show(self, ledgers: list[EdgeLedger], snapshots: list[NodeSnapshot]) -> None:
        now_ns = time.monotonic_ns()
        if self._web is not None:
            self._web.look(now_ns)
        nodes = describe_nodes(self.supervisor.describe(), ledgers, snapshots)
        self._supervised = nodes
        self._add_to_history(nodes, ledgers, snapshots)
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
