from __future__ import annotations

from pathlib import Path

import pytest

from detektr.redaction import mask_with, redact, url_secrets
from detektr.source_uri import host_and_port, is_live, is_series, series_names, source_kind, source_path


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
        ("camera.SDP", "file", True),
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
        ("FILE:///clips/a.mp4", Path("/clips/a.mp4")),
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
        # Masked by their key, however a camera divides them.
        (
            "rtsp://10.0.0.5:554/user=admin_password=hunter2_channel=1_stream=0.sdp?real_stream",
            "rtsp://10.0.0.5:554/user=***_password=***_channel=1_stream=0.sdp?real_stream",
        ),
        (
            "rtsp://h:554/user=admin&password=hun_ter2&channel=1&stream=1.sdp?",
            "rtsp://h:554/user=***&password=***&channel=1&stream=1.sdp?",
        ),
        ("rtsp://h/user=admin_password=a_b_c_channel=3", "rtsp://h/user=***_password=***_channel=3"),
        ("rtsp://h/user=admin_password=_channel=3", "rtsp://h/user=***_password=_channel=3"),
        ("http://h/img?u=me&p=X&n=2", "http://h/img?u=***&p=***&n=2"),
        ("http://h/a.cgi;usr:me;pwd:X;ch:2", "http://h/a.cgi;usr:***;pwd:***;ch:2"),
        ("http://h/a?usr=me&pwd=X/y=", "http://h/a?usr=***&pwd=***"),
        (
            "http://h/cgi-bin/api.cgi?cmd=Snap&channel=0&user=a&password=b",
            "http://h/cgi-bin/api.cgi?cmd=Snap&channel=0&user=***&password=***",
        ),
        (
            "http://h/videostream.cgi?loginuse=me&loginpas=X&rate=0",
            "http://h/videostream.cgi?loginuse=***&loginpas=***&rate=0",
        ),
        (
            "rtsp://h/cam/realmonitor?channel=1&subtype=0&authbasic=YWRt",
            "rtsp://h/cam/realmonitor?channel=1&subtype=0&authbasic=***",
        ),
        ("wyze://h?uid=A&enr=X%2Fy&mac=B", "wyze://h?uid=A&enr=***&mac=B"),
        (
            "http://h/a?api_key=1&X-Amz-Signature=2&keyframe=3&n=4",
            "http://h/a?api_key=***&X-Amz-Signature=***&keyframe=3&n=4",
        ),
        # Masked by their place or their looks.
        ("rtsp://h/admin:12345/ch1", "rtsp://h/admin:***/ch1"),
        ("http://h:8080/live/hunter2/", "http://h:8080/live/***/"),
        ("http://h:8080/live/me/hunter2/17.ts", "http://h:8080/live/***/***/17.ts"),
        ("rtsps://h:7441/RLkvpXa1cfNdyCGp?enableSrtp", "rtsps://h:7441/***?enableSrtp"),
        ("rtmp://h/live2/ab1d-ef2h-ij3l-mn4p", "rtmp://h/live2/***"),
        ("http://h/550e8400-e29b-41d4-a716-446655440000/index.m3u8", "http://h/***/index.m3u8"),
        ("http://h/token/abcdef/stream1", "http://h/token/***/stream1"),
        ("http://h/s.m3u8?session_id=12&size=1080", "http://h/s.m3u8?session_id=***&size=1080"),
        ("rtsp://h/x?url=http%3A%2F%2Fme%3Apw%40cam%2F1", "rtsp://h/x?url=http%3A%2F%2F***%40cam%2F1"),
        ("source rtsp://h/RLkvpXa1cfNdyCGp: no answer", "source rtsp://h/***: no answer"),
        ('{"a":"rtsp://h/x?pwd=abc","b":"c"}', '{"a":"rtsp://h/x?pwd=***","b":"c"}'),
        ("http://proxy:1984/api?src=rtsp://me:pw@cam/1", "http://proxy:1984/api?src=rtsp://***@cam/1"),
    ],
)
def test_user_info_and_tokens_are_masked_and_the_rest_is_not(url: str, shown: str) -> None:
    assert redact(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://10.0.0.5:554/Streaming/Channels/101?transportmode=unicast&profile=Profile_1",
        "rtsp://10.0.0.5/cam/realmonitor?channel=1&subtype=0&unicast=true&proto=Onvif",
        "rtsp://h/h264Preview_01_main",
        "rtsp://h:8554/stream1",
        "rtsp://h/axis-media/media.amp?videocodec=h264&resolution=1920x1080&camera=2",
        "rtsp://h/live/ch00_0",
        "rtsp://h/live/0/MAIN",
        "rtsp://h/live/h264/ch1/main",
        "http://h/live/front-door/index.m3u8",
        "http://h:8080/video.mjpg?q=30&fps=33&id=0.5",
        "rtsp://h/MPEG-4/ch1/main/av_stream",
        "rtsp://h/videoinput_1:0/h264_1/media.stm",
        "rtmp://h/bcs/channel0_main.bcs?channel=0&stream=0",
        "rtsp://h/onvif/profile5/media.smp",
        "udp://239.0.0.1:5000?pkt_size=1316&fifo_size=50000",
        "http://h/clips/2024-01-01/restaurant-720p24.mp4",
        "rtsp://h/PSIA/Streaming/channels/2?videoCodecType=H.264",
        "rtsp://h/11",
    ],
)
def test_what_is_no_secret_stays_readable(url: str) -> None:
    assert redact(url) == url
    assert url_secrets(url) == set()


def test_passwords_and_tokens_anywhere_in_a_url_are_secrets_elsewhere_too() -> None:
    url = "rtsp://h/user=admin_password=hunter2_channel=1/RLkvpXa1cfNdyCGp?p=a%20bc&user=admin"
    assert url_secrets(url) == {"hunter2", "RLkvpXa1cfNdyCGp", "a%20bc", "a bc"}


@pytest.mark.parametrize(
    "text", ["a://" * 30_000, "a://h" + "/live" * 30_000, "a://h?" + "b=c&" * 30_000, "a" * 100_000]
)
def test_text_that_looks_like_very_many_urls_is_masked_at_once(text: str) -> None:
    assert redact(text) == text


def test_a_password_is_found_as_written_and_as_meant() -> None:
    assert url_secrets("rtsp://admin:hunter%402@cam/x") == {"hunter%402", "hunter@2"}
    assert url_secrets("rtsp://cam:554/x and http://cam/a@b") == set()


def test_a_secret_is_masked_in_each_of_its_forms_the_longest_first() -> None:
    secrets = {"hunter2": "${SHORT}", "hunter2/more": "${LONG}"}
    assert mask_with("hunter2 hunter2/more hunter2%2Fmore", secrets) == "${SHORT} ${LONG} ${LONG}"


def test_an_ipv6_address_stands_in_brackets() -> None:
    assert host_and_port("::1", 9000) == "[::1]:9000"
    assert host_and_port("127.0.0.1", 0) == "127.0.0.1:0"


@pytest.mark.parametrize(
    ("name", "fits", "others"),
    [
        ("img%02d.jpg", ["img05.jpg", "img123.jpg"], ["img5.jpg", "img05.png", "img05_jpg"]),
        ("a.%d.b%3d.png", ["a.7.b007.png"], ["a.7.b07.png", "axb7"]),
    ],
)
def test_a_series_is_told_by_its_numbers(tmp_path: Path, name: str, fits: list[str], others: list[str]) -> None:
    assert is_series(tmp_path / name)
    assert [bool(series_names(name).fullmatch(other)) for other in (*fits, *others)] == [
        *([True] * len(fits)),
        *([False] * len(others)),
    ]


def test_a_file_whose_name_looks_like_a_series_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "50%d.mp4").touch()
    assert not is_series(tmp_path / "50%d.mp4")
