"""Viewers of a pipeline, each of which asks what an open page asks; a program of its own, until it is killed."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import sys
import threading
from pathlib import Path

LOOK_S, PICTURE_S, TELL_S = 1.0, 0.2, 0.1
NUMBERS = "/pipeline", "/logs?lines=200", "/dead-letters"
PICTURE = "/nodes/camera/latest.jpg?width=640"
ANSWER_S_MAX = 10.0


class Viewers:
    """So many viewers of the server at a port of this machine."""

    def __init__(self, port: int, token: str, count: int) -> None:
        """Begin to look."""
        self._port, self._head = port, {"Authorization": f"Bearer {token}"}
        self._is_over = threading.Event()
        self._answers = itertools.count()
        for act in (self._look, self._show, self._listen):
            for _ in range(count):
                threading.Thread(target=self._again, args=[act], daemon=True).start()

    def tell(self, path: Path) -> None:
        """Write down how many answers there were, again and again."""
        while not self._is_over.wait(TELL_S):
            path.write_text(str(next(self._answers)))

    def _again(self, act: object) -> None:
        """Do it until the end; a server that is not there yet, or no more, is asked again."""
        assert callable(act)
        while not self._is_over.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(self._connect()) as line:
                act(line)
            self._is_over.wait(PICTURE_S)

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=ANSWER_S_MAX)

    def _ask(self, line: http.client.HTTPConnection, path: str) -> None:
        line.request("GET", path, headers=self._head)
        answer = line.getresponse()
        answer.read()
        if answer.status == 200:
            next(self._answers)

    def _look(self, line: http.client.HTTPConnection) -> None:
        while not self._is_over.wait(LOOK_S):
            for path in NUMBERS:
                self._ask(line, path)

    def _show(self, line: http.client.HTTPConnection) -> None:
        while not self._is_over.wait(PICTURE_S):
            self._ask(line, PICTURE)

    def _listen(self, line: http.client.HTTPConnection) -> None:
        line.request("GET", "/events?results=all", headers=self._head)
        answer = line.getresponse()
        while answer.readline() and not self._is_over.is_set():
            next(self._answers)


def main() -> None:
    """Look, and tell how many answers there were."""
    port, token, count, path = sys.argv[1:]
    Viewers(int(port), token, int(count)).tell(Path(path))


if __name__ == "__main__":
    main()
