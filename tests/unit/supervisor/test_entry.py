from __future__ import annotations

import signal

import pytest

from detektr.errors import RefusedError
from detektr.nodes.control import ControlLine
from detektr.nodes.node import Node
from detektr.nodes.spec import NodeSpec
from detektr.options import BufferOptions
from detektr.supervisor import entry


def test_no_signal_ends_a_node_while_it_is_half_made(monkeypatch: pytest.MonkeyPatch) -> None:
    blocked: list[set[int]] = []

    def make_node(spec: NodeSpec, control: ControlLine | None = None) -> Node:
        blocked.append({int(one) for one in signal.pthread_sigmask(signal.SIG_BLOCK, [])})
        raise RefusedError("motion.0 is running already")

    monkeypatch.setattr(entry, "make_node", make_node)
    spec = NodeSpec(pipeline="demo", node="buffer", options=BufferOptions(input="camera"))
    assert entry.run_node(spec) == 2
    assert blocked[0] >= {signal.SIGTERM, signal.SIGINT}
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, []) & {signal.SIGTERM, signal.SIGINT}
