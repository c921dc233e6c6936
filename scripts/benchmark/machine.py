"""The machine that figures come from, as far as they depend on it."""

from __future__ import annotations

import importlib.util
import os
import platform
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

GIB = 1 << 30


def describe_machine() -> dict[str, str]:
    """Return cores, model, memory, kernel, Python, what else runs here just now, and how detektr is installed."""
    words = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = [line.split()[1] for line in _lines("/proc/meminfo") if line.startswith("MemTotal")]
    return {
        "cores": str(os.cpu_count()),
        "model": words[0] if words else platform.machine(),
        "memory": f"{int(memory[0]) * 1024 / GIB:.0f} GiB" if memory else "unknown",
        "Linux": platform.release(),
        "Python": platform.python_version(),
        "load": f"{os.getloadavg()[0]:.1f}",
        "detektr": _how_built(),
    }


def _how_built() -> str:
    if not is_compiled("detektr.descriptor"):
        return "from its Python files"
    return "compiled" if is_compiled("detektr.memory.streaming") else "compiled, but no copy is streamed"


def is_compiled(module: str) -> bool:
    """Whether this module is imported from what was compiled of it."""
    spec = importlib.util.find_spec(module)
    return spec is not None and str(spec.origin).endswith(tuple(EXTENSION_SUFFIXES))


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []
