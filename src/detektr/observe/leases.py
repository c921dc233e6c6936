"""The leases of a run: which frame is out at whom, since when, and what is done with it."""

from __future__ import annotations

import datetime
import time
from typing import Any

from detektr.descriptor import unpack_descriptor
from detektr.errors import WireError
from detektr.memory.announcement import Lease
from detektr.memory.journal_reader import JournalReader, open_journal
from detektr.memory.status_block_reader import StatusBlockTable
from detektr.observe.status import find_running


def read_leases(name: str, node: str | None = None) -> list[dict[str, Any]]:
    """Return the leases of a running pipeline, the oldest first.

    Args:
        name: the pipeline.
        node: only those that this node holds or has given; None: all.
    Returns:
        Of each `edge`, `frame` (its id; of an event None), `slot` (likewise), `holder` (`node`, `replica`, `pid`),
        `since` (UTC), `age_ms`, `delivery` and `doing`: `working`, `waiting`, `done` (not told yet) or `holding`.
    Raises:
        DetektrError: no pipeline of this name runs.
    """
    folder = find_running(name)
    blocks = StatusBlockTable(folder)
    now_ns, utc_ns = time.monotonic_ns(), time.time_ns()
    found = []
    for producer, _, consumer, path in folder.journals():
        if node is not None and node not in (producer, consumer):
            continue
        journal = open_journal(path, producer, consumer)
        if journal is not None:
            holders = journal.replicas()
            for session, since_ns, lease in journal.given():
                age_ns = max(0, now_ns - since_ns)
                holder = holders.get(session, "")
                record = lease_record(journal, lease, holder, session, blocks)
                found.append((age_ns, record | {"since": _utc(utc_ns - age_ns), "age_ms": age_ns // 10**6}))
            journal.close()
    blocks.close()
    return [record for _, record in sorted(found, key=lambda one: -one[0])]


def describe_leases(leases: list[dict[str, Any]]) -> str:
    """Write leases as lines."""
    if not leases:
        return "no lease is out"
    return "\n".join(
        f"{one['edge']}: {one['frame'] or 'an event'} at {_who(one['holder'])} since {one['age_ms'] / 1000:.1f} s"
        f" ({one['doing']}, delivery {one['delivery']})"
        for one in leases
    )


def _who(holder: dict[str, Any]) -> str:
    if holder["node"] is None:
        return "a consumer that has left"
    return f"{holder['node']}.{holder['replica']} (process {holder['pid'] or 'none'})"


def lease_record(
    journal: JournalReader, lease: Lease, holder: str, session: int, blocks: StatusBlockTable
) -> dict[str, Any]:
    """Return what is known of one lease, without its times; see `read_leases`."""
    node, _, replica = holder.rpartition(".")
    block = blocks.get(holder) if node and replica.isdigit() else None
    progress = None if block is None else block.progress(session)
    frame, slot = _frame_slot(lease)
    doing = "holding"
    if progress is not None and progress[0]:
        working, finished, _ = progress
        tag = lease.delivery_tag
        doing = "waiting" if tag > working else "done" if tag <= finished else "working"
    return {
        "edge": f"{journal.producer}->{journal.consumer}",
        "frame": frame,
        "slot": slot,
        "holder": {
            "node": node or None,
            "replica": int(replica) if replica.isdigit() else None,
            "pid": block.pid if block is not None and block.is_alive else None,
        },
        "delivery": lease.delivery,
        "doing": doing,
    }


def _frame_slot(lease: Lease) -> tuple[str | None, int | None]:
    try:
        descriptor = unpack_descriptor(lease.payload)
    except WireError:  # an event: it lies in no slot
        return None, None
    return descriptor.id, descriptor.slot


def _utc(utc_ns: int) -> str:
    return datetime.datetime.fromtimestamp(utc_ns / 1e9, datetime.UTC).isoformat(timespec="milliseconds")
