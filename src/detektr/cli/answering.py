"""Shared by all commands: their help, their end and exit code, and times on the command line."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec

from detektr.errors import DetektrError, RefusedError
from detektr.process.fault_text import fault_line, fault_text

P = ParamSpec("P")
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF, errno.ENXIO)
PLAIN: dict[str, Any] = {"no_args_is_help": True, "add_completion": False, "rich_markup_mode": None}


def duration_ns(text: str, option: str) -> int:
    """Read a time such as `10s`.

    Raises:
        RefusedError: it is none; says which option.
    """
    from detektr import options

    try:
        return options.duration_ns(text)
    except ValueError as fault:
        raise RefusedError(f"{option}: {fault}") from None


def answering(command: Callable[P, int | None]) -> Callable[P, None]:
    """End the process with what the command returns; a refusal is printed as it stands, never as a traceback."""

    @functools.wraps(command)
    def answer(*arguments: P.args, **options: P.kwargs) -> None:
        try:
            code = command(*arguments, **options) or 0
            sys.stdout.flush()
        except DetektrError as fault:
            code = say(fault_text(fault), fault.exit_code)
        except KeyboardInterrupt:
            code = 130
        except BrokenPipeError:  # whoever read our output has seen enough
            _silence(1)
            code = 0
        except OSError as fault:
            if fault.errno in (errno.EMFILE, errno.ENFILE):
                code = say(
                    f"{fault_text(fault)}: more than this process, or this machine, may open; raise ulimit -n", 1
                )
            elif not _is_output_lost(fault):
                code = _say_defect(fault)
            else:
                code = say(f"the answer cannot be written: {fault.strerror}; see what its output goes to", 1)
        except Exception as fault:
            code = _say_defect(fault)
        raise SystemExit(code)

    return answer


def _say_defect(fault: Exception) -> int:
    if os.environ.get("DETEKTR_LOG", "").strip().lower() == "debug":
        raise fault
    return say(f"detektr itself has a fault: {fault_line(fault)}; DETEKTR_LOG=debug shows where", 1)


def _is_output_lost(fault: OSError) -> bool:
    """Whether what was printed cannot be written; then it is let go of, or the interpreter would stumble over it."""
    if fault.filename is not None or fault.errno not in _UNWRITABLE:
        return False
    _silence(1)
    return True


def _silence(fd: int) -> None:
    """Let what is still to be written to a descriptor go nowhere."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, fd)
    os.close(nothing)


def tell(line: str) -> None:
    """Print a line beside the answer, without secrets; nobody may be there to read it."""
    say(line, 0)


@contextlib.contextmanager
def otel_extra(command: str) -> Iterator[None]:
    """Say what has to be installed, or set otherwise, where an import within fails.

    Raises:
        RefusedError: OpenTelemetry is not there, or refuses one of its own variables.
    """
    try:
        yield
    except ImportError as fault:
        hint = 'install it: pip install "detektr[otel]"'
        raise RefusedError(f"{command}: the package {fault.name} is missing; {hint}") from None
    except ValueError as fault:
        from detektr.tooling.otlp.collector import refused_settings

        raise refused_settings(fault) from None


def say_sent(what: str, url: str, counts: tuple[int, int]) -> int:
    """Print how many things a collector has taken; returns 1 if it has not taken some.

    Args:
        what: in words: `spans`.
        url: of the collector.
        counts: how many it has taken, and how many it has not.
    """
    from detektr.redaction import redact

    print(f"{counts[0]} {what} sent to {redact(url)}")
    return 1 if counts[1] else 0


def say(text: str, code: int) -> int:
    """Say why a command ends with `code`, without secrets; returns it."""
    from detektr.redaction import disarm, mask

    try:
        print("\n".join(disarm(line) for line in mask(text).splitlines()), file=sys.stderr, flush=True)
    except OSError:  # nor can this be written: the code says it
        _silence(2)
    return code
