"""Kills processes of a pipeline at named points, one in each life; on PYTHONPATH in test_named_points.py alone.

Python imports this at its start, before anything of ours; so the product needs no seam. The process that nodes are
forked from arms each of them as it begins. FAULT_POINTS is JSON: `fired`, a folder with a file for each process that
gets a byte for each kill, and `points`: for each process (`buffer.0`) a list of `target` (module:Class.method), `when`
(before, after, or inside: at a store of a method that changes a journal) and `call`: at which of the calls that fulfil
`condition`, an expression of self, arguments and result, the process dies.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any


class Point:
    """One point, and how often it was passed in this life."""

    def __init__(self, told: dict[str, Any], fired: Path) -> None:
        self.when, self.call, self.fired = told["when"], told["call"], fired
        self.condition = compile(told["condition"], "<condition>", "eval")
        self.passed = 0
        module, _, path = told["target"].partition(":")
        owner, _, self.method = path.rpartition(".")
        self.owner: Any = functools.reduce(getattr, owner.split("."), importlib.import_module(module))

    def arm(self) -> None:
        """Put a trap around the method."""
        real, point = getattr(self.owner, self.method), self

        @functools.wraps(real)
        def trapped(owner: Any, *arguments: Any, **named: Any) -> Any:
            if point.when == "before":
                point.look(owner, arguments, None)
            result = real(owner, *arguments, **named)
            if point.when == "after":
                point.look(owner, arguments, result)
            return result

        setattr(self.owner, self.method, trapped)

    def arm_stores(self) -> None:
        """Count the stores of a journal's changes: those of one method alone, each in its order."""
        real_init, real_method, point = self.owner.__init__, getattr(self.owner, self.method), self
        change: dict[str, int | None] = {"store": None}

        def init(journal: Any, memory: memoryview) -> None:
            real_init(journal, memory)
            journal._words = Stores(journal._words, point, change)
            journal._bytes = Stores(journal._bytes, point, change)

        def watched(journal: Any, *arguments: Any) -> None:
            is_change = point.method == "record" or len(arguments[0]) > 2  # of words that are applied, two or more
            change["store"] = -1 if is_change else None
            real_method(journal, *arguments)
            change["store"] = None

        self.owner.__init__ = init
        setattr(self.owner, self.method, watched)

    def look(self, owner: Any, arguments: Any, result: Any) -> None:
        """Count a passage that fulfils the condition; die at the chosen one."""
        if eval(self.condition, {"self": owner, "arguments": arguments, "result": result}):
            self.passed += 1
            if self.passed == self.call:
                self.die()

    def die(self) -> None:
        """Write down that it happened, and end as by the kernel's hand."""
        with self.fired.open("ab") as file:
            file.write(b"x")
        os.kill(os.getpid(), signal.SIGKILL)


class Stores:
    """A journal's words, or its bytes. A change's declaring store is number 0, those before it -1, those after from 1.

    Before it there are two: that a change is coming, and what it is; of an offer, its frame comes first.
    """

    def __init__(self, words: memoryview, point: Point, change: dict[str, int | None]) -> None:
        from detektr.memory.layout import EDGE_WORD_REDO_COUNT

        self._words, self._point, self._change, self._declaring = words, point, change, EDGE_WORD_REDO_COUNT

    def __getitem__(self, word: Any) -> Any:
        return self._words[word]

    def __setitem__(self, word: int | slice, value: Any) -> None:
        self._words[word] = value
        store = self._change["store"]
        if store is None:
            return
        if word == self._declaring and value:
            store = 0
        elif store >= 0:
            store += 1
        self._change["store"] = store
        self._point.look(self, (word,), store)

    def release(self) -> None:
        self._words.release()


def _arm(process: str) -> None:
    told = json.loads(os.environ["FAULT_POINTS"])
    fired = Path(told["fired"]) / process
    life = fired.stat().st_size if fired.is_file() else 0
    for point in [Point(one, fired) for one in told["points"].get(process, [])[life : life + 1]]:
        if point.when == "inside":
            point.arm_stores()
        else:
            point.arm()


def _arm_what_is_forked() -> None:
    from detektr.supervisor import entry

    real_serve = entry.serve

    def serve(line_fd: int) -> None:
        _arm(sys.argv[0])  # the node's name by then
        real_serve(line_fd)

    entry.serve = serve


if "detektr.supervisor.fork_server" in sys.orig_argv:
    from tests.harness.interpreted import Sources

    sys.meta_path.insert(0, Sources())  # no trap can be put into what was compiled
    _arm_what_is_forked()
