"""How detektr is built: rooms that every frame passes are compiled by mypyc, one is C; all else is in pyproject.toml.

Where there is no C compiler, or with DETEKTR_COMPILE=0, the same files run as they are: slower, and otherwise the same.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from sysconfig import get_config_var, get_platform

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CompileError, LinkError

SOURCES = Path(__file__).parent / "src"
TO_COMPILE = os.environ.get("DETEKTR_COMPILE") != "0"
COMPILER = ["mypy[mypyc]==2.4.1", "numpy>=1.26"] if TO_COMPILE else []
"""What the build needs beside setuptools: not in pyproject.toml, as who does not compile needs not fetch it."""
GROUP = "detektr_compiled"  # one library holds them all, so that they call each other directly
COMPILED = {
    "": ["descriptor", "results"],
    "selection/": ["rate_limiter", "frame_selection"],
    "process/": ["seen_time"],
    "memory/": [
        "announcement", "layout", "journal_header", "journal", "journal_reader", "tombstone_journal",
        "completion_queue", "ring", "trail_ring",
    ],
    "edge/": [
        "edge_options", "frame_trail", "edge", "tombstone_edge", "fanout", "connections", "upstream", "failures",
        "partitioned_edges", "work_progress", "publisher", "subscriber", "gathering_subscriber",
    ],
    "edge/state/": ["lease", "backlog", "consumer_group", "dropped_cameras", "reserve"],
    "edge/partition/": ["camera_map", "camera_backlog", "edge_partition"],
    "edge/relay/": ["any_order", "fanout"],
    "edge/lanes/": ["lane", "wakeup", "shm_lane", "zmq_lane", "zmq_receiver"],
    "nodes/": ["node_process", "node_life", "node", "relay", "buffer"],
    "nodes/capturing/": ["media_clock", "frame_writer", "publish_queue", "source_reader", "capture_thread", "capture"],
    "nodes/pulling/": ["keeping_subscriber", "node"],
    "nodes/working/": ["first_frames", "worker", "frame_reader", "processor", "sink", "batch", "batch_processor"],
    "sources/": ["generator", "pacing", "timeline", "video"],
    "sources/decoding/": ["decoded_picture", "picture_decoder", "auto_rotate"],
}  # fmt: skip
"""Who holds numbers and decides at every frame.

Not what speaks to one outside thing: there the call itself counts. Not a generator with a `finally` either: it
does not run when one that is compiled is let go.
"""


class BuildAllOrNothing(build_ext):
    """Builds every extension, or says why not and leaves none: half of them would not find the other half."""

    def run(self) -> None:
        """Build, unless there is no compiler or it fails."""
        remove_compiled(Path(self.build_lib))  # of an earlier build, of which others may have been compiled
        try:
            super().run()
        except (BaseError, CompileError, LinkError) as fault:
            self.warn(f"not compiled: {fault!s:.200}. detektr runs from its Python files, slower; to change that: a C")
            self.warn(
                "compiler and Python's headers (on Debian: apt-get install gcc python3-dev), and install once more"
            )
            self.extensions.clear()
            remove_compiled(Path(self.build_lib))
            if self.inplace or self.editable_mode:
                remove_compiled(SOURCES)


def in_c() -> list[Extension]:
    """Return what mypyc has no words for, written in C beside the Python file that says the same."""
    found = [Extension("detektr.scaling.kernel", ["src/detektr/scaling/kernel.c"], extra_compile_args=["-O3"])]
    if get_platform().endswith("x86_64"):
        streaming = Extension(
            "detektr.memory.streaming", ["src/detektr/memory/streaming.c"], extra_compile_args=["-O2"]
        )
        found.append(streaming)
    return found


def remove_compiled(folder: Path) -> None:
    """Take away what an earlier build left beside Python files: it would be imported in their place."""
    for path in folder.rglob(f"*{get_config_var('EXT_SUFFIX')}"):
        path.unlink()


def extensions() -> list[Extension]:
    """Return what is to be compiled; nothing where only the project's description is asked for."""
    if not {"build_ext", "bdist_wheel", "editable_wheel"} & set(sys.argv):
        return []
    if {"build_ext", "editable_wheel"} & set(sys.argv):
        remove_compiled(SOURCES)
    if not TO_COMPILE:
        return []
    from mypyc.build import mypycify

    os.environ["MYPYPATH"] = "src"
    # scripts/check is who is strict; of what detektr depends on only numpy, with its types, is here for certain.
    told = ["--config-file=", "--explicit-package-bases", "--ignore-missing-imports", "--follow-imports=silent"]
    files = [f"src/detektr/{folder}{name}.py" for folder, names in COMPILED.items() for name in names]
    try:
        return [*mypycify([*told, *files], opt_level="s", debug_level="0", group_name=GROUP), *in_c()]
    except SystemExit:  # it has said why
        print("warning: not compiled: mypyc refused; detektr runs from its Python files, slower", file=sys.stderr)
        return []


setup(ext_modules=extensions(), setup_requires=COMPILER, cmdclass={"build_ext": BuildAllOrNothing})
