"""The line on which an operator asks a supervisor: one request a connection, one answer, each a message of JSON.

It is a socket in the run folder, which is this user's alone. A supervisor that is killed leaves its name there, and
whoever connects is told by the kernel that nobody listens.
"""

from __future__ import annotations

import contextlib
import errno
import json
import select
import socket
from collections.abc import Callable, Mapping
from typing import Any, Literal

from detektr.errors import DetektrError, RefusedError
from detektr.memory.run_folder import RunFolder

Deed = Literal["pause", "resume", "restart", "scale"]
DEEDS: tuple[Deed, ...] = ("pause", "resume", "restart", "scale")
REPLICAS_MAX = 64  # that a file may ask for
MESSAGE_BYTES_MAX = 1 << 16
CONNECTIONS_MAX = 8  # one more ends the oldest: who connects and says nothing keeps out nobody
ANSWER_S = 2.0
Code = Literal[
    "no_node", "no_replica", "no_scale", "over", "not_now", "not_running", "supervisor_dead", "silent", "request"
]


class OperatorError(DetektrError):
    """What an operator asked for was not done; `code` says why in a word for programs."""

    def __init__(self, code: Code, text: str) -> None:
        """Say why, in words."""
        super().__init__(text)
        self.code: Code = code


def ask_supervisor(
    pipeline: str,
    deed: Deed,
    node: str,
    replica: int | None = None,
    *,
    replicas: int | None = None,
    within_s: float = ANSWER_S,
) -> dict[str, Any]:
    """Have the supervisor of a running pipeline pause, resume, restart or scale a node.

    Args:
        pipeline: its name.
        deed: what to do.
        node: with which node.
        replica: with which of its processes only, of a restart; None: with all.
        replicas: how many processes a node is to have, to scale it.
        within_s: longest wait for the answer, in seconds.
    Returns:
        `node`, `did`, `processes` (whom it concerns), `changed` (False: it was so already), `state` of the node; of a
        node that is scaled `replicas`, how many it is to have.
    Raises:
        OperatorError: it was not done, and why.
    """
    folder = RunFolder(pipeline)
    wish = {"do": deed, "node": node, "replica": replica} | ({} if replicas is None else {"replicas": replicas})
    request = json.dumps(wish).encode()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
            line.settimeout(within_s)
            line.connect(str(folder.orders))
            line.send(request)
            payload = line.recv(MESSAGE_BYTES_MAX)
        answer: dict[str, Any] = json.loads(payload)
    except (TimeoutError, BlockingIOError):
        raise OperatorError(
            "silent",
            f"the supervisor of {pipeline} did not answer within {within_s:g} s; see whether it runs:"
            f" `detektr status {pipeline}`",
        ) from None
    except (OSError, ValueError):
        raise _away(folder) from None
    if "refused" in answer:
        raise OperatorError(answer["refused"], answer["why"])
    return answer


def _away(folder: RunFolder) -> OperatorError:
    """Return why no supervisor answers."""
    name = folder.pipeline
    if folder.lock_holder() is not None:
        return OperatorError("not_now", f"the run of {name} has just begun, or ends; try again in a second")
    if folder.orders.exists():
        next_ = f"`detektr down {name}` ends what is left; then start it again"
        return OperatorError("supervisor_dead", f"the supervisor of {name} is dead, and its nodes obey nobody; {next_}")
    if folder.live_processes():
        text = f"the nodes of {name} were started alone, without a supervisor; end and start each where it was started"
        return OperatorError("not_running", text)
    return OperatorError("not_running", f"pipeline {name} does not run; start it: `detektr up`")


class OperatorInbox:
    """The supervisor's end: never waits; `fd` can be read when somebody has something to say."""

    def __init__(self, folder: RunFolder) -> None:
        """Listen.

        Raises:
            RefusedError: the run folder takes no socket.
        """
        self._path = folder.orders
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.setblocking(False)
        try:
            self._path.unlink(missing_ok=True)  # of a supervisor that was killed: we hold the pipeline's lock
            self._listener.bind(str(self._path))
            self._path.chmod(0o600)  # before anybody can connect
            self._listener.listen(CONNECTIONS_MAX)
        except OSError as fault:
            self._listener.close()
            raise RefusedError(
                f"{self._path} cannot be made: {fault.strerror}; point DETEKTR_SHM_DIR at a folder in memory (tmpfs)"
            ) from None
        self._lines: dict[int, socket.socket] = {}  # in order of arrival
        self._ready = select.epoll()
        self._ready.register(self._listener.fileno(), select.EPOLLIN)

    @property
    def fd(self) -> int:
        """Descriptor to be watched."""
        return self._ready.fileno()

    def answer(self, answer: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
        """Answer what has been asked; `answer` may raise OperatorError."""
        for fd, _ in self._ready.poll(0):
            if fd == self._listener.fileno():
                self._admit()
            elif (line := self._lines.get(fd)) is not None:
                with contextlib.suppress(OSError):  # it has left
                    line.send(json.dumps(_reply(line.recv(MESSAGE_BYTES_MAX), answer)).encode())
                self._end(line)

    def close(self) -> None:
        """Listen no more."""
        for line in list(self._lines.values()):
            self._end(line)
        self._ready.close()
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _admit(self) -> None:
        try:
            line, _ = self._listener.accept()
        except OSError as fault:
            if fault.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EMFILE, errno.ENFILE):
                raise
            return
        line.setblocking(False)
        self._lines[line.fileno()] = line
        self._ready.register(line.fileno(), select.EPOLLIN)
        if len(self._lines) > CONNECTIONS_MAX:
            self._end(next(iter(self._lines.values())))

    def _end(self, line: socket.socket) -> None:
        self._ready.unregister(line.fileno())
        del self._lines[line.fileno()]
        line.close()


def _reply(payload: bytes, answer: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the answer to one message, or why there is none."""
    try:
        request = json.loads(payload)
        if not isinstance(request, dict) or request.get("do") not in DEEDS or not isinstance(request.get("node"), str):
            raise ValueError(
                f"{payload!r:.80} is no object with `do` and `node`; write one with pause, resume, restart or scale"
            )
        replica = request.get("replica")
        if replica is not None and (not isinstance(replica, int) or isinstance(replica, bool)):
            raise ValueError(f"replica is {replica!r:.40}; write the number of a process, from 0")
        replicas = request.get("replicas", 1)
        if (
            not isinstance(replicas, int)
            or isinstance(replicas, bool)
            or ("replicas" in request) != (request["do"] == "scale")
        ):
            raise ValueError(
                f"replicas is {request.get('replicas')!r:.40}; write how many to scale a node to, only then"
            )
        return answer(request)
    except OperatorError as fault:
        return {"refused": fault.code, "why": str(fault)}
    except (ValueError, RecursionError) as fault:
        return {"refused": "request", "why": f"the supervisor cannot read the request: {fault}"}
