"""The token: given by the file, or made once and kept where only this user reads it; and sessions."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from pathlib import Path

from detektr.errors import RefusedError

FILE = "web.token"
SESSION_COOKIE = "detektr_session"
_TOKEN = re.compile(r"^[\x21-\x7e]{16,256}\Z")


def token_file(folder: Path) -> str:
    """Return the token of a folder; one is made where there is none yet.

    Args:
        folder: a pipeline's state folder, or the one above; made if missing.
    Raises:
        RefusedError: it cannot be read or written, is somebody else's, or others may read it.
    """
    path = folder / FILE
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            return _read(path)
        with os.fdopen(fd, "w") as file:
            token = secrets.token_urlsafe(32)
            file.write(f"{token}\n")
            return token
    except OSError as fault:
        raise RefusedError(
            f"web: the token's file {path} cannot be used: {fault.strerror or fault}; make it writeable"
        ) from None


def check_token(token: str, where: str) -> None:
    """Refuse a token that is none.

    Args:
        token: what was given.
        where: by what, for the refusal; the token itself is never shown.
    Raises:
        RefusedError: it is too short or too long, or has a space in it.
    """
    if _TOKEN.match(token) is None:
        raise RefusedError(f"{where} is a text of {len(token)} characters; give 16 to 256 of them, without spaces")


def _read(path: Path) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(fd) as file:
        facts = os.fstat(fd)
        token = file.read(1024).strip()
    if facts.st_uid != os.getuid() or facts.st_mode & 0o077:
        raise RefusedError(f"web: {path} can be read by others; remove it, and detektr makes another token")
    if _TOKEN.match(token) is None:
        raise RefusedError(f"web: {path} holds no token of 16 characters or more; remove it, and detektr makes one")
    return token


def session_of(token: str) -> str:
    """Return what the cookie of a session holds: it proves that its owner knew the token, and does not tell it."""
    return hmac.new(token.encode(), b"detektr session", hashlib.sha256).hexdigest()


def is_same(given: str, wanted: str) -> bool:
    """Whether two secrets are the same; how long that takes tells nothing about them."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), wanted.encode())
