"""What was seen in a file: bounded by time and bytes, readable while it is written, begun anew where it is broken."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from detektr.web.live.stills import Still
from detektr.web.seen.sightings import Sighting
from detektr.web.seen.store import SeenReader, SeenStore

NOW_MS = 1_790_000_000_000
HOUR_MS = 3_600_000
MIB = 1 << 20


def sighting(at_ms: int, camera: str = "door", node: str = "eye", words: str = "person") -> Sighting:
    return Sighting(
        camera, node, words, NOW_MS + at_ms, NOW_MS + at_ms + 500, f"f{camera}{at_ms}", b'{"data":{"n":1}}', True
    )


def still(nbytes: int = 1000, shade: int = 7) -> Still:
    return Still(bytes([shade]) * nbytes, 640, 480)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "seen.db"


@pytest.fixture
def store(path: Path) -> Iterator[SeenStore]:
    made = SeenStore(path, 3600, 16 * MIB)
    yield made
    made.close()


def words(path: Path, at_ms: int = 0, most: int = 60, **chosen: str) -> list[str]:
    with SeenReader(path) as reader:
        return [one["words"] for one in reader.before(NOW_MS + at_ms, most, **chosen)]


def test_what_began_until_a_time_is_found_the_latest_first(store: SeenStore, path: Path) -> None:
    many = [sighting(at_ms * 1000, "yard" if at_ms % 2 else "door", words=f"w{at_ms}") for at_ms in range(6)]
    store.write([*many, sighting(2500, node="ear", words="heard")], {}, NOW_MS)
    assert words(path, 3000) == ["w3", "heard", "w2", "w1", "w0"]
    assert words(path, 9000, camera="yard") == ["w5", "w3", "w1"]
    assert words(path, 9000, node="ear") == ["heard"]
    assert words(path, 9000, frame="fdoor2500") == ["heard"]
    assert words(path, 9000, most=2) == ["w5", "w4"]
    assert words(path, -1) == []
    with SeenReader(path) as reader:
        assert reader.cameras() == ["door", "yard"] and reader.since_ms() == NOW_MS
        first = reader.before(NOW_MS, 1)[0]
    assert first["data"] == {"n": 1} and first["still"] is False and first["until_ms"] == NOW_MS + 500


def test_one_that_goes_on_stays_one(store: SeenStore, path: Path) -> None:
    one = sighting(0)
    (one.number,) = store.write([one], {}, NOW_MS)
    one.until_ms += 7000
    assert store.write([one, sighting(9000)], {}, NOW_MS)[0] == one.number
    with SeenReader(path) as reader:
        assert [row["until_ms"] - NOW_MS for row in reader.before(NOW_MS + 8000, 9)] == [7500]


def test_pictures_belong_to_sightings_and_go_with_them(store: SeenStore, path: Path) -> None:
    old, new = sighting(-3 * HOUR_MS), sighting(0)
    store.write([old, new], {old.frame: still(), new.frame: still(shade=9), "unknown": still()}, NOW_MS - 3 * HOUR_MS)
    with SeenReader(path) as reader:
        assert reader.still(old.frame) == still() and reader.still("unknown") is None
        assert reader.before(NOW_MS, 1)[0]["still"] is True
    store.write([], {}, NOW_MS)
    with SeenReader(path) as reader:
        assert reader.still(old.frame) is None and reader.still(new.frame) == still(shade=9)
        assert reader.since_ms() == new.at_ms


def test_a_picture_of_two_sightings_stays_for_the_younger(store: SeenStore, path: Path) -> None:
    old, new = sighting(-3 * HOUR_MS), sighting(0)
    new.frame = old.frame
    store.write([old, new], {old.frame: still()}, NOW_MS)
    store.write([], {}, NOW_MS)
    with SeenReader(path) as reader:
        assert reader.still(new.frame) == still() and len(reader.before(NOW_MS, 9)) == 1


def test_the_file_stays_within_its_bytes_and_keeps_the_newest(path: Path) -> None:
    store = SeenStore(path, 1_000_000, 4 * MIB)
    for turn in range(400):
        one = sighting(turn)
        store.write([one], {one.frame: still(40_000)}, NOW_MS)
    store.close()
    assert path.stat().st_size < 5 * MIB, "pages that are free are used again"
    with SeenReader(path) as reader:
        kept = reader.before(NOW_MS + HOUR_MS, 1000)
        assert 20 < len(kept) < 110 and kept[0]["at_ms"] == NOW_MS + 399
        assert all(reader.still(one["frame"]) for one in kept)
        assert [one["at_ms"] for one in kept] == [NOW_MS + 399 - back for back in range(len(kept))]


def test_what_is_older_than_it_is_kept_goes_however_much_it_is(store: SeenStore, path: Path) -> None:
    store.write([sighting(at_ms) for at_ms in range(1000)], {}, NOW_MS)
    store.write([sighting(2 * HOUR_MS)], {}, NOW_MS + 2 * HOUR_MS)
    assert len(words(path, 3 * HOUR_MS, most=5000)) == 1


@pytest.mark.parametrize("content", [b"no database" * 500, None])
def test_a_file_that_is_broken_or_of_another_version_is_put_aside(path: Path, content: bytes | None) -> None:
    if content is not None:
        path.write_bytes(content)
    else:
        other = sqlite3.connect(path)
        other.executescript("CREATE TABLE sightings (x); PRAGMA user_version=99;")
        other.close()
    store = SeenStore(path, 3600, 16 * MIB)
    store.write([sighting(0)], {}, NOW_MS)
    store.close()
    assert words(path) == ["person"]
    assert len(list(path.parent.glob("seen.broken-*"))) == 1
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_change_that_fails_is_no_change(store: SeenStore, path: Path) -> None:
    store.write([sighting(0)], {}, NOW_MS)
    bad = sighting(5)
    object.__setattr__(bad, "words", None)  # as no caller does
    with pytest.raises(sqlite3.Error):
        store.write([sighting(4), bad], {}, NOW_MS)
    store.write([sighting(6, words="after")], {}, NOW_MS)
    assert words(path, 100) == ["after", "person"]
