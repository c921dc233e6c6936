from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from typing import Any

import pytest

from detektr.process.user_boundary import call_user, let_go_in_child

SURVIVED = 99  # of a child that came back


def status_of(code: Callable[[], Any]) -> tuple[int, str]:
    """Return how a child ended that user code forked and went on in as `code` says, and what it wrote."""
    reading, writing = os.pipe()

    def user() -> int:
        pid = os.fork()
        if pid:
            return pid
        os.dup2(writing, 2)
        return int(code() or 0)

    owner = os.getpid()
    try:
        pid = call_user(user)
    finally:
        if os.getpid() != owner:
            os._exit(SURVIVED)
    os.close(writing)
    _, status = os.waitpid(pid, 0)
    with os.fdopen(reading) as pipe:
        return os.waitstatus_to_exitcode(status), pipe.read()


def missing_program() -> None:
    os.execvp("no-such-program", ["no-such-program"])


@pytest.mark.parametrize(
    ("code", "status", "words"),
    [
        (lambda: None, 0, "came back into detektr from the user's code"),
        (lambda: sys.exit(), 0, ""),
        (lambda: sys.exit(7), 7, ""),
        (lambda: sys.exit("no licence"), 1, "no licence"),
        (missing_program, 1, "it raised FileNotFoundError"),
        (lambda: 1 // 0, 1, "it raised ZeroDivisionError"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_never_comes_back_from_user_code(code: Callable[[], Any], status: int, words: str) -> None:
    ended, said = status_of(code)
    assert ended == status
    assert words in said and bool(words) == bool(said)


def test_user_code_returns_and_raises_in_the_process_that_called_it() -> None:
    assert call_user(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        call_user(divmod, 7, 0)


class Held:
    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()

    def let_go(self) -> None:
        os.close(self.writing)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_lets_go_of_what_it_must_not_hold_and_the_parent_does_not() -> None:
    held, gone = Held(), Held()
    for one in (held, gone):
        let_go_in_child(one.let_go)
    reading, writing = gone.reading, gone.writing
    del gone, one
    gc.collect()

    def is_open(fd: int) -> bool:
        try:
            os.fstat(fd)
        except OSError:
            return False
        return True

    pid = os.fork()
    if not pid:
        os._exit(is_open(held.writing) + 2 * is_open(writing))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 2
    for fd in (held.reading, held.writing, reading, writing):
        os.close(fd)
