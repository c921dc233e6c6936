"""Whether a run is ready: what is merely late is, what starts is not."""

from __future__ import annotations

from detektr.observe.readiness import describe_reasons, read_reasons, reasons


def test_what_is_merely_late_is_ready_and_what_starts_is_not() -> None:
    late = {"code": "late", "culprit": "eye", "victim": "", "since": "t", "text": "x", "next": "y"}
    hung = {**late, "code": "hung"}
    queue = {**late, "code": "losing", "culprit": "buffer -> eye"}
    nodes = {"eye": {"state": "hanging", "since": None}, "cam": {"state": "starting", "since": None}}
    assert reasons([late], {}) == []
    found = reasons([hung, queue, late], nodes)
    assert [(one["code"], one.get("node"), one.get("edge")) for one in found] == [
        ("hung", "eye", None),
        ("losing", None, "buffer -> eye"),
        ("starting", "cam", None),
    ]


def test_a_pipeline_that_never_ran_is_not_ready_and_says_what_to_do() -> None:
    found = read_reasons("nobody")
    assert [one["code"] for one in found] == ["not_running"]
    assert "detektr up" in describe_reasons("nobody", found) and describe_reasons("nobody", []) == "nobody is ready"
