"""Who is to blame, and in which words, for windows made by hand: each has one thing wrong with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from detektr.observe.why.finding import Finding
from detektr.observe.why.findings import find
from detektr.observe.why.terms import EdgeTerms, NodeTerms, Terms
from detektr.telemetry.history.rows import EdgeRow, NodeRow, Sample
from detektr.telemetry.history.window import Window

BEGUN_S = 1_000
SECONDS = 60
CAM, BUF, OUT = ("cam", "buf"), ("buf", "detect"), ("detect", "hook")
TERMS = Terms(
    "shop",
    {
        "cam": NodeTerms("capture", camera="door"),
        "buf": NodeTerms("buffer"),
        "detect": NodeTerms("processor", timeout_ms=30_000),
        "hook": NodeTerms("sink", timeout_ms=30_000),
    },
    {CAM: EdgeTerms("drop-oldest", 16), BUF: EdgeTerms("drop-oldest", 16), OUT: EdgeTerms("block", 8)},
)
At = Callable[[int], Any]


def edge(offered: int = 0, lost: int = 0, reason: str = "queue_full", dead: int = 0, **row: Any) -> EdgeRow:
    """A row that adds up."""
    rest = lost + dead + row.get("queued", 0) + row.get("in_flight", 0)
    dropped = {reason: lost} if lost else {}
    return EdgeRow(max(offered, rest), max(offered, rest) - rest, dead, dropped=dropped, **row)


def window(
    edges: Mapping[tuple[str, str], At], nodes: Mapping[str, At], whys: Mapping[str, str] | None = None
) -> Window:
    """A minute, from functions of the second; what is not given is healthy."""
    made = Window(BEGUN_S, BEGUN_S, 1)
    for second in range(SECONDS + 1):
        rows = {one: edge(24 * second) for one in TERMS.edges} | {one: at(second) for one, at in edges.items()}
        states = {name: NodeRow(24 * second, state="running", silent_ms=40) for name in TERMS.nodes}
        states |= {name: at(second) for name, at in nodes.items()}
        why = {
            name: text
            for name, text in (whys or {}).items()
            if states[name].state != "running" or states[name].failures
        }
        made.add(Sample(BEGUN_S + second, rows, states, why))
    return made


def first(*made: Any, terms: Terms = TERMS) -> Finding:
    found = find(window(*made), terms)
    assert found, "nothing was found"
    return found[0]


def worked(each_ms: int, most: int) -> At:
    """A node that works on as many frames as it can, at most so many a second."""
    return lambda second: NodeRow(worked=most * second, busy_ms=min(1000, each_ms * most) * second, silent_ms=40)


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert find(window({}, {"detect": worked(20, 24), "hook": worked(5, 24)}), TERMS) == []


def test_a_slow_processor_is_told_with_its_time_and_both_rates() -> None:
    found = first({BUF: lambda s: edge(24 * s, 16 * s, queued=0)}, {"detect": worked(125, 8)})
    assert (found.code, found.culprit, found.lost, found.since_s) == ("losing", "detect", 16 * SECONDS, BEGUN_S + 1)
    assert found.text.startswith("detect takes 125 ms a frame (8/s), and gets 24/s: 960 of 1440 frames")
    assert "fps: 7" in found.next and "replicas" in found.next


def test_a_slow_sink_is_blamed_for_what_is_lost_two_edges_before_it() -> None:
    full = lambda s: edge(s, queued=8, full_s=1)  # noqa: E731
    found = first(
        {BUF: lambda s: edge(24 * s, 20 * s), OUT: full},
        {
            "detect": worked(20, 4),
            "hook": lambda s: NodeRow(worked=s // 5, busy_ms=1000 * s, working_ms=1000 * (s % 5)),
        },
    )
    assert (found.code, found.culprit) == ("losing", "hook")
    assert found.text.startswith(
        "hook takes 5 s an event and holds up detect: 1200 of 1440 frames were lost on buf -> detect"
    )
    assert "when_full: drop-oldest" in found.next and "from detect" in found.next and "retry" in found.next
    assert found.victim == "detect, buf -> detect"


def test_a_sink_that_hangs_is_blamed_for_what_is_lost_before_it() -> None:
    found = first(
        {BUF: lambda s: edge(24 * s, max(0, 24 * (s - 5))), OUT: lambda s: edge(8, queued=4, full_s=1)},
        {
            "hook": lambda s: NodeRow(
                worked=3, busy_ms=20, working_ms=1000 * s, state="hanging" if s > 30 else "running"
            )
        },
        {"hook": "hangs since 14:03:00 on one frame (timeout 30s), at hook.py:7 in write"},
    )
    assert (found.code, found.culprit, found.since_s) == ("hung", "hook", BEGUN_S), "since its work began"
    assert found.text.startswith("hook hangs on one frame (timeout 30s), ")
    assert "at hook.py:7 in write and holds up detect: " in found.text and "buf -> detect" in found.text


def test_a_hang_is_told_before_a_timeout_is_over_where_it_costs_something() -> None:
    found = first(
        {BUF: lambda s: edge(24 * s, 24 * s), OUT: lambda s: edge(8, queued=8, full_s=1)},
        {"hook": lambda s: NodeRow(worked=3, busy_ms=20, working_ms=1000 * s)},
    )
    assert (found.culprit, found.code) == ("hook", "hung") and "has worked on one event for 60 s" in found.text


def test_who_loses_frames_for_another_reason_each_second_is_judged_by_that_second() -> None:
    """For 30 s the sink holds all up; then it is quick again, and the processor is too slow by itself."""
    found = find(
        window(
            {
                BUF: lambda s: edge(24 * s, 20 * min(s, 30) + 12 * max(0, s - 30)),
                OUT: lambda s: edge(s, queued=8, full_s=1) if s <= 30 else edge(s),
            },
            {
                "hook": lambda s: NodeRow(worked=min(s, 30) // 5, busy_ms=1000 * min(s, 30)),
                "detect": lambda s: NodeRow(worked=4 * s, busy_ms=80 * min(s, 30) + 1000 * max(0, s - 30)),
            },
        ),
        TERMS,
    )
    assert [(one.culprit, one.lost) for one in found] == [("hook", 600), ("detect", 360)]
    assert found[1].since_s == BEGUN_S + 31


def test_a_suspended_process_is_told_as_such() -> None:
    found = first(
        {BUF: lambda s: edge(24 * s, 20 * s)},
        {"detect": lambda s: NodeRow(state="suspended")},
        {"detect": "process 77 is suspended (SIGSTOP)"},
    )
    assert (found.code, found.culprit) == ("hung", "detect") and "kill -CONT" in found.next
    assert found.text.startswith("detect cannot run: process 77 is suspended (SIGSTOP): 1200 of 1440")


def test_a_dead_camera_is_told_with_since_when_and_why() -> None:
    def camera(second: int) -> NodeRow:
        return NodeRow(
            24 * min(second, 10), silent_ms=1000 * max(0, second - 10), state="running" if second < 14 else "connecting"
        )

    found = first({}, {"cam": camera}, {"cam": "no route to host; next try in 4 s"})
    assert (found.code, found.culprit, found.cameras) == ("camera_down", "cam", ("door",))
    assert found.text == "cam is down (connecting, no frame for 50 s): no route to host; next try in 4 s"
    assert found.since_s == BEGUN_S + 14


def test_a_camera_that_came_back_was_down() -> None:
    def camera(second: int) -> NodeRow:
        return NodeRow(
            silent_ms=1000 * (second - 10) if 10 < second < 30 else 40,
            state="stalled" if 20 < second < 30 else "running",
        )

    found = first({}, {"cam": camera}, {"cam": "no picture for 10s"})
    assert found.text == "cam was down for 19 s (stalled): no picture for 10s" and found.since_s == BEGUN_S + 21


def test_a_camera_that_has_just_begun_to_connect_is_not_down() -> None:
    made = Window(BEGUN_S, BEGUN_S, 1)
    made.add(Sample(BEGUN_S + 1, {}, {"cam": NodeRow(state="connecting")}))
    assert find(made, TERMS) == []


def test_poison_frames_are_told_with_the_fault() -> None:
    found = first(
        {BUF: lambda s: edge(24 * s, dead=s // 10)},
        {"detect": lambda s: NodeRow(24 * s, failures=3 * (s // 10))},
        {"detect": "ValueError: no such track (mine.py:9)"},
    )
    assert (found.code, found.culprit) == ("failing", "detect")
    assert found.text == "detect gave up 6 of 1440 frames: ValueError: no such track (mine.py:9)"
    assert "detektr dead-letters list shop" in found.next


def test_a_sink_that_waits_out_an_outage_says_what_it_waits_for() -> None:
    found = first(
        {BUF: lambda s: edge(24 * s, 20 * s), OUT: lambda s: edge(20, queued=8, full_s=1)},
        {"hook": lambda s: NodeRow(worked=9, state="retrying")},
        {"hook": "since 14:03: OSError: No space left on device; next try in 8 s"},
    )
    assert (found.code, found.culprit) == ("failing", "hook")
    assert "No space left on device" in found.text and "holds up detect" in found.text


def test_a_queue_that_is_too_small_for_bursts_is_blamed_and_not_who_reads_it() -> None:
    found = first({BUF: lambda s: edge(24 * s, 5 * (s // 3))}, {"detect": worked(10, 24)})
    assert (found.code, found.culprit) == ("losing", "buf -> detect")
    assert "too small with 16, though detect is busy for 24% of the time only" in found.text
    assert "high_water_mark" in found.next


def test_how_a_node_died_is_told_when_its_successor_has_begun() -> None:
    def dying(second: int) -> NodeRow:
        state = {20: "restarting", 21: "starting"}.get(second, "running")
        return NodeRow(restarts=int(second >= 21), state=state, failures=int(state == "restarting"))

    made = window({}, {"detect": dying})
    states = [
        replace(one, why="killed by signal 6") if one.state == "restarting" else one for one in made.states["detect"]
    ]
    made.states["detect"] = states
    assert find(made, TERMS)[0].text == "detect died once, and was started again: killed by signal 6"


def test_a_node_that_dies_again_and_again_is_told_with_how() -> None:
    def dying(second: int) -> NodeRow:
        return NodeRow(restarts=second // 20, state="restarting" if second % 20 < 2 and second >= 20 else "running")

    found = first({BUF: lambda s: edge(24 * s, 2 * s)}, {"detect": dying}, {"detect": "killed by SIGSEGV"})
    assert (found.code, found.culprit) == ("failed", "detect")
    assert "died 3 times, and was started again: killed by SIGSEGV" in found.text


def test_what_the_file_asks_for_is_no_loss() -> None:
    lossy = Terms(TERMS.pipeline, TERMS.nodes, {**TERMS.edges, BUF: EdgeTerms("drop-oldest", 1, is_lossy=True)})
    asked = {BUF: lambda s: edge(24 * s, 16 * s, reason="thinned")}
    assert find(window(asked, {}), TERMS) == []
    assert find(window({BUF: lambda s: edge(24 * s, 16 * s)}, {"detect": worked(125, 8)}), lossy) == []
    outside = {("buf", "notebook"): lambda s: edge(24 * s, 20 * s)}
    assert find(window(outside, {}), TERMS) == [], "a consumer outside the file holds up nobody"


def test_frames_that_wait_for_long_are_told_though_none_is_lost() -> None:
    found = first({BUF: lambda s: edge(24 * s, queued=9, oldest_ms=4200)}, {"detect": worked(100, 9)})
    assert (found.code, found.culprit) == ("late", "detect") and "4.2 s old" in found.text


def test_a_ledger_that_does_not_add_up_comes_first() -> None:
    found = first({CAM: lambda s: EdgeRow(24 * s, 24 * s - 2), BUF: lambda s: edge(24 * s, 16 * s)}, {})
    assert found.code == "ledger" and found.text.startswith("2 frames on cam -> buf")


def test_frames_that_nobody_takes_are_told() -> None:
    found = first({BUF: lambda s: edge(16, queued=16, stalled_s=1, unserved_s=1)}, {})
    assert (found.code, found.culprit) == ("stalled", "detect") and "nobody is there to take them" in found.text


def test_a_node_that_has_failed_for_good_is_told_with_its_log() -> None:
    found = first(
        {BUF: lambda s: edge(24 * s, 24 * s, reason="gone")},
        {"detect": lambda s: NodeRow(state="failed")},
        {"detect": "exit code 1; 5 failures in 10m"},
    )
    assert found.code == "failed" and "failed for good: exit code 1" in found.text
    assert "detektr logs shop detect" in found.next


def test_a_node_that_hung_and_was_killed_at_the_end_hung() -> None:
    """Also where it was killed and started again meanwhile, so that it did not hang for long at the end."""
    states = {10: "hanging", 20: "restarting", 21: "running", 50: "draining", 55: "failed"}

    def at(second: int) -> NodeRow:
        begun = max((one for one in states if one <= second), default=0)
        return NodeRow(3, state=states.get(begun, "running"))

    made = window({BUF: lambda s: edge(24 * s, 24 * s)}, {"hook": at}, {"hook": "killed: it did not end when told to"})
    assert find(made, TERMS)[0].code == "hung"


@pytest.mark.parametrize("step_s", [1, 10, 60])
def test_a_burst_is_judged_alike_whatever_the_step_of_the_rows(step_s: int) -> None:
    made = Window(BEGUN_S, BEGUN_S, step_s)
    for second in range(0, 601, step_s):
        edges = {one: edge(30 * second) for one in TERMS.edges} | {BUF: edge(30 * second, 200 if second > 300 else 0)}
        nodes = {name: NodeRow(30 * second, silent_ms=40) for name in TERMS.nodes}
        nodes["detect"] = NodeRow(worked=30 * second, busy_ms=300 * second)
        made.add(Sample(BEGUN_S + second, edges, nodes))
    (found,) = find(made, TERMS)
    assert found.culprit == "buf -> detect" and "busy for 30% of the time only" in found.text


def test_a_capture_whose_consumer_is_away_is_not_called_a_camera_that_is_down() -> None:
    found = first(
        {CAM: lambda s: edge(16, queued=16, stalled_s=1, unserved_s=1)},
        {"cam": lambda s: NodeRow(16, state="stalled", silent_ms=1000 * s)},
    )
    assert (found.code, found.culprit) == ("stalled", "buf")


def test_a_node_that_starts_for_the_first_time_has_not_died() -> None:
    found = find(window({BUF: lambda s: edge(24 * s, 24 * s)}, {"detect": lambda s: NodeRow(state="starting")}), TERMS)
    assert [one.code for one in found] == ["losing"]


def test_counts_that_went_back_are_no_losses() -> None:
    back = {BUF: lambda s: edge(24 * s if s < 30 else s, 10 if s < 30 else 0)}
    assert all(one.lost <= 10 for one in find(window(back, {}), TERMS))


def test_two_hundred_edges_that_lose_are_judged_in_moments() -> None:
    nodes = {f"n{number}": NodeTerms("processor") for number in range(201)}
    terms = Terms("wide", nodes, {(f"n{one}", f"n{one + 1}"): EdgeTerms("block", 8) for one in range(200)})
    made = Window(BEGUN_S, BEGUN_S, 1)
    for second in range(61):
        rows = {one: edge(24 * second, 8 * second) for one in terms.edges}
        made.add(Sample(BEGUN_S + second, rows, {name: NodeRow(worked=second) for name in nodes}))
    begun_s = time.process_time()
    assert len(find(made, terms)) == 200
    assert time.process_time() - begun_s < 5, "it is asked for once a second"


def test_a_pull_that_nobody_asks_is_the_culprit_of_what_waits_and_of_what_is_lost_for_it() -> None:
    terms = replace(TERMS, nodes={**TERMS.nodes, "detect": NodeTerms("pull")})
    why = {"detect": "no_puller: frames wait, and nobody has asked detect for any since 14:03:05"}
    lonely = {"detect": lambda s: NodeRow(16, state="waiting" if s > 20 else "running")}
    waits = {BUF: lambda s: edge(16 + 2 * s, lost=2 * s, queued=16)}
    found = first(waits, lonely, why, terms=terms)
    assert (found.code, found.culprit, found.lost) == ("no_puller", "detect", 120)
    assert "nobody asks for, since 14:03:05" in found.text and "120 of" in found.text
    assert "/frames/dequeue?node=detect" in found.next
    out = {"detect": f"{why['detect']} (others are out at clients)"}
    assert "since 14:03:05 (others are out at clients): 120 of" in first(waits, lonely, out, terms=terms).text
    quiet = window({BUF: lambda s: edge(16, queued=16)}, lonely, why)
    assert [one.code for one in find(quiet, terms)] == ["no_puller"] and find(quiet, terms, is_over=True) == []
    asked = {"detect": lambda s: NodeRow(16, state="waiting" if 20 < s < 40 else "running")}
    assert find(window({}, asked, why), terms) == []
