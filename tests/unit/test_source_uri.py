from __future__ import annotations

from pathlib import Path

import pytest

from detektr.redaction import mask_with, redact, url_secrets
from detektr.source_uri import host_and_port, is_live, source_kind, source_path


@pytest.mark.parametrize(
    ("source", "kind", "live"),
    [
        ("lavfi:testsrc2=size=1280x720", "lavfi", False),
        ("python:my.module:pictures", "python", False),
        ("/dev/video0", "device", True),
        ("/dev/shm/clip.mp4", "file", False),
        ("rtsp://camera/stream", "stream", True),
        ("RTSP://camera/stream", "stream", True),
        ("https://host/live.m3u8", "stream", True),
        ("udp://239.0.0.1:5000", "stream", True),
        ("srt://host:9000", "stream", True),
        ("clip.mp4", "file", False),
        ("file:///clips/clip.mp4", "file", False),
        ("file:clip.mp4", "file", False),
        ("lavfi", "file", False),
        ("a:b.mp4", "file", False),
    ],
)
def test_a_source_is_known_by_its_text(source: str, kind: str, live: bool) -> None:
    assert source_kind(source) == kind
    assert is_live(source) is live


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("clip.mp4", Path("/videos/clip.mp4")),
        ("/clips/a.mp4", Path("/clips/a.mp4")),
        ("file:a.mp4", Path("/videos/a.mp4")),
        ("file:///clips/a.mp4", Path("/clips/a.mp4")),
        ("rtsp://camera/", None),
        ("lavfi:testsrc2", None),
    ],
)
def test_a_relative_file_lies_beside_the_pipeline_file(source: str, path: Path | None) -> None:
    assert source_path(source, Path("/videos")) == path


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://user:hunter2@cam:554/stream", "rtsp://***@cam:554/stream"),
        ("rtsp://user@cam/stream", "rtsp://***@cam/stream"),
        ("rtsp://cam:554/stream", "rtsp://cam:554/stream"),
        ("rtsp://[::1]:554/stream", "rtsp://[::1]:554/stream"),
        ("rtsp://user:p@ss/w?rd#@cam/stream", "rtsp://***@cam/stream"),
        ("rtsp://user:p/ss@cam/stream", "rtsp://***@cam/stream"),
        ("http://cam/pictures@2x.jpg", "http://cam/pictures@2x.jpg"),
        ("http://cam/live?token=abc123&size=4", "http://cam/live?token=***&size=4"),
        ("http://cam/cgi?user=admin&PWD=abc123", "http://cam/cgi?user=***&PWD=***"),
        ("srt://cam:9000?passphrase=hunter2hunter2", "srt://cam:9000?passphrase=***"),
        ("cannot open rtsp://u:hunter2@cam/x: refused", "cannot open rtsp://***@cam/x: refused"),
        ("lavfi:testsrc2=size=1x1", "lavfi:testsrc2=size=1x1"),
    ],
)
def test_user_info_and_tokens_are_masked_and_the_rest_is_not(url: str, shown: str) -> None:
    assert redact(url) == shown


def test_a_password_is_found_as_written_and_as_meant() -> None:
    assert url_secrets("rtsp://admin:hunter%402@cam/x") == {"hunter%402", "hunter@2"}
    assert url_secrets("rtsp://cam:554/x and http://cam/a@b") == set()


def test_a_secret_is_masked_in_each_of_its_forms_the_longest_first() -> None:
    secrets = {"hunter2": "${SHORT}", "hunter2/more": "${LONG}"}
    assert mask_with("hunter2 hunter2/more hunter2%2Fmore", secrets) == "${SHORT} ${LONG} ${LONG}"


def test_an_ipv6_address_stands_in_brackets() -> None:
    assert host_and_port("::1", 9000) == "[::1]:9000"
    assert host_and_port("127.0.0.1", 0) == "127.0.0.1:0"
