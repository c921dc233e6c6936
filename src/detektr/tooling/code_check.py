"""`detektr validate`: can the code that a file names be found, and called as its node will call it?

A child process imports it, as the nodes would: what it prints, the time it takes or a crash costs only the answer about
this code. Nothing of the user's is built or run beside its import; detektr's own are built, as only they know which
values of `with` are right.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from detektr import plugins
from detektr.config.document import Fault
from detektr.config.load import Pipeline
from detektr.errors import RefusedError
from detektr.options import CaptureOptions, NodeOptions
from detektr.redaction import mask_with
from detektr.registry.code_checks import UserCodeError, check_pictures, check_worker
from detektr.registry.node_kinds import NODE_KINDS
from detektr.registry.user_code import find, make_worker

_PYTHON = "python:"
_METHODS = {"processors": "process", "sinks": "write"}


@dataclass(frozen=True)
class _Code:
    """The code that one node names."""

    node: str
    key: str
    """The key that names it: `use` or `source`."""
    reference: str
    """module:Name, or a short name."""
    arguments: Mapping[str, Any]
    group: str
    """One of `plugins.GROUPS`."""
    method: str
    """What it must be able to do; empty for a source."""
    env: Mapping[str, str]

    def check(self, folder: Path) -> None:
        """Refuse it where the node could not use it.

        Raises:
            UserCodeError: says why, and what to do.
            RefusedError: the short name is not known, or one of detektr's own refuses its `with`.
        """
        found = find(self.reference, self.group, folder)
        if not self.method:
            check_pictures(found, self.arguments)
        elif self.reference in plugins.GROUPS[self.group]:
            make_worker(found, self.arguments, self.method)
        else:
            check_worker(found, self.arguments, self.method)


def check_code(pipeline: Pipeline) -> list[Fault]:
    """Import the code of every node, and look whether its node could call it.

    Args:
        pipeline: a file that was found good. Its folder is where modules are looked for last.
    Returns:
        What is wrong, each with the line of its `use`, `source` or `with`.
    """
    groups: dict[tuple[tuple[str, str], ...], list[_Code]] = {}
    for name, node in pipeline.options.nodes.items():
        code = _code_of(name, node)
        if code is not None:
            groups.setdefault(tuple(sorted(code.env.items())), []).append(code)
    faults = []
    for codes in groups.values():  # code may look at its environment while it is imported
        while codes:
            answers = _ask_child(codes, pipeline.folder)
            faults += [_fault(pipeline, code, *answer) for code, answer in zip(codes, answers, strict=False) if answer]
            codes = codes[len(answers) :]  # those behind one that ended the child
    return [
        replace(fault, what=mask_with(fault.what, pipeline.secrets), hint=mask_with(fault.hint, pipeline.secrets))
        for fault in faults
    ]


def _code_of(name: str, node: NodeOptions) -> _Code | None:
    if isinstance(node, CaptureOptions):
        if not node.source.startswith(_PYTHON):
            return None
        return _Code(name, "source", node.source.removeprefix(_PYTHON), node.with_, "sources", "", node.env)
    group = NODE_KINDS[node.kind].plugins
    use = getattr(node, "use", None)
    if not group or use is None:
        return None
    method = "process_batch" if getattr(node, "batch", None) is not None else _METHODS[group]
    return _Code(name, "use", use, getattr(node, "with_", {}), group, method, node.env)


def _fault(pipeline: Pipeline, code: _Code, why: str, hint: str) -> Fault:
    key = "with" if "`with`" in why and code.arguments else code.key
    named = f"{_PYTHON}{code.reference}" if code.key == "source" else code.reference
    line = pipeline.document.line("nodes", code.node, key)
    return Fault(line, f"node {code.node!r}: `{code.key}` {named}: {why}", "code that its node can call", hint)


def _ask_child(codes: Sequence[_Code], folder: Path) -> list[tuple[str, str] | None]:
    """Check these in a child process, one after the other.

    Returns:
        For each why it cannot be used, and what to do, or None. Where one ended the child, its answer is the last.
    """
    with tempfile.TemporaryFile("w+") as file:
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            _check_in_child(codes, folder, file)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        file.seek(0)
        answers = [None if line == "null\n" else (*json.loads(line),) for line in file]
    if len(answers) < len(codes):
        how = f"with {signal.Signals(-status).name}" if status < 0 else f"with exit code {status}"
        answers.append((f"its process ended {how} while it was imported", "import it in Python by itself, and mend it"))
    return answers


def _check_in_child(codes: Sequence[_Code], folder: Path, file: IO[str]) -> None:
    status = 1
    try:
        os.dup2(2, 1)  # what the code prints is no answer of the command's
        os.chdir(folder)
        os.environ.update(codes[0].env)
        for code in codes:
            file.write(json.dumps(_answer(code, folder)) + "\n")
            file.flush()
        status = 0
    except KeyboardInterrupt:  # the command itself has heard of it, too
        status = 128 + signal.SIGINT
    finally:
        os._exit(status)


def _answer(code: _Code, folder: Path) -> tuple[str, str] | None:
    try:
        code.check(folder)
    except UserCodeError as fault:
        is_ours = code.reference in plugins.GROUPS[code.group]
        if is_ours and isinstance(fault.__cause__, ValueError):  # its constructor says which value of `with` is wrong
            return f"`with`: {fault.__cause__}", "correct that value"
        return fault.why, fault.hint
    except RefusedError as fault:
        return f"`with`: {fault}" if code.reference in plugins.GROUPS[code.group] else str(fault), "correct it"
    return None
