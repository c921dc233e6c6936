"""`detektr top` beside a pipeline with a slow sink: in narrow and wide terminals, once and as JSON."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.coordinate import Coordinate
from textual.widgets import DataTable, Static

from detektr.tooling.top_app import NodeScreen, TopApp
from tests.harness.running import RunningPipeline
from tests.process.commands.test_why import CODE, graph, is_named

if TYPE_CHECKING:
    from tests.conftest import RunDetektr


async def look(columns: int, name: str = "demo") -> tuple[str, list[str], str]:
    """Return the words on what is sick, the nodes from above, and what stands behind the first of them."""
    app = TopApp(name)
    async with app.run_test(size=(columns, 40)) as pilot:
        await pilot.pause()
        words = str(app.query_one("#sickest", Static).render())
        table: DataTable[Any] = app.query_one("#nodes", DataTable)
        nodes = [str(table.get_cell_at(Coordinate(place, 0))) for place in range(table.row_count)]
        table.focus()
        await pilot.press("enter")
        await pilot.pause()
        assert type(app.screen) is NodeScreen
        more = str(app.screen.query_one("#more", Static).render())
        await pilot.press("escape")
        await pilot.pause()
        assert type(app.screen) is not NodeScreen
    return words, nodes, more


def test_what_is_sickest_comes_first_in_any_terminal_with_the_words_of_why(
    tmp_path: Path, run_detektr: RunDetektr
) -> None:
    (tmp_path / "mine.py").write_text(CODE)
    with RunningPipeline(tmp_path, "demo", graph(hook={"with": {"s": 0.4}})) as run:
        run.wait(is_named("losing", "hook", "holds up detect"), 30, "the slow sink")
        for columns in (80, 200):
            words, nodes, more = asyncio.run(look(columns))
            assert words.startswith("1. losing, since ") and "hook takes 40" in words and "retry" in words
            assert nodes[0] == "hook" and sorted(nodes) == ["buf", "cam", "detect", "hook"]
            assert "mine.py:" in more and "in write" in more
            assert "detect->hook: an event at hook.0 (" in more, "its leases"
        once = run_detektr("top", "--once")
        rows = [line for line in once.stdout.splitlines() if line.startswith("│")]
        assert once.stdout.startswith("1. losing, since ") and "hook" in rows[0], once.stdout
        told = json.loads(run_detektr("top", "demo", "--json").stdout)
        assert told["sickest"][0]["culprit"] == "hook" and told["nodes"][0]["node"] == "hook"
        assert all({"offered", "delivered", "dropped"} <= edge.keys() for edge in told["edges"])
        run.end()
    assert "no pipeline 'demo' is running" in run_detektr("top", "demo", "--once").stderr
