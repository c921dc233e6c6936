"""Since when frames are lost, for histories made by hand: where they are looked at does not move the beginning."""

from __future__ import annotations

from collections.abc import Iterable

from detektr.observe.why.episodes import GAP_S, Episodes
from detektr.observe.why.terms import EdgeTerms, NodeTerms, Terms
from detektr.telemetry.history.rows import EdgeRow
from detektr.telemetry.history.window import Window

EDGE = ("cam", "detect")
TERMS = Terms(
    "shop", {"cam": NodeTerms("capture"), "detect": NodeTerms("processor")}, {EDGE: EdgeTerms("drop-oldest", 4)}
)
LOOK_S = 60


class History:
    """One edge that loses a frame, or gives one up, in each of these seconds, and what was read of it."""

    def __init__(self, lost: Iterable[int], dead: Iterable[int] = ()) -> None:
        self.lost, self.dead = set(lost), set(dead)
        self.reads: list[tuple[int, int]] = []

    def read(self, begin_s: int, end_s: int) -> Window:
        self.reads.append((begin_s, end_s))
        return self.window(begin_s, end_s)

    def window(self, begin_s: int, end_s: int) -> Window:
        step_s = next(step for step in (1, 10, 60, 600) if end_s - begin_s <= 900 * step)
        made = Window(begin_s, end_s, step_s)
        for utc_s in range(begin_s, end_s + 1, step_s):
            lost, dead = (sum(one <= utc_s for one in times) for times in (self.lost, self.dead))
            made.edges.setdefault(EDGE, []).append(
                (utc_s, EdgeRow(10 * utc_s, 10 * utc_s - lost - dead, dead, dropped={"queue_full": lost}))
            )
        return made


def look(history: History, at_s: int, episodes: Episodes | None = None, run: str = "one") -> int | None:
    now = history.window(at_s - LOOK_S, at_s)
    return (episodes or Episodes()).begun(run, ["detect"], now, TERMS, history.read).get("detect")


def test_a_loss_that_goes_on_began_when_it_began_whenever_one_looks() -> None:
    history = History(range(5_000, 9_000))
    assert [look(history, at_s) for at_s in (5_030, 5_200, 5_800)] == [5_000] * 3
    begun_s = look(history, 8_900)  # in rows of ten seconds, as it is an hour ago
    assert begun_s is not None and 5_000 <= begun_s <= 5_010
    assert len(history.reads) == 3 + 2


def test_a_loss_after_a_minute_without_one_is_new() -> None:
    history = History([*range(5_000, 5_100), *range(5_100 + GAP_S + 1, 5_400)])
    assert look(history, 5_300) == 5_100 + GAP_S + 1
    assert look(History([5_000, 5_000 + GAP_S - 1, 5_000 + 2 * GAP_S - 2]), 5_000 + 2 * GAP_S) == 5_000


def test_frames_that_are_given_up_count_as_those_that_are_lost() -> None:
    assert look(History([], range(5_000, 5_300, 20)), 5_290) == 5_000


def test_a_node_without_trouble_is_left_out() -> None:
    assert look(History(range(1_000, 1_100)), 5_000) is None


def test_who_looks_each_second_reads_no_history_again() -> None:
    history, episodes = History(range(5_000, 5_400)), Episodes()
    assert {look(history, at_s, episodes) for at_s in range(5_200, 5_300)} == {5_000}
    assert len(history.reads) == 1
    assert look(history, 5_300, episodes, run="another") == 5_000
    assert len(history.reads) == 2


def test_where_no_history_is_the_window_says_it() -> None:
    history = History(range(5_000, 5_400))
    now = history.window(5_200, 5_260)
    assert Episodes().begun("one", ["detect"], now, TERMS, lambda begin_s, end_s: None) == {"detect": 5_201}
