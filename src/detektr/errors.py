"""Errors a user may see: each says where, what with the value, what was expected, and what to do."""

from __future__ import annotations


class DetektrError(Exception):
    """Base class of all; the command line prints the text as it is and ends with `exit_code`."""

    exit_code = 1


class RefusedError(DetektrError):
    """The file, the arguments or the machine were refused; detektr started nothing, and left nothing behind."""

    exit_code = 2


class NoRoomError(RefusedError):
    """Shared memory has no room for what is needed; the text says how much is needed and free, and what to do."""


class SourceError(DetektrError):
    """A source cannot be opened or read; the text never holds a password.

    `state` is what a node whose source is so is called: connecting, stalled, unauthorized, forbidden, not_found or
    tls_failed.
    """

    def __init__(self, text: str, state: str = "connecting") -> None:
        super().__init__(text)
        self.state = state


class WireError(DetektrError):
    """A message from another process is not one of ours: truncated, out of range or of another version."""


class ResultError(DetektrError):
    """What a processor returned is not an event; another attempt at the same frame would return the same."""


class OverwrittenError(DetektrError):
    """The slot no longer holds the frame that was announced; nothing computed from it may be used."""


class LeaseOverError(DetektrError):
    """Code asked a frame for its pixels after its lease had ended; its slot may hold another frame by now."""


class EndedEarlyError(SystemExit):
    """A process was told to end while it starts; no fault of the user's code in which that came."""
