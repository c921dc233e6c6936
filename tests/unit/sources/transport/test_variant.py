"""Which of several video streams is read."""

from __future__ import annotations

import pytest

from detektr.sources.transport.variant import Variant, choose_variant, variants_of

LOW, MIDDLE, HIGH, RICH = (
    Variant(160, 120, 200_000),
    Variant(320, 240, 600_000),
    Variant(640, 480, 1_500_000),
    Variant(640, 480, 2_500_000),
)
MASTER = """#EXTM3U
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="x",URI="sound.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=64000,CODECS="mp4a.40.2"
sound.m3u8
#EXT-X-STREAM-INF:AVERAGE-BANDWIDTH=1,BANDWIDTH=1280000,RESOLUTION=640x480,CODECS="avc1.4d401e,mp4a.40.2"

high/index.m3u8?token=a,b
#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=86000,URI="keys.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=300000
http://elsewhere/low.m3u8
"""


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        ("best", RICH),
        ("480p", RICH),
        ("479p", MIDDLE),
        ("10p", LOW),
        ("9999p", RICH),
        ("2000k", HIGH),
        ("100k", LOW),
        ("#2", HIGH),
    ],
)
def test_the_one_asked_for_or_the_next_below_is_read(asked: str, chosen: Variant) -> None:
    variants = [MIDDLE, LOW, HIGH, RICH]
    assert variants[choose_variant(variants, asked)] == chosen


def test_a_place_that_is_not_there_is_told_with_those_there_are() -> None:
    with pytest.raises(LookupError, match=r"no video stream #2; it has #0 160x120 200k, #1 640x480$"):
        choose_variant([LOW, Variant(640, 480, 0)], "#2")


def test_master_playlist_lists_its_variants_with_pictures() -> None:
    assert variants_of(MASTER) == [
        Variant(640, 480, 1_280_000, "high/index.m3u8?token=a,b"),
        Variant(0, 0, 300_000, "http://elsewhere/low.m3u8"),
    ]


def test_playlist_of_segments_has_no_variants() -> None:
    assert variants_of("#EXTM3U\n#EXTINF:2.0,\none.ts\n#EXT-X-ENDLIST\n") == []
