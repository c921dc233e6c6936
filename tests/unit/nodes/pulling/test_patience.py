from __future__ import annotations

from detektr.nodes.pulling.patience import NO_PULLER_NS, OUT_NS, Patience


def test_frames_that_wait_for_ten_seconds_have_nobody_who_pulls_until_somebody_asks() -> None:
    patience = Patience()
    patience.look(5, waits=False, is_any_out=False, is_ending=False)
    patience.look(100, waits=True, is_any_out=False, is_ending=False)
    patience.look(200, waits=True, is_any_out=False, is_ending=False)
    assert patience.lonely_since_ns(100 + NO_PULLER_NS) is None
    assert patience.lonely_since_ns(101 + NO_PULLER_NS) == 100
    assert patience.note_call(102 + NO_PULLER_NS)
    assert patience.lonely_since_ns(103 + NO_PULLER_NS) is None
    assert not patience.note_call(104 + NO_PULLER_NS), "nothing waits, as far as was seen"
    patience.look(105 + NO_PULLER_NS, waits=True, is_any_out=False, is_ending=False)
    assert patience.lonely_since_ns(200 + 2 * NO_PULLER_NS) == 105 + NO_PULLER_NS


def test_where_nothing_waits_nobody_is_missed() -> None:
    patience = Patience()
    patience.look(1, waits=True, is_any_out=False, is_ending=False)
    patience.look(2, waits=False, is_any_out=False, is_ending=False)
    assert patience.lonely_since_ns(10 * NO_PULLER_NS) is None


def test_a_client_with_an_hours_lease_that_never_comes_back_is_missed_after_the_time_of_a_usual_one() -> None:
    patience = Patience()
    patience.note_call(100)
    patience.look(200, waits=True, is_any_out=True, is_ending=False)
    assert patience.lonely_since_ns(200 + OUT_NS) is None, "it may be at work for as long as a usual lease"
    assert patience.lonely_since_ns(201 + OUT_NS) == 200
    assert patience.note_call(202 + OUT_NS), "that it asks for a longer lease is enough"
    patience.look(300 + OUT_NS, waits=True, is_any_out=True, is_ending=False)
    assert patience.lonely_since_ns(400 + OUT_NS) is None


def test_nobody_is_missed_for_frames_that_are_out_while_none_waits() -> None:
    patience = Patience()
    patience.note_call(100)
    patience.look(200, waits=False, is_any_out=True, is_ending=False)
    assert patience.lonely_since_ns(100 * OUT_NS) is None


def test_when_what_was_out_has_come_back_silence_counts_from_the_last_call_on() -> None:
    patience = Patience()
    patience.note_call(100)
    patience.look(200, waits=True, is_any_out=True, is_ending=False)
    patience.look(300 + NO_PULLER_NS, waits=True, is_any_out=False, is_ending=False)
    assert patience.lonely_since_ns(300 + NO_PULLER_NS) == 200


def test_the_end_of_a_run_waits_for_a_client_for_the_time_of_a_drain_from_its_last_call_on() -> None:
    patience = Patience()
    patience.look(100, waits=True, is_any_out=False, is_ending=False)
    assert not patience.is_left_alone(10_000, 50)
    patience.look(10_000, waits=True, is_any_out=False, is_ending=True)
    assert not patience.is_left_alone(10_050, 50) and patience.is_left_alone(10_051, 50)
    patience.note_call(10_060)
    patience.look(10_070, waits=True, is_any_out=False, is_ending=True)
    assert not patience.is_left_alone(10_110, 50) and patience.is_left_alone(10_111, 50)
    patience.look(10_200, waits=True, is_any_out=False, is_ending=False)  # a capture was started again
    assert not patience.is_left_alone(20_000, 50)
