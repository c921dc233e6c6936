"""Whatever the graph: a ring never lacks a slot that its edges have room for, nothing gets stuck, memory is kept."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from detektr.config.graph.checks import build_graph
from detektr.config.graph.sizing import BUFFER_MARK, WITH_GUESTS, least_bytes, rung
from detektr.options import (
    BufferOptions,
    CaptureOptions,
    EdgeInput,
    NodeOptions,
    ProcessorOptions,
    WhenFull,
    edge_inputs,
)
from tests.property.frame_flow import Flow

marks = st.one_of(st.none(), st.integers(1, 12))
guests = st.one_of(st.none(), st.integers(0, 6))
policies: st.SearchStrategy[WhenFull | None] = st.sampled_from((None, None, "drop-oldest", "drop-newest", "block"))
memories = st.sampled_from((None, None, "1MiB", "30MiB", "64MiB", "200MiB", "2GiB"))


@st.composite
def pipelines(draw: st.DrawFn) -> dict[str, NodeOptions]:
    """Captures, buffers that read what is before them, and processors that read all that nobody else does."""
    nodes: dict[str, NodeOptions] = {}
    sizes: tuple[dict[str, Any], ...] = ({}, {"width": 640, "height": 360}, {"width": 3840, "height": 2160})
    for number in range(draw(st.integers(1, 3))):
        capture: dict[str, Any] = draw(st.sampled_from(({"source": "rtsp://h/x"}, {"source": "clip.mp4"},
                                                        {"source": "clip.mp4", "realtime": True})))  # fmt: skip
        nodes[f"c{number}"] = CaptureOptions(
            **capture, **draw(st.sampled_from(sizes)), high_water_mark=draw(marks), guests=draw(guests),
            when_full=draw(policies), memory=draw(memories),
        )  # fmt: skip
    for number in range(draw(st.integers(0, 3))):
        when_full = draw(policies)
        nodes[f"b{number}"] = BufferOptions(
            input=one_way_each(nodes, draw_inputs(draw, list(nodes), may_be_fresh=False)),
            high_water_mark=draw(marks), guests=draw(guests), when_full=when_full or "drop-oldest",
        )  # fmt: skip
    producers = list(nodes)
    read = {edge.from_ for node in nodes.values() for edge in edge_inputs(node)}
    readers = [[name] for name in producers if name not in read]
    readers += [draw(st.lists(st.sampled_from(producers), min_size=1, max_size=2, unique=True))
                for _ in range(draw(st.integers(0, 2)))]  # fmt: skip
    for number, names in enumerate(readers):
        is_fresh = draw(st.booleans())
        nodes[f"p{number}"] = ProcessorOptions(
            input=list(names) if is_fresh else draw_inputs(draw, names, may_be_fresh=True, are_all=True),
            use="m:C", fresh=is_fresh, replicas=draw(st.integers(1, 2)), optional=draw(st.booleans()),
            window=None if is_fresh else draw(st.sampled_from((None, 1, 6))),
        )  # fmt: skip
    return nodes


def draw_inputs(
    draw: st.DrawFn, names: list[str], *, may_be_fresh: bool, are_all: bool = False
) -> list[str | EdgeInput]:
    chosen = names if are_all else draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True))
    inputs: list[str | EdgeInput] = []
    for name in chosen:
        form = draw(st.integers(0, 3))
        if form == 0:
            inputs.append(EdgeInput(from_=name, high_water_mark=draw(marks), when_full=draw(policies)))
        elif form == 1 and may_be_fresh:
            inputs.append(EdgeInput(from_=name, fresh=True))
        else:
            inputs.append(name)
    return inputs


def cameras_of(nodes: dict[str, NodeOptions], name: str) -> set[str]:
    """Return the captures above a node, itself included."""
    above = [cameras_of(nodes, edge.from_) for edge in edge_inputs(nodes[name])]
    return {name} if not above else set[str]().union(*above)


def one_way_each(nodes: dict[str, NodeOptions], inputs: list[str | EdgeInput]) -> list[str | EdgeInput]:
    """Leave out inputs by which a camera's frames would come a second time, as a buffer may not read them."""
    found, kept = set[str](), list[str | EdgeInput]()
    for one in inputs:
        cameras = cameras_of(nodes, one if isinstance(one, str) else one.from_)
        if not found & cameras:
            found |= cameras
            kept.append(one)
    return kept


def is_well_formed(nodes: dict[str, NodeOptions]) -> bool:
    """Whether nothing is refused for another reason than memory: `optional` that blocks, `window` beside fresh."""
    for node in nodes.values():
        edges = edge_inputs(node)
        if node.optional and any(edge.when_full == "block" for edge in edges):
            return False
        if isinstance(node, ProcessorOptions) and node.window not in (None, 1) and any(edge.fresh for edge in edges):
            return False
    return True


@given(nodes=pipelines().filter(is_well_formed), memory=memories, seed=st.integers(0, 2**32))
def test_no_ring_lacks_a_slot_and_no_frame_gets_stuck(
    nodes: dict[str, NodeOptions], memory: str | None, seed: int
) -> None:
    graph, _ = build_graph(nodes, memory=memory)
    if graph is None:
        return  # refused for its memory: see below
    flow = Flow(nodes, graph, random.Random(seed))
    for _ in range(250):
        flow.act()
    flow.drain()


@given(nodes=pipelines().filter(is_well_formed), memory=memories)
def test_memory_is_kept_or_the_excess_is_what_frames_need_to_flow_or_was_written(
    nodes: dict[str, NodeOptions], memory: str | None
) -> None:
    graph, faults = build_graph(nodes, memory=memory)
    if graph is None:
        assert faults and all("MiB" in fault.what and "`memory: " in fault.hint for fault in faults)
        assert memory or any(isinstance(node, CaptureOptions) and node.memory for node in nodes.values())
        return
    for name, node in graph.nodes.items():
        found = node.memory
        if found is None or not found.is_over:
            continue  # kept
        if found.is_limit_written:
            assert least_bytes(graph, nodes, name, memory) > found.limit_bytes
        floor, room = rung(WITH_GUESTS)
        for below in graph.below(name):
            options = nodes[below]
            if isinstance(options, CaptureOptions | BufferOptions):
                assert options.guests is not None or graph.nodes[below].guests <= room
        for edge in graph.edges:
            producer = nodes[edge.producer]
            if edge.producer in graph.below(name) and isinstance(producer, CaptureOptions | BufferOptions):
                said = next(own for own in edge_inputs(nodes[edge.consumer]) if own.from_ == edge.producer)
                is_relay = isinstance(nodes[edge.consumer], BufferOptions)
                most = said.high_water_mark or producer.high_water_mark or (BUFFER_MARK if is_relay else floor)
                assert edge.mark <= most
