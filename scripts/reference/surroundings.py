"""The pages of what surrounds a process: exit codes, and variables of the environment."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from detektr.errors import DetektrError, RefusedError
from detektr.process.cores import THREAD_VARIABLES
from scripts.reference.markdown import code, document, table

ROOT = Path(__file__).parents[2]
VARIABLES: Mapping[str, tuple[str, str, str]] = MappingProxyType(
    {
        "DETEKTR_SHM_DIR": (
            "The folder in which detektr keeps shared memory, an absolute path. All processes of a run need the same.",
            "`/dev/shm`",
            "`/dev/shm/shop`",
        ),
        "DETEKTR_STATE_DIR": (
            "The folder for what outlives a run (history, dead letters, logs, spools), an absolute path.",
            "`$XDG_STATE_HOME/detektr`, else `~/.local/state/detektr`",
            "`/var/lib/detektr`",
        ),
        "DETEKTR_LOG": (
            "The level of the log: debug, info, warning or error. With debug, tracebacks are written too.",
            "`info`",
            "`debug`",
        ),
        "DETEKTR_WEB_TOKEN": ("The token of `detektr web`.", "one is made", "`d3a1c9e0b7f24a55`"),
        "DETEKTR_COMPILE": (
            "At installation: 0 leaves everything as Python files; else what every frame passes is compiled where there"
            " is a C compiler. In front of the scripts of the repository: 1 compiles, 0 takes away what was compiled.",
            "compile when installed by pip",
            "`0`",
        ),
    }
)
INNER = {"DETEKTR_HANDED_OVER"}
"""Variables that detektr sets for processes of its own."""
OTHERS: tuple[tuple[str, str], ...] = (
    ("`${NAME}` in the file", "Any variable that the file names; see [values](file.md#values)."),
    ("`CREDENTIALS_DIRECTORY`", "Where `${file:NAME}` is looked for first; systemd sets it (`LoadCredential=`)."),
    ("`PYTHONPATH`", "Where modules of `use` and `python:` are looked for, before the folder of the file."),
    ("`XDG_STATE_HOME`, `HOME`", "Where the state folder is, unless `DETEKTR_STATE_DIR` says so."),
    ("`MALLOC_ARENA_MAX`", "A capture sets it to keep its memory small, unless it is set already."),
    ("`TERM`", "A live table is drawn on a terminal unless this is `dumb`."),
)


def exit_codes() -> str:
    """Return the page of exit codes."""
    rows = (
        ("0", "The run, or the command, did what was asked; also a run that SIGTERM or `down` ended after a drain."),
        (
            str(DetektrError.exit_code),
            "A node that is not `optional` failed for good; a consumer was delivered nothing, or dead-lettered all; a"
            " ledger did not add up; a report or an answer could not be written; `doctor` found what would hurt;"
            " `healthcheck` found a reason; not all dead letters could be resent.",
        ),
        (
            str(RefusedError.exit_code),
            "The file, the arguments or the machine were refused. Nothing was started, and nothing is left behind.",
        ),
        ("130", "Ctrl-C (SIGINT). A run was drained first."),
        ("128+n", "Signal n ended it, as 137 after SIGKILL (which Linux also sends where memory is out)."),
    )
    text = "Each command and each node by itself ends with one of these. Why it did stands in its last lines."
    return document("Exit codes", text, table(("code", "when"), rows))


def environment() -> str:
    """Return the page of variables.

    Raises:
        ValueError: the sources read a variable that is not described here, or the other way round.
    """
    if read() != set(VARIABLES):
        raise ValueError(
            f"scripts/reference/surroundings.py: describe {read() ^ set(VARIABLES)} in VARIABLES, or drop it"
        )
    rows = [(code(name), *told) for name, told in VARIABLES.items()]
    threads = ", ".join(map(code, THREAD_VARIABLES))
    return document(
        "Environment variables",
        "## detektr's own\n\n" + table(("variable", "meaning", "unless it is set", "example"), rows),
        "## Others that count\n\n" + table(("variable", "meaning"), OTHERS),
        f"## Threads of numerical libraries\n\ndetektr sets {threads} for each process with your code to its share"
        " of the cores, unless they are set: [place a node](../how-to/place-a-node.md#threads).",
    )


def read() -> set[str]:
    """Return detektr's own variables that the sources name, but for those of its inner life."""
    found: set[str] = set()
    for path in (*sorted((ROOT / "src" / "detektr").rglob("*.py")), ROOT / "setup.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= set(re.findall(r"DETEKTR_[A-Z_]+", node.value))
    return found - INNER
