"""what observers cost the data path: the web server, the audit trail of all frames, ten viewers beside one

CPU a frame of all processes of the data path (supervisor and observers left out), beside the same pipeline without, in
paired rounds; of ten viewers beside that with one, which also makes the server encode what is watched. The bar holds
where the upper end of the median ratio's confidence interval does.
"""

from __future__ import annotations

import argparse
import random
import socket
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from bar import Bar
from entrant import Entrant
from graph import run_graph, transport_nodes
from pairing import run_paired
from run import Figures, RunFailed
from transport import COUNT_LEAST, SIZES
from trial import Trial

from tests.harness.lane import add_announce

RATE = 30.0
PLAIN, ONE_VIEWER, TEN_VIEWERS = "neither", "one viewer", "ten viewers"
OBSERVED: dict[str, dict[str, Any]] = {
    PLAIN: {"audit": {"to": "none"}},
    "web server": {"audit": {"to": "none"}, "web": {"port": 0}},
    "audit trail": {"audit": {"to": "sqlite:audit.db", "frames": "all"}},
    ONE_VIEWER: {"audit": {"to": "none"}},
    TEN_VIEWERS: {"audit": {"to": "none"}},
}
"""What the pipeline's file says beside its graph."""
VIEWERS = {ONE_VIEWER: 1, TEN_VIEWERS: 10}
BESIDE = {TEN_VIEWERS: ONE_VIEWER}
"""What an observer is compared with; all others with the pipeline that has none."""
TOKEN = "for-the-viewers-of-this-run"
ANSWERS_LEAST = 5.0  # a second, of each viewer: less is no page that is looked at
DATA_PATH = ("camera", "buffer", "meter")
SAMPLES = 5000
CONFIDENCE = 0.95


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this run can be told."""
    add_announce(parser)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=5, help="how long a run takes")
    parser.add_argument("--only", choices=[name for name in OBSERVED if name != PLAIN], nargs="+")


def run(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """Run the pipeline with each observer once a round, in turn.

    Raises:
        SystemExit: one of them ended well in no round.
    """
    height, width = SIZES["1080p"]
    count = max(int(chosen.seconds * RATE), COUNT_LEAST)

    def trial_in(folder: str) -> Trial:
        return Trial(folder=folder, count=count, rate=RATE, height=height, width=width)

    chosen_names = chosen.only or [name for name in OBSERVED if name != PLAIN]
    wanted = list(dict.fromkeys([PLAIN, *(BESIDE[name] for name in chosen_names if name in BESIDE), *chosen_names]))
    found = [Entrant(name, partial(_launch, chosen.announce, name)) for name in wanted]
    paired = run_paired(dict.fromkeys(found, sys.executable), trial_in, chosen.rounds)
    if paired.names_failed:
        sys.exit(f"scripts/bench observers: no round of {', '.join(paired.names_failed)} ended well; see above why")
    rows = []
    for name in wanted:
        beside = BESIDE.get(name, PLAIN)
        both = [(spent_ms(one[name]), spent_ms(one[beside])) for one in paired.rounds if {name, beside} <= one.keys()]
        ratios = [own / plain for own, plain in both]
        rows.append(
            {
                "run": f"1080p at {RATE:g}/s, one camera, announced by {chosen.announce}, {len(both)} rounds",
                "who": name,
                "beside": beside,
                "data_path_cpu_ms": statistics.median(own for own, _ in both),
                "ratio": statistics.median(ratios),
                "ratio_upper": upper_of_median(ratios),
                "p50_ms": paired.median(name, "p50_ms"),
                "cpu_ms_by_process": paired.by_process(name),
            }
        )
    return rows


def bars(rows: list[dict[str, Any]]) -> list[Bar]:
    """Return the bar of each observer: the upper bound of what the data path spends more."""
    return [
        Bar(f"{row['who']}: CPU of the data path, upper bound of the ratio", row["ratio_upper"], most=1.03)
        for row in rows
        if row["who"] not in (PLAIN, ONE_VIEWER)  # what is watched is encoded, by the server
    ]


def spent_ms(figures: Figures) -> float:
    """Return what the processes of the data path took a frame."""
    return sum(spent for name, spent in figures.cpu_by_process.items() if name.startswith(DATA_PATH))


def upper_of_median(values: list[float]) -> float:
    """Return the upper end of the median's one-sided confidence interval, by resampling."""
    chance = random.Random(1)
    medians = sorted(statistics.median(chance.choices(values, k=len(values))) for _ in range(SAMPLES))
    return medians[int(CONFIDENCE * SAMPLES)]


def _launch(announce: Any, name: str, trial: Trial, python: str) -> Figures:
    def launch(more: dict[str, Any]) -> Figures:
        return run_graph(trial, transport_nodes(trial), announce=announce, ends=trial.consumers + 1, more=more)

    count = VIEWERS.get(name)
    if count is None:
        return launch(OBSERVED[name])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    answers = Path(trial.folder, "answers")
    command = [sys.executable, str(Path(__file__).with_name("viewers.py")), str(port), TOKEN, str(count), str(answers)]
    begun_s = time.monotonic()
    with subprocess.Popen(command) as viewers:
        try:
            figures = launch(OBSERVED[name] | {"web": {"port": port, "token": TOKEN}})
        finally:
            viewers.kill()
    rate = int(answers.read_text()) / (time.monotonic() - begun_s)
    if rate < ANSWERS_LEAST * count:
        raise RunFailed(f"{count} viewers had {rate:.1f} answers a second: nobody looked")
    return figures
