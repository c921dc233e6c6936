"""What the audit trail of frames costs a producer and a consumer, takes on disk and in Redis, and how fast it answers.

The two ends of an edge are played in this process, on real journals: what a frame costs with and without a trail, in
turn. Files are filled with rows of so many cameras and edges, as a shop's day would, then asked.
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detektr.edge.edge import Edge
from detektr.edge.edge_options import EdgeOptions
from detektr.edge.frame_trail import WHOLE, FrameTrail
from detektr.edge.state.lease import SessionState
from detektr.memory.announcement import Announcement, Lease
from detektr.memory.journal import Journal
from detektr.memory.layout import journal_bytes
from detektr.memory.trail_ring import TrailWriter, open_trail
from detektr.telemetry.trail.bounds import Bounds
from detektr.telemetry.trail.harvest import Harvest, Streams, Told
from detektr.telemetry.trail.reader import SegmentsReader
from detektr.telemetry.trail.rows import LifeRow, Stream
from detektr.telemetry.trail.segments import FrameSegments, segment_paths
from detektr.telemetry.trail.wanted import WantedFrame, WantedRows

if TYPE_CHECKING:
    from detektr.telemetry.audit_redis import RedisStore

FRAMES = 20_000
BATCH = 1000
CAMERAS, RATE = 8, 30
EDGES = (("metadata", "cam.0", "buf"), ("buffered", "buf.0", "eye"), ("results", "eye.0", "hook"))
SEGMENTS_BYTES = 1 << 50
OPTIONS = EdgeOptions(mark=8, low=4, when_full="block", window_total=4, payload_bytes=384)
PAYLOAD = b"x" * 300


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this run can be told."""
    parser.add_argument("--rounds", type=int, default=30, help="paired rounds of the cost of a frame")
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows in the files that are asked")
    parser.add_argument("--redis", action="store_true", help="fill a real Redis too")


def run(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure all of it."""
    rows = [*cost_of_a_frame(chosen.rounds), cost_of_the_harvest(), *files(chosen.rows)]
    return [*rows, *(redis() if chosen.redis else [])]


def cost_of_a_frame(rounds: int) -> list[dict[str, Any]]:
    """Offer, lease and settle frames with each setting in turn; and what a consumer adds."""
    shares = {"off": None, "dropped": 0, "1%": WHOLE // 100, "all": WHOLE}
    figures: dict[str, list[float]] = {name: [] for name in shares}
    for number in range(rounds):
        names = list(shares)
        for name in [*names[number % 4 :], *names[: number % 4]]:
            with ExitStack() as stack:
                figures[name].append(_producer_us(stack, shares[name]))
    rows = []
    for name, found in figures.items():
        more = [one - two for one, two in zip(found, figures["off"], strict=True)]
        told = {"run": f"producer, frames: {name}", "us_per_frame": statistics.median(found)}
        rows.append({**told, "more_us": statistics.median(more), "more_us_p95": sorted(more)[int(0.95 * len(more))]})
    with ExitStack() as stack:
        rows.append({"run": "consumer, frames: all", "us_per_frame": _consumer_us(stack)})
    return rows


def _producer_us(stack: ExitStack, share: int | None) -> float:
    memory = bytearray(journal_bytes(OPTIONS.cells, OPTIONS.payload_bytes))
    Journal.format(memoryview(memory), OPTIONS.cells, OPTIONS.payload_bytes, OPTIONS.mark)
    edge = Edge("eye", OPTIONS, Journal(memoryview(memory)))
    if share is not None:
        edge.trail = _trail(stack, share).of_edge("eye", are_events=False)
    edge.attach(7, "eye.0", 4, SessionState(), is_durable=False, now_ns=1)
    gc.collect()
    gc.disable()
    begun_ns = time.process_time_ns()
    for sequence in range(FRAMES):
        edge.offer(0, Announcement(9, sequence, 1, PAYLOAD), 1)
        edge.take_announced()
        edge.finish(7, [(9, sequence, sequence + 1)], 2)
        edge.settled.clear()
    spent_ns = time.process_time_ns() - begun_ns
    gc.enable()
    return spent_ns / FRAMES / 1000


def _consumer_us(stack: ExitStack) -> float:
    work = _trail(stack, WHOLE).of_input("buf.0", are_events=False)
    leases = [Lease(9, sequence, 1, PAYLOAD, 0, sequence + 1, 1) for sequence in range(FRAMES)]
    begun_ns = time.process_time_ns()
    for lease in leases:
        work.worked(lease, 1)
    return (time.process_time_ns() - begun_ns) / FRAMES / 1000


def _trail(stack: ExitStack, share: int) -> FrameTrail:
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="dtk", dir="/dev/shm"))
    trail = FrameTrail(TrailWriter(Path(folder) / "buf.0.trail"), "buf.0", share)
    stack.callback(lambda: trail.close(unlink=True))
    return trail


def cost_of_the_harvest() -> dict[str, Any]:
    """From rings to lines: what a row costs the supervisor."""
    with tempfile.TemporaryDirectory(prefix="dtk", dir="/dev/shm") as folder:
        path, streams = Path(folder) / "buf.0.trail", Streams()
        streams.add(Stream("cam", "cam", 1))
        key = Stream("cam", "cam", 1).key
        writer, harvest = TrailWriter(path), Harvest(streams, {"buf": "buffered"})
        reader = open_trail(path)
        assert reader is not None
        count, spent_ns = 0, 0
        for first in range(0, 100_000, 4000):
            for sequence in range(first, first + 4000):
                writer.append(1, 0, 0, 1, key, sequence, 50, 0, 40, 1, 0)
                writer.append(65, 0, 0, 1, key, sequence, 60, 10, 20, 1, 0)
            begun_ns = time.process_time_ns()
            told = [Told(("buf.0", "eye" if one.outcome == 65 else "eye.0"), one) for one in reader.take()]
            lines = [row.line() for row in harvest.take(told, 0, 10)]
            spent_ns += time.process_time_ns() - begun_ns
            count += len(lines)
        reader.close()
        writer.close(unlink=True)
    return {"run": "harvest, a row of two records", "us_per_row": spent_ns / count / 1000}


def lives(rows: int) -> Iterator[LifeRow]:
    """Yield rows in the order of their time: each frame of each camera on each edge."""
    streams = [Stream(f"cam{number}", f"cam{number}", 1 + number) for number in range(CAMERAS)]
    chance = random.Random(1)
    for number in range(rows):
        frame, edge = divmod(number, len(EDGES))
        sequence, camera = divmod(frame, CAMERAS)
        t_us = 1_800_000_000_000_000 + sequence * 1_000_000 // RATE + edge * 5000 + camera * 100
        place, producer, consumer = EDGES[edge]
        spans = chance.randrange(30_000), chance.randrange(5000), chance.randrange(30_000), chance.randrange(5000)
        event = sequence if edge == 2 else None
        outcome = "dead_lettered" if number % 100_000 == 7 else "delivered"
        yield LifeRow(t_us, place, streams[camera], sequence, producer, consumer, outcome, *spans, 0, 1, event)


def write_all(store: FrameSegments | RedisStore, rows: int) -> tuple[int, int]:
    """Store rows in whole batches; returns how many were stored, and the time that it took, in nanoseconds."""
    batch, first, spent_ns = list[LifeRow](), 0, 0
    for row in lives(rows):
        batch.append(row)
        if len(batch) == BATCH:
            begun_ns = time.monotonic_ns()
            store.write("a", first, batch)
            spent_ns += time.monotonic_ns() - begun_ns
            first, batch = first + BATCH, []
    return first, spent_ns


def files(rows: int) -> list[dict[str, Any]]:
    """Fill segments, and ask them."""
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="dtk") as folder:
        path = Path(folder) / "audit.db"
        store = FrameSegments(path, "shop", Bounds(1e9, SEGMENTS_BYTES))
        first, spent_ns = write_all(store, rows)
        store.close()
        nbytes = sum(one.stat().st_size for one in segment_paths(path, "shop"))
        count = len(segment_paths(path, "shop"))
        found.append(
            {
                "run": f"SQLite, {rows} rows",
                "rows/s": first * 1e9 / spent_ns,
                "bytes_a_row": nbytes / first,
                "files": count,
            }
        )
        reader, last = SegmentsReader(path, "shop"), first // len(EDGES) // CAMERAS
        end_us = 1_800_000_000_000_000 + last * 1_000_000 // RATE
        chance = random.Random(2)
        asked: dict[str, Callable[[], Any]] = {
            "trace": lambda: reader.of_frame(WantedFrame("", f"cam{chance.randrange(8)}", chance.randrange(last))),
            "query, the last minute": lambda: reader.of_time(WantedRows(end_us - 60_000_000, end_us, 1000)),
            "query, an edge an hour ago": lambda: reader.of_time(
                WantedRows(end_us - 3_660_000_000, end_us - 3_600_000_000, 1000, edge="buf->eye")
            ),
            "query, a rare outcome in all": lambda: reader.of_time(
                WantedRows(0, end_us, 1000, outcome="dead_lettered")
            ),
            "how far back": reader.reaches_back_s,
        }
        for name, ask in asked.items():
            times = []
            for _ in range(30):
                begun_ns = time.monotonic_ns()
                ask()
                times.append((time.monotonic_ns() - begun_ns) / 1e6)
            found.append({"run": f"{name}, of {rows} rows", "ms": statistics.median(times), "ms_most": max(times)})
    return found


def redis() -> list[dict[str, Any]]:
    """Fill the streams of a real server."""
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from detektr.telemetry.audit_redis import FRAMES as STREAMS
    from detektr.telemetry.audit_redis import RedisStore
    from tests.harness.redis_server import run_redis

    rows = 200_000
    with tempfile.TemporaryDirectory(prefix="dtk") as folder, run_redis(Path(folder)) as server:
        store = RedisStore(server.url, "shop", Bounds(1e9, 1 << 40))
        first, spent_ns = write_all(store, rows)
        store.close()
        with server.client() as client:
            nbytes = sum(client.memory_usage(name, samples=0) for name in STREAMS.values())
    return [{"run": f"Redis, {rows} rows", "rows/s": first * 1e9 / spent_ns, "bytes_a_row": nbytes / first}]
