from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from detektr.config.document import read_document
from detektr.sources.survey import Survey
from detektr.tooling.probe import warnings_of, without_secrets

GOOD = Survey(
    is_live=True,
    codec="h264",
    profile="Main",
    width=640,
    height=360,
    format="yuv420p",
    ring_format="yuv420p",
    lost="",
    is_interlaced=False,
    rotation_degrees=0,
    is_mirrored=False,
    transport="tcp",
    has_camera_clock=True,
    other_streams=(),
    fps_declared=10.0,
    fps_measured=10.1,
    bits_per_s=1e6,
    key_frame_s=1.0,
    has_b_frames=False,
    open_s=0.5,
    first_frame_s=0.6,
    cpu_ms=2.0,
    pictures=50,
    before_key=0,
    corrupt=0,
    content_s=5.0,
)


@pytest.mark.parametrize(
    ("url", "shown", "names"),
    [
        ("rtsp://10.0.0.5:554/s1?channel=1", "rtsp://10.0.0.5:554/s1?channel=1", []),
        ("rtsp://me:hunter2@10.0.0.5/s1", "rtsp://me:${CAMERA_PASSWORD}@10.0.0.5/s1", ["CAMERA_PASSWORD"]),
        ("rtsp://me:p@:#/?x@10.0.0.5/s1", "rtsp://me:${CAMERA_PASSWORD}@10.0.0.5/s1", ["CAMERA_PASSWORD"]),
        ("rtsp://token123@10.0.0.5/s1", "rtsp://${CAMERA_USER}@10.0.0.5/s1", ["CAMERA_USER"]),
        ("http://h/v?n=1&pwd=abc&x=2", "http://h/v?n=1&pwd=${CAMERA_PWD}&x=2", ["CAMERA_PWD"]),
        ("http://h/v?api-key=abc", "http://h/v?api-key=${CAMERA_API_KEY}", ["CAMERA_API_KEY"]),
        ("clip.mp4", "clip.mp4", []),
        (
            "rtsp://h/user=me_password=abc_channel=1.sdp",
            "rtsp://h/user=${CAMERA_USER}_password=${CAMERA_PASSWORD}_channel=1.sdp",
            ["CAMERA_USER", "CAMERA_PASSWORD"],
        ),
        ("rtsps://h:7441/RLkvpXa1cfNdyCGp?x=1", "rtsps://h:7441/${CAMERA_TOKEN}?x=1", ["CAMERA_TOKEN"]),
        (
            "http://h/live/me/abc/1.ts",
            "http://h/live/${CAMERA_TOKEN}/${CAMERA_TOKEN_2}/1.ts",
            ["CAMERA_TOKEN", "CAMERA_TOKEN_2"],
        ),
        (
            "rtsp://me:one@h/s?password=two",
            "rtsp://me:${CAMERA_PASSWORD}@h/s?password=${CAMERA_PASSWORD_2}",
            ["CAMERA_PASSWORD", "CAMERA_PASSWORD_2"],
        ),
    ],
)
def test_a_url_is_proposed_with_variables_for_its_secrets_and_means_the_same(
    url: str, shown: str, names: list[str]
) -> None:
    text, environment = without_secrets(url)
    assert (text, list(environment)) == (shown, names)
    assert read_document(f'source: "{text}"', environment).values == {"source": url}


@pytest.mark.parametrize(
    ("url", "shown", "names"),
    [
        ("rtsp://me:hunter2@h/${STREAM}", "rtsp://me:${CAMERA_PASSWORD}@h/${STREAM}", ["CAMERA_PASSWORD"]),
        ("rtsp://me:${OWN}@${HOST}/${STREAM}", "rtsp://me:${OWN}@${HOST}/${STREAM}", []),
        (
            "http://h/${STREAM}?pwd=abc&token=${OWN}",
            "http://h/${STREAM}?pwd=${CAMERA_PWD}&token=${OWN}",
            ["CAMERA_PWD"],
        ),
        ("rtsp://${USER:-admin}:${PW}@h/s", "rtsp://${USER:-admin}:${PW}@h/s", []),
        ("rtsp://${USER:-a}:x${PW}@h/s", "rtsp://${USER:-a}:${CAMERA_PASSWORD}@h/s", ["CAMERA_PASSWORD"]),
        ("http://h/s?token=${T:-a?b&c=d}&x=1", "http://h/s?token=${T:-a?b&c=d}&x=1", []),
        ("${CLIP}", "${CLIP}", []),
    ],
)
def test_a_secret_beside_variables_is_hidden_and_they_stay(url: str, shown: str, names: list[str]) -> None:
    text, environment = without_secrets(url, has_variables=True)
    assert (text, list(environment)) == (shown, names)


def test_text_that_looks_like_a_variable_stays_text() -> None:
    for url in ("rtsp://me:p${x}@h/${y}", "${clip}.mp4"):
        text, environment = without_secrets(url)
        assert read_document(f'source: "{text}"', environment).values == {"source": url}


def test_a_good_camera_does_not_bite() -> None:
    assert list(warnings_of(GOOD, 5, 1)) == []


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"key_frame_s": 10.0}, "key frames up to 10.0 s apart"),
        ({"key_frame_s": None}, "no two key frames within 5 s"),
        ({"has_b_frames": True}, "switch them off in the camera"),
        ({"first_frame_s": 4.0}, "the first picture took 4.0 s"),
        ({"fps_measured": 6.0}, "declares 10 pictures/s and sends 6.0"),
        ({"width": 641}, "odd size 641x360"),
        (
            {"format": "pal8", "ring_format": "bgr24"},
            "cannot hold pal8: each picture is converted to bgr24, without",
        ),
        (
            {"format": "bayer_rggb8", "ring_format": "bgr24", "lost": "its raw mosaic"},
            "bgr24, and loses its raw mosaic",
        ),
        ({"format": "yuv420p10le", "ring_format": "yuv420p10le"}, "`format: yuv420p` halves the memory"),
        ({"is_interlaced": True}, "set the camera to progressive"),
        ({"cpu_ms": 60.0}, "takes 61 % of one core"),
        ({"corrupt": 3}, "see to the network"),
        ({"corrupt": 3, "transport": "udp"}, "`transport: tcp` loses no packets"),
    ],
)
def test_what_bites_is_said_alone(facts: dict[str, Any], words: str) -> None:
    (bite,) = warnings_of(replace(GOOD, **facts), 5, 1)
    assert words in bite


def test_a_ring_without_room_bites_with_the_bytes_it_needs() -> None:
    (bite,) = warnings_of(GOOD, 5, 1 << 50)
    assert f"needs {1 << 30} MiB" in bite and "high_water_mark" in bite


def test_what_hurts_a_camera_alone_is_not_said_of_a_file() -> None:
    clip = replace(GOOD, is_live=False, transport="", has_b_frames=True, first_frame_s=9.0, key_frame_s=None)
    assert list(warnings_of(clip, 5, 1)) == []
