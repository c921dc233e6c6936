"""What a capture does at moments that are hard to meet: on stand-ins for its thread, its rings and its edges."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from detektr.nodes.capturing.frame_writer import WrittenFrame
from detektr.nodes.capturing.publish_queue import PublishQueue
from tests.harness.interpreted import interpreted

*_, _writer, _capture = interpreted(
    "detektr.nodes.node_process",
    "detektr.nodes.node_life",
    "detektr.nodes.node",
    "detektr.nodes.capturing.frame_writer",
    "detektr.nodes.capturing.capture",
)


class LateThread:
    """One that queues a last frame while it is waited for."""

    failure = None
    is_finished = False

    def __init__(self, queue: PublishQueue) -> None:
        self._queue = queue
        self._last = [WrittenFrame(7, 1, 2, 5, b"late")]

    def has_written(self, wait_s: float = 0.0) -> bool:
        is_done = not self._last or wait_s > 0
        for frame in self._last:
            self._queue.put(frame, 0)
        self._last = []
        return is_done


def new_node(*queued: WrittenFrame, **more: Any) -> Any:
    queue = PublishQueue()
    for frame in queued:
        queue.put(frame, 0)
    node = object.__new__(_capture.CaptureNode)
    vars(node).update(_queue=queue, _capture_thread=LateThread(queue), _key=1, **more)
    return node


def test_a_capture_that_is_told_to_stop_is_not_done_before_its_last_frame_is_delivered() -> None:
    edges = {"buffer": object()}
    publisher = SimpleNamespace(fanout=SimpleNamespace(edges=edges, is_empty=True), try_end=lambda: True)
    node = new_node(publisher=publisher, is_stopping=True, is_final=True)
    assert not node.is_done(), "it is being written"
    assert not node.is_done(), "it is to be delivered"
    assert node._queue.take() is not None
    assert node.is_done()


def test_what_comes_at_the_very_end_of_a_drain_is_counted_too() -> None:
    counted: list[tuple[int, int]] = []
    fanout = SimpleNamespace(count_dropped=lambda key, last, count, reason: counted.append((last, count)))
    publisher = SimpleNamespace(fanout=fanout, drop_rest=lambda reason: 2)
    node = new_node(
        WrittenFrame(4, 1, 0, 5, b"x"), WrittenFrame(6, 1, -1, 5, b"", frames=2), publisher=publisher
    )  # fmt: skip
    node._queue.put_back(WrittenFrame(3, 1, 1, 5, b"w"))
    assert node.drop_rest("stopped") == 1 + 1 + 2 + 1 + 2
    assert counted == [(3, 1), (4, 1), (6, 2), (7, 1)]


def test_a_ring_stays_whose_first_frame_comes_while_an_older_one_is_let_go() -> None:
    status_block = SimpleNamespace(epoch=2, next_sequence=0, media_clock=())
    writer = _writer.FrameWriter("cam", "cam", 1, 3, SimpleNamespace(), status_block)
    node = new_node(status_block=status_block, _writer=writer)

    class Ring:
        def __init__(self) -> None:
            self.is_open = True

        def close(self, *, unlink: bool) -> None:
            """Let the thread go on, as unmapping does: a frame into the newest ring, then another size."""
            self.is_open = False
            node._queue.put(WrittenFrame(9, 2, 0, 5, b"frame"), 0)
            status_block.epoch = 3

    rings: Any = {1: Ring(), 2: Ring()}
    writer.rings._rings = rings
    node._drop_old_rings()
    assert list(rings) == [2] and rings[2].is_open
    node._drop_old_rings()
    assert list(rings) == [2], "its frame is still to be taken"
