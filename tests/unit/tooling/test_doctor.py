from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from detektr.config.load import load_pipeline
from detektr.errors import DetektrError
from detektr.tooling.doctor import MIB, Finding, Machine, describe, examine, judge, look, refuse_bad

WELL = Machine(
    shm_folder="/dev/shm",
    shm_type="tmpfs",
    shm_bytes=4096 * MIB,
    shm_free=4000 * MIB,
    state_folder="/var/lib/detektr",
    state_free=9000 * MIB,
    files_limit=20_000,
    cores=4,
    memory_free=8000 * MIB,
    codecs=("h264", "hevc", "mjpeg", "av1"),
    is_clock_synchronized=True,
)


def sick(**changes: object) -> Finding:
    """Return the one thing that is not good, and must have something to do about it."""
    (found,) = [one for one in judge(replace(WELL, **changes)) if one.grade != "good"]  # type: ignore[arg-type]
    assert found.next, found
    return found


def test_a_machine_that_is_well_has_nothing_to_do() -> None:
    assert {one.grade for one in judge(WELL)} == {"good"}
    refuse_bad(judge(WELL))


def test_a_container_with_too_little_shared_memory_is_told_its_size() -> None:
    found = sick(shm_bytes=64 * MIB, shm_free=64 * MIB, shm_needed=250 * MIB)
    assert found.grade == "bad" and "takes up to 250 MiB" in found.text and "--shm-size=256m" in found.next
    with pytest.raises(DetektrError, match="1 of these would stop or hurt a pipeline here"):
        refuse_bad([found])


def test_a_folder_that_is_on_a_disk_is_bad() -> None:
    assert "is on ext4, not in memory" in sick(shm_type="ext4").text


def test_limits_that_are_low_are_warnings() -> None:
    assert sick(files_limit=1024).what == "open files"
    assert sick(state_free=200 * MIB).what == "state folder"
    assert sick(memory_free=100 * MIB).what == "memory"
    assert sick(is_clock_synchronized=False).what == "clock"
    assert sick(is_compiled=False).what == "detektr"
    assert "shm clean" in sick(left_bytes=5 * MIB).next


def test_a_decoder_that_is_missing_is_bad_where_cameras_need_it() -> None:
    assert sick(codecs=("h264", "hevc", "mjpeg")).grade == "warning"
    assert sick(codecs=("mjpeg", "av1")).grade == "bad"


def test_this_machine_is_read_and_a_file_says_what_it_needs(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yaml"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        file.write_text(
            f"""
name: demo
metrics: {{port: {port}}}
nodes:
  cam: {{kind: capture, source: nothing.mp4, width: 640, height: 480, memory: 16MiB}}
  look: {{kind: processor, input: cam, use: motion}}
"""
        )
        found = examine(file)
        machine = look(load_pipeline(file))
    assert machine.shm_needed is not None and 16 * MIB < machine.shm_needed < 40 * MIB and machine.processes == 2
    assert machine.codecs == ("h264", "hevc", "mjpeg", "av1") and machine.cores > 0
    bad = [one for one in found if one.grade == "bad"]
    assert [one.what for one in bad] == ["file", "file"], describe(found)
    assert "nothing.mp4" in bad[0].text and f"127.0.0.1:{port}: address already in use" in bad[1].text
    assert describe(found).count("BAD ") == 2
