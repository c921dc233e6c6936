"""What every test has: folders of its own, clips, and a guard that fails it for whatever it leaves behind.

For annotations in a test: `if TYPE_CHECKING: from tests.conftest import MakeClip, RunDetektr, WaitUntil`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import psutil
import pytest
import zmq

import tests.harness.effort  # noqa: F401 - loads one for all tests

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")

SHM = Path("/dev/shm")
LEAVING_S = 2.0  # what was told to end may still be ending when its test returns
POLL_S = 0.005
RUN_S_MAX = 45.0  # below a test's own limit, so that the hung command is what is reported
NUMBER_BITS = 16
CONTEXTS: weakref.WeakSet[zmq.Context[Any]] = weakref.WeakSet()


class WaitUntil(Protocol):
    """Polls `condition` until it is true; fails the test, saying `what` was waited for, when that takes too long."""

    def __call__(self, condition: Callable[[], T], within_s: float = 10, what: str = "the condition") -> T: ...


class RunDetektr(Protocol):
    """Runs `python -m detektr` to its end; fails the test, with its output, when that takes too long."""

    def __call__(
        self,
        *arguments: str | Path,
        within_s: float = RUN_S_MAX,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]: ...


class MakeClip(Protocol):
    """Writes a clip whose frames tell their own number; see `clip_number`."""

    def __call__(
        self,
        path: Path,
        frames: int = 48,
        width: int = 320,
        height: int = 180,
        codec: str = "libx264",
        rate: int = 24,
        pixel_format: str = "yuv420p",
    ) -> Path: ...


def pytest_report_header() -> str:
    """Say which detektr is tested: compiled classes differ in a few things from the Python files (CONTRIBUTING.md)."""
    spec = importlib.util.find_spec("detektr.descriptor")
    origin = "nothing" if spec is None or spec.origin is None else spec.origin
    return f"detektr: {'compiled' if origin.endswith('.so') else 'from its Python files'}, {Path(origin).parent}"


def pytest_sessionstart() -> None:
    """Let nodes find `tests.harness` and hear signals; refuse to test what was compiled of files that have changed."""
    here = str(Path(__file__).parents[1])
    note_contexts()
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as of what a shell runs in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:  # as under nohup
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH", "")]))
    for library in (Path(__file__).parents[1] / "src").rglob("*.so"):
        for suffix in (".py", ".c"):
            file = library.with_name(library.name.partition(".")[0] + suffix)
            if file.exists() and file.stat().st_mtime > library.stat().st_mtime:
                pytest.exit(f"{file} has changed since it was compiled; run scripts/environment dev", returncode=2)


class Guard:
    """Knows what was there before a test; tells what the test left, and takes it away.

    Most tests start no process: for those it does not look at all the processes of this machine.
    """

    def __init__(self, shm_dir: Path) -> None:
        self.shm_dir = shm_dir
        self.threads_before = set(threading.enumerate())
        self.reaped_before = reaped()
        has_children = any(children_of_threads())
        self.children_before = set(psutil.Process().children(recursive=True)) if has_children else set()

    def faults(self) -> list[str]:
        """Return what is left, in words; empty when that is nothing."""
        return [
            *(f"process {process.pid} still lives: {command(process)}" for process in self.processes()),
            *(f"thread {thread.name!r} still runs" for thread in self.threads()),
            *(f"{context!r} is open: term() it" for context in open_contexts()),
            *(f"{path} is left in DETEKTR_SHM_DIR" for path in sorted(self.shm_dir.rglob("*"))),
        ]

    def processes(self) -> list[psutil.Process]:
        """Return living descendants, and orphans too: they still carry this test's folder in their environment."""
        if not any(children_of_threads()) and reaped() == self.reaped_before:
            return []
        marker = f"DETEKTR_SHM_DIR={self.shm_dir}\0".encode()
        found = set(psutil.Process().children(recursive=True)) - self.children_before
        for environ in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError, psutil.NoSuchProcess):  # it ended meanwhile, or is somebody else's
                if marker in environ.read_bytes() + b"\0":
                    found.add(psutil.Process(int(environ.parent.name)))
        return sorted((process for process in found if is_alive(process)), key=lambda process: process.pid)

    def threads(self) -> list[threading.Thread]:
        """Return threads that are new and would keep the interpreter from ending."""
        new = set(threading.enumerate()) - self.threads_before
        return sorted((thread for thread in new if not thread.daemon), key=lambda thread: thread.name)

    def clean(self) -> None:
        """End what would disturb the next test; files are left to who made the folder."""
        left = self.processes()
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        poll(lambda: not any(map(is_alive, left)), LEAVING_S)
        if not self.threads():  # a context destroyed under a thread that uses it takes the interpreter along
            for context in open_contexts():
                context.destroy(linger=0)


def is_alive(process: psutil.Process) -> bool:
    """Say whether a process lives; a dead child that nobody waited for is reaped."""
    try:
        if process.status() != psutil.STATUS_ZOMBIE:
            return True
    except psutil.NoSuchProcess:
        return False
    with contextlib.suppress(ChildProcessError):  # not a child of ours: its parent reaps it
        os.waitpid(process.pid, os.WNOHANG)
    return False


def command(process: psutil.Process) -> str:
    """Return a process's command line, as far as it can still be read."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error as fault:
        return str(fault)


def children_of_threads() -> Iterator[str]:
    """Yield the children of each thread of this process that has some, also those that nobody has waited for."""
    if not Path(f"/proc/self/task/{os.getpid()}/children").exists():
        yield "not known: this kernel does not tell"
    for path in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):  # the thread has ended
            if children := path.read_text():
                yield children


def reaped() -> tuple[int, float]:
    """Return a mark that changes when a child of this process has ended and was waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_minflt, usage.ru_utime + usage.ru_stime


def note_contexts() -> None:
    """Remember each ZeroMQ context that is made from now on: to look for them among all objects takes long."""
    init = zmq.Context.__init__

    def noting(self: zmq.Context[Any], *arguments: Any, **options: Any) -> None:
        init(self, *arguments, **options)
        CONTEXTS.add(self)

    zmq.Context.__init__ = noting  # type: ignore[method-assign]


def open_contexts() -> list[zmq.Context[Any]]:
    """Return the ZeroMQ contexts of this process that nobody closed."""
    return [context for context in CONTEXTS if not context.closed]


def poll(condition: Callable[[], T], within_s: float) -> T:
    """Return the condition's first true value, or its last one when the time is over."""
    deadline = time.monotonic() + within_s
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return value


@pytest.fixture(autouse=True)
def guard(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guard]:
    """Give each test its folders, in shared memory and for state; fail it for what it leaves behind."""
    for name in [name for name in os.environ if name.startswith("DETEKTR_")]:
        monkeypatch.delenv(name)
    # Not tmp_path: a Unix socket's path has at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="dt-", dir=SHM if os.access(SHM, os.W_OK) else None))
    monkeypatch.setenv("DETEKTR_SHM_DIR", str(folder))
    monkeypatch.setenv("DETEKTR_STATE_DIR", str(tmp_path_factory.mktemp("state")))
    guard = Guard(folder)
    yield guard
    is_clean = poll(lambda: not guard.faults(), LEAVING_S)
    faults = [] if is_clean else guard.faults()
    if faults:
        guard.clean()
    shutil.rmtree(folder)
    if faults:
        pytest.fail("the test left behind:\n  " + "\n  ".join(faults), pytrace=False)


@pytest.fixture
def shm_dir(guard: Guard) -> Path:
    """Return the test's own DETEKTR_SHM_DIR: in shared memory, with a short name."""
    return guard.shm_dir


@pytest.fixture
def state_dir(guard: Guard) -> Path:
    """Return the test's own DETEKTR_STATE_DIR."""
    return Path(os.environ["DETEKTR_STATE_DIR"])


@pytest.fixture(scope="session")
def wait_until() -> WaitUntil:
    """Return the way to wait in a test: `wait_until(lambda: path.exists(), what="the socket")`."""

    def wait(condition: Callable[[], T], within_s: float = 10, what: str = "the condition") -> T:
        value = poll(condition, within_s)
        if not value:
            pytest.fail(f"waited {within_s} s for {what}; it is still {value!r}")
        return value

    return wait


@pytest.fixture
def run_detektr(tmp_path: Path) -> RunDetektr:
    """Return the way to run the command line, in `tmp_path` unless told otherwise."""

    def run(
        *arguments: str | Path,
        within_s: float = RUN_S_MAX,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "detektr", *map(str, arguments)]
        plain = {"COLUMNS": "200", "LC_ALL": "C.UTF-8", "NO_COLOR": "1", "TERM": "dumb"}
        # A session of its own: what hangs is killed with all it started.
        process = subprocess.Popen(
            line,
            cwd=cwd or tmp_path,
            env={**os.environ, **plain, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        with process:
            try:
                out, err = process.communicate(timeout=within_s)
            except subprocess.TimeoutExpired as late:
                told = "".join((part or b"").decode(errors="replace")[-4000:] for part in (late.stdout, late.stderr))
                pytest.fail(f"{' '.join(line[2:])} had not ended after {within_s} s; it said:\n{told}")
            finally:
                with contextlib.suppress(ProcessLookupError):
                    if process.poll() is None:
                        os.killpg(process.pid, signal.SIGKILL)
        return subprocess.CompletedProcess(line, process.returncode, out, err)

    return run


@pytest.fixture(scope="session")
def make_clip() -> MakeClip:
    """Return the maker of clips; the path's ending chooses the container."""

    def make(
        path: Path,
        frames: int = 48,
        width: int = 320,
        height: int = 180,
        codec: str = "libx264",
        rate: int = 24,
        pixel_format: str = "yuv420p",
    ) -> Path:
        import av

        with av.open(str(path), "w") as container:
            stream: Any = container.add_stream(codec, rate=rate)
            stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
            if codec == "libx264":
                stream.options = {"preset": "ultrafast", "crf": "18"}
            for number in range(frames):
                gray = av.VideoFrame.from_ndarray(numbered_picture(number, width, height), format="gray")
                picture = gray.reformat(format=pixel_format)
                picture.pts = number
                container.mux(stream.encode(picture))
            container.mux(stream.encode())
        return path

    return make


@pytest.fixture(scope="session")
def clip(make_clip: MakeClip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an H.264 clip of 48 numbered frames, 320x180, 24 a second."""
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4")


@pytest.fixture(scope="session")
def clip_number() -> Callable[[np.ndarray[Any, Any]], int]:
    """Return the reader of a clip's frame numbers: takes a (H, W) gray picture."""

    def read(gray: np.ndarray[Any, Any]) -> int:
        height, width = gray.shape
        row = gray[height // 8]
        return sum(1 << bit for bit in range(NUMBER_BITS) if row[(2 * bit + 1) * width // (2 * NUMBER_BITS)] > 127)

    return read


def numbered_picture(number: int, width: int, height: int) -> np.ndarray[Any, Any]:
    """Return a (height, width) gray picture: its number in 16 black or white blocks on top, a moving slope below."""
    import numpy as np

    rows, columns = np.mgrid[0:height, 0:width]
    bits = number >> (columns * NUMBER_BITS // width) & 1
    picture = np.where(rows < height // 4, bits * 255, (rows + columns + 3 * number) % 256)
    return np.ascontiguousarray(picture, dtype=np.uint8)
