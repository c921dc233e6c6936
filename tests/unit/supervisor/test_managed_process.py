from __future__ import annotations

from pathlib import Path

import pytest

from detektr.edge.edge_options import EdgeOptions
from detektr.edge.upstream import Upstream
from detektr.memory.run_folder import RunFolder
from detektr.nodes.spec import NodeSpec
from detektr.observe.logbook import Logbook
from detektr.observe.node_state import node_state, worst
from detektr.options import CaptureOptions, ProcessorOptions, SinkOptions
from detektr.supervisor.managed_process import ManagedProcess, describe, optional_rest

EDGE = EdgeOptions(mark=4, low=3, when_full="block", inputs=1, window_total=4, payload_bytes=64)


def test_node_is_as_its_worst_process() -> None:
    assert worst(["running", "restarting", "ended"]) == "restarting"
    assert worst(["failed", "running"]) == "failed"


@pytest.mark.parametrize(
    ("supervised", "status_blocks", "is_stalled", "state"),
    [
        ("running", ["running", "waiting"], False, "waiting"),
        ("running", ["running"], True, "stalled"),
        ("running", ["stopped"], False, "running"),
        ("failed", ["running"], True, "failed"),
        ("restarting", ["stopped", "running"], False, "restarting"),
        ("ended", [], False, "ended"),
    ],
)
def test_state_is_the_supervisors_word_then_the_pages_then_the_edges(
    supervised: str, status_blocks: list[str], is_stalled: bool, state: str
) -> None:
    assert node_state(supervised, status_blocks, is_stalled=is_stalled) == state


def spec(edges: dict[str, EdgeOptions]) -> NodeSpec:
    upstream = Upstream(producer="cam", producer_replica=1, consumer="motion", window=4)
    options = ProcessorOptions(input="cam", use="a:b")
    return NodeSpec(pipeline="p", node="motion", replica=2, options=options, upstreams=(upstream,), edges=edges)


def test_work_has_ended_with_the_own_edges_or_without_any_with_the_inputs(shm_dir: Path) -> None:
    folder = RunFolder("p")
    assert ManagedProcess(spec({"sink": EDGE})).journals(folder) == ["motion.2~sink.edge"]
    assert ManagedProcess(spec({})).journals(folder) == ["cam.1~motion.edge"]


def test_post_is_due_when_it_is_to_be_restarted_or_to_be_ready() -> None:
    assert ManagedProcess(spec({})).due_ns is None  # nothing is awaited of a post without a process
    managed = ManagedProcess(spec({}))
    managed.restart_at_ns, managed.started_ns = 7, 5
    assert managed.due_ns == 7
    assert managed.ready_by_ns == 5 + managed.spec.options.start_timeout_ns


def test_what_never_began_says_why_in_its_own_words_or_by_its_last_lines(tmp_path: Path) -> None:
    managed, logbook = ManagedProcess(spec({})), Logbook(tmp_path, print)
    logbook.take(managed.name, b"first\nopening\nno camera\nleaving\n")
    where = f"; it said: opening / no camera / leaving; its log: {logbook.path(managed.name)}"
    assert managed.tell_start_failure("ended with 3", logbook) == f"its process ended with 3 before it was ready{where}"
    managed.refusal = "use: no module"
    assert managed.tell_start_failure("use: no module", logbook) == "use: no module"
    managed.verdict = "killed: not ready within 5s"
    assert managed.tell_start_failure(managed.verdict, logbook) == f"killed: not ready within 5s{where}"


def test_node_is_described_by_all_its_processes() -> None:
    first, second = ManagedProcess(spec({})), ManagedProcess(spec({}))
    first.state, second.state, second.why, second.restarts = "running", "failed", "killed", 2
    counts = {"replicas": 2, "max_replicas": 2, "restarts": 2}
    expected = {"kind": "processor", "state": "failed", "pids": [], "why": "killed", **counts}
    assert describe([first, second]) == {"motion": expected}


def test_a_process_that_is_to_leave_does_not_say_how_its_node_is() -> None:
    first, second = ManagedProcess(spec({})), ManagedProcess(spec({}), is_wanted=False)
    first.state, second.state, second.why = "running", "hanging", "hangs"
    told = describe([first, second])["motion"]
    assert (told["state"], told["why"], told["replicas"], told["max_replicas"]) == ("running", "", 1, 2)


def managed(node: str, kind: str, inputs: tuple[str, ...], *, is_over: bool = False, optional: bool) -> ManagedProcess:
    options = (
        CaptureOptions(source="a.mp4") if kind == "capture" else SinkOptions(input="x", use="a:b", optional=optional)
    )
    upstreams = tuple(Upstream(producer=name, producer_replica=0, consumer=node, window=1) for name in inputs)
    one = ManagedProcess(NodeSpec(pipeline="p", node=node, options=options, upstreams=upstreams))
    one.restart_at_ns = None if is_over else 1  # it lives, or will
    return one


def test_a_run_that_waits_for_optional_nodes_alone_knows_it() -> None:
    log = managed("log", "sink", ("extra",), optional=False)
    extra = managed("extra", "sink", ("cam",), optional=True)
    work = managed("work", "sink", ("cam",), optional=False)
    cam = managed("cam", "capture", (), optional=False)
    assert optional_rest([log, extra, work, cam]) == []
    assert optional_rest([log, extra, work]) == []
    assert optional_rest([log, extra]) == [extra], "who reads from it waits for it too"
    assert optional_rest([log]) == [] and optional_rest([]) == []
