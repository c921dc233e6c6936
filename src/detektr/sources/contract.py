"""The contract between a capture and a source: pictures, one by one, each able to write itself into a slot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from detektr.picture import WritablePicture


class Picture(WritablePicture, Protocol):
    """One decoded picture, good until the next one is asked for."""

    @property
    def place(self) -> int | None:
        """How many pictures of this round through a file came before it; None: it is none that is opened in between."""

    @property
    def is_break(self) -> bool:
        """True: the first picture of a new time line, of which the times before tell nothing."""


class OpenedSource(Protocol):
    """An opened source; belongs to the thread that iterates, except for `close` and the counts."""

    @property
    def is_live(self) -> bool:
        """True: a camera or stream that goes on without us; its end is a disconnect.

        What a URL names is known from its first picture on: until then it is held to be live.
        """

    @property
    def is_batch(self) -> bool:
        """True: nobody waits for any one of its pictures, only for all of them: a file at full speed, but no pipe."""

    @property
    def description(self) -> str:
        """What it is, without secrets, for logs."""

    @property
    def mode(self) -> str:
        """How it is read, in short words for status, such as `h264 over tcp, software decoder`."""

    @property
    def thinned(self) -> int:
        """Pictures left out by `fps` or `decode: keyframes`."""

    @property
    def stale(self) -> int:
        """Pictures and packets left out because they were an old backlog."""

    @property
    def corrupt(self) -> int:
        """Pictures and packets left out because they were damaged or could not be decoded."""

    def pictures(self) -> Iterator[Picture]:
        """Yield pictures, waiting for each; ends with the source or soon after `close`; to be called once.

        Raises:
            SourceError: reading failed; says what, why and what to do, without secrets.
        """

    def close(self) -> None:
        """Make `pictures` end, from any thread: those of a live source at once.

        Who iterates and stops before the end must call it too, from that thread: what a user's code holds is closed
        by nobody else.
        """
