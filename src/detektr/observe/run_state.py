"""The run state: a JSON file in the run folder in which the supervisor says what runs."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detektr.memory.run_folder import RunFolder

_FILE = "run.json"


def write_json(path: Path, values: Mapping[str, Any], mode: int = 0o666) -> None:
    """Write a file of JSON so that nobody ever sees half of it.

    Args:
        path: the file.
        values: its content.
        mode: who may read it, less the process's umask.
    Raises:
        OSError: it cannot be written; the old file stays.
    """
    text = json.dumps(values, indent=1) + "\n"
    if path.exists() and not path.is_file():  # a device or a pipe: nothing takes its place
        path.write_text(text)
        return
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        with os.fdopen(fd, "w") as file:
            file.write(text)
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


def write_run_state(folder: RunFolder, values: Mapping[str, Any]) -> None:
    """Write the run state, readable for this user only.

    Raises:
        OSError: shared memory is full.
    """
    write_json(folder.path / _FILE, values, 0o600)


def read_run_state(folder: RunFolder) -> dict[str, Any]:
    """Return the run state; empty: there is no supervisor, or it is dead."""
    with contextlib.suppress(OSError, ValueError):
        run_state: dict[str, Any] = json.loads((folder.path / _FILE).read_text())
        if folder.lock_holder() == run_state["pid"]:
            return run_state
    return {}
