"""The node kind `pull` in a file: what it may be, what it takes, and what is said where it cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from detektr.config.document import read_document
from detektr.config.graph.checks import build_graph, mermaid
from detektr.config.json_schema import json_schema
from detektr.config.schema import read_options
from detektr.options import BufferOptions, CaptureOptions, EdgeInput, NodeOptions, PullOptions

NODES: dict[str, NodeOptions] = {
    "cam": CaptureOptions(source="clip.mp4"),
    "buffer": BufferOptions(input="cam", high_water_mark=8),
}


def faults(pull: str) -> list[tuple[int, str]]:
    """Return the faults of a file with this node, each with its line."""
    text = f"name: demo\nnodes:\n  cam: {{kind: capture, source: clip.mp4}}\n  pull: {pull}\n  out: {{kind: sink}}\n"
    reading = read_options(read_document(text, {}))
    found = [(fault.line, fault.text) for fault in reading.faults if fault.line == 4]
    return found


@pytest.mark.parametrize(
    ("pull", "parts"),
    [
        ("{kind: pull}", ["`input` is missing"]),
        ("{kind: pull, input: cam, window: 0}", ["`window` is 0", "1"]),
        ("{kind: pull, input: cam, windw: 4}", ["unknown key 'windw'", "write `window`"]),
        ("{kind: pull, input: cam, use: 'm:C'}", ["unknown key 'use'", "key of a processor or sink"]),
        ("{kind: pull, input: cam, max_deliveries: many}", ["`max_deliveries`"]),
        ("{kind: pul, input: cam}", ["the kind 'pul'", "write `kind: pull`"]),
    ],
)
def test_what_cannot_be_is_said_with_its_line(pull: str, parts: list[str]) -> None:
    found = faults(pull)
    assert len(found) == 1 and all(part in found[0][1] for part in parts), found


def test_a_node_that_reads_from_a_pull_or_wants_the_newest_of_one_is_refused_in_words() -> None:
    pull = PullOptions(input=EdgeInput(from_="buffer", fresh=True))
    graph, found = build_graph({**NODES, "pull": pull, "more": PullOptions(input="pull")})
    assert graph is None
    told = [fault.text for fault in found]
    assert any("pull 'more' reads from the pull 'pull'" in one for one in told), told
    assert any("`fresh: true`" in one and "`max_age`" in one for one in told), told


def sized(pull: PullOptions, **buffer: Any) -> Any:
    nodes = {**NODES, "buffer": BufferOptions(input="cam", high_water_mark=8, guests=0, **buffer), "pull": pull}
    graph, found = build_graph(nodes)
    assert graph is not None, found
    return graph


def test_its_window_counts_like_that_of_any_consumer_and_its_edge_is_as_its_input_says() -> None:
    graph, more = sized(PullOptions(input="buffer")), sized(PullOptions(input="buffer", window=20))
    [edge] = graph.edges_to("pull")
    assert (edge.window_total, edge.mark, edge.passed_max) == (16, 8, 0)
    assert more.nodes["cam"].slots == graph.nodes["cam"].slots + 4
    own = EdgeInput(from_="buffer", when_full="block", high_water_mark=3, max_age="2s")
    [edge] = sized(PullOptions(input=own)).edges_to("pull")
    assert (edge.when_full, edge.mark, edge.max_age_ns) == ("block", 3, 2_000_000_000)


def test_it_is_drawn_and_the_schema_knows_its_keys() -> None:
    assert '[\\"pull<br/>pull"\\]' in mermaid(sized(PullOptions(input="buffer")))
    definition = json_schema()["$defs"]["PullOptions"]
    assert definition["title"] == "pull"
    assert {"input", "window", "max_deliveries", "announce", "drain"} <= definition["properties"].keys()
    assert all(value.get("description") for key, value in definition["properties"].items() if key != "kind")
