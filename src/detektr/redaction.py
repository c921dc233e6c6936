"""How a text is printed without its secrets (registered values, passwords and tokens of URLs), and without commands
to a terminal."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, unquote

SECRET_CHARS_MIN = 4  # a shorter text stands in too many innocent places to be masked everywhere
MASK = "***"
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,15}://)(\S+)")  # bounded: a long word is no URL, and not searched twice
_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(:[0-9]*)?")
_QUERY_VALUE = re.compile(r"([?&;#])([^=?&;#\s]+)=[^&;#\s\"']+")
_TOKEN = re.compile("pass|pwd|pw|token|key|secret|auth|sig|user|login|credential|session|sid|streamid", re.IGNORECASE)
# Of C0 and C1 all but the tab: ESC and CSI begin commands, BEL rings, CR and BS overwrite what stands there.
_COMMANDS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if code != ord("\t")} | {
    ord("\r"): "\\r",
    ord("\n"): "\\n",
}
_secrets: dict[str, str] = {}  # replaced as a whole, never changed: threads read it while another registers


def register_secret(value: str) -> None:
    """Blank out this value in every text from now on; one under `SECRET_CHARS_MIN` characters is left alone."""
    global _secrets
    if len(value) >= SECRET_CHARS_MIN:
        _secrets = {**_secrets, value: MASK}


def mask(text: str) -> str:
    """Return the text without registered secrets and without the passwords of URLs."""
    return mask_with(text, _secrets) if _secrets or "://" in text else text


def disarm(text: str) -> str:
    """Return one line of text with each control character, which a terminal would obey, in letters: `\\x1b[2J`."""
    return text if text.isprintable() else text.translate(_COMMANDS)


def redact(text: str) -> str:
    """Mask user info and token-like query values of every URL in a text.

    A password may itself hold `/`, `?` or `@`: where a URL has user info, all up to its last `@` is masked.
    """
    return _URL.sub(lambda match: match.group(1) + _redact_rest(match.group(2)), text)


def _redact_rest(rest: str) -> str:
    user_info = _user_info(rest)
    if user_info is not None:
        rest = f"***@{rest[len(user_info) + 1 :]}"
    return _QUERY_VALUE.sub(_redact_value, rest)


def _redact_value(match: re.Match[str]) -> str:
    is_secret = _TOKEN.search(match.group(2)) is not None
    return f"{match.group(1)}{match.group(2)}=***" if is_secret else match.group()


def _user_info(rest: str) -> str | None:
    """Return what stands before the host in a URL without its scheme; None where nothing does."""
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    is_bare_host = "@" not in authority and _HOST.fullmatch(authority) is not None
    if is_bare_host or "@" not in rest:
        return None
    return rest.rpartition("@")[0]


def url_secrets(text: str) -> set[str]:
    """Return the passwords in a text's URLs, as written and as meant."""
    found = set()
    for match in _URL.finditer(text):
        user_info = _user_info(match.group(2))
        if user_info is not None:
            password = user_info.partition(":")[2]
            found |= {password, unquote(password)}
    return {secret for secret in found if len(secret) >= SECRET_CHARS_MIN}


def mask_with(text: str, secrets: Mapping[str, str]) -> str:
    """Replace secrets in a text that is to be printed, and redact its URLs.

    Args:
        text: what is to be printed.
        secrets: what must not be, and what stands in its place (`{"hunter2": "${PASSWORD}"}`).
    """
    for secret in sorted(secrets, key=len, reverse=True):
        for form in {secret, quote(secret, safe=""), repr(secret)[1:-1]}:
            text = text.replace(form, secrets[secret])
    return redact(text)
