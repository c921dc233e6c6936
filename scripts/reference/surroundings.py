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
            "Absolute path of the folder in which detektr keeps shared memory, the same for all processes of a run.",
            "`/dev/shm`",
            "`/dev/shm/shop`",
        ),
        "DETEKTR_STATE_DIR": (
            "Absolute path of the folder for what outlives a run: history, dead letters, logs, spools.",
            "`$XDG_STATE_HOME/detektr`, else `~/.local/state/detektr`",
            "`/var/lib/detektr`",
        ),
        "DETEKTR_LOG": (
            "The level of the log: debug, info, warning or error. With debug, the log has tracebacks too.",
            "`info`",
            "`debug`",
        ),
        "DETEKTR_WEB_TOKEN": ("The token of `detektr web`.", "detektr makes one", "`d3a1c9e0b7f24a55`"),
        "DETEKTR_COMPILE": (
            "At installation, 0 leaves all code as Python files; otherwise the code that every frame passes is"
            " compiled, if there is a C compiler. For the scripts of the repository, 1 compiles, and 0 removes"
            " compiled code.",
            "pip compiles",
            "`0`",
        ),
    }
)
INNER = {"DETEKTR_HANDED_OVER"}
"""Variables that detektr sets for processes of its own."""
OTHERS: tuple[tuple[str, str], ...] = (
    ("`${NAME}` in the file", "Any variable whose name the file contains; see [values](file.md#values)."),
    (
        "`CREDENTIALS_DIRECTORY`",
        "The folder in which detektr first looks for `${file:NAME}`; systemd sets it (`LoadCredential=`).",
    ),
    (
        "`PYTHONPATH`",
        "The folders in which detektr looks for modules of `use` and `python:`, before the folder of the file.",
    ),
    ("`XDG_STATE_HOME`, `HOME`", "They say where the state folder is, unless `DETEKTR_STATE_DIR` is set."),
    ("`MALLOC_ARENA_MAX`", "A capture sets it to keep its memory small, unless it is set already."),
    ("`TERM`", "`detektr up` draws a live table on a terminal unless this is `dumb`."),
)


def exit_codes() -> str:
    """Return the page of exit codes."""
    rows = (
        (
            "0",
            "The run, or the command, did what was asked. A run that SIGTERM or `down` ended after a drain counts too,"
            " and so does one that dropped frames or gave some up as dead letters, as the file allows: `why` and"
            " `unaccounted`, `dropped` and `dead_lettered` in the report (`--report`) say so.",
        ),
        (
            str(DetektrError.exit_code),
            "One of these: a node that is not `optional` failed for good; an edge delivered nothing, and gave frames up"
            " as dead letters; a ledger did not add up; a report or an answer could not be written; `doctor` found"
            " what would hurt a pipeline; `healthcheck` found that a pipeline does not do its work; not all dead"
            " letters could be resent.",
        ),
        (
            str(RefusedError.exit_code),
            "detektr refused the file, the arguments or the machine. It started nothing, and left nothing behind.",
        ),
        ("130", "Ctrl-C (SIGINT) ended it; a run was drained first."),
        ("128+n", "Signal n ended it; for example 137 is SIGKILL, which Linux also sends when memory runs out."),
    )
    text = (
        "Each command, and each node that is started by itself, ends with one of these codes. Its last lines say why."
    )
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
        f"## Threads of numerical libraries\n\nIn each process with your code, detektr sets {threads} to the share of"
        " the cores that this process has, unless they are set already:"
        " [place a node](../how-to/place-a-node.md#threads).",
    )


def read() -> set[str]:
    """Return detektr's own variables that the sources name, but for those of its inner life."""
    found: set[str] = set()
    for path in (*sorted((ROOT / "src" / "detektr").rglob("*.py")), ROOT / "setup.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= set(re.findall(r"DETEKTR_[A-Z_]+", node.value))
    return found - INNER
