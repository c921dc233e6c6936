from __future__ import annotations

import os
from pathlib import Path

import pytest

from detektr.errors import RefusedError
from detektr.memory.run_folder import SOCKET_PATH_BYTES_MAX, RunFolder, shm_root, state_root
from detektr.memory.status_block import acquire_status_block


@pytest.mark.parametrize("name", ["", "demo\n", "de/mo", "..", "1demo", "d" * 33, "ä"])
def test_a_pipelines_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(RefusedError, match="is not a name; use a letter"):
        RunFolder(name)


def test_a_folder_too_deep_for_a_socket_is_refused_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETEKTR_SHM_DIR", "/dev/shm/" + "d" * SOCKET_PATH_BYTES_MAX)
    with pytest.raises(RefusedError, match="bytes too long for a socket's path; set DETEKTR_SHM_DIR to a shorter"):
        RunFolder("demo")


@pytest.mark.parametrize("variable", ["DETEKTR_SHM_DIR", "DETEKTR_STATE_DIR", "XDG_STATE_HOME"])
def test_a_relative_folder_is_refused_as_each_process_would_have_another(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.delenv("DETEKTR_STATE_DIR")
    monkeypatch.setenv(variable, "shm")
    told = f"{variable} is 'shm', which is not an absolute path; write {variable}=/.*/shm"
    with pytest.raises(RefusedError, match=told):
        shm_root() if "SHM" in variable else state_root()


def test_the_folder_is_this_users_own_and_goes_when_it_is_empty(shm_dir: Path) -> None:
    folder = RunFolder("demo")
    folder.make()
    assert folder.path.parent == shm_root()
    assert folder.path.stat().st_mode & 0o777 == 0o700
    (folder.path / "camera.0.status").touch()
    folder.remove_if_empty()
    assert folder.path.exists()
    (folder.path / "camera.0.status").unlink()
    folder.remove_if_empty()
    assert list(shm_dir.iterdir()) == []


def test_a_folder_open_to_others_is_refused(shm_dir: Path) -> None:
    shm_root().mkdir()
    shm_root().chmod(0o755)
    with pytest.raises(RefusedError, match=r"must be this user's own and closed to others \(chmod 700\)"):
        RunFolder("demo").make()
    RunFolder("demo").path.rmdir()
    shm_root().rmdir()


def test_files_are_found_again_by_what_their_names_say(shm_dir: Path) -> None:
    folder = RunFolder("demo")
    folder.make()
    paths = [
        folder.ring("cam-1", 12),
        folder.journal("cam-1", 0, "motion"),
        folder.journal("motion", 3, "events"),
        folder.status_block("cam-1", 0),
    ]
    for path in paths:
        path.touch()
    assert folder.rings("cam-1") == {12: paths[0]}
    assert folder.rings("cam") == {}
    assert list(folder.journals()) == [("cam-1", 0, "motion", paths[1]), ("motion", 3, "events", paths[2])]
    assert list(folder.journals("motion", 3)) == [("motion", 3, "events", paths[2])]
    assert list(folder.status_blocks()) == [("cam-1", 0, paths[3])]
    for path in paths:
        path.unlink()
    folder.remove_if_empty()


def test_a_folder_that_another_takes_away_at_the_same_moment_is_made_again(
    shm_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = Path.mkdir, [FileExistsError(17, "File exists"), FileNotFoundError(2, "No such file or directory")]

    def mkdir(path: Path, *arguments: int, **options: int) -> None:
        if path.name == "demo" and left:
            raise left.pop()
        real(path, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "mkdir", mkdir)
    folder = RunFolder("demo")
    folder.make()
    assert folder.path.is_dir()
    assert left == []
    folder.remove_if_empty()


def test_a_file_in_the_place_of_the_folder_is_refused_in_words(shm_dir: Path) -> None:
    shm_root().mkdir(mode=0o700)
    (shm_root() / "demo").touch()
    with pytest.raises(RefusedError, match="demo cannot be made: File exists; point DETEKTR_SHM_DIR at"):
        RunFolder("demo").make()
    (shm_root() / "demo").unlink()
    shm_root().rmdir()


def test_a_folder_that_goes_while_it_is_looked_at_is_empty(shm_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def glob(path: Path, pattern: str) -> list[Path]:
        raise FileNotFoundError(2, "No such file or directory", str(path))

    folder = RunFolder("demo")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "glob", glob)
        assert (folder.rings("camera"), list(folder.journals()), list(folder.status_blocks())) == ({}, [], [])
        assert folder.live_processes() == []


def test_a_sweep_spares_what_a_living_process_is_making(shm_dir: Path) -> None:
    folder = RunFolder("demo")
    status_block = acquire_status_block(folder, "camera", 0, "capture")
    half_made = [".camera.0~beat.edge.77", ".camera.1.ring.77"]
    dead = [".beat.0.status.78", ".other.1.ring.78", "beat.0.bell", "beat.0.status", "beat.0~events.edge"]
    for name in half_made + dead:
        (folder.path / name).touch()
    os.mkfifo(folder.doorbell("camera", 0))
    lock = folder.try_lock()
    assert lock is not None
    assert sorted(folder.sweep()) == sorted([*dead, "supervisor.lock"])
    assert sorted(path.name for path in folder.path.iterdir()) == sorted(
        [*half_made, "camera.0.bell", "camera.0.status"]
    )
    status_block.close(unlink=True)
    assert sorted(folder.sweep()) == sorted([*half_made, "camera.0.bell"])
    lock.close()


def test_folder_made_while_the_one_above_is_taken_away_is_open_to_nobody_else(
    shm_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder("cameras")
    above, mkdir, taken = folder.path.parent, Path.mkdir, list[Path]()

    def mkdir_beside_a_sweep(path: Path, mode: int = 0o777, *, parents: bool = False, exist_ok: bool = False) -> None:
        mkdir(path, mode, parents, exist_ok)
        if path == above and not taken:
            taken.append(path)
            path.rmdir()

    monkeypatch.setattr(Path, "mkdir", mkdir_beside_a_sweep)
    folder.make()
    assert taken == [above]
    assert [path.stat().st_mode & 0o777 for path in (above, folder.path)] == [0o700, 0o700]
    folder.remove_if_empty()
