from __future__ import annotations

import os
from pathlib import Path

import pytest

from detektr.config import secret_file
from detektr.config.document import read_document
from detektr.config.load import PipelineFileError, load_pipeline
from detektr.config.secret_file import SECRET_BYTES_MAX, SecretFileError, read_secret_file


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Return the folder of systemd's credentials, and the one that stands for /run/secrets."""
    credentials, secrets = tmp_path / "credentials", tmp_path / "secrets"
    for folder in (credentials, secrets):
        folder.mkdir()
    monkeypatch.setattr(secret_file, "SECRETS_FOLDER", str(secrets))
    return credentials, secrets


@pytest.mark.parametrize(
    ("payload", "text"),
    [(b"hunter22\n", "hunter22"), (b"hunter22\r\n", "hunter22"), (b"hunter22", "hunter22"), (b" a b \n\n", " a b \n")],
)
def test_one_line_end_at_the_end_is_no_part_of_a_secret(tmp_path: Path, payload: bytes, text: str) -> None:
    (tmp_path / "one").write_bytes(payload)
    assert read_secret_file(str(tmp_path / "one"), {}) == text


def test_a_name_is_looked_for_among_credentials_first(folders: tuple[Path, Path]) -> None:
    credentials, secrets = folders
    environment = {"CREDENTIALS_DIRECTORY": str(credentials)}
    (secrets / "one").write_text("of the container")
    assert read_secret_file("one", environment) == "of the container"
    (credentials / "one").write_text("of the unit")
    assert read_secret_file("one", environment) == "of the unit"
    assert read_secret_file("one", {}) == "of the container"


def test_a_missing_secret_names_all_places(folders: tuple[Path, Path]) -> None:
    credentials, secrets = folders
    with pytest.raises(SecretFileError) as caught:
        read_secret_file("one", {"CREDENTIALS_DIRECTORY": str(credentials)})
    assert f"looked for {credentials}/one and {secrets}/one)" in caught.value.what
    with pytest.raises(SecretFileError, match="CREDENTIALS_DIRECTORY is not set"):
        read_secret_file("one", {})


def test_what_is_no_secret_is_refused_in_words_and_without_its_text(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    wrong = {
        "large": (b"hunter22" * (SECRET_BYTES_MAX // 8) + b"1", "has more than 64 KiB"),
        "binary": (b"hunter22\xff", "is not UTF-8 at its byte 8"),
        "empty": (b"", "is empty"),
        "line": (b"\n", "is empty"),
        "nul": (b"hunter22\0", "has a NUL character"),
        "folder": (None, "is a folder"),
        "pipe": (None, "is no regular file"),
        "missing/below": (None, "is missing"),
    }
    for name, (payload, part) in wrong.items():
        if payload is not None:
            (tmp_path / name).write_bytes(payload)
        with pytest.raises(SecretFileError) as caught:
            read_secret_file(str(tmp_path / name), {})
        assert part in caught.value.what and "hunter" not in str(caught.value), name


def test_a_secret_that_cannot_be_read_is_not_looked_for_elsewhere(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials, secrets = folders
    (secrets / "one").write_text("of the container")
    real = os.open

    def refusing(path: str | Path, flags: int) -> int:
        if Path(path).parent == credentials:
            raise PermissionError(13, "Permission denied")
        return real(path, flags)

    refused = pytest.raises(SecretFileError, match=r"cannot be read: permission denied, .*let user \d+ read it")
    with monkeypatch.context() as patch, refused:
        patch.setattr(os, "open", refusing)
        read_secret_file("one", {"CREDENTIALS_DIRECTORY": str(credentials)})


def test_a_file_s_secret_stands_where_a_variable_s_would(folders: tuple[Path, Path]) -> None:
    (folders[1] / "camera").write_text("hunter22\n")
    document = read_document('a: "rtsp://user:${file:camera}@host"\nb: ${file:-plain}\nc: $${file:camera}\n', {})
    assert document.values == {"a": "rtsp://user:hunter22@host", "b": "plain", "c": "${file:camera}"}
    assert document.secrets == {"hunter22": "${file:camera}"}


def test_each_line_of_a_secret_is_one(folders: tuple[Path, Path]) -> None:
    (folders[1] / "key").write_text("BEGIN KEY\nabcdefgh\nEND KEY\n")
    secrets = read_document("a: ${file:key}\n", {}).secrets
    assert set(secrets) == {"BEGIN KEY\nabcdefgh\nEND KEY", "BEGIN KEY", "abcdefgh", "END KEY"}


def test_a_bad_secret_is_a_fault_on_its_line(folders: tuple[Path, Path], tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yaml"
    file.write_text("name: demo\nnodes:\n  cam:\n    kind: capture\n    source: ${file:one}\n  b: ${file:}\n")
    with pytest.raises(PipelineFileError) as caught:
        load_pipeline(file, {})
    text = str(caught.value)
    assert f"{file}:5: the secret file 'one' is missing (looked for {folders[1]}/one" in text
    assert f"{file}:6: '${{file:}}' names no file" in text
    assert "2 faults" in text
