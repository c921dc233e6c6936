"""What the server knows of one pipeline: one snapshot each 100 ms at most, however many ask."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from detektr.errors import DetektrError
from detektr.ledger import EdgeLedger, merge
from detektr.memory.run_folder import RunFolder, state_root
from detektr.memory.status_block_reader import NodeSnapshot
from detektr.observe.readiness import read_reasons
from detektr.observe.run_reader import RunReader
from detektr.observe.run_state import read_run_state
from detektr.observe.status import read_status
from detektr.observe.why.answer import explain, read_run
from detektr.telemetry.history.record_reader import RunRecords
from detektr.telemetry.metrics import NodeSupervision, PipelineCollector
from detektr.web.problem import Problem

SNAPSHOT_NS = 100_000_000
WHY_NS = 200_000_000  # who asks at different moments is told of the same thing within a second ...
TIMES_TAKEN, OLD_NS_MAX = 10, 1_000_000_000  # ... unless that would keep us busy: what takes long is asked less often


@dataclass(frozen=True)
class Moment:
    """A run at one moment."""

    taken_ns: int
    """Monotonic."""
    at: str
    """UTC."""
    run_state: dict[str, Any]
    """As its supervisor wrote it down; empty: none lives."""
    edges: tuple[EdgeLedger, ...]
    snapshots: tuple[NodeSnapshot, ...]

    @property
    def kinds(self) -> dict[str, str]:
        """The kind of each node."""
        found = {snapshot.node: snapshot.kind for snapshot in self.snapshots}
        return found | {name: facts["kind"] for name, facts in self.run_state.get("nodes", {}).items()}

    @property
    def is_live(self) -> bool:
        """Whether anything of the run lives."""
        return bool(self.run_state) or any(snapshot.is_alive for snapshot in self.snapshots)


class View:
    """Reads one pipeline from outside; to be called in one thread, which may wait for a disk."""

    def __init__(self, name: str) -> None:
        """Read the pipeline `name`, whether it runs or not."""
        self.name = name
        self.folder = RunFolder(name)
        self._reader = RunReader(self.folder)
        self._kept: dict[str, tuple[int, Any]] = {}  # what is known, and until when
        self._ready: tuple[bool, str] | None = None

    def moment(self) -> Moment:
        """Return the present moment, or one of less than 100 ms ago."""
        moment: Moment = self._cached("moment", SNAPSHOT_NS, self._take)
        return moment

    def read(self) -> tuple[list[EdgeLedger], list[NodeSnapshot]]:
        """Return ledgers and status blocks, as a collector of metrics wants them."""
        moment = self.moment()
        return list(moment.edges), list(moment.snapshots)

    def collector(self) -> PipelineCollector:
        """Return what makes metrics of the present moment."""

        def supervision() -> dict[str, NodeSupervision]:
            nodes = self.status()["nodes"] if self.moment().is_live else {}
            return {name: NodeSupervision.of(facts) for name, facts in nodes.items()}

        return PipelineCollector(self.read, self.name, supervision, self._reader.read_user_metrics)

    def status(self, run: str | None = None) -> dict[str, Any]:
        """Return the status: of the run that goes on, of the one that is named, or of the last.

        Raises:
            DetektrError: there is no such run.
        """
        if run is not None:
            return self._past(run)
        if self.moment().is_live:
            try:
                status: dict[str, Any] = self._cached("status", SNAPSHOT_NS, lambda: read_status(self.name))
                return status if status["run"] is not None else status | {"run": self._orphaned()}
            except DetektrError:  # it has just ended
                self._kept.pop("moment", None)
        return self._past("last")

    def sickest(self, run: str | None = None) -> list[dict[str, Any]]:
        """Return what is wrong, or was, the worst first.

        Raises:
            DetektrError: there is no such run, or nothing is known of it.
        """
        if run is not None:
            return list(explain(self.name, run=run)["sickest"])
        return list(self._cached("why", WHY_NS, lambda: explain(self.name))["sickest"])

    def ready(self) -> dict[str, Any]:
        """Return whether the run does its work now, since when that is so, and why not."""
        found = self._cached("ready", WHY_NS, lambda: read_reasons(self.name))
        is_ready = not found
        if self._ready is None or self._ready[0] != is_ready:
            since = min((reason["since"] for reason in found if reason["since"]), default=utc_now())
            self._ready = is_ready, since
        return {"pipeline": self.name, "ready": is_ready, "since": self._ready[1], "reasons": found}

    def close(self) -> None:
        """Unmap everything."""
        self._reader.close()

    def _orphaned(self) -> str | None:
        """Return the run of processes whose supervisor is dead; None: they were started alone."""
        records = RunRecords(state_root() / self.name)
        last: dict[str, Any] = records.read("last") if records.ids() else {"ended_utc_ns": 0}
        return str(last["run"]) if last["ended_utc_ns"] is None else None

    def _past(self, run: str) -> dict[str, Any]:
        """Return the status of a run that is over: of one whose supervisor died, what its history has."""
        record = RunRecords(state_root() / self.name).read(run)
        if record.get("report") is not None:
            return read_run(self.name, record["run"])
        return {
            "pipeline": self.name,
            "run": record["run"],
            "state": "died",
            "file": record["file"],
            "supervisor": None,
            "seconds": None,
            "metrics": None,
            "nodes": {},
            "edges": explain(self.name, run=record["run"])["evidence"],
            "cameras": {},
        }

    def _take(self) -> Moment:
        run_state = read_run_state(self.folder)
        ledgers, snapshots = self._reader.read()
        return Moment(time.monotonic_ns(), utc_now(), run_state, tuple(merge(ledgers)), tuple(snapshots))

    def _cached(self, what: str, for_ns: int, take: Callable[[], Any]) -> Any:
        now_ns = time.monotonic_ns()
        known = self._kept.get(what)
        if known is None or now_ns >= known[0]:
            value = take()
            taken_ns = time.monotonic_ns() - now_ns
            known = self._kept[what] = now_ns + max(for_ns, min(OLD_NS_MAX, TIMES_TAKEN * taken_ns)), value
        return known[1]


class Views:
    """The pipelines that a server shows: those that it was told, or all that run."""

    def __init__(self, names: tuple[str, ...], running: Callable[[], list[str]]) -> None:
        """Begin without having read anything.

        Args:
            names: which ones; empty: all that run.
            running: returns the names of those.
        """
        self._names, self._running = names, running
        self._views: dict[str, View] = {}

    def names(self) -> list[str]:
        """Return the pipelines that are shown now."""
        return list(self._names) or self._running()

    def get(self, name: str | None) -> View:
        """Return the view of a pipeline; None: of the only one there is.

        Raises:
            Problem: there is no such pipeline, or there are several and none is named.
        """
        known = self.names()
        listed = ", ".join(known) or "none"
        if name is None and len(known) != 1:
            if not known:
                raise Problem(404, "no_pipeline", "no pipeline runs", "start one: `detektr up`", pipelines=[])
            detail, next_ = f"this server shows {len(known)} pipelines: {listed}", "ask below /pipelines/NAME/"
            raise Problem(409, "which_pipeline", detail, next_, pipelines=known)
        wanted = known[0] if name is None else name
        if wanted not in known:
            detail = f"no pipeline {wanted!r:.60} is shown here"
            raise Problem(404, "no_pipeline", detail, f"name one of these: {listed}", pipelines=known)
        for gone in [other for other in self._views if other not in known]:
            self._views.pop(gone).close()
        if wanted not in self._views:
            self._views[wanted] = View(wanted)
        return self._views[wanted]

    def close(self) -> None:
        """Unmap everything."""
        for view in self._views.values():
            view.close()
        self._views.clear()


def utc_now() -> str:
    """Return the time of day in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
