"""What processors return, for who watches: an ephemeral consumer that drops its oldest events, while somebody asks."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgpack

from detektr.api.attachment import acquire_guest
from detektr.edge.subscriber import EdgeSubscriber
from detektr.edge.upstream import Upstream
from detektr.errors import DetektrError, WireError
from detektr.memory.layout import STATUS_INPUTS_MAX
from detektr.memory.run_folder import RunFolder
from detektr.memory.status_block import StatusBlock
from detektr.memory.status_block_reader import open_status_block
from detektr.nodes.working.event_stream import unpack_event
from detektr.process.fault_text import fault_line
from detektr.sinks.jsonl import encode_line
from detektr.web.live.feed import ALL_RESULTS
from detektr.web.live.thinning import Thinner
from detektr.web.live.words import result_words
from detektr.wire.link import Link
from detektr.wire.message import Announce, Refusal, Welcome

EACH_NS = 100_000_000  # ten frames a second at most, of each node and camera
WINDOW = 16
LOOK_NS = 1_000_000_000  # for processes that have come or gone
TICK_NS = 100_000_000
RESULT_BYTES_MAX = 1 << 16
Result = dict[str, Any]
"""What a processor returned, as sinks get it, with `words` (what it says), `still` (whether its picture is kept) and
`skipped` (frames before it that were left out)."""
_log = logging.getLogger(__name__)


class ResultWatch:
    """Reads the results of a run's processors in a thread of its own, until it is closed."""

    def __init__(
        self, folder: RunFolder, tell: Callable[[list[Result]], None], keep_still: Callable[[Result], bool]
    ) -> None:
        """Begin.

        Args:
            folder: the run's.
            tell: takes results, in the thread.
            keep_still: keeps the picture of a result's frame, if it is there; whether it does. Its slot may be
                written over a moment later, so it is asked at once, and the results of such a frame wait for nothing.
        """
        self.wanted: frozenset[str] = frozenset()
        """The processors that somebody watches; with `ALL_RESULTS` in it: all of them."""
        self._folder, self._tell, self._keep_still = folder, tell, keep_still
        self._thinner = Thinner(EACH_NS)
        self._reader: _Reader | None = None
        self._is_closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="results", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Leave all edges; when this returns, nothing of ours is left."""
        self._is_closing.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._is_closing.is_set():
                try:
                    self._turn()
                except DetektrError as fault:  # the run ends, or has no room: tried again
                    _log.info("results of %s cannot be read: %s", self._folder.pipeline, fault_line(fault))
                    self._leave()
                    self._is_closing.wait(LOOK_NS / 1e9)
        finally:
            self._leave()

    def _turn(self) -> None:
        reader = self._reader
        if reader is None:
            processes = [one for one in self._processes() if self._folder.inbox(*one).exists()]
            if not processes:
                self._is_closing.wait(LOOK_NS / 1e9)
                return
            reader = self._reader = _Reader(self._folder, processes)
        now_ns = time.monotonic_ns()
        shown = []
        for event in reader.events(now_ns):
            event |= {"words": result_words(str(event.get("node", "")), event.get("data"))}
            if self._keep_still(event):
                shown.append(event | {"still": True, "skipped": 0})
            else:
                self._thinner.put(event | {"still": False})
        self._tell_all([*shown, *self._thinner.take(now_ns)])
        if reader.is_over or now_ns - reader.begun_ns > LOOK_NS:
            reader.begun_ns = now_ns
            is_over = reader.is_over
            if is_over or set(self._processes()) != set(reader.processes):
                self._leave()
                self._is_closing.wait(TICK_NS / 1e9 if is_over else 0)
                return
        due_ns = self._thinner.due_ns()
        reader.sleep(TICK_NS if due_ns is None else min(TICK_NS, max(0, due_ns - time.monotonic_ns())))

    def _tell_all(self, events: list[Result]) -> None:
        if events:
            self._tell(events)

    def _processes(self) -> list[tuple[str, int]]:
        """Return the processes whose results are wanted."""
        found: list[tuple[str, int]] = []
        for node, replica, path in self._folder.status_blocks():
            if ALL_RESULTS in self.wanted or node in self.wanted:
                block = open_status_block(path, node, replica)
                if block is not None:
                    one = block.snapshot()
                    block.close()
                    if one.kind == "processor" and one.is_alive:
                        found.append((node, replica))
        return found[:STATUS_INPUTS_MAX]

    def _leave(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()


class _Reader:
    """One consumer of several processes' events."""

    def __init__(self, folder: RunFolder, processes: list[tuple[str, int]]) -> None:
        self.processes = processes
        self.begun_ns = time.monotonic_ns()
        self._folder = folder
        self._block: StatusBlock = acquire_guest(folder, processes[0][0])
        own = re.sub(r"\.0$", "", self._block.path.stem)
        self._subscribers: list[EdgeSubscriber] = []
        try:
            self._link = Link(folder.inbox(own, 0), folder.doorbell(own, 0))
        except DetektrError:
            self._block.close(unlink=True)
            raise
        try:
            for entry, (node, replica) in enumerate(processes):
                upstream = Upstream(
                    producer=node,
                    producer_replica=replica,
                    consumer=own,
                    window=WINDOW,
                    is_ephemeral=True,
                    when_full="drop-oldest",
                )
                self._subscribers.append(EdgeSubscriber(upstream, entry, folder, self._link, self._block))
        except DetektrError:
            self.close()
            raise
        self._block.set_state("running")

    @property
    def is_over(self) -> bool:
        """Whether some of the processes have ended, or gone."""
        return any(
            one.is_ended or not (one.is_attached or self._folder.inbox(*place).exists())
            for one, place in zip(self._subscribers, self.processes, strict=True)
        )

    def events(self, now_ns: int) -> Iterator[Result]:
        """Yield the events that have come."""
        for message in self._link.receive():
            for subscriber in self._subscribers:
                if isinstance(message, Welcome | Refusal | Announce) and subscriber.owns(message.session):
                    try:
                        subscriber.handle(message, now_ns)
                    except WireError:
                        self._block.count_wire_error()
        for subscriber in self._subscribers:
            subscriber.tick(now_ns)
            subscriber.receive()
            while (lease := subscriber.take_unnoted(now_ns)) is not None:
                try:
                    yield unpack_event(lease.payload)
                except (ValueError, msgpack.UnpackException):  # a frame, where a processor passes them on: not for us
                    self._block.count_wire_error()
                subscriber.finish(lease.name, lease.delivery_tag)
                self._block.add_frames(1)
            subscriber.flush()

    def sleep(self, limit_ns: int) -> None:
        """Wait until there is something for us, at most so long."""
        if not any([subscriber.fall_asleep() for subscriber in self._subscribers]):
            self._link.wait(limit_ns)
        for subscriber in self._subscribers:
            subscriber.flush()

    def close(self) -> None:
        """Leave the edges; nothing of ours stays."""
        for subscriber in self._subscribers:
            subscriber.close()
        self._link.close()
        self._block.close(unlink=True)
        self._folder.remove_if_empty()


def as_line(event: Result) -> str:
    """Write a result as JSON; one that is too large goes without its data."""
    line = encode_line(event)
    if len(line) > RESULT_BYTES_MAX:
        line = encode_line(event | {"data": None, "left_out_bytes": len(line)})
    return line.decode().rstrip("\n")
