"""Audit records in a Redis stream; the only module that knows redis-py."""

from __future__ import annotations

from typing import Any

from detektr.errors import RefusedError
from detektr.redaction import redact
from detektr.telemetry.record import Record

STREAM_RECORDS_MAX = 100_000  # about; the server trims whole nodes of the stream
WAIT_S_MAX = 1.0  # for a connection, and for each answer
PROGRESS_S_MAX = 30 * 24 * 3600  # how long a writer's progress is remembered after its last record


def stream_key(pipeline: str) -> str:
    """Return the key of a pipeline's stream."""
    return f"detektr:{pipeline}:audit"


class RedisStore:
    """The stream `detektr:<pipeline>:audit`, its fields time, pipeline, node, event and data (JSON)."""

    def __init__(self, url: str, pipeline: str) -> None:
        """Read the address; nothing is sent before the first write.

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
        self._pipeline = pipeline
        self._stream = stream_key(pipeline)
        try:
            self._client: Any = redis.Redis.from_url(
                url, socket_timeout=WAIT_S_MAX, socket_connect_timeout=WAIT_S_MAX, retry=Retry(NoBackoff(), 0)
            )
        except (ValueError, TypeError):  # its text may hold a piece of the password
            raise RefusedError(
                f"audit: {redact(url)!r} is not a Redis address; write redis://[USER:PASSWORD@]HOST:PORT/NUMBER, "
                "with special characters of the password percent-encoded"
            ) from None

    def write(self, writer: str, first: int, records: list[Record]) -> None:
        """Store the records that are not there yet, all or none, in two exchanges.

        A server that answered too late may still have stored them, or may do so yet: the writer's progress is changed
        in the same transaction and watched, so that each record is in the stream once.

        Raises:
            redis.RedisError: the server is away, too slow, full, or refuses.
        """
        progress = f"{self._stream}:{writer}"
        with self._client.pipeline(transaction=True) as pipe:
            pipe.watch(progress)
            stored = int(pipe.get(progress) or 0)
            fresh = records[max(0, stored - first) :]
            if not fresh:
                return
            pipe.multi()
            for record in fresh:
                fields = {**record._asdict(), "pipeline": self._pipeline}
                pipe.xadd(self._stream, fields, maxlen=STREAM_RECORDS_MAX, approximate=True)
            pipe.set(progress, first + len(records), ex=PROGRESS_S_MAX)
            pipe.execute()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()
