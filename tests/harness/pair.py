"""A lone capture and a lone processor, forked from a warm parent and ended in every way: used by `cycles`."""

from __future__ import annotations

import os
import random
import signal
import sys
import traceback
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from detektr.memory.run_folder import RunFolder
from detektr.nodes.spec import NodeSpec
from detektr.observe.shm import clean_shm
from detektr.options import CaptureOptions, Lane
from detektr.supervisor.standalone import run_standalone, spec_by_hand, spec_from_file

if TYPE_CHECKING:
    from detektr import Frame

STARTING_S = 0.12  # a signal that comes while the nodes start comes within this time
PAUSE_S = 0.02  # longest pause between the two signals of a cycle
FRAMES = 40  # a signal that comes while frames flow comes after at most so many
WITHIN_S = 60.0  # frames flow, and who was told to end ends, on however busy a machine
SWEPT = 0.2  # after so many of the cycles we sweep; after the others the next one begins on what is left
LINES = 20  # of a cycle's log, where it breaks a promise
RIGHT, WRONG = b".", b"!"
TERM, KILL = signal.SIGTERM, signal.SIGKILL
_CAMERA = {
    "kind": "capture",
    "source": "python:tests.harness.checked:numbered",
    "with": {"width": 64, "height": 48},
    "drain": "50ms",
}


class Fate(NamedTuple):
    """What a cycle does to its two nodes; None: that one ends by itself."""

    name: str
    capture: signal.Signals | None
    processor: signal.Signals | None


ITSELF = Fate("the source ends", None, None)
FATES = (
    ITSELF,
    Fate("both told to end", TERM, TERM),
    Fate("capture killed", KILL, TERM),
    Fate("processor killed", TERM, KILL),
    Fate("both killed", KILL, KILL),
)


class Beat:
    """A processor that writes one byte for each frame into a pipe: whether its pixels are its own."""

    def __init__(self, fd: int) -> None:
        """Take the pipe's descriptor, inherited over the fork."""
        from tests.harness.checked import HEAD  # numpy is behind it, which this module does not need

        self.fd, self.head = fd, HEAD

    def process(self, frame: Frame) -> None:
        """Check the frame and say so."""
        flat = frame.pixels.reshape(-1)
        _, checksum = self.head.unpack(flat[: self.head.size].tobytes())
        os.write(self.fd, RIGHT if zlib.crc32(flat[self.head.size :].data) == checksum else WRONG)


@dataclass
class Tally:
    """What happened in all cycles."""

    fates: Counter[str] = field(default_factory=Counter)
    swept: Counter[str] = field(default_factory=Counter)
    worked_on: int = 0
    wrong: int = 0
    taken_over: int = 0
    """Cycles that began on what dead nodes had left."""
    breaches: list[str] = field(default_factory=list)

    def sweep(self) -> None:
        """Take away what no live process owns, as `detektr shm clean` does."""
        for _, name, _ in clean_shm()[0]:
            self.swept["half made" if name.startswith(".") else Path(name).suffix.lstrip(".")] += 1


@dataclass
class Wait:
    """What a pair waits for: so many frames, the ends of processes, or only the time."""

    within_s: float
    frames: int | None = None
    ends: Sequence[int] = ()
    """Process numbers, none of them reaped yet."""


class Pair:
    """One capture and one processor after the other, and what is left of each two."""

    def __init__(self, folder: Path, seed: str, announce: Lane, tally: Tally) -> None:
        """Make the pipe on which the processor tells of its frames, and the specs of both kinds of pipelines.

        Args:
            folder: for the pipeline file and the nodes' log.
            seed: of all chances.
            announce: the lane between the two.
            tally: is told what happened.
        """
        self._dice, self._tally = random.Random(seed), tally
        self.reading, self._writing = os.pipe()
        self._log = folder / f"{self.reading}.log"
        self._log_fd = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._pids: list[int] = []  # not reaped yet
        self.seen = 0
        """Frames worked on in this cycle."""
        self._specs = {
            f"of a file, {announce}": _of_a_file(f"filed{self.reading}", folder, _beat(self._writing, announce)),
            f"without a file, {announce}": _by_hand(f"handmade{self.reading}", _beat(self._writing, announce)),
        }

    def hear(self) -> None:
        """Take what the processor said of frames; there must be something."""
        beats = os.read(self.reading, 1 << 16)
        self.seen += len(beats)
        self._tally.worked_on += len(beats)
        self._tally.wrong += beats.count(WRONG)

    def live(self, number: int) -> Iterator[Wait]:
        """Live through one cycle and look at what is left; goes on when a yielded wait came true or its time is over.

        Args:
            number: the cycle's, for those who read of breaches.
        """
        dice = self._dice
        kind, fate = dice.choice(list(self._specs)), dice.choice(FATES)
        capture, processor = self._specs[kind]
        folder = RunFolder(capture.pipeline).path
        is_starting = fate is not ITSELF and dice.random() < 1 / 3
        name = f"{fate.name}{', while starting' if is_starting else ''}"
        what = f"cycle {number}, {kind}, {name}"
        is_fresh = not folder.exists()
        self._tally.fates[name] += 1
        self._tally.taken_over += not is_fresh
        self.seen, wanted = 0, dice.randint(1, FRAMES)
        if fate is ITSELF:
            capture = _ending(capture, wanted)
        begun = [(self._fork(capture), fate.capture), (self._fork(processor), fate.processor)]
        if is_starting:
            yield Wait(dice.uniform(0, STARTING_S))
        elif fate is not ITSELF:
            yield Wait(WITHIN_S, frames=wanted)
            if self.seen < wanted:
                self._breach(f"{what}: {self.seen} of {wanted} frames within {WITHIN_S} s")
        dice.shuffle(begun)
        for pid, sent in begun:
            if sent is not None:
                os.kill(pid, sent)  # it is not reaped yet, so the number is its own
                yield Wait(dice.uniform(0, PAUSE_S))
        yield Wait(WITHIN_S, ends=tuple(self._pids))
        for pid, sent in begun:
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                self._breach(f"{what}: process {pid} has not ended within {WITHIN_S} s")
                os.kill(pid, KILL)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            self._pids.remove(pid)
            # SIGTERM may come before the node could ask to be told of it: then nothing of it exists yet.
            allowed = {0} if sent is None else {0, -sent} if is_starting or sent == KILL else {0}
            if code not in allowed:
                self._breach(f"{what}: a process ended with {code}")
        self._look(what, folder, is_clean=is_fresh and KILL not in fate)
        os.truncate(self._log, 0)

    def close(self) -> None:
        """End what still lives, and close what the parent has open."""
        for pid in self._pids:
            os.kill(pid, KILL)
            os.waitpid(pid, 0)
        for fd in (self.reading, self._writing, self._log_fd):
            os.close(fd)

    def _breach(self, what: str) -> None:
        said = "".join(f"\n    {line}" for line in self._log.read_text(errors="replace").splitlines()[-LINES:])
        self._tally.breaches.append(f"{what}; the nodes said:{said}")

    def _look(self, what: str, folder: Path, *, is_clean: bool) -> None:
        """Hold what is left after a cycle against what may be; now and then sweep."""
        if not is_clean and self._dice.random() < SWEPT:
            self._tally.sweep()
            is_clean, what = True, f"{what}, swept"
        if is_clean and folder.exists():
            names = sorted(path.name for path in folder.iterdir())
            self._breach(f"{what}: left: {', '.join(names) or 'the empty folder'}")
            self._tally.sweep()

    def _fork(self, spec: NodeSpec) -> int:
        sys.stdout.flush()
        pid = os.fork() or self._be(spec)
        self._pids.append(pid)
        return pid

    def _be(self, spec: NodeSpec) -> NoReturn:
        """Be one lone node, as `detektr capture` or `detektr processor` is, in this forked process."""
        code = 70  # of a fault that the node itself did not see
        try:
            os.dup2(self._log_fd, 1)
            os.dup2(self._log_fd, 2)
            code = run_standalone(spec)
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)


def _of_a_file(pipeline: str, folder: Path, beat: dict[str, object]) -> tuple[NodeSpec, NodeSpec]:
    """Return capture and processor as a pipeline file has them: the edge between them outlives both."""
    import yaml

    path = folder / f"{pipeline}.yaml"
    nodes = {"camera": _CAMERA, "beat": {**beat, "max_deliveries": 99}}
    path.write_text(yaml.safe_dump({"name": pipeline, "nodes": nodes}))
    return spec_from_file(path, "capture", "camera"), spec_from_file(path, "processor", "beat")


def _by_hand(pipeline: str, beat: dict[str, object]) -> tuple[NodeSpec, NodeSpec]:
    """Return capture and processor that no file knows: the edge is a guest's and goes with it."""
    return spec_by_hand(pipeline, "camera", {**_CAMERA, "slots": 16}), spec_by_hand(pipeline, "beat", beat)


def _beat(fd: int, announce: Lane) -> dict[str, object]:
    use = {"use": f"{__name__}:Beat", "with": {"fd": fd}}
    return {"kind": "processor", "input": "camera", "announce": announce, **use, "drain": "50ms"}


def _ending(capture: NodeSpec, frames: int) -> NodeSpec:
    """Return the same capture with a source that ends."""
    assert isinstance(capture.options, CaptureOptions)
    arguments = {**capture.options.with_, "count": frames}
    return replace(capture, options=replace(capture.options, with_=arguments))
