"""Where a node's process runs: its environment, its CPUs and its priority, before the user's code is imported."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from detektr.errors import RefusedError
from detektr.process.cores import core_count, limit_imported_pools, thread_environment

_HANDED_OVER = "DETEKTR_HANDED_OVER"


@dataclass(frozen=True, kw_only=True)
class Placement:
    """What one process of a node was told of its surroundings."""

    node: str
    """Its name, for words."""
    env: Mapping[str, str] = field(default_factory=dict)
    cpus: tuple[int, ...] | None = None
    """None: those of whoever starts it."""
    nice: int | None = None
    """None: that of whoever starts it."""
    sharers: int | None = 1
    """Processes that share the cores with this one, it included; None: one thread is enough, it has no user code."""

    def environment(self, outer: Mapping[str, str]) -> dict[str, str]:
        """Return the whole environment: the outer one, the node's own above it, and its share of the cores."""
        told = {**outer, **self.env}
        share = 1 if self.sharers is None else max(1, core_count(self.cpus) // self.sharers)
        return {**told, **thread_environment(told, share)}

    def apply(self) -> None:
        """Let this process be what was told, with all threads that it has by now.

        Raises:
            RefusedError: the machine does not have those CPUs, or does not allow that priority.
        """
        if self.cpus is not None:
            _bind(self.node, self.cpus)
        if self.nice is not None:
            _set_nice(self.node, self.nice)
        os.environb.update(_encoded(self.environment(os.environ)))
        limit_imported_pools(os.environ)

    def start_anew(self, arguments: Sequence[str], *, handed_over: str | None = None) -> None:
        """Replace this process's program by Python run with `arguments` in this environment; it keeps its number.

        Only so does all of it see the variables: the dynamic linker, the allocator and Python read some as they start,
        and a library that is imported has read its own.

        Args:
            arguments: of Python, beginning with its options.
            handed_over: a text that `take_over` returns to the new program.
        Raises:
            RefusedError: the kernel does not take it.
        """
        environment = _encoded(self.environment(os.environ))
        if handed_over is not None:
            fd = os.memfd_create("detektr", 0)  # of no name, and nobody else can open it
            os.write(fd, handed_over.encode())
            environment[_HANDED_OVER.encode()] = str(fd).encode()
        try:
            os.execve(sys.executable, [sys.executable, *arguments], environment)
        except OSError as fault:
            raise RefusedError(
                f"node {self.node}: its process cannot be started with its `env`: {fault.strerror};"
                " shorten the values, or put long ones into files"
            ) from None


def take_over() -> str | None:
    """Return the text that the program before this one handed over; None: there was none."""
    fd = os.environ.pop(_HANDED_OVER, None)
    if fd is None:
        return None
    with open(int(fd), encoding="utf-8") as file:
        file.seek(0)
        return file.read()


def absent_cpus(cpus: Iterable[int]) -> list[int]:
    """Return the CPUs of a list that this process cannot run on."""
    return sorted(set(cpus) - os.sched_getaffinity(0))


def cpus_in_words(cpus: Collection[int]) -> str:
    """Return CPUs as the kernel lists them: `0-3, 6`."""
    runs: list[list[int]] = []
    for cpu in sorted(cpus):
        if runs and cpu == runs[-1][-1] + 1:
            runs[-1].append(cpu)
        else:
            runs.append([cpu])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _encoded(environment: Mapping[str, str]) -> dict[bytes, bytes]:
    """Return an environment as it is handed to programs; the file's texts are UTF-8 whatever the locale says."""
    return {os.fsencode(name): value.encode("utf-8", "surrogateescape") for name, value in environment.items()}


def _of_all_threads(change: Callable[[int], None]) -> None:
    """Do something to each thread of this process; those that they start later are as they are."""
    done: set[str] = set()
    while new := set(os.listdir("/proc/self/task")) - done:
        for thread in new:
            try:
                change(int(thread))
            except ProcessLookupError:
                continue  # it has ended
        done |= new


def _bind(node: str, cpus: tuple[int, ...]) -> None:
    absent = absent_cpus(cpus)
    if absent:
        raise RefusedError(
            f"node {node}: `cpus` has {', '.join(map(str, absent))}, but its process may run only on"
            f" {cpus_in_words(os.sched_getaffinity(0))}; correct `cpus`, or allow this process the others"
        )
    try:
        _of_all_threads(lambda thread: os.sched_setaffinity(thread, cpus))
    except OSError as fault:  # a CPU went offline, or a policy forbids the call
        raise RefusedError(
            f"node {node}: its process cannot be bound to `cpus` {cpus_in_words(cpus)}: {fault.strerror};"
            " correct `cpus`, or remove it"
        ) from None


def _set_nice(node: str, nice: int) -> None:
    now = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        _of_all_threads(lambda thread: os.setpriority(os.PRIO_PROCESS, thread, nice))
    except PermissionError:
        raise RefusedError(
            f"node {node}: `nice` is {nice}, but this user cannot go below {now}, the value of its process now; write"
            f" {now} or more, or allow lower values (a unit: LimitNICE=; a container: --cap-add SYS_NICE; ulimit -e)"
        ) from None
    except OSError as fault:
        raise RefusedError(f"node {node}: `nice` {nice} cannot be set: {fault.strerror}; remove it") from None
