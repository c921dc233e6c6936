"""Standalone nodes: one process of a pipeline file, or a node without a file, in a terminal, container or unit.

A node of a file has the edges of the file: unfinished frames wait for its consumers. A node without a file has no
consumers of its own: each one that attaches is an ephemeral consumer, as the node itself is upstream, and the edge goes
with the consumer. Only a buffer's edge stays when the buffer dies, until its successor comes.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from detektr.config.document import Document, read_document, read_scalar
from detektr.config.graph.sizing import SPARE_FRAMES
from detektr.config.graph.topology import Graph
from detektr.config.load import Pipeline, PipelineFileError, check_machine, load_pipeline
from detektr.config.node_env import env_secrets
from detektr.config.plan import plan_processes
from detektr.config.schema import AuditOptions, MetricsOptions, PipelineOptions, read_options
from detektr.edge.upstream import Upstream
from detektr.errors import EndedEarlyError, RefusedError
from detektr.ledger import EdgeLedger
from detektr.memory.journal_reader import open_journal
from detektr.memory.run_folder import RunFolder, state_root
from detektr.memory.status_block_reader import NodeSnapshot, open_status_block
from detektr.memory.user_metrics import UserMetrics, open_user_metrics
from detektr.nodes.ending import Ending
from detektr.nodes.node import Node
from detektr.nodes.node_signals import ending_signals
from detektr.nodes.spec import NodeSpec
from detektr.observe.status import describe_nodes
from detektr.options import (
    BufferOptions,
    CaptureOptions,
    NodeOptions,
    PullOptions,
    WorkerOptions,
    inputs_of,
    worker_window,
)
from detektr.process.open_files import raise_open_files
from detektr.process.seen_time import SeenClock
from detektr.redaction import mask_with, register_secret, url_secrets
from detektr.registry.node_kinds import NODE_KINDS
from detektr.supervisor.entry import run_node
from detektr.supervisor.hang_watch import HangWatch
from detektr.supervisor.managed_process import ManagedProcess
from detektr.telemetry.log import setup_log
from detektr.telemetry.report import count_unaccounted, ledger_table

LOOK_NS = 1_000_000_000  # how often we look whether a frame takes too long
SLOTS_MIN, SLOTS_MAX = 8, 1024
BUFFER_WINDOWS = 8  # leases that the readers of a buffer without a file hold together


def spec_for(
    kind: str,
    file: Path | None,
    node: str | None,
    replica: int,
    pipeline: str,
    name: str | None,
    given: Mapping[str, Any],
) -> NodeSpec:
    """Return the spec that a command line asks for, in either of its two forms.

    Args:
        kind: one of `NODE_KINDS`.
        file: the pipeline file, for the form with one.
        node: the file's node.
        replica: which of its replicas.
        pipeline: without a file: the pipeline that it joins.
        name: without a file: the node's name.
        given: without a file: its keys; see `spec_by_hand`.
    Raises:
        RefusedError: the two forms are mixed, or something in them is refused.
    """
    said = sorted(key for key, value in given.items() if value not in (None, False, [], {}))
    if file is not None:
        if node is None:
            raise RefusedError(f"{kind}: --pipeline {file} says the file, but not which node of it: add --node NAME")
        if said:
            raise RefusedError(
                f"{kind}: {', '.join(said)} beside --pipeline; the file says what the node is: change it there"
            )
        return spec_from_file(file, kind, node, replica)
    if node is not None or replica:
        option = "--node" if node is not None else "--replica"
        raise RefusedError(f"{kind}: {option} needs --pipeline FILE; without a file, name the node with --name")
    missing = [key for key in ("source", "use", "input") if key in given and not given[key]]
    if missing:
        written = {"source": "--source clip.mp4", "use": "my.module:Class", "input": "--input NAME"}
        wanted = " ".join(written[key] for key in missing)
        raise RefusedError(f"{kind}: {', '.join(missing)} missing; write {wanted}, or --pipeline FILE --node NAME")
    arguments = read_arguments(given.get("with") or [])
    surroundings = {"env": read_env_arguments(given.get("env") or []), "cpus": read_cpus(given.get("cpus") or [])}
    return spec_by_hand(pipeline, name, {**given, **surroundings, "kind": kind, "with": arguments})


def spec_from_file(path: Path, kind: str, node: str, replica: int = 0) -> NodeSpec:
    """Return the spec of one process of a node of a pipeline file.

    Raises:
        RefusedError: the file is refused, has no such node or replica, or this machine lacks what the node needs.
    """
    pipeline = load_pipeline(path)
    nodes = pipeline.options.nodes
    if node not in nodes:
        raise RefusedError(f"{path}: there is no node {node!r}; it has: {', '.join(nodes)}")
    if nodes[node].kind != kind:
        is_kind = nodes[node].kind
        raise RefusedError(
            f"{path}:{pipeline.document.line('nodes', node)}: node {node!r} is a {is_kind};"
            f" start it with `detektr {is_kind}`"
        )
    replicas = pipeline.graph.nodes[node].replicas
    if not 0 <= replica < replicas:
        raise RefusedError(
            f"{path}:{pipeline.document.line('nodes', node, 'replicas')}: node {node!r} has no replica {replica};"
            f" write --replica 0 to {replicas - 1}"
        )
    _refuse_machine(pipeline, node)
    specs = plan_processes(
        pipeline.options.name,
        pipeline.graph,
        nodes,
        pipeline.folder,
        secrets=tuple(pipeline.secrets),
        announce=pipeline.options.announce,
        dead_letter_bytes=pipeline.options.dead_letter_bytes,
        is_supervised=False,
    )
    return next(spec for spec in specs if (spec.node, spec.replica) == (node, replica))


def spec_by_hand(pipeline: str, node: str | None, given: Mapping[str, Any]) -> NodeSpec:
    """Return the spec of a node that is in no file.

    Args:
        pipeline: the pipeline that it joins, and makes if there is none.
        node: its name; None: that of its class, in small letters.
        given: its keys as in a file (`kind`, `source`, `input`, ...); None: not given.
    Raises:
        RefusedError: something is missing or wrong; lists all of it.
    """
    values = {key: value for key, value in given.items() if value not in (None, [], {})}
    if node is None:
        node = re.sub(r"\W", "-", str(values.get("use", "node")).rpartition(":")[2].rpartition(".")[2]).lower()
    values = {**NODE_KINDS[values["kind"]].defaults_alone, **values}
    slots = 0
    found: tuple[str, ...] = ()
    if values["kind"] == "capture" and "source" in values:
        given_source = read_document(f"source: {json.dumps(values['source'])}", os.environ)
        if given_source.faults:
            raise RefusedError("\n".join(f"--source: {fault.text}" for fault in given_source.faults))
        values["source"], found = (given_source.values or {})["source"], tuple(given_source.secrets)
    if values["kind"] == "capture":
        slots = values.pop("slots")
        if not SLOTS_MIN <= slots <= SLOTS_MAX:
            raise RefusedError(f"--slots is {slots}, expected {SLOTS_MIN} to {SLOTS_MAX}, correct it or leave it out")
        values["guests"] = slots - SPARE_FRAMES
    elif values["kind"] == "buffer":
        values["guests"] = min(values["high_water_mark"] + BUFFER_WINDOWS, 1024)
    document = Document(values={"name": pipeline, "nodes": {node: values}})
    reading = read_options(document)
    if reading.faults:
        raise RefusedError("\n".join(mask_with(fault.text, {}) for fault in reading.faults))
    options = reading.options.nodes[node]
    secrets = (*env_secrets({node: options}), *found)
    if isinstance(options, CaptureOptions):
        secrets += (*url_secrets(options.source),)
    # No file: the current folder is the base of relative paths.
    masked = dict.fromkeys(secrets, "***")
    _refuse_machine(Pipeline(Path("command-line"), reading.options, Graph({}, ()), masked, document), node)
    return NodeSpec(
        pipeline=pipeline,
        node=node,
        options=options,
        upstreams=tuple(_upstreams(pipeline, node, options)),
        slots=slots,
        mark=options.high_water_mark or 1 if isinstance(options, CaptureOptions | BufferOptions) else 0,
        guests=options.guests or 0 if isinstance(options, CaptureOptions | BufferOptions) else 0,
        folder=str(Path.cwd()),
        secrets=secrets,
    )


def read_arguments(pairs: list[str]) -> dict[str, Any]:
    """Read `key=value` pairs as a file's `with` would have them: `3` is a number, `true` a truth value.

    Raises:
        RefusedError: one is not key=value.
    """
    arguments: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.isidentifier():
            raise RefusedError(f"--with {pair!r:.80} is not key=value; write for example --with threshold=0.01")
        arguments[key] = read_scalar(text)
    return arguments


def read_env_arguments(pairs: list[str]) -> dict[str, str]:
    """Read `NAME=VALUE` pairs, whose values are text.

    Raises:
        RefusedError: one is not NAME=VALUE.
    """
    for pair in pairs:
        if not pair.partition("=")[0] or "=" not in pair:
            raise RefusedError(f"--env {pair!r:.80} is not NAME=VALUE; write for example --env CUDA_VISIBLE_DEVICES=0")
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}


def read_cpus(numbers: list[str]) -> list[Any]:
    """Return CPUs as a file would have them; what is no number is refused with the rest of the options."""
    return [read_scalar(number) for number in numbers]


def run_standalone(spec: NodeSpec, *, metrics_port: int | None = None, ending: Ending | None = None) -> int:
    """Run one process of a node here, until it ends or is told to, and print its ledger.

    SIGTERM drains and is a clean end (what a unit's stop wants); Ctrl-C and a terminal that closes drain too, a second
    Ctrl-C does not wait.

    Args:
        spec: what to run.
        metrics_port: where to serve this process's metrics, on loopback; 0: any free port; None: nowhere.
        ending: ends this process in time, if the caller lets it end afterwards.
    Returns:
        Exit code: 0 ended or stopped by SIGTERM, 1 failed or its ledger does not add up, 2 refused, 128+n stopped by
        another signal n.
    Raises:
        RefusedError: DETEKTR_LOG is not a level, the port cannot be had, or there is no place for dead letters.
    """
    for secret in spec.secrets:
        register_secret(secret)
    setup_log(f"{spec.node}.{spec.replica}")
    state_root()  # before anything runs: without it, dead letters have no place
    raise_open_files()
    os.chdir(spec.folder)  # a node writes beside its pipeline file, as in `pipeline up`
    sys.setswitchinterval(1e-4)  # a capture's decoder and its loop take turns
    for number in ending_signals():
        if number != signal.SIGINT:  # which raises KeyboardInterrupt
            signal.signal(number, _end_early)
    server, is_over = None, threading.Event()
    # A signal that another thread takes would interrupt this one where it holds signals back (see `run_node`).
    signal.pthread_sigmask(signal.SIG_BLOCK, ending_signals())
    try:
        if metrics_port is not None:
            from detektr.telemetry.metrics import PipelineCollector, serve_metrics

            collector = PipelineCollector(
                lambda: read_own(spec), spec.pipeline, user_metrics=lambda: _own_user_metrics(spec)
            )
            server = serve_metrics(collector, "127.0.0.1", metrics_port)
            print(f"metrics: http://127.0.0.1:{server.port}/metrics", file=sys.stderr, flush=True)
        threading.Thread(target=_watch_work, args=(spec, is_over), name="hang watch", daemon=True).start()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ending_signals())
    try:
        return run_node(spec, at_end=_print_ledger, ending=ending)
    finally:
        is_over.set()
        if server is not None:
            server.close()


def read_own(spec: NodeSpec) -> tuple[list[EdgeLedger], list[NodeSnapshot]]:
    """Return the ledgers of one process's own edges, and its status block.

    Each edge has one producer, so it appears once in the metrics of all processes together.
    """
    folder = RunFolder(spec.pipeline)
    ledgers, snapshots = [], []
    for producer, _, consumer, path in folder.journals(spec.node, spec.replica):
        journal = open_journal(path, producer, consumer)
        if journal is not None:
            ledgers.append(journal.ledger())
            journal.close()
    snapshot = open_status_block(folder.status_block(spec.node, spec.replica), spec.node, spec.replica)
    if snapshot is not None:
        snapshots.append(snapshot.snapshot())
        snapshot.close()
    return ledgers, snapshots


def _own_user_metrics(spec: NodeSpec) -> list[UserMetrics]:
    """Return what the user's code in one process has counted; nothing where it has no metric."""
    path = RunFolder(spec.pipeline).user_metrics(spec.node, spec.replica)
    reader = open_user_metrics(path, spec.node, spec.replica)
    if reader is None:
        return []
    found = reader.read()
    reader.close()
    return [found]


def _watch_work(spec: NodeSpec, is_over: threading.Event) -> None:
    """Log when one frame takes too long, and where the code is, as there is no supervisor to do so."""
    clock, managed = SeenClock(time.monotonic_ns()), ManagedProcess(spec)
    hangs = HangWatch(RunFolder(spec.pipeline), lambda name, lines: _write_lines(lines), clock.seen_ns)
    while not is_over.wait(LOOK_NS / 1e9):
        now_ns = time.monotonic_ns()
        clock.look(now_ns)
        clock.expect(now_ns, now_ns + LOOK_NS)
        _, snapshots = read_own(spec)
        for snapshot in snapshots:
            hangs.look(managed, snapshot, clock.seen_ns(now_ns), 0)


def _write_lines(lines: bytes) -> None:
    sys.stderr.write(lines.decode(errors="replace"))


def _print_ledger(node: Node) -> bool:
    """Print the ledger of a node that has run; False: it does not add up."""
    ledgers, (_, snapshots) = node.ledgers(), read_own(node.spec)
    print(ledger_table(ledgers, describe_nodes({}, ledgers, snapshots)), flush=True)
    return count_unaccounted(ledgers) == 0


def _end_early(number: int, frame: FrameType | None) -> None:
    """End before the node has begun to run; it removes its files, and is not interrupted in that."""
    for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(one, signal.SIG_IGN)
    raise EndedEarlyError(0 if number == signal.SIGTERM else 128 + number)


def _refuse_machine(pipeline: Pipeline, node: str) -> None:
    """Refuse to start if this machine lacks something that this one node needs; port and audit are the run's."""
    alone = PipelineOptions(
        name=pipeline.options.name,
        nodes={node: pipeline.options.nodes[node]},
        audit=AuditOptions(),
        metrics=MetricsOptions(),
    )
    faults = check_machine(replace(pipeline, options=alone))
    if faults and pipeline.graph.nodes:
        raise PipelineFileError(pipeline.path, faults, pipeline.secrets)
    if faults:
        raise RefusedError("\n".join(fault.text for fault in faults))


def _upstreams(pipeline: str, node: str, options: NodeOptions) -> list[Upstream]:
    buffer = options if isinstance(options, BufferOptions) else None
    worker = options if isinstance(options, WorkerOptions) else None
    reader = options if isinstance(options, WorkerOptions | PullOptions) else None
    window = (buffer.guests or 0) if buffer else worker_window(reader) if reader else 0
    return [
        Upstream(
            producer=producer,
            producer_replica=part,
            consumer=node,
            window=window,
            is_durable=buffer is not None or isinstance(options, PullOptions),
            is_ephemeral=True,
            max_deliveries=worker.max_deliveries if worker else 1,
            timeout_ns=worker.timeout_ns if worker else 0,
            lane=(None if isinstance(options, CaptureOptions) else options.announce) or "zmq",
        )
        for producer in inputs_of(options)
        for part in _parts(pipeline, producer, options)
    ]


def _parts(pipeline: str, producer: str, options: NodeOptions) -> list[int]:
    """Return the replicas of a producer: those that run now; only a processor, as sinks read it, has several."""
    if "capture" in NODE_KINDS[options.kind].may_read:
        return [0]
    found = [replica for name, replica, _ in RunFolder(pipeline).live_processes() if name == producer]
    return found or [0]
