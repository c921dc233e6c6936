"""A capture's thread with real neighbours in an empty folder, and in place of the edges whoever a test puts there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from detektr.memory.run_folder import RunFolder
from detektr.memory.status_block import StatusBlock, acquire_status_block
from detektr.nodes.capturing import capture_thread
from detektr.nodes.capturing.frame_writer import FrameWriter
from detektr.nodes.capturing.publish_queue import PublishQueue
from detektr.nodes.capturing.source_reader import SourceReader
from detektr.options import CaptureOptions
from detektr.picture import PictureLayout
from detektr.sources.transport.reconnect import Reconnect


class Edges:
    """Edges whose loop always sleeps: they do what a test wants when they are served, and at the end."""

    def __init__(self, act: Callable[[], None] = lambda: None, at_end: Callable[[], None] | None = None) -> None:
        self._act, self._at_end = act, at_end or act

    def serve(self) -> None:
        self._act()

    def wake(self) -> None:
        self._at_end()


class OnePicture:
    """A grey picture that is taken now, and does what a test wants while it is written."""

    layout = PictureLayout("gray", 8, 8)
    pts = time_base = utc_ns = received_ns = place = None
    is_break = False

    def __init__(self, during: Callable[[], Any] = lambda: None) -> None:
        self._during = during

    def write(self, slot: Any) -> None:
        self._during()


@dataclass
class Capturing:
    """What a capture is made of, without its loop."""

    status_block: StatusBlock
    reader: SourceReader
    writer: FrameWriter
    queue: PublishQueue
    thread: Any


@contextmanager
def capturing(
    options: CaptureOptions,
    *,
    slots: int = 3,
    edges: Edges | None = None,
    reconnect: Reconnect | None = None,
    module: ModuleType = capture_thread,
) -> Iterator[Capturing]:
    """Put them together, and take away what they made.

    Args:
        options: of the source.
        slots: of each ring.
        edges: are served by the thread.
        reconnect: pauses of the reader.
        module: where the thread's class is taken from; see `interpreted`.
    """
    folder = RunFolder("unit")
    status_block = acquire_status_block(folder, "cam", 0, "capture")
    reader = SourceReader(options, Path(), status_block, reconnect)
    writer, queue = FrameWriter("cam", "cam", 1, slots, folder, status_block), PublishQueue()
    thread = module.CaptureThread(reader, writer, queue, edges or Edges())
    try:
        yield Capturing(status_block, reader, writer, queue, thread)
    finally:
        thread.stop()
        assert thread.join(20)
        writer.rings.close(unlink=True)
        status_block.close(unlink=True)
        folder.remove_if_empty()
