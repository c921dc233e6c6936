"""Where a node's work begins: forked for a supervisor, or started by hand in a terminal, a container or a unit."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from detektr.errors import DetektrError, RefusedError
from detektr.nodes.control import ControlLine
from detektr.nodes.node import Node
from detektr.nodes.spec import NodeSpec
from detektr.registry.node_kinds import NODE_KINDS
from detektr.telemetry.log import setup_log

_ENDING = (signal.SIGTERM, signal.SIGINT)
_log = logging.getLogger(__name__)


def make_node(spec: NodeSpec, control: ControlLine | None = None) -> Node:
    """Build the node that a spec describes; only the modules of its kind are imported.

    Raises:
        RefusedError: a process of this name runs already, or the folder cannot be used.
    """
    module, _, name = NODE_KINDS[spec.options.kind].node.partition(":")
    node: type[Node] = getattr(importlib.import_module(module), name)
    return node(spec, control)


def run_node(
    spec: NodeSpec, control: ControlLine | None = None, *, at_end: Callable[[Node], None] | None = None
) -> int:
    """Run one process of a node to its end. What goes wrong is said in the log.

    Args:
        spec: what to run.
        control: the line to the supervisor; None: the node lives alone.
        at_end: called when the node has run, while its edges can still be read.
    Returns:
        Its exit code: 0 when it has ended or was told to, 1 failed, 2 refused before it ran, 130 after Ctrl-C alone.
    """
    node, has_run = None, False
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)  # half a node could not take away what it made
        try:
            node = make_node(spec, control)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
        node.prepare()
        if control is not None:
            control.try_tell({"ready": True})
            order = control.wait_order()
            if order is None:
                return 0
            if order.get("order") == "stop":  # the run drains: serve what is there, begin nothing
                node.stop(is_final=True, within_ns=order.get("within_ns"))
        has_run = True
        node.run()
        if control is None and node.stopped_by == signal.SIGINT:
            return 128 + signal.SIGINT
    except DetektrError as fault:
        if control is None or not control.try_tell({"refused": str(fault), "exit_code": fault.exit_code}):
            _log.error("%s", fault)
        return fault.exit_code if has_run else RefusedError.exit_code
    except Exception as fault:
        _log.critical("%s: %s", type(fault).__name__, fault, exc_info=True)
        return 1
    finally:
        if node is not None:
            if has_run and at_end is not None:
                at_end(node)
            if control is not None:
                control.wait_farewell()
            node.close()
    return 0


def serve(line_fd: int) -> None:
    """Be a supervisor's child: the spec comes over the line, whose descriptor this is."""
    control = ControlLine(line_fd)
    order = control.wait_order()
    if order is None:
        leave(0)
    spec = NodeSpec.from_json(order["spec"])
    sys.setswitchinterval(1e-4)
    setup_log(f"{spec.node}.{spec.replica}")
    leave(run_node(spec, control))


def leave(code: int) -> NoReturn:
    """End this process at once: a decoder thread may still wait for a camera."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
