"""What processors and sinks share: one lease at a time, the user's code on it, and what its failures mean."""

from __future__ import annotations

import functools
import gc
import importlib
import inspect
import logging
import sys
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from detektr.edge.edge_options import ReclaimMode
from detektr.edge.lease import HOPELESS
from detektr.edge.subscriber import EdgeSubscriber
from detektr.errors import OverwrittenError, RefusedError, ResultError
from detektr.fault_text import fault_line, fault_place, fault_text, fault_traceback
from detektr.memory import layout
from detektr.memory.journal_reader import Lease
from detektr.nodes.node import Node
from detektr.options import ProcessorOptions, SinkOptions
from detektr.user_boundary import call_user, flush_files

WHY_CHARS_MAX = 8000
STINT_NS = 1_000_000  # so long the loop's other duties wait for quick work
_log = logging.getLogger(__name__)


class WorkerNode(Node):
    """Takes leases from its intakes in turn and works on each in place."""

    method: ClassVar[str]
    _user: Any = None
    _working: tuple[EdgeSubscriber, Lease] | None = None

    def prepare(self) -> None:
        """Import and construct the user's code, and let it open what it needs."""
        options = self.spec.options
        assert isinstance(options, ProcessorOptions | SinkOptions)
        super().prepare()
        self._user = call_user(load_worker, options.use, options.with_, self.method, Path(self.spec.folder))
        method = getattr(self._user, self.method, self._user)
        self._call: Callable[[Any], Any] = functools.partial(call_user, method)
        self._hook("open")
        self._turn = 0
        self._faults: dict[str, int] = {}

    @abstractmethod
    def describe(self, lease: Lease) -> str:
        """Return the id of the frame that a lease is about."""

    @abstractmethod
    def work(self, lease: Lease, subscriber: EdgeSubscriber) -> None:
        """Do the user's work on one lease.

        Args:
            lease: what to work on.
            intake: where it came from.
        Raises:
            OverwrittenError: the slot held something else; nothing of the work was used.
            BaseException: whatever the user's code raised.
        """

    def hand_on(self, lease: Lease, subscriber: EdgeSubscriber) -> None:
        """Do what is left when the work went well: give the lease back upstream."""
        subscriber.finish((lease.key, lease.sequence), lease.delivery_tag)  # first: somebody may wait for it
        self.status_block.count_frame(time.monotonic_ns() - lease.captured_ns, time.time_ns())

    def step(self, now_ns: int) -> bool:
        """Work on what is there, inputs in turn, for a millisecond or one frame, whichever takes longer."""
        if self.is_stopping and not self.is_final:
            return False  # what is not begun yet goes back upstream when we leave
        end_ns = now_ns + STINT_NS
        subscribers, count = self.subscribers, len(self.subscribers)
        idle, has_worked = 0, False  # intakes that had nothing, one after the other
        while idle < count and now_ns < end_ns and self.may_work():
            subscriber = subscribers[self._turn]
            self._turn = (self._turn + 1) % count
            lease = subscriber.take() if subscriber.leases else None
            if lease is None:
                idle += 1
                continue
            self._work_on(subscriber, lease, now_ns)
            idle, has_worked, now_ns = 0, True, time.monotonic_ns()
        return has_worked

    def has_work(self) -> bool:
        """Whether leases wait to be worked on."""
        is_restarting = self.is_stopping and not self.is_final
        if not is_restarting:
            for subscriber in self.subscribers:  # at each turn: a loop, not a generator
                if subscriber.leases:
                    return self.may_work()
        return False

    def reclaim_mode(self) -> ReclaimMode:
        """All, where there is no room for what the work gives; what is before us does not wait for our own edges."""
        return ReclaimMode.LAZY if self.may_work() else ReclaimMode.BLOCKED

    def may_work(self) -> bool:
        """Whether there is room for what the work gives."""
        return True

    def is_done(self) -> bool:
        """Done when every input has ended (or only we stop) and our own edges are empty."""
        is_restarting = self.is_stopping and not self.is_final
        return (is_restarting or all(subscriber.is_ended for subscriber in self.subscribers)) and self.try_end()

    def died(self, why: str) -> None:
        """Count the attempt at what was being worked on; else it would come back as if nobody had touched it."""
        if self._working is not None:
            subscriber, lease = self._working
            subscriber.fail((lease.key, lease.sequence), why)

    def close_user_code(self) -> None:
        """Let the user's code close, and let go of its object, which may have a `__del__` and open files."""
        if self._user is None:
            return
        try:
            self._hook("close")
        except BaseException as fault:  # the user's code; the node ends either way
            _log.error("%s.close() raised %s", type(self._user).__name__, fault_line(fault))
        call_user(self._let_go)

    def _let_go(self) -> None:
        self._user, self._call = None, _ended
        flush_files()
        gc.collect()

    def _work_on(self, subscriber: EdgeSubscriber, lease: Lease, now_ns: int) -> None:
        status_block, name = self.status_block, (lease.key, lease.sequence)
        status_block.words[layout.STATUS_WORD_WORKING_SINCE_NS] = now_ns
        self._working = subscriber, lease
        try:
            call_user(self.work, lease, subscriber)  # once more: what was returned may be code of the user's too
        except OverwrittenError:
            status_block[layout.STATUS_WORD_REFUSED] += 1
            subscriber.fail(name, "overwritten")
        except BaseException as fault:  # sys.exit() too: one frame's failure, not this process's end
            status_block[layout.STATUS_WORD_FAILURES] += 1
            why = fault_traceback(fault)[-WHY_CHARS_MAX:]
            why = HOPELESS + why if isinstance(fault, ResultError) else why
            what, kind = fault_line(fault), f"{type(fault).__name__}:{fault_place(fault)}"
            times = self._faults[kind] = self._faults.get(kind, 0) + 1
            if times.bit_count() == 1:  # 1, 2, 4, 8, ... of a kind: a fault on every frame must not drown the others
                again = f"; {times} of this kind so far" if times > 1 else ""
                _log.error("%s, attempt %d: %s%s", self.describe(lease), lease.delivery, what, again)
            subscriber.fail(name, why)
            subscriber.flush()
        else:
            self.hand_on(lease, subscriber)
        self._working = None
        status_block.words[layout.STATUS_WORD_WORKING_SINCE_NS] = 0

    def _hook(self, name: str) -> None:
        hook = getattr(self._user, name, None)
        if callable(hook):
            try:
                call_user(hook)
            except Exception as fault:
                if name == "close":
                    raise
                raise _refusal(self.spec.options.use, f"{name}() raised", fault) from fault  # type: ignore[union-attr]


def load_worker(use: str, arguments: Mapping[str, Any], method: str, folder: Path) -> Any:
    """Import `module:Name` and build it with `arguments`; a plain function is used as it is.

    Args:
        use: the module and the name in it.
        arguments: the keys of `with`.
        method: what the object must be able to do.
        folder: looked in after PYTHONPATH.
    Raises:
        RefusedError: the module, the name or the arguments are wrong, or the constructor raised; says which.
    """
    module_name, colon, name = use.partition(":")
    if not colon or not module_name or not name:
        raise RefusedError(f"use: {use!r} is not module:Name, as in my_module:MyProcessor")
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as fault:
        if fault.name is None or not module_name.startswith(fault.name):
            raise _refusal(use, f"importing {module_name} raised", fault) from fault
        raise RefusedError(
            f"use: there is no module {fault.name!r}, on PYTHONPATH or beside the pipeline file;"
            " install it or mend the name"
        ) from None
    except Exception as fault:
        raise _refusal(use, f"importing {module_name} raised", fault) from fault
    target = getattr(module, name, None)
    if target is None:
        names = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise RefusedError(f"use: {module_name} has no {name!r}; it has: {', '.join(sorted(names)[:9]) or 'nothing'}")
    is_class = inspect.isclass(target)
    if not callable(target) or (is_class and not callable(getattr(target, method, None))):
        raise RefusedError(f"use: {use} has no method {method}(); write a class with {method}, or a function")
    try:
        signature = inspect.signature(target)
        if is_class:
            signature.bind(**arguments)
        else:
            signature.bind("frame", **arguments)
    except TypeError as fault:
        raise RefusedError(f"with: {use}{signature} does not take {dict(arguments)!r}: {fault_text(fault)}") from None
    except ValueError:  # a builtin without a signature: the call itself will tell
        _log.debug("%s has no signature to check", use)
    if not is_class:
        return functools.partial(target, **arguments) if arguments else target
    try:
        return target(**arguments)
    except Exception as fault:
        raise _refusal(use, "its constructor raised", fault) from fault


def _refusal(use: str, what: str, fault: BaseException) -> RefusedError:
    at = fault_place(fault)
    raised = f"{type(fault).__name__}{f' at {at}' if at else ''}: {fault_text(fault)}"
    return RefusedError(f"use: {use}: {what} {raised}; mend it, then start again")


def _ended(item: Any) -> Any:
    """Stand for the user's code when it was let go."""
    raise RuntimeError("the user's code was let go of, as its node ends")
