"""What all commands share: how they are shown, how they end, and how a time on the command line is read."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any, ParamSpec

from detektr.errors import DetektrError, RefusedError

P = ParamSpec("P")
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
            code = say(str(fault), fault.exit_code)
        except KeyboardInterrupt:
            code = 130
        except BrokenPipeError:  # whoever read our output has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            code = 0
        except Exception as fault:
            if os.environ.get("DETEKTR_LOG", "").strip().lower() == "debug":
                raise
            from detektr.telemetry.log import describe

            code = say(f"detektr itself has a fault: {describe(fault)}; DETEKTR_LOG=debug shows where", 1)
        raise SystemExit(code)

    return answer


def say(text: str, code: int) -> int:
    """Say why a command ends with `code`, without secrets; returns it."""
    from detektr.redaction import disarm, mask

    print("\n".join(disarm(line) for line in mask(text).splitlines()), file=sys.stderr)
    return code
