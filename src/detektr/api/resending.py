"""Gives dead letters again to the sinks of a running pipeline.

The event goes to the processor that made it, which offers it to the sink's edge behind what waits there, and marks the
dead letter in the spool. So it has the edge's journal and ledger, and the sink's `retry`, like any other event.
"""

from __future__ import annotations

import base64
import select
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import msgpack

from detektr.memory.journal_reader import open_journal
from detektr.memory.run_folder import RunFolder
from detektr.nodes.dead_letter_spool import DeadLetterSpool
from detektr.nodes.working.event_stream import unpack_event
from detektr.observe.dead_letters import find_dead_letter, picture_path
from detektr.observe.status import find_running
from detektr.wire.link import Outbox, Sender
from detektr.wire.message import Resend

BATCH = 64  # on their way at once
ASK_AGAIN_NS = 2_000_000_000
LOOK_MS = 20
_NO_FRAME = "its slot was given back, and only its capture writes into a ring"


@dataclass(frozen=True)
class Resending:
    """What became of the dead letters that were to be resent."""

    resent: int
    left: tuple[tuple[str, str], ...]
    """Those that were not: id, and why in words."""
    frames: int = 0
    """Frames that are there, and were not asked for by their id: none can be resent."""

    @property
    def text(self) -> str:
        """The same for people."""
        count = f"{self.resent} dead letter{'' if self.resent == 1 else 's'} resent"
        lines = [count, *(f"{letter}: {why}" for letter, why in self.left)]
        if self.frames:
            lines.append(
                f"{self.frames} of frames are left: {_NO_FRAME}; `detektr dead-letters show` says where each is"
            )
        return "\n".join(lines)


@dataclass(frozen=True)
class _Place:
    """The edge that an event goes to."""

    producer: str
    replica: int
    payload_bytes: int


def resend(
    pipeline: str,
    spool: DeadLetterSpool,
    letters: Sequence[str],
    *,
    every: bool,
    to: str | None,
    wait_ns: int,
) -> Resending:
    """Resend events into a running pipeline; returns when each was taken, or refused.

    Args:
        pipeline: its name.
        spool: its dead letters.
        letters: ids; one that was resent before is resent again.
        every: all that were not resent yet, besides.
        to: the sink; None: the one that could not take it.
        wait_ns: give up when nothing was taken for so long, in nanoseconds.
    Raises:
        DetektrError: the pipeline does not run, or has no dead letter of an id.
    """
    content = spool.read()
    for letter in letters:
        find_dead_letter(pipeline, content, letter)
    folder = find_running(pipeline)
    rest = [one for one in content.letters if every and one not in content.resent and one not in letters]
    frames = sum(content.letters[one]["kind"] == "frame" for one in rest)
    wanted = [*letters, *(one for one in rest if content.letters[one]["kind"] == "event")]
    queue: list[tuple[str, _Place, Resend]] = []
    left: list[tuple[str, str]] = []
    places: dict[tuple[str, str], _Place | str] = {}
    for letter in dict.fromkeys(wanted):
        record = content.letters[letter]
        if record["kind"] != "event":
            left.append((letter, _why_no_frame(pipeline, record)))
            continue
        sink = to or record["consumer"]
        known = record["producer"], sink
        if known not in places:
            places[known] = _place_of(folder, *known)
        place = places[known]
        if isinstance(place, str):
            left.append((letter, place))
            continue
        event = {**unpack_event(base64.b64decode(record["payload"])), "resent": letter}
        packed: bytes = msgpack.packb(event)
        if len(packed) > place.payload_bytes:
            room = (
                f"it has {len(packed)} bytes with the mark that it is resent, and the edge takes {place.payload_bytes}"
            )
            left.append((letter, f"{room}; raise `event_bytes` of {place.producer}"))
            continue
        queue.append((letter, place, Resend(sink, letter, packed)))
    count, late = _send(folder, spool, queue, wait_ns)
    return Resending(count, (*left, *late), frames)


def _why_no_frame(pipeline: str, record: Mapping[str, Any]) -> str:
    """Say why a frame cannot be resent, and what can be done."""
    why = f"a frame cannot be resent: {_NO_FRAME}"
    path = picture_path(pipeline, record)
    if path is None:
        return f"{why}; its picture is gone ({record.get('no_picture') or 'it made room for newer ones'})"
    if path.suffix == ".raw":
        return f"{why}; look at its picture with `{record.get('show')}`"
    return f"{why}; to work on its picture again, run a capture with `source: {path}`"


def _place_of(folder: RunFolder, producer: str, sink: str) -> _Place | str:
    """Return the edge to a sink: of the process that made the event, else of another of its node, else of any."""
    node = producer.rpartition(".")[0]
    found = []
    for name, replica, consumer, path in folder.journals():
        if consumer == sink:
            found.append((f"{name}.{replica}" != producer, name != node, name, replica, path))
    for _, _, name, replica, path in sorted(found):
        journal = open_journal(path, name, sink)
        if journal is not None:
            with closing(journal):
                if not journal.is_ended and not journal.is_left:
                    return _Place(name, replica, journal.payload_bytes_max)
    sinks = ", ".join(sorted({consumer for _, _, consumer, _ in folder.journals()})) or "none"
    return f"no processor offers events to {sink!r} now; running: {sinks}"


def _send(
    folder: RunFolder,
    spool: DeadLetterSpool,
    queue: list[tuple[str, _Place, Resend]],
    wait_ns: int,
) -> tuple[int, list[tuple[str, str]]]:
    """Send in order, a batch at a time, until each has a mark; returns how many have, and those without."""
    sender, outboxes = Sender(), dict[_Place, Outbox]()
    marks = spool.follow()
    count = 0
    try:
        while queue:
            batch, queue = queue[:BATCH], queue[BATCH:]
            waiting = {letter: (place, message) for letter, place, message in batch}
            moved_ns = time.monotonic_ns()
            asked_ns = 0
            while waiting:
                now_ns = time.monotonic_ns()
                if now_ns - asked_ns > ASK_AGAIN_NS:
                    asked_ns = now_ns
                    for place, message in waiting.values():
                        _outbox(sender, outboxes, folder, place).try_send(message)
                for letter in marks.read():
                    if waiting.pop(letter, None) is not None:
                        count, moved_ns = count + 1, now_ns
                if waiting and now_ns - moved_ns > wait_ns:
                    rest = [*((letter, *one) for letter, one in waiting.items()), *queue]
                    return count, [(letter, _why_late(place, message, wait_ns)) for letter, place, message in rest]
                if waiting:
                    select.poll().poll(LOOK_MS)
    finally:
        for outbox in outboxes.values():
            outbox.close()
        sender.close()
    return count, []


def _why_late(place: _Place, message: Resend, wait_ns: int) -> str:
    return (
        f"{place.producer}.{place.replica} has not taken it within {wait_ns / 1e9:g} s: the queue of {message.consumer}"
        " is full, or the process is busy; see `detektr status`, then resend what is left with --all"
    )


def _outbox(sender: Sender, outboxes: dict[_Place, Outbox], folder: RunFolder, place: _Place) -> Outbox:
    if place not in outboxes:
        inbox, bell = folder.inbox(place.producer, place.replica), folder.doorbell(place.producer, place.replica)
        outboxes[place] = sender.open_outbox(inbox, bell)
    return outboxes[place]
