"""Measure detektr beside what bounds it and beside its peers, in one run, as ratios."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import audit
import copies
import journey
import memory
import observers
import scale
import start
import steady
import trail
import transport
import user_graphs
import video
from bar import show_bars
from machine import describe_machine
from table import show

# A module here has `add_arguments(parser)`, `run(chosen) -> rows` (dicts; "run" is the title) and, if a bar is set,
# `bars(rows)`; its docstring is the help.
COMMANDS = {
    "transport": transport,
    "video": video,
    "scale": scale,
    "memory": memory,
    "start": start,
    "steady": steady,
    "journey": journey,
    "copies": copies,
    "audit": audit,
    "trail": trail,
    "graph": user_graphs,
    "observers": observers,
}


def main() -> None:
    """Run one benchmark, print its tables, and say which bars hold."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    commands = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    for name, module in COMMANDS.items():
        command = commands.add_parser(name, help=module.__doc__, description=module.__doc__)
        module.add_arguments(command)
        command.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
        if hasattr(module, "bars"):
            command.add_argument("--bar", action="store_true", help="hold each figure against its bar; 1: one misses")
    chosen = parser.parse_args()
    module, machine = COMMANDS[chosen.what], describe_machine()
    print("machine: " + ", ".join(f"{name} {value}" for name, value in machine.items()), flush=True)
    rows = module.run(chosen)
    show(rows)
    bars = module.bars(rows) if getattr(chosen, "bar", False) else []
    holds = show_bars(bars) if bars else True
    if chosen.json:
        record = {"machine": machine, "command": sys.argv[1:], "rows": rows, "bars": [bar.as_record() for bar in bars]}
        chosen.json.write_text(json.dumps(record, indent=1) + "\n")
    sys.exit(0 if holds else 1)


if __name__ == "__main__":
    main()
