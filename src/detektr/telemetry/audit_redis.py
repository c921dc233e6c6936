"""The audit trail in streams of Redis; the only module that knows redis-py."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any

from detektr.errors import DetektrError, RefusedError
from detektr.process.fault_text import fault_line
from detektr.redaction import redact
from detektr.telemetry.record import Record
from detektr.telemetry.trail.bounds import PARTS, ROW_BYTES, Bounds
from detektr.telemetry.trail.rows import PLACES, Row, as_fields, from_fields

WAIT_S_MAX = 1.0  # for a connection, and for each answer
PROGRESS_S_MAX = 30 * 24 * 3600  # how long a writer's progress is remembered after its last record
TRIM_EVERY_S = 60
OPERATIONS = "ops:events"
FRAMES = {place: f"frames:{place}" for place in PLACES.values()}
READ_MAX = 5000  # entries in one answer


class RedisStore:
    """Streams: `frames:metadata`, `frames:buffered` and `frames:results` of frames, `ops:events` of operations."""

    def __init__(self, url: str, pipeline: str, bounds: Bounds, prefix: str = "") -> None:
        """Read the address; nothing is sent before the first write.

        Args:
            url: the server's address.
            pipeline: whose records these are: the streams' names are global.
            bounds: of all streams together.
            prefix: of the streams' names.
        Raises:
            RefusedError: redis-py is not installed, or the address is not one.
        """
        self._pipeline, self._prefix, self._bounds = pipeline, prefix, bounds
        self._next_trim_s = 0.0
        self._client: Any = _connect(url)
        rows = max(1000, bounds.bytes_max * (PARTS - 1) // PARTS // len(FRAMES) // ROW_BYTES["redis"])
        self._lengths = {prefix + name: rows for name in FRAMES.values()} | {prefix + OPERATIONS: bounds.operations_max}

    def write(self, writer: str, first: int, records: Sequence[Record | Row | None]) -> None:
        """Store the records that are not there yet, all or none, in two exchanges.

        A server that answered too late may still have stored them, or may do so yet: the writer's progress is changed
        in the same transaction and watched, so that each record is in its stream once.

        Raises:
            redis.RedisError: the server is away, too slow, full, or refuses.
        """
        progress = f"{self._prefix}detektr:{self._pipeline}:audit:{writer}"
        with self._client.pipeline(transaction=True) as pipe:
            pipe.watch(progress)
            stored = int(pipe.get(progress) or 0)
            fresh = records[max(0, stored - first) :]
            if not fresh:
                return
            pipe.multi()
            for record in fresh:
                if record is None:
                    continue
                if isinstance(record, Record):
                    stream, fields = OPERATIONS, dict(record._asdict())
                else:
                    stream, fields = FRAMES.get(record.place, FRAMES["results"]), as_fields(record)
                fields["pipeline"] = self._pipeline
                name = self._prefix + stream
                pipe.xadd(name, fields, maxlen=self._lengths[name], approximate=True)
            if (now_s := time.time()) >= self._next_trim_s:
                oldest_ms = max(0, int((now_s - self._bounds.keep_s) * 1000))
                for name in self._lengths:
                    pipe.xtrim(name, minid=oldest_ms, approximate=True)
            pipe.set(progress, first + len(records), ex=PROGRESS_S_MAX)
            pipe.execute()
            if now_s >= self._next_trim_s:
                self._next_trim_s = now_s + TRIM_EVERY_S

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


class RedisReader:
    """Reads what `RedisStore` has written."""

    def __init__(self, url: str, prefix: str = "") -> None:
        """Read the address; see `RedisStore`."""
        self._client: Any = _connect(url)
        self._prefix = prefix

    def rows(self, pipeline: str, begin_ms: int, end_ms: int, entries_max: int) -> Iterator[Row]:
        """Yield the rows of a pipeline that were stored within a time (UTC, in milliseconds), stream by stream.

        Raises:
            DetektrError: the server is away, or refuses; so do the next ones.
        """
        for place, stream in FRAMES.items():
            for fields in islice(self._entries(stream, begin_ms, end_ms), entries_max):
                if fields.get("pipeline") == pipeline:
                    yield from _row(place, fields)

    def latest_rows(self, pipeline: str, begin_ms: int, end_ms: int, entries_max: int) -> Iterator[Row]:
        """Yield the same, the latest of each stream first."""
        for place, stream in FRAMES.items():
            for fields in islice(self._entries(stream, begin_ms, end_ms, is_reversed=True), entries_max):
                if fields.get("pipeline") == pipeline:
                    yield from _row(place, fields)

    def operations(self, pipeline: str, begin_ms: int, end_ms: int | None) -> list[Record]:
        """Return the records of operations that were stored within a time."""
        return [
            Record(*[fields[name] for name in Record._fields])
            for fields in self._entries(OPERATIONS, begin_ms, end_ms)
            if fields.get("pipeline") == pipeline and fields.keys() >= set(Record._fields)
        ]

    def _entries(
        self, stream: str, begin_ms: int, end_ms: int | None, *, is_reversed: bool = False
    ) -> Iterator[dict[str, str]]:
        name, begin, end = self._prefix + stream, str(max(0, begin_ms)), "+" if end_ms is None else str(max(0, end_ms))
        while True:
            if is_reversed:
                part = self._ask(partial(self._client.xrevrange, name, end, begin, READ_MAX))
            else:
                part = self._ask(partial(self._client.xrange, name, begin, end, READ_MAX))
            for _, fields in part:
                yield {key.decode(): value.decode() for key, value in fields.items()}
            if len(part) < READ_MAX:
                return
            last = f"({part[-1][0].decode()}"
            begin, end = (begin, last) if is_reversed else (last, end)

    def reaches_back_s(self) -> float | None:
        """Return the time (UTC, in seconds) of the oldest entry of any stream; None: there is none.

        Raises:
            DetektrError: the server is away, or refuses.
        """
        times = []
        for stream in (*FRAMES.values(), OPERATIONS):
            times += [int(name.split(b"-")[0]) for name, _ in self._ask(partial(self._oldest, self._prefix + stream))]
        return min(times) / 1000 if times else None

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _oldest(self, name: str) -> Any:
        return self._client.xrange(name, count=1)

    def _ask(self, question: Callable[[], Any]) -> Any:
        import redis

        try:
            return question()
        except redis.RedisError as fault:
            raise DetektrError(
                f"Redis does not answer for the audit trail ({fault_line(fault)}); start it, then ask again"
            ) from None


def _row(place: str, fields: dict[str, str]) -> list[Row]:
    """Return the row in an entry; none where it is somebody else's."""
    try:
        return [from_fields(place, fields)]
    except (ValueError, KeyError):
        return []


def _connect(url: str) -> Any:
    """Return a client, which connects when it is first used.

    Raises:
        RefusedError: redis-py is not installed, or the address is not one.
    """
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError:
        raise RefusedError(
            f"audit: {redact(url)!r} needs the Redis client, which is not installed; "
            "install it with: pip install 'detektr[redis]'"
        ) from None
    try:
        return redis.Redis.from_url(
            url, socket_timeout=WAIT_S_MAX, socket_connect_timeout=WAIT_S_MAX, retry=Retry(NoBackoff(), 0)
        )
    except (ValueError, TypeError):  # its text may hold a piece of the password
        raise RefusedError(
            f"audit: {redact(url)!r} is not a Redis address; write redis://[USER:PASSWORD@]HOST:PORT/NUMBER, "
            "with special characters of the password percent-encoded"
        ) from None
