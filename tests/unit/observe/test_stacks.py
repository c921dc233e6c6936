from __future__ import annotations

import threading

import detektr
from detektr.observe.stacks import Stacks, find_place

OURS = detektr.__file__
HANGS = f"""Thread 0x00007f1 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 327 in wait

Current thread 0x00007f0 (most recent call first):
  File "{threading.__file__}", line 982 in start
  File "/home/me/mine.py", line 6 in deep
  File "/home/me/mine.py", line 9 in process
  File "{OURS}", line 107 in work
  File "{OURS}", line 123 in run
"""


def test_the_place_is_the_latest_line_of_the_users_own_code_and_what_that_called() -> None:
    assert find_place(HANGS) == "mine.py:6 in deep (in threading.py:982 in start)"
    alone = HANGS.replace(HANGS.splitlines()[4] + "\n", "")
    assert find_place(alone) == "mine.py:6 in deep"


def test_a_source_that_hangs_is_found_in_its_own_thread() -> None:
    text = f"""Thread 0x00007f1 (most recent call first):
  File "/home/me/mine.py", line 3 in pictures

Thread 0x00007f0 (most recent call first):
  File "{OURS}", line 1 in wait
"""
    assert find_place(text) == "mine.py:3 in pictures"
    assert find_place(text.rpartition("\n\n")[2]) == "__init__.py:1 in wait"
    assert find_place("") == ""


def test_the_log_shows_calls_down_to_detektr() -> None:
    shown = Stacks("work.0", 1, HANGS, "").shown
    assert "line 9 in process" in shown and "line 107 in work" in shown and "line 123 in run" not in shown
    assert Stacks("work.0", 1, "", "it is stopped (SIGSTOP)").place == "it is stopped (SIGSTOP)"
