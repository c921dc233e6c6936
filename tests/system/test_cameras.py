"""A file with `cameras:` as users write it: real cameras through one buffer for all and a chain for each."""

from __future__ import annotations

from pathlib import Path

from detektr.memory.run_folder import RunFolder
from tests.cameras.rtsp_servers import RtspServer, make_clip
from tests.harness.running import RunningPipeline

NODES = {
    "all": {"kind": "buffer", "input": "cameras"},
    "motion": {"kind": "processor", "input": "all", "use": "detektr.processors.motion:Motion"},
    "own": {"kind": "buffer", "input": "cameras", "per_camera": True},
    "look": {"kind": "processor", "input": "own", "use": "detektr.processors.motion:Motion", "per_camera": True},
    "events": {
        "kind": "sink",
        "input": "look",
        "use": "detektr.sinks.jsonl:JsonLines",
        "with": {"path": "events.jsonl"},
    },
}


def test_cameras_flow_through_one_buffer_for_all_and_a_chain_for_each(tmp_path: Path) -> None:
    for name in ("door", "yard"):
        make_clip(tmp_path / f"{name}.mp4", seconds=4)
    with RtspServer(tmp_path) as server:
        cameras = {"door": server.url("door.mp4"), "yard": {"source": server.url("yard.mp4"), "fps": 5}}
        pipeline = RunningPipeline(
            tmp_path, "many", NODES, cameras=cameras, camera_defaults={"stall_timeout": "20s", "fps": 10}
        )
        with pipeline:
            pipeline.wait_delivered("all", "motion", 20)
            for camera in cameras:
                pipeline.wait_delivered(f"own-{camera}", f"look-{camera}", 5)
            status = pipeline.status()
            report = pipeline.end()
    assert status["nodes"]["yard"]["state"] == "running"
    assert report["unaccounted"] == 0
    edges = {(edge["from"], edge["to"]) for edge in report["edges"]}
    assert {("door", "all"), ("yard", "all"), ("yard", "own-yard"), ("own-yard", "look-yard")} <= edges
    assert {("look-door", "events"), ("look-yard", "events")} <= edges and ("own-door", "look-yard") not in edges
    offered = {edge["from"]: edge["offered"] for edge in report["edges"] if edge["to"] == "all"}
    assert report["nodes"]["yard"]["thinned"] > 0 and offered["yard"] > 0
    assert not RunFolder("many").path.exists()
