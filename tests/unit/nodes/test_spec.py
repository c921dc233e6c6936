from __future__ import annotations

import pytest

from detektr.edge.edge_options import EdgeOptions
from detektr.edge.gathering.ways import WayEdge
from detektr.edge.upstream import Upstream
from detektr.nodes.spec import NodeSpec
from detektr.options import (
    BufferOptions,
    CaptureOptions,
    EdgeInput,
    NodeOptions,
    ProcessorOptions,
    RestartOptions,
    SinkOptions,
)


@pytest.mark.parametrize(
    "options",
    [
        CaptureOptions(source="python:cam:pictures", with_={"rate": 5, "size": [640, 480], "name": None}),
        BufferOptions(input=["left", "right"], low_water_mark=3, when_full="block"),
        ProcessorOptions(input="buffer", use="motion:Motion", with_={"threshold": 0.01}, replicas=2),
        ProcessorOptions(input=["a", EdgeInput(from_="b", only="results")], use="m:C", join="frame", order="camera"),
        SinkOptions(input="motion", use="lines:Lines", restart=RestartOptions(when="never", limit="1 in 1s")),
    ],
)
def test_a_spec_comes_back_as_it_was_handed_over(options: NodeOptions) -> None:
    spec = NodeSpec(
        pipeline="demo",
        node="n",
        replica=1,
        options=options,
        upstreams=(Upstream("camera", 0, "n", 4, is_durable=True),),
        edges={
            "motion": EdgeOptions(
                mark=8,
                low=7,
                when_full="drop-oldest",
                window_total=8,
                payload_bytes=192,
                timeout_ns=10**9,
                keeps_settled=3,
                gatherers=("track.0", "track.1"),
                is_joined=True,
                is_gathering=True,
                reserve=2,
            )
        },
        slots=20,
        ring_bytes=1 << 20,
        mark=5,
        guests=2,
        is_on_demand=True,
        secrets=("hunter2", "pässword"),
        is_audited=True,
        is_ordered=True,
        is_mixed=True,
        ways=(WayEdge("camera", 1, "n", capture="door", is_last_in_order=True), WayEdge("n", 2, "track")),
        forks=(WayEdge("camera", 1, "n"),),
    )
    assert NodeSpec.from_json(spec.as_json()) == spec
