"""The media's clock of one camera: what a frame's `time` is. Pure: the stream's times and the moments come in.

It begins at 0 with the camera's first frame of a run, and never goes back:

    the next picture                             the clock goes on by
    has a time in the same stream                the difference of the stream's times
    has lost its time, or goes back a little     nothing
    begins a new time line of a live stream      what passed between the moments of capture: another connection, say
    begins a new time line of a file             the last step: how long a file was not read is no part of it
    is of a stream without times                 what passed between the moments of capture
"""

from __future__ import annotations

from typing import Final

RESUMED_NS_MAX: Final = 5_000_000_000  # a successor that finds the stream further ahead than this reads another one


class MediaClock:
    """One clock; a successor of the process goes on with what its predecessor wrote down of it."""

    def __init__(self, time_ns: int = 0, stream_ns: int | None = None, captured_ns: int = 0) -> None:
        """Begin, or go on.

        Args:
            time_ns: of the last picture, on this clock.
            stream_ns: the latest of the stream's times, in nanoseconds; None: it had none.
            captured_ns: monotonic moment of the last picture's capture; 0: there was none.
        """
        self.time_ns, self.stream_ns, self.captured_ns = time_ns, stream_ns, captured_ns
        self._step_ns = 0
        self._is_resumed = captured_ns > 0

    def place(self, stream_ns: int | None, captured_ns: int, *, is_break: bool, is_live: bool) -> int:
        """Return the next picture's time, in nanoseconds.

        Args:
            stream_ns: its time in the stream; None: it has none.
            captured_ns: monotonic moment of its capture.
            is_break: the stream's times before it tell nothing of it.
            is_live: the stream goes on whether somebody reads it or not.
        """
        before_ns = self.stream_ns
        if self.captured_ns == 0:
            step_ns = 0
        elif before_ns is None or (is_break and is_live) or (stream_ns is None and is_break):
            step_ns = max(0, captured_ns - self.captured_ns)
        elif stream_ns is None:
            step_ns = 0
        else:
            step_ns = stream_ns - before_ns
            is_other = is_break or (self._is_resumed and not 0 <= step_ns <= RESUMED_NS_MAX)
            if is_other:
                step_ns = self._step_ns
            elif step_ns < 0:
                step_ns, stream_ns = 0, before_ns  # it came out of order; the next one goes on from the latest
            elif step_ns > 0:
                self._step_ns = step_ns
        if stream_ns is not None:
            self.stream_ns = stream_ns
        elif is_break:
            self.stream_ns = None
        self._is_resumed = False
        self.time_ns += step_ns
        self.captured_ns = captured_ns
        return self.time_ns
