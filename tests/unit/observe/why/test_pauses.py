"""Pauses, of an operator and of the code itself, and outages: who is to blame for what was lost or late meanwhile."""

from __future__ import annotations

from detektr.observe.why.findings import find
from detektr.telemetry.history.rows import EdgeRow, NodeRow
from tests.unit.observe.why.test_findings import BEGUN_S, BUF, OUT, SECONDS, TERMS, edge, first, window, worked


def test_a_paused_node_is_blamed_for_what_waits_or_is_lost_because_of_it() -> None:
    found = first(
        {BUF: lambda s: edge(24 * s, 20 * s), OUT: lambda s: edge(20, queued=8, full_s=1)},
        {"hook": lambda s: NodeRow(worked=9, state="paused")},
        {"hook": "an operator has paused it"},
    )
    assert (found.code, found.culprit) == ("paused", "hook")
    assert found.text == "hook was paused by an operator and holds up detect; 1200 frames were lost meanwhile"
    assert found.next == "`detektr resume shop hook` lets it go on"


def test_a_pause_that_is_over_is_told_where_frames_were_lost_in_it() -> None:
    def paused(second: int) -> NodeRow:
        return NodeRow(worked=24 * second, busy_ms=20 * second, state="paused" if 10 <= second < 20 else "running")

    found = first({BUF: lambda s: edge(24 * s, 24 * min(max(s - 10, 0), 10))}, {"detect": paused})
    assert (found.code, found.culprit, found.lost) == ("paused", "detect", 240)
    assert found.text == "detect was paused by an operator for 10 s; 240 frames were lost meanwhile"
    assert find(window({}, {"detect": paused}), TERMS) == [], "it cost nothing"


def test_a_slow_node_that_was_paused_is_slow_and_a_pause_is_charged_with_its_own_losses_alone() -> None:
    """It is too slow all the time, and paused from second 20 to 40."""

    def able(s: int) -> int:
        return 8 * (min(s, 20) + max(0, s - 40))

    def paused(second: int) -> NodeRow:
        state = "paused" if 20 <= second < 40 else "running"
        return NodeRow(worked=able(second), busy_ms=125 * able(second), state=state)

    made = window({BUF: lambda s: edge(24 * s, 24 * s - able(s))}, {"detect": paused})
    found = find(made, TERMS, is_lately=True)[0]
    assert (found.code, found.culprit) == ("losing", "detect")
    slow = "detect takes 125 ms a frame (8/s), and gets 24/s: 1120 of 1440 frames were lost in the last 60 s on buf"
    assert found.text.startswith(slow)
    for edge_rows in made.edges.values():
        del edge_rows[31:]
    for node_rows in made.nodes.values():
        del node_rows[31:]
    del made.states["detect"][2:]
    made.end_s = BEGUN_S + 30
    found = find(made, TERMS)[0]
    assert (found.code, found.since_s) == ("paused", BEGUN_S + 20)
    assert found.text == "detect was paused by an operator; 256 frames were lost meanwhile"


def test_a_processor_that_pauses_now_and_then_is_not_called_slow_nor_told_to_thin() -> None:
    """The 24 frames of a second take it 10 ms each, but at each twentieth second one of them takes 0.8 s."""

    def pauses(s: int) -> int:
        return s // 20

    def frames(s: int) -> int:
        return 24 * s - 12 * pauses(s)

    def held(s: int) -> EdgeRow:
        return edge(frames(s), queued=1 if s % 20 == 0 else 0, full_s=1 if s and s % 20 == 0 else 0)

    found = first(
        {BUF: lambda s: edge(24 * s, 12 * pauses(s)), OUT: held},
        {"hook": lambda s: NodeRow(worked=frames(s), busy_ms=10 * frames(s) + 800 * pauses(s))},
    )
    assert (found.code, found.culprit, found.lost) == ("losing", "buf -> detect", 36)
    assert "though hook is busy for " in found.text and " at times) and holds up detect: 36 of" in found.text
    assert "high_water_mark" in found.next and "fps" not in found.next


def test_an_outage_that_is_over_is_told_as_what_was_late_for_it() -> None:
    found = first(
        {},
        {"hook": lambda s: NodeRow(worked=24 * s, state="retrying" if 20 <= s < 30 else "running")},
        {"hook": "since 14:03: ConnectionError: the target is down"},
    )
    assert (found.code, found.culprit, found.since_s) == ("late", "hook", BEGUN_S + 20)
    assert found.text.startswith("hook could not do its work for 10 s: since 14:03: ConnectionError")
    assert "; its events came that late" in found.text and "nothing of it was given up" in found.next


def test_a_loss_at_the_border_of_two_faults_is_not_charged_alone() -> None:
    found = find(
        window(
            {
                BUF: lambda s: edge(24 * s, max(0, 16 * s - 15)),
                OUT: lambda s: edge(8 * s, queued=8, full_s=1) if s <= 1 else edge(8 * s),
            },
            {"detect": worked(125, 8)},
        ),
        TERMS,
    )
    assert [(one.culprit, one.lost) for one in found] == [("detect", 16 * SECONDS - 15)], "as the ledger has it"
