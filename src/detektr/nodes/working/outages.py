"""The outages of one sink's inputs, kept in a small file of the run folder so that they outlive the sink's process."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import time
from collections.abc import Collection
from dataclasses import asdict, replace
from pathlib import Path

from detektr.memory.announcement import Lease
from detektr.nodes.working.retry import Outage, after_failure, given_up_words
from detektr.options import RetryOptions
from detektr.process.fault_text import fault_text

LINE_CHARS_MAX = 300
_log = logging.getLogger(__name__)


class Outages:
    """By input, as its producer's process is called (`see.0`)."""

    def __init__(self, options: RetryOptions, path: Path, inputs: Collection[str]) -> None:
        """Take over what a killed predecessor knew.

        Args:
            options: the sink's.
            path: the file.
            inputs: the producers' processes.
        """
        self._options, self._path = options, path
        self._known = {name: outage for name, outage in _read(path).items() if name in inputs}
        self._is_hasty = False

    @property
    def is_any(self) -> bool:
        """Whether the events of some input cannot be written."""
        return bool(self._known)

    def due_ns(self, name: str) -> int:
        """Return the monotonic time at which the held event of an input is tried again; 0: now."""
        outage = self._known.get(name)
        return 0 if outage is None else outage.due_ns

    def tries(self, name: str, lease: Lease) -> int:
        """Return how often writing this event has failed, in this process and in those before it."""
        outage = self._known.get(name)
        return outage.tries if outage is not None and outage.is_about(lease.key, lease.sequence) else 0

    def note_failure(self, name: str, lease: Lease, what: str, traceback: str) -> str | None:
        """Note that an event could not be written; returns why it is given up, None: it is to be tried again.

        Args:
            name: the input.
            lease: the event.
            what: the failure in one line.
            traceback: all of it.
        """
        outage, is_over = after_failure(
            self._known.get(name),
            self._options,
            key=lease.key,
            sequence=lease.sequence,
            captured_ns=lease.captured_ns,
            what=what[:LINE_CHARS_MAX],
            now_ns=time.monotonic_ns(),
            chance=random.random(),
            is_hasty=self._is_hasty,
        )
        self._known[name] = outage
        self._write()
        return given_up_words(outage, self._options, traceback) if is_over else None

    def note_success(self, name: str) -> None:
        """Note that an event of an input was written."""
        outage = self._known.pop(name, None)
        if outage is not None:
            seconds = (time.monotonic_ns() - outage.since_ns) / 1e9
            _log.info("events of %s are written again, after %d failures in %.1f s", name, outage.failures, seconds)
            self._write()

    def hasten(self) -> None:
        """End every pause now, and let those to come be short: the run ends soon."""
        self._is_hasty = True
        self._known = {name: replace(outage, due_ns=0) for name, outage in self._known.items()}

    def words(self) -> str:
        """Say since when, and why, events cannot be written: of the input for which that is so for longest."""
        if not self._known:
            return ""
        name, outage = min(self._known.items(), key=lambda item: item[1].since_ns)
        begun = time.time() - (time.monotonic_ns() - outage.since_ns) / 1e9
        since = time.strftime("%H:%M:%S", time.localtime(begun))
        count = f"{outage.failures} failures" if outage.failures > 1 else "1 failure"
        return f"events of {name} wait since {since}, after {count}: {outage.last}"

    def forget(self) -> None:
        """Remove the file: no successor will go on."""
        self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        """Replace the file at once, or leave the old one."""
        if not self._known:
            self.forget()
            return
        half_made = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            half_made.write_text(json.dumps({name: asdict(outage) for name, outage in self._known.items()}))
            half_made.replace(self._path)
        except OSError as fault:  # full; the events wait all the same, and only a successor would begin to count anew
            _log.warning("%s cannot be written: %s", self._path, fault_text(fault))
            with contextlib.suppress(OSError):
                half_made.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Outage]:
    """Return what the file says; nothing where there is none, or it is another version's."""
    try:
        return {name: Outage(**values) for name, values in json.loads(path.read_text()).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
