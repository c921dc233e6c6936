"""What a capture does at moments that are hard to meet: on stand-ins for its decoder, its rings and its edges."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from detektr.memory import layout
from detektr.nodes.decoder import Published
from tests.harness.interpreted import interpreted

_, _capture = interpreted("detektr.nodes.node", "detektr.nodes.capture")


class LateDecoder:
    """One that publishes a last frame while it is waited for."""

    failure = None
    is_finished = False

    def __init__(self, *published: Published) -> None:
        self.published = list(published)
        self.last = [Published(7, 1, 2, 5, b"late")]

    @property
    def has_published(self) -> bool:
        return bool(self.published)

    def has_written(self, wait_s: float = 0.0) -> bool:
        is_done = not self.last or wait_s > 0
        self.published += self.last
        self.last = []
        return is_done

    def take(self) -> Published | None:
        return self.published.pop(0) if self.published else None


def new_node(decoder: Any, **more: Any) -> Any:
    node = object.__new__(_capture.CaptureNode)
    vars(node).update(_decoder=decoder, _waiting=None, _key=1, **more)
    return node


def test_a_capture_that_is_told_to_stop_is_not_done_before_its_last_frame_is_delivered() -> None:
    edges = {"buffer": object()}
    publisher = SimpleNamespace(fanout=SimpleNamespace(edges=edges, is_empty=True), try_end=lambda: True)
    node = new_node(LateDecoder(), publisher=publisher, is_stopping=True, is_final=True)
    assert not node.is_done(), "it is being written"
    assert not node.is_done(), "it is to be delivered"
    assert node._decoder.take() is not None
    assert node.is_done()


def test_what_comes_at_the_very_end_of_a_drain_is_counted_too() -> None:
    counted: list[tuple[int, int]] = []
    fanout = SimpleNamespace(count_dropped=lambda key, last, count, reason: counted.append((last, count)))
    publisher = SimpleNamespace(fanout=fanout, drop_rest=lambda reason: 2)
    node = new_node(
        LateDecoder(Published(4, 1, 0, 5, b"x"), Published(6, 1, -1, 5, b"", frames=2)), publisher=publisher
    )
    node._waiting = Published(3, 1, 1, 5, b"w")
    assert node.drop_rest("stopped") == 1 + 1 + 2 + 1 + 2
    assert counted == [(3, 1), (4, 1), (6, 2), (7, 1)]


def test_a_ring_stays_whose_first_frame_comes_while_an_older_one_is_let_go() -> None:
    status_block = {layout.STATUS_WORD_EPOCH: 2}
    coming: list[Published] = []

    class Ring:
        def __init__(self) -> None:
            self.is_open = True

        def close(self, *, unlink: bool) -> None:
            """Let the decoder go on, as unmapping does: a frame into the newest ring, then another size."""
            self.is_open = False
            coming.append(Published(9, 2, 0, 5, b"frame"))
            status_block[layout.STATUS_WORD_EPOCH] = 3

    decoder = SimpleNamespace(coming=lambda: tuple(coming), room=SimpleNamespace(set=lambda: None))
    node = new_node(decoder, status_block=status_block, _rings={1: Ring(), 2: Ring()}, _left={1: 0})
    node._drop_old_rings()
    assert list(node._rings) == [2] and node._rings[2].is_open
    node._drop_old_rings()
    assert list(node._rings) == [2], "its frame is still to be taken"
