"""Specs of nodes that live alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from detektr.errors import RefusedError
from detektr.options import BufferOptions, ProcessorOptions
from detektr.supervisor.standalone import read_arguments, spec_by_hand, spec_for

FILE = """
name: demo
nodes:
  camera: {kind: capture, source: "lavfi:testsrc2"}
  motion: {kind: processor, input: camera, use: "a:b", replicas: 2}
"""


def by_hand(kind: str, name: str | None = None, **given: Any) -> Any:
    return spec_by_hand("local", name, {"kind": kind, **given})


def test_a_processor_is_a_guest_that_leaves_the_policy_to_its_producer() -> None:
    spec = by_hand("processor", use="my.module:Count", input=["cam"], timeout="2s", max_deliveries=5, window=7)
    assert (spec.pipeline, spec.node, spec.edges) == ("local", "count", {})
    (upstream,) = spec.upstreams
    assert (upstream.producer, upstream.consumer) == ("cam", "count")
    assert (upstream.is_ephemeral, upstream.is_durable, upstream.when_full) == (True, False, "")
    assert (upstream.window, upstream.max_deliveries, upstream.timeout_ns) == (7, 5, 2_000_000_000)
    assert isinstance(spec.options, ProcessorOptions)


def test_a_capture_keeps_its_slots_for_guests_but_four() -> None:
    spec = by_hand("capture", "cam", source="lavfi:testsrc2", slots=100)
    assert (spec.slots, spec.options.guests, spec.edges) == (100, 96, {})


def test_a_buffer_asks_upstream_for_all_that_its_readers_may_hold() -> None:
    spec = by_hand("buffer", "queue", input=["cam"], high_water_mark=20)
    assert isinstance(spec.options, BufferOptions)
    assert spec.upstreams[0].window == spec.options.guests == 28
    assert spec.upstreams[0].is_durable


def test_a_buffer_without_options_fits_behind_a_capture_without_options() -> None:
    capture = by_hand("capture", "cam", source="lavfi:testsrc2")
    buffer = by_hand("buffer", "queue", input=["cam"])
    assert buffer.upstreams[0].window + 8 < capture.options.guests


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(RefusedError) as refusal:
        by_hand("processor", "not a name", use="nonsense", input=["cam"], window=0)
    for words in ("'not a name'", "`use` is 'nonsense'", "`window` is 0"):
        assert words in str(refusal.value)


def test_too_few_slots_are_refused_with_the_range() -> None:
    with pytest.raises(RefusedError, match="--slots is 3, expected 8 to 1024"):
        by_hand("capture", "cam", source="lavfi:testsrc2", slots=3)


def test_a_password_is_a_secret_of_the_spec() -> None:
    assert by_hand("capture", "cam", source="rtsp://me:hunter22@door/1").secrets == ("hunter22",)


def test_arguments_mean_what_they_would_in_a_file() -> None:
    pairs = ["threshold=0.5", "count=3", "on=true", "path=a=b", "name=on", "nothing="]
    wanted = {"threshold": 0.5, "count": 3, "on": True, "path": "a=b", "name": "on", "nothing": None}
    assert read_arguments(pairs) == wanted


def test_a_node_of_a_file_has_the_edges_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(FILE)
    camera = spec_for("capture", path, "camera", 0, "local", None, {"source": None, "loop": False})
    assert (camera.pipeline, list(camera.edges), camera.edges["motion"].is_ephemeral) == ("demo", ["motion"], False)
    motion = spec_for("processor", path, "motion", 1, "local", None, {})
    assert (motion.replica, motion.upstreams[0].is_ephemeral, motion.folder) == (1, False, str(tmp_path))


def test_a_source_takes_its_password_from_the_environment_and_it_is_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOOR_PASSWORD", "correct-horse")
    spec = by_hand("capture", "cam", source="rtsp://me:${DOOR_PASSWORD}@10.0.0.9/x")
    assert spec.options.source == "rtsp://me:correct-horse@10.0.0.9/x"
    assert "correct-horse" in spec.secrets
    with pytest.raises(RefusedError, match="NO_SUCH_VARIABLE is not set"):
        by_hand("capture", "cam", source="rtsp://me:${NO_SUCH_VARIABLE}@10.0.0.9/x")
