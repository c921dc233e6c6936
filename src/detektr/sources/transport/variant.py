"""Which of several video streams is read: those of one source, or the variants that an HLS master playlist lists."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"]*"|[^,]*)')
_INFO = "#EXT-X-STREAM-INF:"
_AUDIO_CODECS = ("mp4a", "ac-3", "ec-3", "opus", "flac", "alac")


class Variant(NamedTuple):
    """One of them; 0 where something is not known."""

    width: int
    height: int
    bits_per_s: int
    uri: str = ""


def choose_variant(variants: Sequence[Variant], asked: str) -> int:
    """Return the place of the one that is asked for.

    Args:
        variants: those there are, at least one.
        asked: `best` (most pixels, then most bits), `720p` (that height, or else the next below), `1500k` (at most so
            many kbit/s), or `#1` (by its place, from 0). Where all are above, it is the lowest.
    Raises:
        LookupError: there is no such place; says which there are.
    """
    places = range(len(variants))
    if asked.startswith("#"):
        if int(asked[1:]) not in places:
            raise LookupError(f"there is no video stream {asked}; it has {_listed(variants)}")
        return int(asked[1:])
    if asked == "best":
        return max(places, key=lambda place: (_pixels(variants[place]), variants[place].bits_per_s, -place))

    def measure(place: int) -> int:
        return variants[place].height if asked.endswith("p") else variants[place].bits_per_s

    limit = int(asked[:-1]) * (1 if asked.endswith("p") else 1000)
    fitting = [place for place in places if measure(place) <= limit]
    if not fitting:
        return min(places, key=lambda place: (measure(place), _pixels(variants[place])))
    return max(fitting, key=lambda place: (measure(place), variants[place].bits_per_s, _pixels(variants[place])))


def variants_of(playlist: str) -> list[Variant]:
    """Return the variants with pictures that a playlist lists; empty: it is none of the kind that lists any."""
    variants: list[Variant] = []
    attributes: dict[str, str] | None = None
    for line in map(str.strip, playlist.splitlines()):
        if line.startswith(_INFO):
            attributes = {name: value.strip('"') for name, value in _ATTRIBUTE.findall(line[len(_INFO) :])}
        elif line and not line.startswith("#") and attributes is not None:
            if not _is_audio(attributes):
                width, _, height = attributes.get("RESOLUTION", "0x0").partition("x")
                variants.append(Variant(_number(width), _number(height), _number(attributes.get("BANDWIDTH")), line))
            attributes = None
    return variants


def _is_audio(attributes: dict[str, str]) -> bool:
    codecs = [codec.strip().lower() for codec in attributes.get("CODECS", "").split(",") if codec.strip()]
    return bool(codecs) and "RESOLUTION" not in attributes and all(one.startswith(_AUDIO_CODECS) for one in codecs)


def _pixels(variant: Variant) -> int:
    return variant.width * variant.height


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else 0


def _listed(variants: Sequence[Variant]) -> str:
    shown = []
    for place, variant in enumerate(variants):
        rate = f" {variant.bits_per_s // 1000}k" if variant.bits_per_s else ""
        shown.append(f"#{place} {variant.width}x{variant.height}{rate}")
    return ", ".join(shown)
