"""`detektr top` in a terminal (the only textual): a table that goes on, and what is to be known of one node."""

from __future__ import annotations

import collections
from collections.abc import Iterable
from typing import Any, ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.screen import Screen
from textual.widgets import DataTable, Footer, Static

from detektr.errors import DetektrError
from detektr.observe.leases import describe_leases, read_leases
from detektr.observe.logbook import read_logs
from detektr.observe.stacks import read_stacks
from detektr.observe.table import COLORS, Row, shown_ns
from detektr.observe.top import TopLook, TopReader
from detektr.observe.why.text import describe_findings

LOOK_S = 0.5  # told within a second of when others are
LOG_LINES = 200
LEASES_SHOWN = 20  # the oldest
NODE_COLUMNS = ("node", "state", "frames/s", "queue", "leases", "dropped", "age p50", "p99", "restarts")
EDGE_COLUMNS = ("edge", "offered", "delivered", "dropped", "dead-lettered", "queued", "in flight")


class TopApp(App[None]):
    """The pipeline's sickest things in words, its nodes by trouble, its edges; Enter goes into a node."""

    TITLE = "detektr"
    CSS = """
    #sickest { height: auto; max-height: 40%; padding: 0 1; }
    DataTable { height: auto; max-height: 50%; }
    #more { height: 1fr; padding: 0 1; overflow-y: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [("q", "quit", "Quit"), ("enter", "open", "Node")]

    def __init__(self, name: str) -> None:
        """Show a pipeline.

        Raises:
            DetektrError: no pipeline of this name runs.
        """
        super().__init__()
        self.reader, self.shown = TopReader(name), name
        self.last: TopLook | None = None
        self.over = ""
        """Why there is nothing more to see, once the pipeline has ended."""

    def compose(self) -> ComposeResult:
        """Lay out the parts, from above."""
        yield Static(id="title")
        yield Static(id="sickest")
        yield DataTable(id="nodes", cursor_type="row")
        yield DataTable(id="edges", cursor_type="none")
        yield Footer()

    def on_mount(self) -> None:
        """Begin to look."""
        self.query_one("#nodes", DataTable).add_columns(*NODE_COLUMNS)
        self.query_one("#edges", DataTable).add_columns(*EDGE_COLUMNS)
        self.look()
        self.set_interval(LOOK_S, self.look)

    def on_unmount(self) -> None:
        """Close what was opened."""
        self.reader.close()

    def look(self) -> None:
        """Look once more, and show it; the chosen node stays chosen."""
        if self.over or not self.query("#title"):  # or its widgets are gone already, as it ends
            return
        try:
            look = self.reader.look()
        except DetektrError as fault:
            self.over = str(fault)
            self.query_one("#title", Static).update(Text(self.over, style="bold"))
            return
        self.last = look
        seconds = "" if look.seconds is None else f", for {look.seconds:.0f} s"
        self.query_one("#title", Static).update(Text(f"{look.pipeline}, run {look.run}{seconds}", style="bold"))
        words = describe_findings(look.sickest) or ["nothing was lost or late in the last minute"]
        self.query_one("#sickest", Static).update(Text("\n".join(words), style="red" if look.sickest else "green"))
        nodes: DataTable[Any] = self.query_one("#nodes", DataTable)
        chosen = self.chosen()
        nodes.clear()
        for row in look.rows:
            nodes.add_row(*_cells(row), key=row.node)
        if chosen in [row.node for row in look.rows]:
            nodes.move_cursor(row=[row.node for row in look.rows].index(chosen))
        edges: DataTable[Any] = self.query_one("#edges", DataTable)
        edges.clear()
        for edge in look.edges:
            counts = edge.offered, edge.delivered, sum(edge.dropped.values()), edge.dead_lettered, edge.queued
            edges.add_row(f"{edge.producer} -> {edge.consumer}", *map(str, (*counts, edge.in_flight)))

    def chosen(self) -> str:
        """Return the node that the cursor is on; empty: there is none."""
        nodes: DataTable[Any] = self.query_one("#nodes", DataTable)
        if not nodes.row_count:
            return ""
        return str(nodes.coordinate_to_cell_key(nodes.cursor_coordinate).row_key.value)

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Go into a node."""
        self.push_screen(NodeScreen(self.shown, str(event.row_key.value)))


class NodeScreen(Screen[None]):
    """What is to be known of one node: its stacks and leases now, and its last log lines."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "app.pop_screen", "Back"), ("r", "look", "Look again")]

    def __init__(self, pipeline: str, node: str) -> None:
        """Show a node of a pipeline."""
        super().__init__()
        self._pipeline, self._node = pipeline, node

    def compose(self) -> ComposeResult:
        """Lay out the parts."""
        yield Static(Text(f"{self._pipeline}: {self._node}", style="bold"))
        yield Static(id="more")
        yield Footer()

    def on_mount(self) -> None:
        """Look when it opens."""
        self.action_look()

    def action_look(self) -> None:
        """Look once more."""
        lines: list[str] = []
        for part in (self._stacks, self._leases, self._logs):
            try:
                lines += [*part(), ""]
            except DetektrError as fault:  # the others may know more
                lines += [str(fault), ""]
        self.query_one("#more", Static).update(Text("\n".join(lines)))

    def _stacks(self) -> list[str]:
        return [f"{one.name} (process {one.pid}): {one.place}" for one in read_stacks(self._pipeline, self._node)]

    def _leases(self) -> list[str]:
        return describe_leases(read_leases(self._pipeline, self._node)[:LEASES_SHOWN]).splitlines()

    def _logs(self) -> Iterable[str]:
        return collections.deque(read_logs(self._pipeline, self._node), LOG_LINES)


def _cells(row: Row) -> list[Text]:
    words = f"{row.state}: {row.why}" if row.why else row.state
    cells = (
        row.node,
        words[:60],
        f"{row.rate:.1f}",
        "-" if row.queued is None else f"{row.queued}/{row.mark}",
        "-" if row.leases is None else str(row.leases),
        str(sum(row.drops.values()) or ""),
        shown_ns(row.p50_ns),
        shown_ns(row.p99_ns),
        str(row.restarts or ""),
    )
    return [Text(cell, style=COLORS.get(row.state, "yellow") if place == 1 else "") for place, cell in enumerate(cells)]
