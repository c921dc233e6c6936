"""A file of JSON that nobody ever sees half written."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


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
