"""Hold what is installed, and the run it made, against what was meant: compiled or not, all frames accounted for."""

from __future__ import annotations

import json
import sys
from importlib.metadata import files
from importlib.util import find_spec
from pathlib import Path


def main(compiled: str, report: str) -> None:
    """Exit with what is wrong."""
    spec = find_spec("detektr.descriptor")
    origin = Path(str(spec.origin if spec else None))
    if (origin.suffix == ".so") != (compiled == "1"):
        sys.exit(f"{origin} is {'not ' if compiled == '1' else ''}compiled; see the build's output")
    if Path(sys.prefix) not in origin.parents:
        sys.exit(f"{origin} is not in {sys.prefix}: something else was tested")
    extra = [str(path) for path in files("detektr") or [] if path.suffix == ".c" or path.parts[0] == "tests"]
    if extra:
        sys.exit(f"{', '.join(extra)} should not be installed; see pyproject.toml")
    told = json.loads(Path(report).read_text())
    delivered = [edge["delivered"] for edge in told["edges"]]
    if told["unaccounted"] or len(delivered) != 3 or not all(delivered):
        sys.exit(f"{report}: expected deliveries on three edges, and nothing unaccounted for: {told}")


if __name__ == "__main__":
    main(*sys.argv[1:])
