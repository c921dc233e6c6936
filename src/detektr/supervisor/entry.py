"""The entry into a node's process: forked for a supervisor, or started by hand in a terminal, container or unit."""

from __future__ import annotations

import ctypes
import importlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from setproctitle import setproctitle

from detektr.errors import DetektrError, RefusedError
from detektr.memory.user_metrics import UserMetricsFile
from detektr.metrics.registry import process_metrics
from detektr.nodes.control import ControlLine
from detektr.nodes.ending import GRACE_NS, Ending
from detektr.nodes.node import Node
from detektr.nodes.node_signals import ending_signals, pass_over
from detektr.nodes.spec import NodeSpec
from detektr.process.fault_text import fault_line, fault_text
from detektr.process.standard_streams import keep_streams, open_streams
from detektr.redaction import register_secret
from detektr.registry.node_kinds import NODE_KINDS
from detektr.telemetry.log import setup_log

_M_ARENA_MAX = -8
_CAPTURE_ARENAS = 2
_log = logging.getLogger(__name__)


def make_node(spec: NodeSpec, control: ControlLine | None = None) -> Node:
    """Build the node that a spec describes; only the modules of its kind are imported.

    Raises:
        RefusedError: a process of this name runs already, or the folder cannot be used.
    """
    kind = NODE_KINDS[spec.options.kind]
    module, _, name = (kind.variant(spec.options) or kind.node).partition(":")
    node: type[Node] = getattr(importlib.import_module(module), name)
    return node(spec, control)


def run_node(
    spec: NodeSpec,
    control: ControlLine | None = None,
    *,
    at_end: Callable[[Node], bool] | None = None,
    ending: Ending | None = None,
) -> int:
    """Run one process of a node to its end, and log its faults.

    Args:
        spec: what to run.
        control: the line to the supervisor; None: the node lives alone.
        at_end: called when the node has run, while its edges can still be read; False: its ledger does not add up.
        ending: ends this process in time from then on.
    Returns:
        Its exit code: 0 when it has ended or was told to, 1 failed, 2 refused before it ran, 128+n after signal n
        where it lives alone, but for SIGTERM, which is how units are stopped.
    """
    node, has_run, code = None, False, 1
    signals = ending_signals()
    for secret in spec.secrets:
        register_secret(secret)
    try:
        spec.placement.apply()
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # a half-made node could not remove its files
        try:
            node = make_node(spec, control)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        if spec.has_user_code:
            process_metrics.publish(UserMetricsFile(node.folder.user_metrics(spec.node, spec.replica)))
        node.prepare()
        order = None
        if control is not None:
            control.try_tell({"ready": True, "is_stateful": node.is_stateful})
            order = control.wait_order()
        if control is None or order is not None:
            if order is not None and order.get("order") == "stop":  # the run drains: serve what is there, begin nothing
                node.stop(is_final=True, within_ns=order.get("within_ns"))
            elif order is not None and order.get("is_paused"):
                node.pause()
            has_run = True
            node.run()
        is_told = control is None and node.stopped_by not in (0, signal.SIGTERM)
        code = 128 + node.stopped_by if is_told else 0
    except DetektrError as fault:
        why = fault_text(fault)
        code = fault.exit_code if has_run else RefusedError.exit_code
        if control is None or not control.try_tell({"refused": why, "exit_code": code}):
            _log.error("%s", why)
        _note_death(node, fault)
    except Exception as fault:
        _log.critical("%s", fault_line(fault), exc_info=_log.isEnabledFor(logging.DEBUG))
        _note_death(node, fault)
    finally:
        if node is not None:
            try:
                if has_run and at_end is not None and not at_end(node):
                    code = code or 1
            finally:
                _end_node(node, code, has_run, ending)
    return code


def _note_death(node: Node | None, fault: BaseException) -> None:
    if node is not None:
        node.died(f"its process died: {fault_line(fault)}")


def _end_node(node: Node, code: int, has_run: bool, ending: Ending | None) -> None:
    """Let the node end; from now on the user's code has the drain's time, or what is left of it, to come to its end."""
    spec, control, now_ns = node.spec, node.control, time.monotonic_ns()
    if control is not None:
        control.wait_farewell(code if has_run else None)
    deadline_ns = node.stop_deadline_ns if node.is_stopping else now_ns + spec.options.drain_ns
    if ending is not None:
        # A node that has not begun has nothing to finish, and a run that is refused waits for it.
        ending.begin(code, max(deadline_ns, now_ns + GRACE_NS) if has_run else now_ns + GRACE_NS // 2, node)
    node.close()


def main() -> None:
    """Be a node with an environment of its own, started anew: its line's descriptor and its name are the arguments."""
    signal.signal(signal.SIGINT, pass_over)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))  # blocked by who we were until we could take one
    open_streams()
    line_fd, name = int(sys.argv[1]), sys.argv[2]
    sys.argv[:] = [name]
    setproctitle(f"detektr {name}")
    _serve_here(ControlLine(line_fd))


def serve(line_fd: int) -> None:
    """Be a supervisor's child, to its end: the spec comes over the line, whose descriptor this is.

    A node with `env` starts anew first: what it was forked from has imported numpy, and Python itself, without it.
    """
    control = ControlLine(line_fd)
    if (order := control.peek_order()) is not None:
        _start_anew(NodeSpec.from_json(order["spec"]), control)
    _serve_here(control)


def _serve_here(control: ControlLine) -> None:
    order = control.wait_order()
    if order is None:
        leave(0)
    spec = NodeSpec.from_json(order["spec"])
    _spare_arenas(spec)
    sys.setswitchinterval(1e-4)
    keep_streams()
    setup_log(f"{spec.node}.{spec.replica}")
    ending = Ending(spec, control)
    end_process(run_node(spec, control, ending=ending), ending)


def _start_anew(spec: NodeSpec, control: ControlLine) -> None:
    """Start this process anew where its node has an environment of its own; else return."""
    if not spec.options.env:
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    os.set_inheritable(control.fileno(), True)
    arguments = ["-P", "-m", "detektr.supervisor.entry", str(control.fileno()), f"{spec.node}.{spec.replica}"]
    try:
        spec.placement.start_anew(arguments)
    except RefusedError as fault:
        control.try_tell({"refused": str(fault), "exit_code": fault.exit_code})
        leave(fault.exit_code)


def _spare_arenas(spec: NodeSpec) -> None:
    """Let a decoder's threads share freed memory."""
    if spec.options.kind == "capture" and "MALLOC_ARENA_MAX" not in os.environ:
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc's
        if mallopt is not None:
            mallopt(_M_ARENA_MAX, _CAPTURE_ARENAS)


def end_process(code: int, ending: Ending) -> NoReturn:
    """End this process: as the interpreter does where the user's code has run in it, else at once."""
    if not ending.is_plain:
        leave(code)
    ending.watch_interpreter()
    sys.exit(code)


def leave(code: int) -> NoReturn:
    """End this process at once: a decoder thread may still wait for a camera."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
