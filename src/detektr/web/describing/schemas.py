"""What answers look like, as JSON Schema: all that clients may count on; more members may come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]
TEXT: Schema = {"type": "string"}
OPTIONAL_TEXT: Schema = {"type": ["string", "null"]}
COUNT: Schema = {"type": "integer", "minimum": 0}
FLAG: Schema = {"type": "boolean"}
COUNTS: Schema = {"type": "object", "additionalProperties": COUNT}


def record(**members: Schema) -> dict[str, Any]:
    """Return the schema of an object that has these members."""
    return {"type": "object", "properties": members, "required": list(members)}


def list_of(schema: Schema) -> dict[str, Any]:
    """Return the schema of a list."""
    return {"type": "array", "items": schema}


FINDING = record(rank=COUNT, code=TEXT, culprit=TEXT, victim=TEXT, since=TEXT, text=TEXT, next=TEXT, lost=COUNT)
REASON = record(code=TEXT, since=OPTIONAL_TEXT, text=TEXT, next=TEXT)
READY = record(ready=FLAG, since=TEXT, reasons=list_of(REASON))
HEALTH = record(pipeline=TEXT, healthy=FLAG, stalled={"type": "array"}, failed=list_of(TEXT))
PIPELINES = list_of(record(name=TEXT, url=TEXT))
_SUMS = {"offered": COUNT, "delivered": COUNT, "dropped": COUNTS, "dead_lettered": COUNT}
LEDGER = {"type": "object", "properties": {"from": TEXT, "to": TEXT, **_SUMS}, "required": ["from", "to", *_SUMS]}
NODE = record(kind=TEXT, state=TEXT, pids=list_of(COUNT), restarts=COUNT, why=TEXT)
NODE["properties"] |= {"replicas": COUNT, "max_replicas": COUNT}  # reports of earlier versions do not say
PIPELINE = record(
    name=TEXT,
    at=TEXT,
    run=OPTIONAL_TEXT,
    state=TEXT,
    supervisor={"type": ["integer", "null"]},
    nodes=list_of(NODE),
    edges=list_of(LEDGER),
    sickest=list_of(FINDING),
)
ONE_NODE = {
    "allOf": [NODE, record(name=TEXT, inputs=list_of(LEDGER), outputs=list_of(LEDGER), cameras={"type": "object"})]
}
_QUEUE = record(policy=TEXT, queued=COUNT, mark=COUNT, leased=COUNT, window=COUNT, oldest_ms=COUNT, state=TEXT)
FRAMES_STATUS = record(
    pipeline=TEXT,
    run=OPTIONAL_TEXT,
    at=TEXT,
    size=COUNT,
    max_size=COUNT,
    edges=list_of({"allOf": [LEDGER, _QUEUE]}),
)
_HOLDER = record(node=OPTIONAL_TEXT, replica={"type": ["integer", "null"]}, pid={"type": ["integer", "null"]})
LEASES = list_of(
    record(edge=TEXT, frame=OPTIONAL_TEXT, holder=_HOLDER, since=TEXT, age_ms=COUNT, delivery=COUNT, doing=TEXT)
)
_STEP = record(time=TEXT, after_ms={"type": "number"}, node=TEXT, what=TEXT)
_PLACE = record(edge=TEXT, what={"enum": ["frame", "event"]}, state={"enum": ["queued", "leased"]}, age_ms=COUNT)
FRAME = record(
    frame=TEXT,
    pipeline=TEXT,
    camera=OPTIONAL_TEXT,
    sequence=COUNT,
    steps=list_of(_STEP),
    places=list_of(_PLACE),
)
WHY = record(
    pipeline=TEXT, run=OPTIONAL_TEXT, live=FLAG, window={"type": "object"}, sickest=list_of(FINDING), evidence={}
)
_SIGHTING = record(at=TEXT, until=TEXT, camera=TEXT, node=TEXT, words=TEXT, frame=TEXT, data={}, still=FLAG)
SEEN = record(
    pipeline=TEXT,
    keep_s=COUNT,
    since=OPTIONAL_TEXT,
    left_out=COUNT,
    fault=OPTIONAL_TEXT,
    cameras=list_of(TEXT),
    seen=list_of(_SIGHTING),
)
RUNS = list_of(record(run=TEXT, file=OPTIONAL_TEXT, started_utc_ns=COUNT))
_LETTER = record(id=TEXT, at=TEXT, kind=TEXT, producer=TEXT, consumer=TEXT, why=TEXT, resent=OPTIONAL_TEXT)
DEAD_LETTERS = record(count=COUNT, let_go=COUNT, dead_letters=list_of(_LETTER))
DEAD_LETTER = record(**_LETTER["properties"], picture=FLAG)
RESENT = record(resent=COUNT, left=list_of(record(id=TEXT, why=TEXT)), frames=COUNT)
