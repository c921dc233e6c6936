"""The life of a node: it is prepared, obeys signals and its supervisor's orders, drains, and leaves its edges."""

from __future__ import annotations

import logging
import signal
import threading
import time
from abc import abstractmethod

from detektr.events import NodeStateChanged
from detektr.nodes.control import ControlLine
from detektr.nodes.node_process import NodeProcess
from detektr.nodes.node_signals import NodeSignals
from detektr.nodes.spec import NodeSpec, Options

_PAUSED = "an operator has paused it; `detektr resume {} {}` lets it go on"
_log = logging.getLogger(__name__)


class NodeLife(NodeProcess[Options]):
    """One process of a node, from `prepare`, which may refuse, to `close`, which leaves nothing behind."""

    is_stateful = False
    """Whether the user's code keeps state for each camera; known once it is prepared."""

    def __init__(self, spec: NodeSpec[Options], control: ControlLine | None = None) -> None:
        """See `NodeProcess`."""
        super().__init__(spec, control)
        self.is_stopping = self.is_final = False
        self.is_paused = self.is_handing_over = self.is_retiring = self.is_cut = False
        self.stopped_by = 0  # the signal that began the stop
        self.stop_deadline_ns = 0
        self._signals: NodeSignals | None = None
        self._state = ("", "")
        self._leaving, self._has_left = threading.Lock(), False

    def prepare(self) -> None:
        """Do everything that can fail before frames flow: import, construct, open, reserve."""
        for consumer, options in self.spec.edges.items():
            self.publisher.add_edge(consumer, options)
        self.publisher.adopt_ephemeral_edges()

    # -- orders and signals -------------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Begin no new work until `resume` or `stop`; what is in work is finished, and our leases stay ours."""
        if not self.is_stopping:
            self.is_paused = True
            self.look_soon()

    def resume(self) -> None:
        """Go on after `pause`."""
        self.is_paused = False
        self.look_soon()

    def hand_over(self) -> None:
        """Stop this process for a successor: what is in work is finished, what is queued stays in the journals."""
        if not self.is_stopping or self.is_retiring:
            self.is_handing_over = True
            self.stop(is_final=False)

    def retire(self) -> None:
        """Leave in order, for good: what is in work is finished, and our own edges end once they are empty.

        Only another order, or a signal, sets a time for that: nothing is dropped because we leave.
        """
        if not self.is_stopping:
            self.stop(is_final=False)
            self.is_retiring = True

    def hasten(self) -> None:
        """Stop waiting for the world outside: the run is being drained."""

    def stop(self, *, is_final: bool, within_ns: int | None = None) -> None:
        """Begin to stop, within the drain's time unless told otherwise.

        Args:
            is_final: the whole pipeline stops: frames that our inputs still hold are worked off, and consumers are told
                that no more will come. Else only this process stops, and its consumers wait for its successor.
            within_ns: time after which remaining frames are dropped as `stopped`.
        """
        now_ns = time.monotonic_ns()
        limit_ns = self.spec.options.drain_ns if within_ns is None else within_ns
        self.is_cut = self.is_cut or limit_ns == 0
        deadline_ns = now_ns + limit_ns
        has_deadline = self.is_stopping and not self.is_retiring
        self.stop_deadline_ns = min(self.stop_deadline_ns, deadline_ns) if has_deadline else deadline_ns
        self.is_retiring = False
        self.is_stopping, self.is_final = True, self.is_final or is_final
        self.is_handing_over = self.is_handing_over and not self.is_final
        self.resume()

    @property
    def signal_fd(self) -> int:
        """Descriptor at which ending signals arrive; -1: not yet."""
        return -1 if self._signals is None else self._signals.fd

    def _listen(self) -> None:
        """Let signals and orders wake the loop from now on."""
        self._signals = NodeSignals()
        self.link.watch(self._signals.fd)
        if self.control is not None:
            self.link.watch(self.control.fileno())

    def _hear(self, ready: list[int]) -> None:
        """Obey what has come at these descriptors."""
        signals, control = self._signals, self.control
        signal_fd, order_fd = self.signal_fd, -1 if control is None else control.fileno()
        for fd in ready:
            if fd not in (signal_fd, order_fd):
                self.link.unwatch(fd)  # a consumer's process has ended; the tick finds out which
        if signals is not None and signal_fd in ready:
            self._obey_signals(signals)
        if control is not None and order_fd in ready:
            self._obey_order(control)

    def _obey_signals(self, signals: NodeSignals) -> None:
        """Stop, as a signal asks for."""
        for number in signals.take():
            # A second signal ends the drain. But a terminal that closes sends SIGHUP once for each shell.
            is_impatient = self.stopped_by and number != signal.SIGHUP
            self.stop(is_final=False, within_ns=0 if is_impatient else None)
            self.stopped_by = self.stopped_by or number

    def _obey_order(self, control: ControlLine) -> None:
        """Do what our supervisor orders; without a supervisor, stop."""
        order = control.try_order() or {}
        what = order.get("order")
        if what == "stop":
            self.stop(is_final=True, within_ns=order.get("within_ns"))
        elif what == "drain":
            self.hasten()
        elif what == "pause":
            self.pause()
        elif what == "resume":
            self.resume()
        elif what == "hand_over":
            self.hand_over()
        elif what == "retire":
            self.retire()
        elif what == "give_up":
            with self.lock:
                self.publisher.give_up(order["consumer"])
        elif what == "let_go":
            with self.lock:
                self.publisher.let_go(order["replica"])
        if control.is_cut:
            self.link.unwatch(control.fileno())
            _log.warning("the supervisor is gone: stopping")
            self.stop(is_final=True)

    # -- its state ----------------------------------------------------------------------------------------------------

    def state(self) -> tuple[str, str]:
        """Return the node's state, and why."""
        missing = next(
            (
                subscriber.why
                for subscriber in self.subscribers
                if not subscriber.is_attached and not subscriber.is_ended
            ),
            "",
        )
        return ("waiting", missing) if missing else ("running", "")

    def _show_state(self) -> None:
        """Write the state into the status block, and tell of it, where it has changed."""
        state = self.state()
        if self.is_stopping:
            state = "draining", state[1] if state[0] == "retrying" else ""
        elif self.is_paused:
            state = "paused", _PAUSED.format(self.spec.pipeline, self.spec.node)
        if state != self._state:
            self._state = state
            self.status_block.set_state(*state)
            _log.info("%s", state[1] if state[1].startswith(state[0]) else ": ".join(filter(None, state)))
            self.report(NodeStateChanged(self.status_block.path.stem, *state))

    # -- its end ------------------------------------------------------------------------------------------------------

    def is_ending(self) -> bool:
        """Whether no more frames will come, so that we end once those that are here are finished."""
        if self.is_stopping:
            return True
        for subscriber in self.subscribers:
            if not subscriber.is_ended:
                return False
        return bool(self.subscribers)

    @abstractmethod
    def is_done(self) -> bool:
        """Whether everything is finished, so that the process may end."""

    def try_end(self) -> bool:
        """End our edges when they are empty; consumers are told so unless only this process stops."""
        if self.is_stopping and not self.is_final and not self.is_retiring:
            return self.is_handing_over or self.publisher.is_empty
        return self.publisher.try_end()

    def drop_unoffered(self, reason: str) -> int:
        """Drop the frames that no journal has, as the time to hand over has expired; returns how many."""
        return 0

    def drop_rest(self, reason: str) -> int:
        """Drop all frames that are still here, as the drain timeout has expired; returns how many."""
        return self.publisher.drop_rest(reason)

    def _has_ended(self, now_ns: int) -> bool:
        """Whether everything is finished, or the drain timeout has expired; then what is left is dropped."""
        if self.is_done():
            return True
        if self.is_ending() and self.publisher.leave_optional(now_ns):
            self.settle(self.publisher.collect())
            if self.is_done():
                return True
        if self.is_stopping and now_ns > self.stop_deadline_ns and not self.is_retiring:
            count = self.drop_unoffered("stopped") if self.is_handing_over else self.drop_rest("stopped")
            self.settle(self.publisher.collect())
            if count:
                is_kept = any([options.is_retried for options in self.spec.edges.values()])
                kept = "; those for sinks with `retry` are dead letters" if is_kept else ""
                why = "told to end at once" if self.is_cut else f"drain timeout ({self.spec.options.drain}) expired"
                _log.warning("%s; dropped %d frames (reason: stopped)%s", why, count, kept)
            self.try_end()
            return True
        return False

    def died(self, why: str) -> None:
        """Note that an exception has ended the work: the attempt at the current frame has failed."""

    def close(self) -> None:
        """Let the user's code end, then leave."""
        self.close_user_code()
        self.leave()

    def close_user_code(self) -> None:
        """Close the user's code, and let go of its objects; this may take long."""

    def leave(self, within_s: float = -1) -> bool:
        """Leave, once, from the thread that comes first; False: another thread has not finished that in this time."""
        if not self._leaving.acquire(timeout=within_s):
            return False
        try:
            if not self._has_left:
                self._has_left = True
                self._leave()
        finally:
            self._leaving.release()
        return True

    def _leave(self) -> None:
        """Leave the edges, and remove our files unless a living supervisor wants to read them."""
        is_own = self.control is None or self.control.is_cut
        is_followed = self.is_handing_over and not is_own
        for subscriber in self.subscribers:
            subscriber.close(is_followed=is_followed)
        self.publisher.close(unlink=is_own, is_followed=is_followed)
        if self.trail is not None:
            self.trail.close(unlink=is_own)
        if is_own:  # by name too: a signal may end us before the publisher knows the journal just made
            for _, _, _, path in self.folder.journals(self.spec.node, self.spec.replica):
                path.unlink(missing_ok=True)
            self.folder.user_metrics(self.spec.node, self.spec.replica).unlink(missing_ok=True)
        self.link.close()
        if self._outbox is not None:
            self._outbox.send()
        self.status_block.close(unlink=is_own)
        if self.control is not None and self.control.is_cut:
            self.folder.sweep_if_abandoned()  # files that earlier processes left and no supervisor removed
        elif is_own:
            self.folder.remove_if_empty()
