"""Reads the pictures of one source, one after the other; a live source that is lost is opened again and again.

The reader belongs to one thread, which may wait in FFmpeg for seconds; other threads `stop` it and read its state.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from detektr.errors import SourceError
from detektr.memory.status_block import StatusBlock
from detektr.options import SECOND_NS, CaptureOptions
from detektr.process.fault_text import fault_text
from detektr.source_uri import is_live
from detektr.sources import OpenedSource, Picture, open_source, source_number
from detektr.sources.transport.reconnect import Reconnect

NOTE_NS = 100_000_000  # how often the status block gets the mode of reading and the counts of pictures left out
_log = logging.getLogger(__name__)


class SourceReader:
    """Opens one source, reads it to its end (a live one for ever), and writes its state into the status block."""

    def __init__(
        self, options: CaptureOptions, folder: Path, status_block: StatusBlock, reconnect: Reconnect | None = None
    ) -> None:
        """Prepare; nothing is opened yet.

        Args:
            options: the source, and how to read it.
            folder: base of a relative path.
            status_block: gets the mode of reading, and counts of losses and of pictures left out.
            reconnect: the pauses before a live source is opened again.
        """
        self.is_live = is_live(options.source)
        self.is_batch = False
        """Whether its frames may be offered in batches; known once it is open."""
        self.trouble: tuple[str, str] | None = ("connecting", "opening") if self.is_live else None
        """State, and why; None: pictures come."""
        self._options, self._folder, self._status_block = options, folder, status_block
        self._source_number = source_number(options, folder)
        self.begin_at = status_block.round_frames(self._source_number)
        """Pictures of a file that a predecessor has published; reading goes on after them."""
        if self.begin_at:
            _log.info("going on behind the %d pictures that were captured before", self.begin_at)
        self._reconnect = reconnect or Reconnect()
        self._is_stopped = threading.Event()
        self._source: OpenedSource | None = None
        self._pictures: Iterator[Picture] = iter(())
        self._lost: tuple[str, str] | None = None  # why it is not open any more: state and words
        self._before = 0, 0, 0  # left out before it was opened
        self._mode = ""
        self._has_read = False  # a picture
        self._good_since_ns = self._noted_ns = 0

    @property
    def is_paced(self) -> bool:
        """Whether its pictures come at a pace of their own, so that each is offered at once."""
        return self.is_live or self._options.realtime

    @property
    def is_stopped(self) -> bool:
        """Whether it was told to stop."""
        return self._is_stopped.is_set()

    def wait_open(self) -> bool:
        """Open the source, a live one that was lost too, after growing pauses; False: it has ended, or is stopped.

        Raises:
            SourceError: it cannot be opened, and is not live.
        """
        while not self.is_stopped:
            lost, self._lost = self._lost, None
            if lost is None:
                try:
                    self._open()
                except SourceError as fault:
                    self.leave()
                    self._lose(fault)
                else:
                    return True
            elif self.is_live:
                self._pause(*lost)
            else:
                return False
        return False

    def read(self) -> Picture | None:
        """Wait for the next picture, which is valid until the next call; None: the source is no longer open.

        Raises:
            SourceError: reading failed, and the source is not live.
        """
        asked_ns = time.monotonic_ns()
        if self._good_since_ns and asked_ns - self._noted_ns > NOTE_NS:
            self._noted_ns = asked_ns
            self._note()
        self._status_block.note_work(asked_ns)
        try:
            picture = next(self._pictures, None)
        except SourceError as fault:
            self.leave()
            self._lose(fault)
            return None
        finally:
            self._status_block.note_work(0)
        if picture is None or self.is_stopped:
            self.leave()
            self._lost = "connecting", "the stream ended"
            return None
        if not self._good_since_ns:
            if self._is_recording_now():
                self.leave()
                self._lost = "connecting", "the stream ended"
                return None
            self._good_since_ns, self.trouble = time.monotonic_ns(), None
            self._introduce(picture)
        if picture.place == 0:
            self._status_block.begin_round(self._source_number)
        return picture

    def leave_out_paused(self) -> None:
        """Count the picture that was read last as left out, as an operator has paused the capture."""
        self._status_block.count_paused()

    def leave(self) -> None:
        """Close the source, as its reader; one that is not open stays so."""
        source = self._source
        if source is None:
            return
        self._pictures = iter(())  # a generator that yields pictures ends now, at the latest
        self._note()
        self._source = None
        source.close()

    def stop(self) -> None:
        """Stop reading, from any thread: a reader that waits for a picture stops waiting, or gets this last one."""
        self._is_stopped.set()
        source = self._source  # read once: the thread takes it away
        if source is not None:
            source.close()

    def _open(self) -> None:
        source = open_source(self._options, self._folder, self.begin_at)
        self._before = self._status_block.left_out
        self._source, self.is_batch = source, source.is_batch
        self._noted_ns = 0
        if self.is_stopped:  # it could not be closed before it was known
            source.close()
        self._pictures = source.pictures()

    def _is_recording_now(self) -> bool:
        """Note the properties that are certain only once pictures come: a URL may turn out to name a file.

        Returns:
            True: it was live, and its last pictures were shown as they came. They are not shown again.
        """
        source, was_live = self._source, self.is_live and self._has_read
        if source is None:
            return False
        self.is_live, self.is_batch, self._has_read = source.is_live, source.is_batch, True
        if was_live and not source.is_live:
            _log.info("%s has ended: the stream is a recording now", source.description)
            return True
        return False

    def _lose(self, fault: SourceError) -> None:
        if not self.is_live:
            raise fault
        self._lost = fault.state, fault_text(fault)

    def _pause(self, state: str, why: str) -> None:
        good_ns = time.monotonic_ns() - self._good_since_ns if self._good_since_ns else 0
        self._good_since_ns = 0
        self.trouble = state, why
        self._status_block.count_reconnect()
        pause_s = self._reconnect.pause_ns(state, good_ns, random.random()) / SECOND_NS
        _log.warning("%s: %s; trying again in %.1f s", state, why, pause_s)
        self._is_stopped.wait(pause_s)

    def _note(self) -> None:
        """Write the mode of reading and the counts of pictures left out into the status block."""
        source, status_block = self._source, self._status_block
        if source is None:
            return
        thinned, corrupt, stale = self._before
        status_block.set_left_out(thinned + source.thinned, corrupt + source.corrupt, stale + source.stale)
        if source.mode != self._mode:
            self._mode = source.mode
            status_block.set_mode(self._mode)

    def _introduce(self, picture: Picture) -> None:
        source, size = self._source, picture.layout
        if source is not None:
            told = source.description, size.format, size.width, size.height, source.mode
            _log.info("reading %s: %s %dx%d, %s", *told)
