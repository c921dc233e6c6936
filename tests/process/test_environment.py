"""scripts/environment: what it installs, compiles and takes away, by what is there and what is asked.

Its own .venv and what pip does are stood in for: a script in place of `.venv/bin/python` notes how it was called and
"compiles" two files when it is told to.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = """#!/bin/sh
case "$*" in
*"-m pip install"*)
    here=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd -P)
    echo "$DETEKTR_COMPILE ${*##*--editable $here}" >>"$here/calls"
    [ ! -e "$here/pip-fails" ] || exit 1
    [ "$DETEKTR_COMPILE" = 0 ] || [ -e "$here/no-compiler" ] ||
        touch "$here/src/detektr/group.cpython-311.so" "$here/src/detektr/memory/ring.cpython-311.so"
    ;;
esac
"""


class Checkout:
    """A folder with scripts/environment, two Python files, and an environment that was made but not filled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("pyproject.toml", "setup.py", "constraints.txt"):
            (folder / name).write_text(f"{name}\n")
        (folder / "scripts").mkdir()
        shutil.copy(ROOT / "scripts/environment", folder / "scripts")
        self.source = folder / "src/detektr/memory/ring.py"
        self.source.parent.mkdir(parents=True)
        self.source.touch()
        self.make_environment()

    def make_environment(self) -> None:
        """Make .venv as `python -m venv` does, with the stand-in for Python."""
        python = self.folder / ".venv/bin/python"
        shutil.rmtree(self.folder / ".venv", ignore_errors=True)
        python.parent.mkdir(parents=True)
        python.write_text(PYTHON)
        python.chmod(0o755)
        (self.folder / ".venv/made-in").write_text(f"{self.folder}\n")

    def run(self, *extra: str, compile: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run it as a user does, with DETEKTR_COMPILE or without."""
        told: Mapping[str, str] = {} if compile is None else {"DETEKTR_COMPILE": compile}
        command = [str(self.folder / "scripts/environment"), *extra]
        env = {**os.environ, "PYTHON": "/bin/false", **told}
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=30, check=False)

    def calls(self) -> list[str]:
        """Return how pip was called since this was asked last: DETEKTR_COMPILE, and what is installed with it."""
        path = self.folder / "calls"
        lines = [line.strip() for line in path.read_text().splitlines()] if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    def compiled(self) -> int:
        """Return how many compiled files there are."""
        return len(list((self.folder / "src").rglob("*.so")))

    def change(self) -> None:
        """Let the Python file be newer than all that there is."""
        newest = max(path.stat().st_mtime for path in self.folder.rglob("*"))
        os.utime(self.source, (newest + 1, newest + 1))


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path.resolve())


def test_nothing_is_compiled_unless_it_is_asked_for(checkout: Checkout) -> None:
    done = checkout.run()
    assert (done.returncode, checkout.calls(), checkout.compiled()) == (0, ["0"], 0)
    assert "DETEKTR_COMPILE=1 scripts/environment compiles" in done.stderr


def test_what_is_done_is_not_done_again(checkout: Checkout) -> None:
    checkout.run("dev")
    assert checkout.calls() == ["0 [dev]"]
    assert [checkout.run(*extra).stderr for extra in ((), ("dev",), ())] == ["", "", ""]
    assert checkout.calls() == []


def test_what_was_compiled_once_stays_without_being_asked_for_again(checkout: Checkout) -> None:
    checkout.run(compile="1")
    assert (checkout.calls(), checkout.compiled()) == (["1"], 2)
    assert checkout.run().stderr == ""
    assert checkout.run(compile="1").stderr == ""
    assert (checkout.calls(), checkout.compiled()) == ([], 2)


def test_tools_are_added_to_what_is_compiled(checkout: Checkout) -> None:
    checkout.run(compile="1")
    checkout.run("dev")
    assert (checkout.calls(), checkout.compiled()) == (["1", "1 [dev]"], 2)


def test_a_file_that_changed_runs_from_python_at_once(checkout: Checkout) -> None:
    checkout.run(compile="1")
    checkout.calls()
    checkout.change()
    done = checkout.run()
    assert (checkout.calls(), checkout.compiled()) == ([], 0)
    assert "they have changed since they were compiled" in done.stderr
    assert checkout.run().stderr == ""


def test_a_file_that_changed_is_compiled_again_where_that_is_asked(checkout: Checkout) -> None:
    checkout.run(compile="1")
    checkout.change()
    checkout.calls()
    checkout.run(compile="1")
    assert (checkout.calls(), checkout.compiled()) == (["1"], 2)


def test_zero_takes_away_what_was_compiled_and_installs_nothing(checkout: Checkout) -> None:
    checkout.run(compile="1")
    checkout.calls()
    checkout.run(compile="0")
    assert (checkout.calls(), checkout.compiled()) == ([], 0)


@pytest.mark.parametrize("name", ["pyproject.toml", "setup.py", "constraints.txt"])
def test_another_description_is_installed_anew_and_never_beside_what_was_compiled(
    checkout: Checkout, name: str
) -> None:
    checkout.run(compile="1")
    checkout.calls()
    (checkout.folder / name).write_text("other\n")
    checkout.run()
    assert (checkout.calls(), checkout.compiled()) == (["0"], 0)


@pytest.mark.parametrize("compile", [None, "0", "1"])
def test_what_another_environment_compiled_is_not_kept(checkout: Checkout, compile: str | None) -> None:
    checkout.run(compile="1")
    checkout.make_environment()
    checkout.calls()
    (checkout.folder / "src/detektr/group.cpython-310.so").touch()
    checkout.run(compile=compile)
    assert checkout.calls() == [compile or "0"]
    assert checkout.compiled() == (2 if compile == "1" else 0)


def test_a_compiled_file_that_is_missing_is_noticed(checkout: Checkout) -> None:
    checkout.run(compile="1")
    checkout.calls()
    (checkout.folder / "src/detektr/group.cpython-311.so").unlink()
    checkout.run()
    assert (checkout.calls(), checkout.compiled()) == ([], 0)


def test_an_installation_that_failed_is_tried_again(checkout: Checkout) -> None:
    (checkout.folder / "pip-fails").touch()
    failed = checkout.run()
    assert failed.returncode == 2
    assert "pip could not install detektr" in failed.stderr
    (checkout.folder / "pip-fails").unlink()
    checkout.calls()
    assert (checkout.run().returncode, checkout.calls()) == (0, ["0"])


def test_without_a_compiler_it_says_what_to_do_and_does_not_try_each_time(checkout: Checkout) -> None:
    (checkout.folder / "no-compiler").touch()
    done = checkout.run(compile="1")
    assert (done.returncode, checkout.calls(), checkout.compiled()) == (0, ["1"], 0)
    assert "apt-get install gcc python3-dev" in done.stderr
    assert (checkout.run(compile="1").stderr, checkout.run().stderr, checkout.calls()) == ("", "", [])


def test_a_folder_that_was_moved_gets_an_environment_of_its_own(checkout: Checkout, tmp_path: Path) -> None:
    checkout.run()
    (checkout.folder / ".venv/made-in").write_text("/elsewhere\n")
    done = checkout.run()  # which the Python it is told to use cannot make
    assert done.returncode == 2
    assert "detektr needs Python 3.11 or newer" in done.stderr


def test_another_value_than_zero_and_one_is_refused(checkout: Checkout) -> None:
    done = checkout.run(compile="yes")
    assert (done.returncode, checkout.calls()) == (2, [])
    assert "DETEKTR_COMPILE is 'yes'" in done.stderr
