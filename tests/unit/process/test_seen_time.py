from __future__ import annotations

from detektr.process.seen_time import COUNTED_NS, GAPS_KEPT, LATE_NS, SeenClock

SECOND_NS = 1_000_000_000


def test_time_passes_as_it_does_for_who_looks_when_it_meant_to() -> None:
    clock = SeenClock(0)
    for second in range(1, 100):
        clock.expect((second - 1) * SECOND_NS, second * SECOND_NS)
        assert clock.look(second * SECOND_NS + LATE_NS) == 0
        assert clock.seen_ns(second * SECOND_NS) == second * SECOND_NS


def test_of_a_span_in_which_nobody_looked_next_to_nothing_counts() -> None:
    clock = SeenClock(0)
    clock.expect(0, 1 * SECOND_NS)
    assert clock.look(21 * SECOND_NS) == 21 * SECOND_NS - COUNTED_NS
    assert clock.seen_ns(21 * SECOND_NS) == COUNTED_NS
    # Work that another process began just before all stood still has taken what was seen of it, wherever in the span.
    for begun_ns in (SECOND_NS // 2, 1 * SECOND_NS, 20 * SECOND_NS):
        assert 0 <= clock.seen_ns(21 * SECOND_NS) - clock.seen_ns(begun_ns) <= COUNTED_NS
    assert clock.seen_ns(31 * SECOND_NS) - clock.seen_ns(21 * SECOND_NS) == 10 * SECOND_NS


def test_gaps_beyond_those_that_are_kept_still_count_as_unseen() -> None:
    clock, now_ns, unseen_ns = SeenClock(0), 0, 0
    for _ in range(3 * GAPS_KEPT):
        now_ns += 10 * SECOND_NS
        unseen_ns += clock.look(now_ns)
    assert clock.seen_ns(now_ns) == now_ns - unseen_ns == 3 * GAPS_KEPT * COUNTED_NS
