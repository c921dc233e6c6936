"""Who pulls for the clients of a server: one for each pipeline and node, made when it is asked for.

Where the node is of the kind `pull`, it is asked for frames; else the server is an ephemeral consumer of the node.
"""

from __future__ import annotations

import threading

from detektr.memory.run_folder import RunFolder
from detektr.web.pulling.pull_client import PullClient
from detektr.web.pulling.puller import Puller

PULLERS_MAX = 16
AnyPuller = Puller | PullClient


class Pullers:
    """See the module's first lines; may be used from any thread."""

    def __init__(self) -> None:
        """Begin without any."""
        self._known: dict[tuple[str, str], AnyPuller] = {}
        self._turn = threading.Lock()

    def get(self, pipeline: str, node: str, *, is_pull: bool) -> AnyPuller | None:
        """Return who pulls from a node, a new one where there is none; None: there are too many.

        Args:
            pipeline: its name.
            node: whose frames.
            is_pull: whether the node is of the kind `pull`.
        """
        kind = PullClient if is_pull else Puller
        with self._turn:
            known = self._known.get((pipeline, node))
            if known is not None and not known.is_over and isinstance(known, kind):
                return known
            for place, other in list(self._known.items()):
                if other.is_over or other is known:  # the node may be of another kind in another run
                    self._known.pop(place).close()
            if len(self._known) >= PULLERS_MAX:
                return None
            self._known[pipeline, node] = made = kind(RunFolder(pipeline), node)
            return made

    def find(self, pipeline: str, node: str) -> AnyPuller | None:
        """Return who pulls from a node; None: nobody does."""
        known = self._known.get((pipeline, node))
        return None if known is None or known.is_over else known

    def only(self, pipeline: str, node: str | None) -> AnyPuller | None:
        """Return who pulls from a pipeline whose run may be over, from `node` or the only one; None: nobody does."""
        known = list(self._known.items())
        found = [one for (name, other), one in known if name == pipeline and node in (None, other) and not one.is_over]
        return found[0] if len(found) == 1 else None

    @property
    def owe_an_end(self) -> bool:
        """Whether some client has not been told yet that no more frames will come."""
        return any(one.owes_an_end and not one.is_over for one in list(self._known.values()))

    def close(self) -> None:
        """Let all of them leave."""
        with self._turn:
            for puller in self._known.values():
                puller.close()
            self._known.clear()
