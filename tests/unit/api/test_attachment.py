"""What `attach` refuses before it opens anything."""

from __future__ import annotations

import select
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import detektr
from detektr.errors import RefusedError


@pytest.mark.parametrize(
    ("target", "options", "words"),
    [
        ("buffer", {}, "'buffer' is not pipeline/node"),
        ("demo/", {}, "'demo/' is not pipeline/node"),
        ("demo/a/b", {}, "'demo/a/b' is not pipeline/node"),
        ("../demo/buffer", {}, "is not pipeline/node"),
        ("demo/buffer", {"name": "two words"}, "'two words' is not a name"),
        ("demo/buffer", {"window": 0}, "window=0; write 1 to 1024"),
        ("demo/buffer", {"when_full": "explode"}, "when_full='explode'; write drop-oldest, drop-newest or block"),
    ],
)
def test_wrong_arguments_are_refused_at_once(target: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(RefusedError, match=words):
        detektr.attach(target, **options)


def test_a_wait_for_nobody_ends_in_words_and_leaves_nothing(shm_dir: Path) -> None:
    frames = detektr.attach("demo/buffer", wait_s=0)
    with pytest.raises(TimeoutError, match="no frame of demo/buffer within 0 s: waiting for demo/buffer"):
        next(frames)
    assert list(shm_dir.iterdir()) == []


def test_after_close_the_loop_has_ended() -> None:
    frames = detektr.attach("demo/buffer")
    frames.close()
    assert list(frames) == []


def test_within_with_nothing_is_opened_while_nobody_is_there(shm_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    with detektr.attach("demo/buffer"):
        assert list(shm_dir.iterdir()) == []
    assert "waiting for demo/buffer (pipeline 'demo' does not run)" in caplog.text


def test_a_process_whose_select_was_patched_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(select, "epoll")  # as gevent.monkey.patch_all() does
    monkeypatch.setitem(sys.modules, "gevent", types.ModuleType("gevent"))
    with pytest.raises(RefusedError, match="attach: gevent has patched the module `select`"):
        detektr.attach("demo/buffer")
