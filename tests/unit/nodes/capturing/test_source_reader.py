"""One source read to its end, and a live one opened again: on sources and a clock that do what a test says."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from detektr.errors import SourceError
from detektr.memory import layout
from detektr.memory.run_folder import RunFolder
from detektr.memory.status_block import StatusBlock, acquire_status_block
from detektr.options import CaptureOptions
from detektr.sources.transport.reconnect import Reconnect
from tests.harness.capturing import OnePicture
from tests.harness.interpreted import interpreted

(_module,) = interpreted("detektr.nodes.capturing.source_reader")
CAMERA, FILE = CaptureOptions(source="rtsp://127.0.0.1:9/x"), CaptureOptions(source="clip.mp4")


class OneSource:
    """Yields what it is given, and raises what of that is a fault."""

    is_live = is_batch = False
    description, mode = "a source", "by hand"
    thinned, corrupt, stale = 1, 2, 3

    def __init__(self, *items: OnePicture | BaseException) -> None:
        self._items = items
        self.is_closed = self.is_over = False

    def pictures(self) -> Iterator[OnePicture]:
        try:
            for item in self._items:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            self.is_over = True

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def status_block(shm_dir: Path) -> Iterator[StatusBlock]:
    folder = RunFolder("unit")
    status_block = acquire_status_block(folder, "cam", 0, "capture")
    yield status_block
    status_block.close(unlink=True)
    folder.remove_if_empty()


@pytest.fixture
def open_in_turn(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let these be what is opened, one after the other; a fault instead of a source is what opening it raises."""

    def prepare(found: Iterable[OneSource | SourceError]) -> None:
        left = list(found)

        def open_source(options: CaptureOptions, folder: Path, begin_at: int) -> OneSource:
            one = left.pop(0)
            if isinstance(one, SourceError):
                raise one
            one.is_live = options is CAMERA
            return one

        monkeypatch.setattr(_module, "open_source", open_source)

    return prepare


def new_reader(options: CaptureOptions, status_block: StatusBlock) -> Any:
    return _module.SourceReader(options, Path(), status_block, Reconnect(first_ns=1, longest_ns=1, refused_ns=1))


def test_a_file_is_read_once_to_its_end_and_closed(open_in_turn: Any, status_block: StatusBlock) -> None:
    pictures, source = [OnePicture(), OnePicture()], OneSource()
    source._items = tuple(pictures)
    open_in_turn([source])
    reader = new_reader(FILE, status_block)
    assert not reader.is_live and reader.trouble is None
    assert reader.wait_open()
    assert [reader.read(), reader.read(), reader.read()] == [*pictures, None]
    assert source.is_closed and not reader.wait_open()
    assert status_block.left_out == (1, 2, 3)
    assert status_block.words[layout.STATUS_WORD_RECONNECTS] == 0


@pytest.mark.parametrize("is_opened", [True, False])
def test_a_file_that_cannot_be_read_is_refused_and_closed(
    open_in_turn: Any, status_block: StatusBlock, *, is_opened: bool
) -> None:
    fault = SourceError("broken")
    source = OneSource(fault)
    open_in_turn([source if is_opened else fault])
    reader = new_reader(FILE, status_block)
    if is_opened:
        assert reader.wait_open()
        with pytest.raises(SourceError, match="broken"):
            reader.read()
        assert source.is_closed
    else:
        with pytest.raises(SourceError, match="broken"):
            reader.wait_open()


def test_a_camera_that_is_lost_is_opened_again_and_says_meanwhile_why(
    open_in_turn: Any, status_block: StatusBlock, caplog: pytest.LogCaptureFixture
) -> None:
    ended, failing = OneSource(OnePicture()), OneSource(OnePicture(), SourceError("reset", "stalled"))
    open_in_turn([SourceError("wrong password", "unauthorized"), ended, failing, OneSource(OnePicture())])
    reader = new_reader(CAMERA, status_block)
    told: list[Any] = [reader.trouble]
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            assert reader.wait_open()
            told.append(reader.trouble)
            while reader.read() is not None:
                told.append(reader.trouble)
    wrong, over = ("unauthorized", "wrong password"), ("connecting", "the stream ended")
    assert told == [("connecting", "opening"), wrong, None, over, None, ("stalled", "reset"), None]
    assert ended.is_closed and failing.is_closed
    assert status_block.words[layout.STATUS_WORD_RECONNECTS] == 3
    assert status_block.left_out == (3, 6, 9), "counts go on over connections"
    assert "unauthorized: wrong password; trying again in 0.0 s" in caplog.text
    assert "reading a source: gray 8x8, by hand" in caplog.text


def test_a_stop_ends_it_between_two_pictures_and_before_another_try(
    open_in_turn: Any, status_block: StatusBlock
) -> None:
    source = OneSource(OnePicture(), OnePicture())
    open_in_turn([source])
    reader = new_reader(CAMERA, status_block)
    assert reader.wait_open() and reader.read() is not None
    reader.stop()
    were_over = [source.is_over]
    assert source.is_closed and reader.read() is None
    were_over.append(source.is_over)
    assert were_over == [False, True], "who reads ends what yields the pictures, and nobody else"
    assert not reader.wait_open()
    assert status_block.words[layout.STATUS_WORD_RECONNECTS] == 0


def test_a_source_that_was_stopped_while_it_was_opened_is_closed(
    status_block: StatusBlock, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = OneSource(OnePicture())
    reader = new_reader(FILE, status_block)

    def open_and_stop(options: CaptureOptions, folder: Path, begin_at: int) -> OneSource:
        reader.stop()
        return source

    monkeypatch.setattr(_module, "open_source", open_and_stop)
    assert reader.wait_open()
    assert source.is_closed
    assert reader.read() is None
