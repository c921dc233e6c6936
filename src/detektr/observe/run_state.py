"""The run state: a JSON file in the run folder in which the supervisor says what runs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any

from detektr.memory.run_folder import RunFolder
from detektr.process.json_file import write_json

_FILE = "run.json"


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
