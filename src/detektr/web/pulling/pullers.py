"""The consumers of a server that pulls for its clients: one for each pipeline and node, made when it is asked for."""

from __future__ import annotations

import threading

from detektr.memory.run_folder import RunFolder
from detektr.web.pulling.puller import Puller

PULLERS_MAX = 16


class Pullers:
    """See the module's first line; may be used from any thread."""

    def __init__(self) -> None:
        """Begin without any."""
        self._known: dict[tuple[str, str], Puller] = {}
        self._turn = threading.Lock()

    def get(self, pipeline: str, node: str) -> Puller | None:
        """Return the consumer of a node, a new one where there is none; None: there are too many."""
        with self._turn:
            known = self._known.get((pipeline, node))
            if known is not None and not known.is_over:
                return known
            for place, other in list(self._known.items()):
                if other.is_over:
                    self._known.pop(place).close()
            if len(self._known) >= PULLERS_MAX:
                return None
            self._known[pipeline, node] = made = Puller(RunFolder(pipeline), node)
            return made

    def find(self, pipeline: str, node: str) -> Puller | None:
        """Return the consumer of a node; None: there is none."""
        known = self._known.get((pipeline, node))
        return None if known is None or known.is_over else known

    def only(self, pipeline: str, node: str | None) -> Puller | None:
        """Return the consumer of a pipeline whose run may be over, of `node` or the only one; None: there is none."""
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
