from __future__ import annotations

import random
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from detektr.config.load import FILE_BYTES_MAX, Pipeline, PipelineFileError, check_machine, load_pipeline
from detektr.errors import RefusedError

SHIPPED = Path(__file__).parents[3] / "pipeline.yaml"
GOOD = """name: demo
nodes:
  camera: {kind: capture, source: clip.mp4}
  motion: {kind: processor, input: camera, use: "my.module:Motion"}
"""


def refusal(path: Path, **environment: str) -> list[str]:
    """Return the refusal's lines without the count, each of which must be FILE:LINE: what, expected, what to do."""
    with pytest.raises(PipelineFileError) as caught:
        load_pipeline(path, environment)
    *lines, count = str(caught.value).split("\n")
    assert lines and f"{len(lines)} fault" in count
    for line in lines:
        assert re.fullmatch(rf"{re.escape(str(path))}:[1-9]\d*: .+, expected .+, .+", line), line
    return lines


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "pipeline.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def loaded(folder: Path, text: str, **environment: str) -> Pipeline:
    return load_pipeline(written(folder, text), environment)


def test_the_shipped_file_is_good() -> None:
    pipeline = load_pipeline(SHIPPED, {})
    assert pipeline.options.name == "demo"
    assert [node.kind for node in pipeline.graph.nodes.values()] == ["capture", "buffer", "processor", "sink"]
    assert pipeline.folder == SHIPPED.parent


def test_the_shipped_file_becomes_a_camera_by_its_one_line(tmp_path: Path) -> None:
    text, count = re.subn(r'source: ".*"', 'source: "rtsp://user:${PASSWORD}@host/stream"', SHIPPED.read_text())
    assert count == 1
    pipeline = loaded(tmp_path, text, PASSWORD="hunter2")
    assert pipeline.graph.nodes["camera"].is_live and pipeline.secrets == {"hunter2": "${PASSWORD}"}


@pytest.mark.parametrize(
    ("payload", "line", "part"),
    [
        (b"", 1, "empty"),
        (b"name: demo\nnodes: caf\xe9\n", 2, "0xe9 is not UTF-8"),
        (GOOD.encode("utf-16"), 1, "not UTF-8"),
        (b"name: demo\nnodes: \x00\n", 2, "U+0000"),
        (b"- a\n- b\n", 1, "a list"),
        (b"#" * (FILE_BYTES_MAX + 1), 1, "256 KiB"),
        (b"\x89PNG\r\n\x1a\n", 1, "not UTF-8"),
    ],
)
def test_what_is_no_pipeline_file_is_refused_on_a_line(tmp_path: Path, payload: bytes, line: int, part: str) -> None:
    path = written(tmp_path, payload)
    lines = refusal(path)
    assert len(lines) == 1 and lines[0].startswith(f"{path}:{line}: ") and part in lines[0]


def test_a_path_that_is_no_file_is_refused(tmp_path: Path) -> None:
    assert "a directory" in refusal(tmp_path)[0]
    assert "no such file" in refusal(tmp_path / "missing.yaml")[0]
    assert "not a regular file" in refusal(Path("/dev/zero"))[0]
    assert issubclass(PipelineFileError, RefusedError) and PipelineFileError.exit_code == 2


def test_a_file_with_a_byte_order_mark_and_windows_lines_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert load_pipeline(path, {}).options.name == "demo"


def test_faults_of_the_file_its_keys_and_its_graph_come_together_sorted_by_line(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "nodes:\n  camera: {kind: capture, source: ${GONE}}\n  camera: {}\n  spare: {kind: capture, source: x}\n"
        "  buffer: {kind: buffer, input: camera, markk: 3}\n  motion: {kind: processor, input: bufer, use: 'm:C'}\n"
        "name: a/b\n",
    )
    lines = [line.removeprefix(str(path)) for line in refusal(path)]
    assert [int(line.split(":")[1]) for line in lines] == [2, 3, 4, 5, 5, 6, 7]
    assert "dead end" in lines[2] and "'spare'" in lines[2]


def test_a_secret_of_the_environment_is_in_no_fault_and_in_the_pipelines_secrets(tmp_path: Path) -> None:
    text = GOOD.replace("clip.mp4", '"rtsp://admin:${PW}@cam/x"')
    assert loaded(tmp_path, text, PW="hunter2").secrets == {"hunter2": "${PW}"}
    path = written(tmp_path, text.replace("input: camera", 'input: "${PW}"').replace("demo", '"${PW} x"'))
    found = "\n".join(refusal(path, PW="hunter2"))
    assert "hunter2" not in found and "${PW}" in found


def test_a_password_in_the_file_is_a_secret_too(tmp_path: Path) -> None:
    pipeline = loaded(tmp_path, GOOD.replace("clip.mp4", '"rtsp://admin:hunter2@cam/x"'))
    assert pipeline.secrets == {"hunter2": "***"}
    path = written(tmp_path, GOOD + "audit: [redis://:hunter2@host]\n")
    assert "hunter2" not in "\n".join(refusal(path))


def test_a_missing_source_file_is_told_with_its_line_and_one_beside_the_file_is_found(tmp_path: Path) -> None:
    pipeline = loaded(tmp_path, GOOD)
    (fault,) = check_machine(pipeline)
    assert fault.line == 3 and str(tmp_path / "clip.mp4") in fault.what and "no such file" in fault.what
    (tmp_path / "clip.mp4").mkdir()
    assert "is an empty folder" in check_machine(pipeline)[0].what
    (tmp_path / "clip.mp4" / "1.png").touch()
    assert check_machine(pipeline) == []
    (tmp_path / "clip.mp4" / "1.png").unlink()
    (tmp_path / "clip.mp4").rmdir()
    (tmp_path / "clip.mp4").write_bytes(b"x")
    assert check_machine(pipeline) == []


def test_a_missing_device_is_told(tmp_path: Path) -> None:
    (fault,) = check_machine(loaded(tmp_path, GOOD.replace("clip.mp4", "/dev/video987")))
    assert "/dev/video987" in fault.what and "a device" in fault.expected


def test_numbered_pictures_and_streams_are_left_to_the_capture(tmp_path: Path) -> None:
    for source in ("picture%04d.png", "rtsp://h/x", "lavfi:testsrc2", "python:m:f"):
        assert check_machine(loaded(tmp_path, GOOD.replace("clip.mp4", f'"{source}"'))) == []


def test_a_port_in_use_is_told_and_free_again_when_it_is(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        text = GOOD.replace("clip.mp4", "lavfi:x") + f"metrics:\n  port: {port}\n"
        (fault,) = check_machine(loaded(tmp_path, text))
        assert fault.line == 6 and f"127.0.0.1:{port}" in fault.what and "in use" in fault.what
    assert check_machine(loaded(tmp_path, text)) == []
    assert check_machine(loaded(tmp_path, text.replace(str(port), "0"))) == []


def test_an_audit_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    text = GOOD.replace("clip.mp4", "lavfi:x")
    (fault,) = check_machine(loaded(tmp_path, text + "audit: sqlite:gone/audit.db\n"))
    assert fault.line == 5 and str(tmp_path / "gone") in fault.what and "mkdir" in fault.hint
    (tmp_path / "full").mkdir()
    (fault,) = check_machine(loaded(tmp_path, text + "audit: {to: 'sqlite:full'}\n"))
    assert "is a directory" in fault.what
    assert check_machine(loaded(tmp_path, text + "audit: sqlite:audit.db\n")) == []
    assert not (tmp_path / "audit.db").exists()


def test_a_shredded_file_is_read_or_refused_in_words_and_nothing_else(tmp_path: Path) -> None:
    whole = SHIPPED.read_text()
    lots = random.Random(7)
    pieces = [
        "{", "}", "[", "]", ":", ": ", "- ", "\n", "\t", "  ", "#", "&a ", "*a", "!x ", '"', "'", "|", ">", "${",
        "<<: ", "${X}", "null", "~", "true", "-1", ".nan", "9" * 60, "\\", "\x00", "\u2028", "é", "? ", "%",
    ]  # fmt: skip
    outcomes = set()
    for _ in range(150):
        text = whole
        for _ in range(lots.randint(1, 4)):
            begin = lots.randrange(len(text))
            text = text[:begin] + lots.choice(pieces) + text[begin + lots.choice((0, 1, 5, 40)) :]
        path = written(tmp_path, text)
        try:
            load_pipeline(path, {})
            outcomes.add("read")
        except PipelineFileError:
            refusal(path)
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def test_importing_the_loader_brings_in_nothing_heavy() -> None:
    heavy = ("pydantic", "numpy", "av", "zmq", "redis", "prometheus_client", "rich", "typer")
    code = f"import sys, detektr.config.load; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("rtsp://me:p#ss@10.0.0.9:59x9/x", "the port '59x9'"),
        ("rtsp://u:p@:/x", "the port ''"),
        ("http:///x", "no host"),
    ],
)
def test_an_address_that_is_none_is_told_before_the_start_without_its_password(
    tmp_path: Path, source: str, what: str
) -> None:
    (fault,) = check_machine(loaded(tmp_path, GOOD.replace("clip.mp4", f'"{source}"')))
    assert fault.line == 3 and what in fault.what
    assert "p#ss" not in fault.text


@pytest.mark.parametrize("source", ["rtsp://me:p#s/s:x@10.0.0.9:554/x", "udp://@:5000", "srt://:9000?mode=listener"])
def test_an_address_with_an_odd_password_or_without_a_host_to_listen_is_good(tmp_path: Path, source: str) -> None:
    assert check_machine(loaded(tmp_path, GOOD.replace("clip.mp4", f'"{source}"'))) == []
