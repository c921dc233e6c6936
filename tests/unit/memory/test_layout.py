from __future__ import annotations

import re

from detektr.memory import layout


def test_no_two_words_of_a_header_share_a_place() -> None:
    for prefix, end in (
        ("RING_WORD_", layout.RING_FACTS_BYTE // 8),
        ("EDGE_WORD_", 10**6),
        ("STATUS_WORD_", 10**6),
        ("COMPLETION_WORD_", 10**6),
    ):
        places = {name: place for name, place in vars(layout).items() if name.startswith(prefix)}
        assert len(set(places.values())) == len(places), prefix
        assert max(places.values()) < end


def test_no_two_fields_of_a_cell_share_a_place() -> None:
    states = {"CELL_FREE", "CELL_QUEUED", "CELL_LEASED", "CELL_SETTLED"}
    fields = [place for name, place in vars(layout).items() if re.match("CELL_", name) and name not in states]
    assert sorted(fields) == list(range(layout.CELL_PAYLOAD + 1))


def test_a_region_begins_where_the_one_before_has_ended() -> None:
    assert layout.EDGE_WORD_REDO + 2 * layout.EDGE_REDO_PAIRS_MAX <= layout.EDGE_WORD_OFFERED
    assert layout.EDGE_WORD_DROPPED + 16 <= layout.EDGE_WORD_SEEN
    assert layout.REPLICA_NAME * 8 + layout.REPLICA_NAME_BYTES <= layout.REPLICA_WORDS * 8
    assert layout.STATUS_WORD_AGES + layout.STATUS_AGES <= layout.STATUS_WORD_WHY
    assert layout.STATUS_WORD_WHY + layout.STATUS_WHY_BYTES_MAX // 8 <= layout.STATUS_WORD_MODE


def test_sizes_are_whole_pages_and_hold_what_they_must() -> None:
    assert (layout.whole_pages(0), layout.whole_pages(1), layout.whole_pages(4096)) == (0, 4096, 4096)
    assert layout.cell_words(9) == layout.CELL_PAYLOAD + 2
    assert layout.journal_bytes(3, 9) >= 8 * (layout.EDGE_WORD_FIRST_CELL + 3 * layout.cell_words(9))
    assert layout.ring_bytes(5, 4097) == layout.first_slot_byte(5) + 5 * 8192


def test_magic_words_read_as_text() -> None:
    magics = (layout.RING_MAGIC, layout.EDGE_MAGIC, layout.STATUS_MAGIC)
    assert [magic.to_bytes(8, "little") for magic in magics] == [b"dtk.ring", b"dtk.edge", b"dtk.stat"]
