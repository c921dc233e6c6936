from __future__ import annotations

from pathlib import Path

import pytest

from detektr.memory.folder import RunFolder
from detektr.nodes.intake import Upstream
from detektr.nodes.options import ProcessorOptions
from detektr.nodes.spec import NodeSpec
from detektr.nodes.terms import EdgeOptions
from detektr.pipeline.post import Post, node_state, worst

EDGE = EdgeOptions(mark=4, low=3, when_full="block", lanes=1, window_total=4, payload_bytes=64)


def test_node_is_as_its_worst_process() -> None:
    assert worst(["running", "restarting", "ended"]) == "restarting"
    assert worst(["failed", "running"]) == "failed"


@pytest.mark.parametrize(
    ("supervised", "pages", "is_stalled", "state"),
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
    supervised: str, pages: list[str], is_stalled: bool, state: str
) -> None:
    assert node_state(supervised, pages, is_stalled=is_stalled) == state


def spec(edges: dict[str, EdgeOptions]) -> NodeSpec:
    upstream = Upstream(producer="cam", producer_replica=1, consumer="motion", window=4)
    options = ProcessorOptions(input="cam", use="a:b")
    return NodeSpec(pipeline="p", node="motion", replica=2, options=options, upstreams=(upstream,), edges=edges)


def test_work_has_ended_with_the_own_edges_or_without_any_with_the_inputs(shm_dir: Path) -> None:
    folder = RunFolder("p")
    assert Post(spec({"sink": EDGE})).journals(folder) == ["motion.2~sink.edge"]
    assert Post(spec({})).journals(folder) == ["cam.1~motion.edge"]
