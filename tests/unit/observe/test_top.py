from __future__ import annotations

from detektr.observe.table import Row
from detektr.observe.top import by_trouble


def row(node: str, state: str = "running") -> Row:
    return Row(node, "processor", state, "", 0.0, 0, 8, 0)


def test_culprits_come_first_by_their_rank_then_the_worst_states_then_the_order_of_the_file() -> None:
    rows = [row("cam"), row("buf"), row("detect", "restarting"), row("track"), row("hook")]
    sickest = [{"rank": 1, "culprit": "hook"}, {"rank": 2, "culprit": "buf -> track"}, {"rank": 3, "culprit": ""}]
    assert [one.node for one in by_trouble(rows, sickest)] == ["hook", "track", "detect", "cam", "buf"]
    assert [one.node for one in by_trouble(rows, [])] == ["detect", "cam", "buf", "track", "hook"]
