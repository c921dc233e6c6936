"""The page of events: what a sink gets, and what the audit trail and the log tell of nodes and frames."""

from __future__ import annotations

from dataclasses import fields

import detektr.events
from detektr.ledger import DROP_REASONS, LEFT_OUT
from detektr.sinks import Event
from scripts.reference.markdown import code, docstrings_of_fields, document, first_paragraph, sentence, table

EXAMPLE: Event = {
    "frame": "1753608701224_door_door_42_1f2e3d4c",
    "camera": "door",
    "sequence": 42,
    "epoch": 1,
    "timestamp": "2026-07-27T09:31:41.224+00:00",
    "node": "bright",
    "replica": 0,
    "delivery": 1,
    "data": {"mean": 31.5},
    "delivery_of_event": 2,
    "resent": "7c2f44beea",
}


def page() -> str:
    """Return the page."""
    texts = docstrings_of_fields(Event)
    rows = [
        (code(name), _type(hint), sentence(texts[name]), code(str(EXAMPLE.get(name))))
        for name, hint in Event.__annotations__.items()
    ]
    records = [
        (code(one.__name__), sentence(first_paragraph(one)), ", ".join(code(field.name) for field in fields(one)))
        for one in detektr.events.RunEvent.__subclasses__()
    ]
    reasons = ", ".join(map(code, DROP_REASONS))
    left_out = ", ".join(map(code, LEFT_OUT))
    return document(
        "Events",
        "## What a sink gets\n\nA sink gets a dict of plain values ([write a sink](../how-to/write-a-sink.md));"
        f" `detektr.Event` is its type.\n\n{table(('key', 'type', 'what', 'example'), rows)}",
        "## What nodes report\n\nThe log names these events, the audit trail keeps them as records"
        " (`detektr audit query`), and `/events` sends them as they come.\n\n"
        + table(("event", "what has happened", "fields"), records),
        f"## Reasons\n\nAn edge drops a frame for one of these reasons: {reasons}. A capture leaves a picture out"
        f" for one of these: {left_out}. The [glossary](../glossary.md#ledger) says what each of them means.",
    )


def _type(hint: object) -> str:
    text = str(getattr(hint, "__forward_arg__", hint))
    inner = text.removeprefix("NotRequired[").removesuffix("]") if text.startswith("NotRequired") else text
    return {"str": "text", "int": "whole number", "dict[str, Any]": "dict"}.get(inner, inner) + (
        " (not always there)" if text != inner else ""
    )
