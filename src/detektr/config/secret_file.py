"""Secrets that lie in files of their own, as systemd's credentials and containers have them: `${file:NAME}`."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

SECRETS_FOLDER = "/run/secrets"
SECRET_BYTES_MAX = 1 << 16


class SecretFileError(Exception):
    """A secret cannot be had: what is wrong, what was expected, and what to do."""

    def __init__(self, what: str, expected: str, hint: str) -> None:
        super().__init__(f"{what}, expected {expected}, {hint}")
        self.what, self.expected, self.hint = what, expected, hint


def read_secret_file(name: str, environment: Mapping[str, str]) -> str:
    """Return what a secret's file holds, without the line end at its end.

    Args:
        name: a path, or a name that is looked for in `$CREDENTIALS_DIRECTORY`, then in `/run/secrets`.
        environment: which may have `CREDENTIALS_DIRECTORY`.
    Raises:
        SecretFileError: there is no such file, or no secret in it.
    """
    places = _places(name, environment)
    for path in places:
        try:
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise IsADirectoryError
                payload = file.read(SECRET_BYTES_MAX + 1)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError) as fault:  # ValueError: a path with a NUL
            raise _unreadable(path, fault) from None
        return _text(path, payload)
    looked = " and ".join(map(str, places))
    unset = "" if environment.get("CREDENTIALS_DIRECTORY") or len(places) > 1 or Path(name).is_absolute() else _UNSET
    raise SecretFileError(
        f"the secret file {name!r:.80} is missing (looked for {looked}{unset})",
        "a file that holds the secret",
        "make it (systemd: LoadCredential=; a container: its secrets), correct the name, or write an absolute path",
    )


_UNSET = "; CREDENTIALS_DIRECTORY is not set"


def _places(name: str, environment: Mapping[str, str]) -> list[Path]:
    if Path(name).is_absolute():
        return [Path(name)]
    folders = [environment.get("CREDENTIALS_DIRECTORY", ""), SECRETS_FOLDER]
    return [Path(folder, name) for folder in folders if folder]


def _unreadable(path: Path, fault: OSError | ValueError) -> SecretFileError:
    if isinstance(fault, IsADirectoryError):
        kind = "a folder" if path.is_dir() else "no regular file"
        return SecretFileError(f"the secret file {str(path)!r} is {kind}", "a file", "name the file in it")
    why = (getattr(fault, "strerror", None) or str(fault)).lower()
    hint = f"let user {os.getuid()} read it (chown, chmod), or correct the name"
    return SecretFileError(f"the secret file {str(path)!r} cannot be read: {why}", "a file that can be read", hint)


def _text(path: Path, payload: bytes) -> str:
    """Return a file's text; what is wrong with it is said without any of it."""
    what = f"the secret file {str(path)!r}"
    if len(payload) > SECRET_BYTES_MAX:
        limit = f"{SECRET_BYTES_MAX // 1024} KiB"
        raise SecretFileError(f"{what} has more than {limit}", f"at most {limit}", "check that it is the right file")
    try:
        text = payload.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        hint = "write it as UTF-8 text; where it is binary, name its path to your code instead"
        raise SecretFileError(f"{what} is not UTF-8 at its byte {fault.start}", "text", hint) from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise SecretFileError(f"{what} is empty", "a secret in it", "write the secret into it")
    if "\0" in text:
        raise SecretFileError(f"{what} has a NUL character in it", "text", "write the secret alone into it")
    return text
