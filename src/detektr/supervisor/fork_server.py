"""The fork server: a process with one thread that has imported the nodes' modules, and forks nodes.

So nodes start in milliseconds, share the memory of their modules, and have their code at the same addresses: a core
that has just run one of them runs the next faster (decision 0011). A forked node is no child of
this process but of the supervisor: the process in between ends at once, and the supervisor takes the orphan in.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any

from setproctitle import setproctitle

from detektr.nodes.node_signals import pass_over
from detektr.process.fault_text import fault_line
from detektr.process.standard_streams import open_streams

REQUEST_BYTES_MAX = 1 << 14


def main() -> None:
    """Serve the supervisor: the door's descriptor is the first argument, modules to import are the others."""
    # SIGINT to every process of a run means the run: its supervisor ends us, and nodes that do not listen yet.
    signal.signal(signal.SIGINT, pass_over)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))
    open_streams()
    door = socket.socket(fileno=int(sys.argv[1]))
    _import(["detektr.registry.node_kinds"])
    from detektr.registry.node_kinds import NODE_KINDS

    _import([*(kind.module for kind in NODE_KINDS.values()), *sys.argv[2:]])
    from detektr.supervisor import entry

    is_frozen = False
    while True:
        try:
            payload, fds, _, _ = socket.recv_fds(door, REQUEST_BYTES_MAX, 2)
        except ConnectionResetError:
            return
        if not payload:
            return  # the supervisor has hung up, or is gone
        request: dict[str, Any] = json.loads(payload)
        if "import" in request:
            _import(request["import"])
            is_frozen = False
            continue
        if len(fds) != 2:
            return  # there are no descriptors left here: the supervisor will start another
        if not is_frozen:
            gc.collect()
            gc.freeze()  # a collection would write into shared memory pages
            is_frozen = True
        answer = _fork(request, fds, door)
        if answer is None:
            _become(request, *fds)
            entry.serve(fds[0])
        for fd in fds:
            os.close(fd)
        try:
            door.send(json.dumps(answer).encode())
        except OSError:
            return


def _import(modules: Sequence[str]) -> None:
    """Import the nodes' modules; if that fails, the process ends, and its supervisor reports that no node can start."""
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as fault:  # a broken installation
            print(f"{module} cannot be imported: {fault_line(fault)}", file=sys.stderr)
            sys.exit(1)


def _fork(request: dict[str, Any], fds: Sequence[int], door: socket.socket) -> dict[str, Any] | None:
    """Fork a node twice over; returns its process number, or why the machine starts no more processes.

    In the node it returns None: its stack ends in this file's `main`, so that it ends as any program does.
    """
    reading, writing = os.pipe()
    try:
        middle = os.fork()
    except OSError as fault:
        os.close(reading)
        os.close(writing)
        return {"fault": fault.strerror, "errno": fault.errno}
    if middle == 0:
        is_node = False
        try:
            os.chdir(request["folder"])  # a node writes beside its pipeline file, wherever that is run from
            pid = os.fork()
            if pid == 0:
                is_node = True
                os.close(reading)
                os.close(writing)
                door.close()
                return None
            os.setpgid(pid, pid)  # here too: the supervisor may want to end the group before its leader has run
            os.write(writing, json.dumps({"pid": pid}).encode())
        except OSError as fault:
            what = f"{fault.filename}: {fault.strerror}" if fault.filename else fault.strerror
            os.write(writing, json.dumps({"fault": what, "errno": fault.errno}).encode())
        finally:
            if not is_node:
                os._exit(0)
    os.close(writing)
    answer = os.read(reading, 4096)
    os.close(reading)
    os.waitpid(middle, 0)  # before we answer: the supervisor is the node's parent from now on
    return dict(json.loads(answer)) if answer else {"fault": "the process in between was killed"}


def _become(request: dict[str, Any], line_fd: int, log_fd: int) -> None:
    """Become the node that was asked for, in a group of its own and with its log as its output."""
    os.setpgid(0, 0)  # a terminal's Ctrl-C is for the supervisor alone
    nothing = os.open(os.devnull, os.O_RDONLY)
    # Output of the user's code is log; the supervisor's own stdout belongs to the table.
    for fd, standard in ((nothing, 0), (log_fd, 1), (log_fd, 2)):
        os.dup2(fd, standard)
    os.close(nothing)
    os.close(log_fd)
    sys.argv[:] = [request["name"]]
    setproctitle(f"detektr {request['name']}")  # as ps and top show it
    for name, value in request["environment"].items():  # ours has one thread; what a node may use is told it
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    if "numpy.random" in sys.modules:  # else all replicas would draw the same numbers
        sys.modules["numpy.random"].seed()


if __name__ == "__main__":
    main()
