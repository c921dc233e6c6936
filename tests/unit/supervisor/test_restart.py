from __future__ import annotations

import pytest

from detektr.options import RestartOptions
from detektr.supervisor.restart import RestartPolicy, describe_exit

S = 1_000_000_000


def pauses(policy: RestartPolicy, lives: int, *, chance: float = 0.5) -> list[float | None]:
    """Let a process fail at once, again and again; return the pauses in seconds, None where it was given up."""
    now_ns, found = 0, list[float | None]()
    for _ in range(lives):
        verdict = policy.judge("failure", None, now_ns, chance)
        found.append(None if verdict.restart_at_ns is None else (verdict.restart_at_ns - now_ns) / S)
        now_ns = verdict.restart_at_ns or now_ns
    return found


def test_failures_in_a_row_pauses_double_up_to_the_longest() -> None:
    policy = RestartPolicy(RestartOptions(backoff="1s..6s", limit="9 in 10m"))
    assert pauses(policy, 5) == [1, 2, 4, 6, 6]


def test_chance_spreads_the_pause_and_never_beyond_the_longest() -> None:
    shortest = pauses(RestartPolicy(RestartOptions(backoff="2s..2s", limit="9 in 10m")), 1, chance=0.0)
    longest = pauses(RestartPolicy(RestartOptions(backoff="2s..2s", limit="9 in 10m")), 1, chance=1.0)
    assert (shortest, longest) == ([1.5], [2.0])


def test_one_failure_more_than_the_limit_is_given_up_in_words() -> None:
    policy = RestartPolicy(RestartOptions(backoff="1s..1s", limit="2 in 10m"))
    assert pauses(policy, 3) == [1, 1, None]
    assert "2 in 10m" in policy.judge("failure", None, 3 * S, 0.5).why


def test_failures_older_than_the_window_do_not_count() -> None:
    policy = RestartPolicy(RestartOptions(backoff="1s..1s", limit="1 in 10s"))
    for minute in range(5):
        assert policy.judge("failure", None, minute * 60 * S, 0.5).restart_at_ns is not None


def test_after_a_good_life_the_pauses_begin_anew() -> None:
    policy = RestartPolicy(RestartOptions(backoff="1s..8s", limit="9 in 10m"))
    pauses(policy, 3)
    now_ns = 100 * S
    verdict = policy.judge("failure", now_ns - 8 * S, now_ns, 0.5)
    assert verdict.restart_at_ns == now_ns + S


def test_never_gives_up_at_the_first_end_of_any_kind() -> None:
    policy = RestartPolicy(RestartOptions(when="never"))
    assert policy.judge("clean", 0, 100 * S, 0.5).restart_at_ns is None
    assert policy.judge("failure", 0, 100 * S, 0.5).restart_at_ns is None


@pytest.mark.parametrize("when", ["on-failure", "always"])
def test_clean_end_after_a_good_life_is_replaced_at_once_and_not_counted(when: str) -> None:
    policy = RestartPolicy(RestartOptions(when=when, backoff="1s..5s", limit="1 in 10m"))  # type: ignore[arg-type]
    for life in range(1, 6):
        now_ns = life * 10 * S
        assert policy.judge("clean", now_ns - 9 * S, now_ns, 0.5).restart_at_ns == now_ns


def test_clean_ends_in_a_loop_are_given_up_like_failures() -> None:
    policy = RestartPolicy(RestartOptions(backoff="1s..60s", limit="2 in 10m"))
    verdicts = [policy.judge("clean", now_ns, now_ns + 1, 0.5) for now_ns in range(3)]
    assert [verdict.restart_at_ns is None for verdict in verdicts] == [False, False, True]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "exited with 0"),
        (1, "exited with 1"),
        (-9, "killed by signal 9 (out of memory?)"),
        (-11, "killed by signal 11 (segmentation fault)"),
        (-40, "killed by signal 40"),
    ],
)
def test_exit_status_is_said_in_words(status: int, words: str) -> None:
    assert describe_exit(status) == words
