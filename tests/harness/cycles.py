"""Thousands of lives: a warm parent forks lone nodes, ends them in every way, and looks at what is left of them.

Each cycle is a capture and a processor (their real classes, real shared memory, real sockets, real processes) that
end by themselves, by SIGTERM or by SIGKILL, while they start or while frames flow. What a killed one leaves is taken
over by the next cycle of the same pipeline or swept, while others live, by the code of `detektr shm clean`; nothing
else may be left, and after the last cycle the parent holds no more than after the first.

    python -m tests.harness.cycles --cycles 10000 --seed 1
"""

from __future__ import annotations

import argparse
import gc
import os
import select
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from detektr.memory.run_folder import shm_root
from detektr.observe.shm import list_shm
from detektr.options import Lane
from tests.harness.lane import LANES
from tests.harness.pair import Pair, Tally, Wait

PAIRS = 4  # that live at once: most of a cycle is waiting
WARM = 100  # cycles before the first look at what the parent holds
RSS_GROWTH_MAX = 1 << 20  # bytes; a leak of 110 bytes a cycle shows in ten thousand
BREACHES_MAX = 20  # then the run ends
LOOKS = 10  # lines of the table


@dataclass(frozen=True)
class Holding:
    """What the parent and the shared folder hold at one moment."""

    descriptors: int
    rss_bytes: int
    threads: int
    maps: int
    """Mappings of shared memory."""
    files: int
    """Files in the shared folder."""
    file_bytes: int

    def more_than(self, before: Holding) -> list[str]:
        """Say what is held that was not held before."""
        faults = [f"{self.threads} threads in the parent, which must not fork with more than one"] * (self.threads > 1)
        for name, grace in (("descriptors", 0), ("maps", 0), ("rss_bytes", RSS_GROWTH_MAX)):
            then, now = getattr(before, name), getattr(self, name)
            if now > then + grace:
                faults.append(f"{name} of the parent: {then} after the first cycles, {now} at the end")
        return faults


class Parent:
    """The warm parent: all modules are imported, no thread runs, no ZeroMQ context exists."""

    def __init__(self, folder: Path, seed: int, lanes: Sequence[Lane]) -> None:
        """Import what the nodes need, and make the pairs.

        Args:
            folder: for the pipeline files and the nodes' logs.
            seed: of all chances.
            lanes: on which leases are announced; the pairs take them in turn.
        """
        import tests.harness.checked  # noqa: F401 -- the four are what a node would import after the fork

        self.tally = Tally()
        self._pairs = {}
        self._poll = select.poll()
        for number in range(PAIRS):
            pair = Pair(folder, f"{seed} {number}", lanes[number % len(lanes)], self.tally)
            self._pairs[pair.reading] = pair
            self._poll.register(pair.reading, select.POLLIN)
        self._lives: dict[Pair, tuple[Iterator[Wait], Wait, float]] = {}
        self._ends: dict[int, Pair] = {}  # by pidfd
        gc.collect()
        gc.freeze()  # the children touch less of what they share with us

    def run(self, cycles: int) -> Iterator[int]:
        """Live through so many cycles, of all pairs at once; yields how many are over, after each."""
        numbers = iter(range(1, cycles + 1))
        over = 0
        for pair, number in zip(self._pairs.values(), numbers, strict=False):
            self._go_on(pair, pair.live(number))
        while self._lives:
            self._hear()
            for pair, (life, wait, until_s) in list(self._lives.items()):
                has_come = pair.seen >= wait.frames if wait.frames is not None else pair not in self._ends.values()
                is_for_time = wait.frames is None and not wait.ends
                if (is_for_time or not has_come) and time.monotonic() < until_s:
                    continue
                if not self._go_on(pair, life):
                    over += 1
                    yield over
                    number = next(numbers, 0)
                    if number and len(self.tally.breaches) < BREACHES_MAX:
                        self._go_on(pair, pair.live(number))

    def look(self) -> Holding:
        """Return what is held now."""
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        files = list_shm()
        return Holding(
            descriptors=len(os.listdir("/proc/self/fd")) - len(self._ends),
            rss_bytes=int(status["RssAnon"].split()[0]) << 10,
            threads=int(status["Threads"]),
            maps=Path("/proc/self/maps").read_text().count(str(shm_root())),
            files=len(files),
            file_bytes=sum(file.nbytes for file in files),
        )

    def close(self) -> None:
        """End what still lives, and close what is open."""
        for pair in self._pairs.values():
            pair.close()

    def _go_on(self, pair: Pair, life: Iterator[Wait]) -> bool:
        """Let a life go on to its next wait; False: it is over."""
        self._lives.pop(pair, None)
        wait = next(life, None)
        if wait is None:
            return False
        for pid in wait.ends:
            handle = os.pidfd_open(pid)
            self._ends[handle] = pair
            self._poll.register(handle, select.POLLIN)
        self._lives[pair] = life, wait, time.monotonic() + wait.within_s
        return True

    def _hear(self) -> None:
        """Wait for what comes next: frames that were worked on, the end of a process, or the end of a wait."""
        first_s = min(until_s for _, _, until_s in self._lives.values())
        for fd, _ in self._poll.poll(max(0.0, first_s - time.monotonic()) * 1e3):
            if fd in self._pairs:
                self._pairs[fd].hear()
            else:
                self._poll.unregister(fd)
                os.close(fd)
                del self._ends[fd]


def run(cycles: int, seed: int, lanes: Sequence[Lane]) -> list[str]:
    """Live through so many cycles, print one table, and return the breaches."""
    print(f"announced by {' and '.join(lanes)}")
    with _own_folders() as folder:
        parent = Parent(folder, seed, lanes)
        try:
            over, seconds, most, last = _live(parent, cycles, seed)
        finally:
            parent.close()
    tally = parent.tally
    for name, count in sorted(tally.fates.items()):
        print(f"{count:7} {name}")
    swept = ", ".join(f"{count} of {name}" for name, count in sorted(tally.swept.items())) or "nothing"
    print(f"{over / seconds:.1f} cycles/s, {PAIRS} at once; frames worked on: {tally.worked_on}")
    print(f"begun on what dead nodes had left: {tally.taken_over}; files swept: {swept}")
    print(f"most in shared memory at any moment: {most.files} files, {most.file_bytes >> 10} KiB")
    print(f"left at the end: {last.files} files; wrong pixels: {tally.wrong}; breaches: {len(tally.breaches)}")
    for breach in tally.breaches:
        print(f"  {breach}")
    return tally.breaches


def _live(parent: Parent, cycles: int, seed: int) -> tuple[int, float, Holding, Holding]:
    """Live through the cycles, a line of the table now and then.

    Returns:
        How many came to their end, in how many seconds; the most that was in shared memory; what is held at the end.
    """
    print(f"{cycles} cycles, seed {seed}; what the parent and shared memory hold meanwhile:")
    print(" cycles  seconds descriptors  RSS KiB threads maps files")
    begun_s, tally, over, first = time.monotonic(), parent.tally, 0, None
    most = parent.look()
    for over in parent.run(cycles):
        now = parent.look()
        first = now if over == min(WARM, cycles // 2) else first
        most = max(most, now, key=lambda holding: holding.file_bytes)
        if over % max(1, cycles // LOOKS) == 0:
            _show(over, time.monotonic() - begun_s, now)
    tally.sweep()
    seconds, last = time.monotonic() - begun_s, parent.look()
    _show(over, seconds, last)
    if shm_root().exists():
        tally.breaches.append(f"left at the very end: {[str(path) for path in shm_root().rglob('*')]}")
    if tally.wrong:
        tally.breaches.append(f"{tally.wrong} frames with another frame's pixels")
    if _has_child():
        tally.breaches.append("a child process is left")
    tally.breaches += last.more_than(first or last)
    return over, seconds, most, last


@contextmanager
def _own_folders() -> Iterator[Path]:
    """Give the run a folder of its own in shared memory, and one on disk, which is returned; both go afterwards."""
    shm = os.environ.get("DETEKTR_SHM_DIR") or "/dev/shm"
    with tempfile.TemporaryDirectory(prefix="dtk") as folder, tempfile.TemporaryDirectory(prefix="dtk", dir=shm) as own:
        os.environ["DETEKTR_SHM_DIR"], os.environ["DETEKTR_STATE_DIR"] = own, f"{folder}/state"
        yield Path(folder)


def _has_child() -> bool:
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return False
    return True


def _show(over: int, seconds: float, now: Holding) -> None:
    rss = now.rss_bytes >> 10
    row = f"{over:7} {seconds:8.1f} {now.descriptors:11} {rss:8} {now.threads:7} {now.maps:4} {now.files:5}"
    print(row, flush=True)


def main() -> None:
    """Run, print one table, and leave with 1 on any breach."""
    parser = argparse.ArgumentParser(prog="scripts/chaos", description="start, end and kill nodes; look what is left")
    parser.add_argument("--cycles", type=int, required=True, help="lives of a capture and a processor")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--announce", choices=LANES, help="the lane of all pairs; unless told otherwise they take turns"
    )
    chosen = parser.parse_args()
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy is imported: its threads would not survive a fork
    sys.exit(1 if run(chosen.cycles, chosen.seed, [chosen.announce] if chosen.announce else LANES) else 0)


if __name__ == "__main__":
    main()
