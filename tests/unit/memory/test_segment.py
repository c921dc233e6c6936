from __future__ import annotations

import errno
import os
import resource
from pathlib import Path
from types import SimpleNamespace

import pytest

from detektr.errors import NoRoomError
from detektr.memory.segment import Segment, create_segment, open_segment


def fill(segment: Segment) -> None:
    segment.words[0] = 42


def test_a_created_segment_is_reserved_in_full_filled_and_for_its_owner_only(shm_dir: Path) -> None:
    path = shm_dir / "new"
    segment = create_segment(path, 8192, fill)
    stat = path.stat()
    assert (stat.st_size, stat.st_blocks * 512, stat.st_mode & 0o777) == (8192, 8192, 0o600)
    assert segment.words[0] == 42
    assert [file.name for file in shm_dir.iterdir()] == ["new"]
    segment.close()
    path.unlink()


def test_more_than_is_free_is_refused_in_words_and_leaves_no_file(
    shm_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "statvfs", lambda folder: SimpleNamespace(f_bavail=3, f_frsize=1 << 20))
    with pytest.raises(NoRoomError, match=r"ring needs 4\.0 MiB .* has 3\.0 MiB free; use fewer slots .*--shm-size"):
        create_segment(shm_dir / "ring", 4 << 20, fill)
    assert list(shm_dir.iterdir()) == []


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.ENOMEM])
def test_room_that_another_took_meanwhile_is_refused_in_words_and_leaves_no_file(
    shm_dir: Path, monkeypatch: pytest.MonkeyPatch, fault: int
) -> None:
    def lose(fd: int, begin: int, nbytes: int) -> None:
        raise OSError(fault, "lost the race")

    monkeypatch.setattr(os, "posix_fallocate", lose)
    with pytest.raises(NoRoomError, match="ring needs"):
        create_segment(shm_dir / "ring", 4096, fill)
    assert list(shm_dir.iterdir()) == []


def test_a_process_limit_on_file_sizes_is_refused_in_words_and_leaves_no_file(shm_dir: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        with pytest.raises(NoRoomError, match="ring needs 2"):
            create_segment(shm_dir / "ring", 2 << 20, fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(shm_dir.iterdir()) == []


def test_a_header_that_cannot_be_written_leaves_no_file(shm_dir: Path) -> None:
    def fail(segment: Segment) -> None:
        raise ValueError("too long for the header")

    with pytest.raises(ValueError, match="too long"):
        create_segment(shm_dir / "ring", 4096, fail)
    assert list(shm_dir.iterdir()) == []


@pytest.mark.parametrize("call", ["open", "posix_fallocate", "rename"])
def test_a_signal_that_ends_the_maker_leaves_no_file_half_made(
    shm_dir: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    owner = Path if call == "rename" else os
    done = getattr(owner, call)
    with monkeypatch.context() as patched, pytest.raises(SystemExit):

        def end(*arguments: object, **options: object) -> None:
            result = done(*arguments, **options)
            if call == "open":
                os.close(result)
            raise SystemExit(0)  # what the handler of a node that starts does, as soon as the call has returned

        patched.setattr(owner, call, end)
        create_segment(shm_dir / "new", 4096, fill)
    assert [file.name for file in shm_dir.iterdir() if file.name.startswith(".")] == []
    (shm_dir / "new").unlink(missing_ok=True)


def test_a_replaced_segment_stays_for_who_has_it_mapped(shm_dir: Path) -> None:
    path = shm_dir / "ring"
    create_segment(path, 4096, fill).close()
    reader = open_segment(path)
    assert reader is not None
    create_segment(path, 4096, lambda segment: None).close()
    assert (reader.words[0], reader.is_unlinked) == (42, True)
    reader.close()
    path.unlink()


def test_a_reader_cannot_write(shm_dir: Path) -> None:
    create_segment(shm_dir / "ring", 4096, fill).close()
    reader = open_segment(shm_dir / "ring")
    assert reader is not None
    with pytest.raises(TypeError, match="read-only"):
        reader.words[0] = 1
    with pytest.raises(TypeError, match="read-only"):
        reader.bytes[0] = 1
    with pytest.raises(TypeError):
        reader.map[0] = 1
    reader.close()
    (shm_dir / "ring").unlink()


def test_what_is_not_there_or_is_empty_is_none(shm_dir: Path) -> None:
    assert open_segment(shm_dir / "ring") is None
    (shm_dir / "ring").touch()
    assert open_segment(shm_dir / "ring") is None
    (shm_dir / "ring").unlink()


def test_closing_under_a_view_does_not_take_the_memory_from_it(shm_dir: Path) -> None:
    segment = create_segment(shm_dir / "ring", 4096, fill)
    view = segment.words[:1]
    segment.close()
    assert view[0] == 42
    (shm_dir / "ring").unlink()


def test_what_a_killed_maker_left_half_made_goes_when_its_successor_makes_it(shm_dir: Path) -> None:
    left, others = shm_dir / ".camera.1.ring.77", shm_dir / ".camera.10.ring.77"
    left.touch()
    others.touch()
    create_segment(shm_dir / "camera.1.ring", 4096, fill).close()
    assert sorted(path.name for path in shm_dir.iterdir()) == [".camera.10.ring.77", "camera.1.ring"]
    for path in shm_dir.iterdir():
        path.unlink()


def test_a_limit_on_the_size_of_files_is_not_called_a_want_of_memory(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        with pytest.raises(NoRoomError) as refused:
            create_segment(tmp_path / "a.ring", 2 << 20, lambda segment: None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "a.ring needs 2.0 MiB and this process may have files of at most 1.0 MiB (ulimit -f)" in str(refused.value)
    assert "shared memory" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []
