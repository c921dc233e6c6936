"""What a capture sees of a source: pictures one after the other, each able to write itself into a slot."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol

from detektr.picture import PictureLayout

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Picture(Protocol):
    """One decoded picture, good until the next one is asked for."""

    @property
    def layout(self) -> PictureLayout:
        """How the picture will lie in a slot; may differ from the one before."""

    @property
    def pts(self) -> int | None:
        """Presentation time in units of `time_base`; None: the source has none."""

    @property
    def time_base(self) -> Fraction | None:
        """Seconds of one unit of `pts`; None: the source has no times."""

    @property
    def utc_ns(self) -> int | None:
        """When the picture was taken or came, in nanoseconds since 1970; None: now."""

    @property
    def received_ns(self) -> int | None:
        """Monotonic time at which its packet was read, in nanoseconds; None: now."""

    @property
    def place(self) -> int | None:
        """How many pictures of this round through a file came before it; None: it is none that is opened in between."""

    @property
    def is_break(self) -> bool:
        """True: the first picture of a new time line, of which the times before tell nothing."""

    def write(self, slot: npt.NDArray[np.uint8]) -> None:
        """Copy the pixels, once, into a writeable 1-D uint8 array of `layout.nbytes` bytes."""


class Source(Protocol):
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
            SourceError: reading failed; says what, why and the cure, without secrets.
        """

    def close(self) -> None:
        """Make `pictures` end, from any thread: those of a live source at once.

        Who iterates and stops before the end must call it too, from that thread: what a user's code holds is closed
        by nobody else.
        """
