"""Who enters a comparison: the peers, how each is started, and which interpreter has what it needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from graph import run_graph, transport_nodes
from run import HERE, Figures, run_trial
from trial import Trial

from detektr.options import Lane

PEERS = HERE / "peers"
POOL_BYTES = 1 << 28  # dora's default holds one picture of 1080p
Launch = Callable[[Trial, str], Figures]
_HAS = "import importlib.util as u, sys; sys.exit(not all(u.find_spec(name) for name in sys.argv[1:]))"
_VERSIONS = (
    "import importlib.metadata as m, json, sys\n"
    "print(json.dumps({d.name: d.version for d in m.distributions() if d.name in sys.argv[1:]}))"
)
PACKAGES = {
    "iceoryx2": "iceoryx2", "dora": "dora-rs", "openfilter": "openfilter", "zmq": "pyzmq",
    "cv2": "opencv-python-headless", "av": "av",
}  # fmt: skip


@dataclass(frozen=True)
class Entrant:
    """One who runs the workload."""

    name: str
    launch: Launch
    modules: tuple[str, ...] = ("numpy",)
    """What its interpreter must have."""

    def find_python(self, folders: Sequence[Path]) -> str | None:
        """Return the first interpreter that has its modules: this one, or one of the environments in `folders`."""
        found = [Path(sys.executable)]
        for folder in folders:
            # The environment called peers first: OpenFilter's own brings what it needs in versions of its choice.
            found += [folder / "bin/python", folder / "peers/bin/python", *sorted(folder.glob("*/bin/python"))]
        for python in found:
            # Not where we are called from: a folder there of a module's name would be taken for it.
            asked = [python, "-c", _HAS, *self.modules]
            if python.exists() and not subprocess.run(asked, check=False, cwd=HERE).returncode:
                return str(python)
        return None


def bound(script: str) -> Launch:
    """Return how to run a bound: one process that is its own and only consumer."""

    def launch(trial: Trial, python: str) -> Figures:
        own = replace(trial, consumers=1)
        return run_trial(own, [[python, str(PEERS / script), own.folder]], ready=1, ends=1)

    return launch


def each(script: str) -> Launch:
    """Return how to start a peer that has a process for the producer and one for each consumer."""

    def launch(trial: Trial, python: str) -> Figures:
        told = [python, str(PEERS / script), trial.folder]
        commands = [[*told, "receive", str(consumer)] for consumer in range(trial.consumers)]
        return run_trial(trial, [[*told, "send"], *commands], ready=trial.consumers, ends=trial.consumers + 1)

    return launch


def run_dora(trial: Trial, python: str) -> Figures:
    """Run a dataflow of dora: its own daemon starts the nodes."""
    node = {"path": str(PEERS / "dora_node.py")}
    nodes: list[dict[str, Any]] = [{"id": "send", **node, "args": f"{trial.folder} send", "outputs": ["frame"]}]
    for consumer in range(trial.consumers):
        inputs = {"frame": {"source": "send/frame", "queue_size": 64}}
        nodes.append(
            {"id": f"receive{consumer}", **node, "args": f"{trial.folder} receive {consumer}", "inputs": inputs}
        )
    Path(trial.folder, "dataflow.yml").write_text(yaml.safe_dump({"nodes": nodes}))
    folder = Path(python).parent
    env = {
        "PATH": os.pathsep.join([str(folder), os.environ.get("PATH", "")]),
        "DORA_NODE_SHM_POOL_SIZE": str(POOL_BYTES),
    }
    commands = [[str(folder / "dora"), "run", "dataflow.yml"]]
    return run_trial(trial, commands, ready=trial.consumers, ends=trial.consumers + 1, env=env)


def run_openfilter(trial: Trial, python: str) -> Figures:
    """Run OpenFilter's filters, with its shared memory and without what it reports home."""
    env = {
        "OPENFILTER_SHM_ENABLE": "1", "OUTPUTS_JPG": "false", "LOG_LEVEL": "ERROR",
        "DO_NOT_TRACK": "true", "SCARF_NO_ANALYTICS": "true", "GPU_METRICS": "false",
    }  # fmt: skip
    command = [python, str(PEERS / "openfilter_filters.py"), trial.folder]
    return run_trial(trial, [command], ready=trial.consumers, ends=trial.consumers + 1, env=env)


def detektr(announce: Lane, name: str = "detektr") -> Entrant:
    """Return detektr on a lane: the pictures through capture, buffer and processors, as `up` starts them."""

    def launch(trial: Trial, python: str) -> Figures:
        return run_graph(trial, transport_nodes(trial), announce=announce, ends=trial.consumers + 1)

    return Entrant(name, launch)


COPY = Entrant("copy", bound("bare_copy.py"))
PEERS_OF_TRANSPORT = [
    Entrant("iceoryx2", each("iceoryx2_loan.py"), ("numpy", "iceoryx2")),
    Entrant("dora", run_dora, ("numpy", "dora", "dora_cli", "pyarrow")),
    Entrant("openfilter shm", run_openfilter, ("numpy", "openfilter")),
    Entrant("zmq bytes", each("zmq_bytes.py"), ("numpy", "zmq")),
]


def present(entrants: Sequence[Entrant], folders: Sequence[Path]) -> dict[Entrant, str]:
    """Return those that can run here and their interpreters; say who cannot, and why."""
    found: dict[Entrant, str] = {}
    for entrant in entrants:
        python = entrant.find_python(folders)
        if python is None:
            needs = ", ".join(entrant.modules)
            print(
                f"{entrant.name}: not installed (no interpreter here has {needs}); scripts/install-peers DIR makes one"
            )
        else:
            found[entrant] = python
    return found


def versions(found: dict[Entrant, str]) -> str:
    """Return what runs and its versions, as people read them."""
    known: dict[str, str] = {}
    for entrant, python in found.items():
        names = [PACKAGES[module] for module in entrant.modules if module in PACKAGES]
        answer = subprocess.run([python, "-c", _VERSIONS, *names], capture_output=True, check=False).stdout
        known |= json.loads(answer or b"{}")
    return ", ".join(f"{name} {version}" for name, version in sorted(known.items()))
