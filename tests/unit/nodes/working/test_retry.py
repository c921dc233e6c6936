from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detektr.nodes.working.retry import JITTER, Outage, after_failure, given_up_words
from detektr.options import RetryOptions

SECOND_NS = 1_000_000_000
OPTIONS = RetryOptions(backoff="1s..8s", for_="60s")


def fail(
    outage: Outage | None,
    now_s: float,
    *,
    sequence: int = 0,
    captured_s: float = 0,
    chance: float = 0.5,
    what: str = "x",
) -> tuple[Outage, bool]:
    return after_failure(
        outage, OPTIONS, key=1, sequence=sequence, captured_ns=round(captured_s * SECOND_NS), what=what,
        now_ns=round(now_s * SECOND_NS), chance=chance,
    )  # fmt: skip


def test_pauses_double_up_to_the_longest() -> None:
    outage, now_ns, pauses = None, 100 * SECOND_NS, []
    for _ in range(6):
        outage, is_over = fail(outage, now_ns / SECOND_NS)
        assert not is_over
        pauses.append((outage.due_ns - now_ns) / SECOND_NS)
        now_ns = outage.due_ns
    assert pauses == [1, 2, 4, 8, 8, 8]


def test_an_event_is_given_up_when_it_has_waited_since_the_outage_began_and_tried_just_then() -> None:
    outage, is_over = fail(None, 100, captured_s=99, what="refused")
    for now_s in (101, 103, 107, 115, 155):
        outage, is_over = fail(outage, now_s, what="no route")
        assert not is_over
    assert outage.due_ns == 160 * SECOND_NS, "not 163"
    outage, is_over = fail(outage, 160, what="no route")
    assert is_over and (outage.tries, outage.first, outage.last) == (7, "refused", "no route")
    words = given_up_words(outage, OPTIONS, "Traceback\n  ...\n").splitlines()
    assert words[0] == "first failure: refused"
    assert words[-1] == "no route; given up after 7 tries, as it had waited for 60s (`for` of `retry`)"


def test_an_event_that_came_during_the_outage_has_its_own_time_and_its_own_first_failure() -> None:
    outage, _ = fail(None, 100, what="refused")
    outage, is_over = fail(outage, 160, sequence=1, captured_s=130, what="no route")
    assert not is_over and (outage.tries, outage.first, outage.failures) == (1, "no route", 2)
    assert outage.due_ns == 162 * SECOND_NS, "the pause goes on growing"
    assert fail(outage, 189, sequence=1, captured_s=130)[1] is False
    assert fail(outage, 190, sequence=1, captured_s=130)[1] is True


def test_an_old_event_before_a_sink_that_was_well_is_not_given_up_at_its_first_failure() -> None:
    assert fail(None, 1000, captured_s=1)[1] is False


def test_pauses_are_short_while_the_run_ends() -> None:
    outage, _ = fail(None, 100)
    for now_s in (101, 103, 107):
        outage, _ = fail(outage, now_s)
    hasty, _ = after_failure(
        outage, OPTIONS, key=1, sequence=0, captured_ns=0, what="x", now_ns=110 * SECOND_NS, chance=0.5, is_hasty=True
    )
    assert hasty.due_ns == 111 * SECOND_NS


@given(
    failures=st.lists(
        st.tuples(st.integers(0, 30 * SECOND_NS), st.booleans(), st.floats(0, 1)), min_size=1, max_size=200
    )
)
def test_no_event_is_given_up_early_or_waits_beyond_its_time(failures: list[tuple[int, bool, float]]) -> None:
    """A pause is in its range, and an event is given up when its time is over, not before."""
    first_ns, longest_ns = OPTIONS.backoff_ns
    outage: Outage | None = None
    now_ns, sequence, captured_ns, begun_ns = SECOND_NS, 0, SECOND_NS, 0
    for late_ns, is_next, chance in failures:
        now_ns = max(now_ns, 0 if outage is None else outage.due_ns) + late_ns
        if is_next and outage is not None:
            sequence, captured_ns = sequence + 1, now_ns - late_ns
        begun_ns = begun_ns or now_ns
        outage, is_over = after_failure(
            outage, OPTIONS, key=1, sequence=sequence, captured_ns=captured_ns, what="x", now_ns=now_ns, chance=chance
        )
        over_ns = max(begun_ns, captured_ns) + OPTIONS.for_ns
        assert is_over is (now_ns >= over_ns)
        assert outage.since_ns == begun_ns
        if is_over:
            sequence, captured_ns = sequence + 1, now_ns
            continue
        assert outage.due_ns <= over_ns, "it would wait beyond its time"
        pause_ns = outage.due_ns - now_ns
        assert pause_ns <= longest_ns
        assert pause_ns >= round(first_ns * (1 - JITTER)) or outage.due_ns == over_ns


@pytest.mark.parametrize(
    ("values", "name"), [({"for_": "0s"}, "for_"), ({"backoff": "9s..1s"}, "backoff"), ({"backoff": "1s"}, "backoff")]
)
def test_options_that_cannot_be_are_refused(values: dict[str, str], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        RetryOptions(**values)
