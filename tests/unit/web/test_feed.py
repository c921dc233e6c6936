"""Events: numbered, kept for who comes again, and bounded for who is slow."""

from __future__ import annotations

import json

from detektr.ledger import EdgeLedger
from detektr.web.live.changes import Look, changes, look_at
from detektr.web.live.feed import KEPT_MAX, QUEUED_MAX, Feed, Listener


def contents(texts: list[str]) -> list[tuple[str, str, dict[str, object]]]:
    found = []
    for text in texts:
        lines = dict(line.split(": ", 1) for line in text.strip().splitlines())
        found.append((lines.get("id", ""), lines["event"], json.loads(lines["data"])))
    return found


def test_who_comes_again_gets_what_was_missed_and_nothing_twice() -> None:
    feed = Feed("20261130-120000-ab12")
    for number in range(3):
        feed.add("state", {"n": number})
    assert [one[2]["n"] for one in contents(feed.since("20261130-120000-ab12-1") or [])] == [1, 2]
    assert feed.since(feed.last_id) == []


def test_who_comes_too_late_or_from_another_run_starts_anew() -> None:
    feed = Feed("run-1")
    for number in range(KEPT_MAX + 2):
        feed.add("state", {"n": number})
    assert feed.since("run-1-1") is None and feed.since("run-1-2") is not None
    for other in ("", "run-2-5", "nonsense", "run-1-99999999", "run-1-" + "9" * 40):
        assert feed.since(other) is None


def test_a_slow_client_is_told_once_how_much_it_missed() -> None:
    feed, slow = Feed("run-1"), Listener()
    feed.listeners.add(slow)
    for number in range(QUEUED_MAX + 7):
        feed.add("drop", {"n": number})
    told = contents(slow.take())
    assert len(told) == QUEUED_MAX + 1 and told[-1] == ("", "lag", {"missed": 7})
    assert not slow.is_waiting and slow.take() == []


def test_what_changed_is_told_with_how_much() -> None:
    nodes = {"eye": {"state": "running", "why": ""}}
    reason = {"code": "losing", "text": "x"}
    before = look_at("r", nodes, [EdgeLedger("b", "eye", dropped={"queue_full": 2}, attached=1)], {"ready": True})
    after = look_at(
        "r",
        {"eye": {"state": "hanging", "why": "in mine.py:3"}},
        [EdgeLedger("b", "eye", dropped={"queue_full": 5, "too_old": 1}, attached=0, dead_lettered=2)],
        {"ready": False, "since": "t", "reasons": [reason]},
    )
    found = changes(before, after)
    where = {"from": "b", "to": "eye"}
    assert ("state", {"node": "eye", "state": "hanging", "why": "in mine.py:3", "before": "running"}) in found
    assert ("drop", {**where, "reason": "queue_full", "count": 3}) in found
    assert ("drop", {**where, "reason": "too_old", "count": 1}) in found
    assert ("dead_letter", {**where, "count": 2}) in found and ("consumer", {**where, "consumers": 0}) in found
    assert ("ready", {"ready": False, "since": "t", "reasons": [reason]}) in found
    assert changes(after, after) == []


def test_what_is_gone_is_told() -> None:
    before = look_at("r", {"eye": {"state": "running", "why": ""}}, [EdgeLedger("b", "guest-1", attached=1)], {})
    found = changes(before, Look("r"))
    assert [kind for kind, _ in found] == ["state", "consumer"]
    assert found[0][1]["state"] == "ended" and found[1][1]["consumers"] == 0
