"""What may be wrong with a node: each judge knows one thing, and says it in words. Pure."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

from detektr.ledger import describe_counts
from detektr.observe.why.blame import Blame, Edge, Work, work_of
from detektr.observe.why.finding import Finding, delta, grown, span
from detektr.observe.why.terms import NodeTerms, Terms
from detektr.telemetry.history.rows import EdgeRow, NodeRow
from detektr.telemetry.history.window import NodeState, Window

CAMERA_DOWN = ("connecting", "stalled", "unauthorized", "forbidden", "not_found", "tls_failed", "retrying")
ENDING = ("draining", "ended", "stopped")
BEING_BORN = ("starting", "restarting")
SILENT_MS = 3000  # a camera that connects for no longer has just begun
BUSY_SHARE = 0.7  # of its time in the user's code: a node is too slow, and not the queue before it too small
AROUND_S = 10  # before and after its losses: what a node does on average, and not while it pauses
SPARE = 1.25  # of the time that its frames take on average, so that it keeps up
PAUSE_FACTOR = 3  # times its mean time: a frame, or a second of frames, that took much longer than others
LOSING_SHARE = 0.01  # of the frames that were offered to an edge
HUNG = ("hanging", "suspended")
NO_PULLER = "no_puller"  # as the state of a node of the kind `pull` begins when nobody asks it for frames
HUNG_S = 2  # a hang that is over is told if it took so long
SAID_S_MAX = 3600  # a hang is noticed sooner after it began
HUNG_MS = 30_000  # of what has no `timeout`
_SINCE = re.compile(
    r"^hangs since ([0-9]{1,2}:[0-9]{2}:[0-9]{2}) "
)  # a state's own words; a finding says itself since when
_NEXT_HUNG = "mend the code at that line; the process is killed after three times its `timeout`"
_NEXT_HUNG_FOR_EVER = "mend the code at that line; it has no `timeout`, so it hangs until `detektr restart {} {}`"


@dataclass(frozen=True)
class JudgedNode:
    """What is known of a node that may be to blame."""

    name: str
    terms: NodeTerms
    last: NodeRow
    states: list[NodeState]
    work: Work
    blame: Blame
    cost: str
    """What was lost because of it, as the end of a sentence."""

    def finding(self, code: str, text: str, next_: str, since_s: int = 0) -> Finding:
        """Return a finding whose culprit it is; `text` follows its name."""
        return Finding(code, self.name, "", since_s, f"{self.name} {text}{self.cost}", next_)

    @property
    def what(self) -> str:
        """What it takes one of."""
        return "event" if self.terms.kind == "sink" else "frame"


def _failed(node: JudgedNode, window: Window, terms: Terms) -> Finding | None:
    failed = _last_in(node.states, ("failed",))
    if failed is None:
        return None
    before = node.states[: node.states.index(failed)]
    if not failed.why.startswith("killed: "):  # for another reason: only if it hung until then
        before = before[-1:]
    if any(one.state in HUNG for one in before):  # it was killed, as it hung
        return None
    logs = f"`detektr logs {terms.pipeline} {node.name}`"
    text = f"has failed for good: {_why(failed)}"
    return node.finding("failed", text, f"mend it, then start the pipeline again; its log: {logs}", failed.utc_s)


def _hung(node: JudgedNode, window: Window, terms: Terms) -> Finding | None:
    hung, last = _last_in(node.states, HUNG), node.last
    is_too_long = last.working_ms > (node.terms.timeout_ms or HUNG_MS)
    next_ = _NEXT_HUNG if node.terms.timeout_ms else _NEXT_HUNG_FOR_EVER.format(terms.pipeline, node.name)
    if hung is not None and (last.state in HUNG or _lasted_s(hung, node.states, window) >= HUNG_S):
        if hung.state == "suspended":
            return node.finding(
                "hung", f"cannot run: {hung.why}", "let it go on (`kill -CONT`, and its number)", hung.utc_s
            )
        text = _SINCE.sub("hangs ", hung.why) or "hangs"
        return node.finding("hung", text, next_, _said_s(hung) or _begun_s(hung, window.nodes.get(node.name, [])))
    if last.working_ms and is_too_long and last.state not in CAMERA_DOWN:
        text = f"has worked on one {node.what} for {span(last.working_ms)}"
        return node.finding("hung", text, next_, window.end_s - last.working_ms // 1000)
    return None


def _said_s(hung: NodeState) -> int:
    """Return the time (UTC, in seconds) of the clock in a state's own words; 0: it says none."""
    said = _SINCE.match(hung.why)
    if said is None:
        return 0
    hours, minutes, seconds = map(int, said.group(1).split(":"))
    local = datetime.datetime.fromtimestamp(hung.utc_s).astimezone()
    ago_s = 3600 * (local.hour - hours) + 60 * (local.minute - minutes) + local.second - seconds
    ago_s %= 86_400
    return hung.utc_s - ago_s if ago_s < SAID_S_MAX else 0


def _begun_s(hung: NodeState, rows: list[tuple[int, NodeRow]]) -> int:
    """Return when the work began that somebody hangs in: it was called so only after its `timeout`."""
    begun = (utc_s - row.working_ms // 1000 for utc_s, row in rows if utc_s >= hung.utc_s and row.working_ms)
    return min(next(begun, hung.utc_s), hung.utc_s)


def _died(node: JudgedNode, window: Window, terms: Terms) -> Finding | None:
    born = [one for one in node.states if one.state in BEING_BORN]
    times, died = node.work.restarts, next((one for one in reversed(born) if one.why), born[-1] if born else None)
    if times <= 0 and node.last.state != "restarting":
        return None
    how_often = "once" if times <= 1 else f"{times} times"
    text = f"died {how_often}, and was started again{f': {died.why}' if died is not None and died.why else ''}"
    logs = f"`detektr logs {terms.pipeline} {node.name}`"
    return node.finding("failed", text, f"mend what ended it; its log: {logs}", 0 if died is None else died.utc_s)


def _paused(node: JudgedNode, window: Window, terms: Terms) -> Finding | None:
    """An operator has paused it, or had when frames were lost because of it."""
    paused = _last_in(node.states, ("paused",))
    if paused is None:
        return None
    held = f" and holds up {', '.join(sorted(node.blame.held_up))}" if node.blame.held_up else ""
    lost = sum(count for utc_s, count in node.blame.at.items() if utc_s >= paused.utc_s)
    cost = f"{held}; {lost} frames were lost meanwhile" if lost else held
    if node.last.state == "paused":
        next_ = f"`detektr resume {terms.pipeline} {node.name}` lets it go on"
        return replace(node, cost=cost).finding("paused", "was paused by an operator", next_, paused.utc_s)
    ended_s = paused.utc_s + _lasted_s(paused, node.states, window)
    if not lost or node.blame.last_s > ended_s + window.step_s:
        return None
    text = f"was paused by an operator for {span((ended_s - paused.utc_s) * 1000)}"
    next_ = "before the next pause, say what its input does meanwhile: `when_full: block` waits, `drop-oldest` loses"
    return replace(node, cost=cost).finding("paused", text, next_, paused.utc_s)


def _camera_down(node: JudgedNode, window: Window, terms: Terms) -> Finding | None:
    if node.terms.kind != "capture" or not (rows := window.nodes.get(node.name)):
        return None
    if any(edge[0] == node.name and found[-1][1].stalled_s for edge, found in window.edges.items()):
        return None  # its state is that of an edge: who does not take its frames is told
    next_ = "look at the camera and its network; `detektr probe` and its address says how it answers"
    states = [one for one in node.states if one.state not in ENDING]
    last = next((row for _, row in reversed(rows) if row.state not in ENDING), node.last)
    down = _last_in(states, CAMERA_DOWN)
    if down is not None and down is states[-1]:
        first_s = down.utc_s
        for one in reversed(states):  # from one state of being down to another it was down all the time
            if one.state not in CAMERA_DOWN:
                break
            first_s = one.utc_s
        if (window.end_s - first_s) * 1000 < SILENT_MS and not last.silent_ms:
            return None  # it has just begun
        silent = f"no frame for {span(last.silent_ms)}" if last.silent_ms else "it has brought no frame yet"
        return node.finding("camera_down", f"is down ({down.state}, {silent}): {_why(down)}", next_, first_s)
    was = [one for one in states if one.state in CAMERA_DOWN and one.utc_s > window.begin_s]
    worst_ms = max([row.silent_ms for utc_s, row in rows if utc_s > window.begin_s], default=0)
    if was and worst_ms >= SILENT_MS:
        text = f"was down for {span(worst_ms)} ({was[-1].state}): {_why(was[-1])}"
        return node.finding("camera_down", text, next_, was[0].utc_s)
    return None


def _failing(node: JudgedNode, window: Window, terms: Terms) -> Finding | None:
    inputs = [edge for edge in window.edges if edge[1] == node.name]
    dead, offered = (sum(delta(window, edge, what) for edge in inputs) for what in ("dead_lettered", "offered"))
    if not dead and node.last.state != "retrying":
        return _was_away(node, window, terms)
    whys = [one.why for one in node.states if one.why]
    fault = f": {whys[-1]}" if whys else ""
    if not dead:
        return node.finding("failing", f"cannot do its work{fault}", "mend what it says; it tries again by itself")
    letters = f"`detektr dead-letters list {terms.pipeline}`"
    again = ", then `resend` them" if node.what == "event" else ""
    next_ = f"{letters} has them, with their tracebacks; mend the cause{again}"
    since_s = min(
        utc_s
        for edge in inputs
        for (_, before), (utc_s, row) in pairwise([(window.begin_s, EdgeRow()), *window.edges[edge]])
        if row.dead_lettered > before.dead_lettered and utc_s > window.begin_s
    )
    return node.finding("failing", f"gave up {dead} of {offered} {node.what}s{fault}", next_, since_s)


def _was_away(node: JudgedNode, window: Window, terms: Terms) -> Finding | None:
    """What a sink writes to was away, and is back: nothing is lost, and all that waited came late."""
    outages = [one for one in node.states if one.state == "retrying" and one.utc_s > window.begin_s]
    if not outages:
        return None
    worst = max(outages, key=lambda one: _lasted_s(one, node.states, window))
    times = "" if len(outages) == 1 else f" {len(outages)} times, at most"
    lasted_ms = _lasted_s(worst, node.states, window) * 1000
    text = f"could not do its work{times} for {span(lasted_ms)}: {_why(worst)}; its {node.what}s came that late"
    next_ = "nothing of it was given up; look why what it writes to was away"
    return replace(node.finding("late", text, next_, outages[0].utc_s), victim=node.name)


def _stalled(node: JudgedNode, window: Window, terms: Terms) -> Finding | None:
    """Frames wait for a node and it takes none, and nothing else explains it."""
    for edge, rows in window.edges.items():
        if edge[1] != node.name or not rows[-1][1].stalled_s:
            continue
        last, next_ = rows[-1][1], f"`detektr stacks {terms.pipeline} --node {node.name}` says where it is"
        what = "nobody is there to take them" if last.unserved_s else "it takes none"
        text = f"is waited for by {last.queued} frames of {edge[0]}, and {what}"
        found = node.finding("stalled", text, next_, next(utc_s for utc_s, row in rows if row.stalled_s))
        return replace(found, victim=f"{edge[0]} -> {edge[1]}", edges=(edge,))
    return None


def _no_puller(node: JudgedNode, window: Window, terms: Terms) -> Finding | None:
    """Frames wait for clients, and none asks."""
    states = [one for one in node.states if one.state not in ENDING]
    if node.terms.kind != "pull" or not states or not states[-1].why.startswith(NO_PULLER):
        return None
    next_ = f"let a client pull: `GET /frames/dequeue?node={node.name}`, or remove the node"
    text = f"has frames that nobody asks for, since {states[-1].why.rpartition(' since ')[2]}"
    return node.finding("no_puller", text, next_, states[-1].utc_s)


def _losing(node: JudgedNode, window: Window, terms: Terms) -> Finding | None:
    blame, kind = node.blame, node.terms.kind
    offered = sum(delta(window, edge, "offered") for edge in blame.lost)
    if not blame.lost or blame.lost.total() < LOSING_SHARE * offered:
        return None
    if all(terms.edge(edge).is_lossy for edge in blame.lost):
        return None
    rows = window.nodes.get(node.name, [])
    work = work_of(rows, blame.first_s, blame.last_s, window.step_s)
    if kind in ("processor", "sink"):
        if work.busy_share(node.terms.replicas) < BUSY_SHARE and not blame.held_up:
            return _too_small(node, work, window, terms)
        around = work_of(rows, blame.first_s - AROUND_S, blame.last_s + AROUND_S, window.step_s)
        wanted = max(_rate(window, edge, blame.first_s - AROUND_S, blame.last_s + AROUND_S) for edge in blame.lost)
        if around.worked and around.mean_ms * wanted * SPARE <= 1000 * node.terms.replicas:
            return _too_small(node, around, window, terms)
    return _too_slow(node, work, window, terms)


def _rate(window: Window, edge: Edge, first_s: int, last_s: int) -> float:
    """Return how many frames a second were offered to an edge, while some were."""
    rows = [(utc_s, row.offered) for utc_s, row in window.edges[edge] if first_s <= utc_s <= last_s]
    steps = [(later_s - utc_s, more - count) for (utc_s, count), (later_s, more) in pairwise(rows) if more > count]
    return sum(more for _, more in steps) / max(1, sum(seconds for seconds, _ in steps))


def _too_slow(node: JudgedNode, work: Work, window: Window, terms: Terms) -> Finding:
    replicas, what, each_ms = node.terms.replicas, node.what, work.each_ms
    inputs = [edge for edge in window.edges if edge[1] == node.name]
    text, able = "is too slow", replicas * 1000 / each_ms if each_ms else 0.0
    if each_ms:
        text = f"takes {span(each_ms)} {'an' if what == 'event' else 'a'} {what}"
    if able and not node.blame.held_up:
        offered = sum(grown(window, edge, node.blame.first_s, node.blame.last_s) for edge in inputs)
        several = f" with {replicas} replicas" if replicas > 1 else ""
        text += f" ({able:.3g}/s{several}), and gets {offered / work.seconds:.3g}/s"
    if node.terms.kind == "sink":
        where = f"its input from {inputs[0][0]}" if inputs else "its input"
        next_ = (
            f"make `write` faster, let its events drop (`when_full: drop-oldest` at {where}), make it `optional: true`,"
            " or, if what it writes to is down, let `write` raise and the sink `retry`"
        )
    elif node.terms.kind == "pull":
        next_ = "let more clients pull, or with a larger `count`; or thin what it gets (`fps` at its input)"
    elif node.terms.kind == "processor":
        wanted = max(_rate(window, edge, window.begin_s, window.end_s) for edge in node.blame.lost)
        is_less = 1.2 <= able < wanted
        thin = f"`fps: {int(able * 0.9)}` at its input" if is_less else "`fps` at its input"
        more = (
            f" (`detektr scale {terms.pipeline} {node.name} {replicas + 1}`)"
            if replicas < node.terms.replicas_max
            else ""
        )
        next_ = f"give it more `replicas` where cores are to spare{more}, make it faster, or thin what it gets ({thin})"
    else:
        next_ = "look whether the machine has cores to spare, and at its log"
    return node.finding("losing", text, next_)


def _too_small(node: JudgedNode, work: Work, window: Window, terms: Terms) -> Finding:
    """The queue or the ring before a node is too small for bursts, or for its pauses, as it has time to spare."""
    blame = node.blame
    edge = max(blame.lost, key=lambda one: blame.lost[one])
    idle = f"though {node.name} is busy for {work.busy_share(node.terms.replicas):.0%} of the time only"
    slowest_ms = _slowest_ms(window.nodes.get(node.name, []), blame)
    if slowest_ms > PAUSE_FACTOR * work.mean_ms:
        idle += f" (it takes {span(work.mean_ms)} a {node.what}, and {span(slowest_ms)} at times)"
    if "ring_full" in blame.reasons:
        text = f"the ring of {edge[0]} has too few slots, {idle}{node.cost}"
        next_ = f"give {edge[0]} more `memory`, or more `slots` where it says how many"
    else:
        text = f"the queue of {edge[0]} -> {edge[1]} is too small with {terms.edge(edge).mark}, {idle}{node.cost}"
        next_ = f"raise `high_water_mark` of {edge[0]}, or that at the input of {edge[1]}"
    return replace(node.finding("losing", "", next_), text=text, culprit=f"{edge[0]} -> {edge[1]}")


def _slowest_ms(rows: list[tuple[int, NodeRow]], blame: Blame) -> float:
    """Return what one frame took in the slowest second around the losses of a node."""
    slowest_ms = 0.0
    for (_, before), (utc_s, row) in pairwise(rows):
        if blame.first_s - AROUND_S <= utc_s <= blame.last_s + AROUND_S:
            busy_ms, worked = row.busy_ms - before.busy_ms, row.worked - before.worked
            slowest_ms = max(slowest_ms, busy_ms / worked if worked > 0 else 0.0, row.working_ms)
    return slowest_ms


def cost_of(blame: Blame, window: Window, *, is_lately: bool) -> str:
    """Return what was lost because of a node, as the end of a sentence."""
    held = f" and holds up {', '.join(sorted(blame.held_up))}" if blame.held_up else ""
    if not blame.lost:
        return held
    offered = sum(delta(window, edge, "offered") for edge in blame.lost)
    where = ", ".join(f"{producer} -> {consumer}" for producer, consumer in blame.lost)
    lost = blame.lost.total()
    of = f" of {offered}" if lost <= offered else ""  # what was offered before the window may be lost within it
    lately = "" if not is_lately else f" in the last {span(1000 * (window.end_s - window.begin_s))}"
    return f"{held}: {lost}{of} frames were lost{lately} on {where} ({describe_counts(blame.reasons)})"


def _lasted_s(state: NodeState, states: list[NodeState], window: Window) -> int:
    """Return how long a state lasted, in seconds."""
    later = states[states.index(state) + 1 :]
    return (later[0].utc_s if later else window.end_s) - state.utc_s


def _last_in(states: list[NodeState], wanted: Iterable[str]) -> NodeState | None:
    return next((one for one in reversed(states) if one.state in wanted), None)


def _why(state: NodeState) -> str:
    return state.why or "no reason is known"


JUDGES = (_failed, _hung, _died, _paused, _camera_down, _failing, _stalled, _no_puller, _losing)
"""The worst comes first; one finding a node is told."""
