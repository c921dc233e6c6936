"""Who asks a node for frames in the name of clients, and the way back to each."""

from __future__ import annotations

import contextlib
import re
from collections import OrderedDict
from dataclasses import dataclass

from detektr.errors import WireError
from detektr.memory.run_folder import RunFolder
from detektr.memory.status_block_reader import open_status_block
from detektr.wire.link import Link, Outbox
from detektr.wire.message import Answered

ASKERS_MAX = 32
WISHES_MAX = 1024
_PROCESS = re.compile(r"^([A-Za-z][A-Za-z0-9_-]{0,31})\.([0-9]{1,3})\Z")


@dataclass(frozen=True)
class Wish:
    """One question for frames that waits for its answer."""

    replica: str
    request: int
    count: int
    lease_ns: int
    until_ns: int


class Askers:
    """The processes that ask, each life of one by itself: the way to a dead one is not the way to its successor."""

    def __init__(self, folder: RunFolder, link: Link) -> None:
        """Know nobody yet.

        Args:
            folder: where their inboxes are.
            link: our sockets.
        """
        self._folder, self._link = folder, link
        self._known: OrderedDict[tuple[str, int], Outbox] = OrderedDict()

    def note(self, replica: str, request: int) -> None:
        """Open the way to who asks; of more than `ASKERS_MAX`, that to who has not asked for longest is closed.

        Raises:
            WireError: that is no process.
        """
        key = replica, request >> 32
        if key not in self._known:
            parts = _PROCESS.match(replica)
            if parts is None:
                raise WireError(f"replica {replica!r} that asks is not a node and a number, as in motion.0")
            peer = parts[1], int(parts[2])
            self._known[key] = self._link.open_outbox(self._folder.inbox(*peer), self._folder.doorbell(*peer))
            for other in [one for one in self._known if one[0] == replica and one != key]:
                self._known.pop(other).close()
        self._known.move_to_end(key)
        while len(self._known) > ASKERS_MAX:
            self._known.popitem(last=False)[1].close()

    def tell(self, replica: str, request: int, message: Answered) -> None:
        """Send an answer; what does not arrive is asked for again."""
        outbox = self._known.get((replica, request >> 32))
        if outbox is not None:
            outbox.try_send(message)
            outbox.ring()

    def tell_all(self, message: Answered) -> None:
        """Tell everybody who has asked."""
        for outbox in self._known.values():
            outbox.try_send(message)
            outbox.ring()

    def is_there(self, replica: str, request: int) -> bool:
        """Whether a process that has asked is still alive."""
        node, _, number = replica.rpartition(".")
        if (replica, request >> 32) not in self._known:
            return False
        with contextlib.suppress(OSError):
            block = open_status_block(self._folder.status_block(node, int(number)), node, int(number))
            if block is not None:
                is_alive = block.is_alive
                block.close()
                return is_alive
        return False

    def close(self) -> None:
        """Close every way; what was sent is given half a second to arrive."""
        for outbox in self._known.values():
            outbox.close(linger_ms=500)
        self._known.clear()
