"""Masks texts for printing: secrets (registered values, passwords and tokens of URLs), and control characters that are
commands to a terminal."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote, unquote

SECRET_CHARS_MIN = 4  # a shorter text stands in too many innocent places to be masked everywhere
MASK = "***"
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,15}://)(\S+)")  # bounded: a long word is no URL, and not searched twice
_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(:[0-9]*)?")
# Of C0 and C1 all but the tab: ESC and CSI begin commands, BEL rings, CR and BS overwrite what stands there.
_COMMANDS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if code != ord("\t")} | {
    ord("\r"): "\\r",
    ord("\n"): "\\n",
}
_INNER = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,15}(://|%3A%2F%2F)", re.IGNORECASE)
# What ends one `key=value` and begins the next: some cameras write _ or , for &, which passwords have in them too.
_NEXT = re.compile(
    r"[&;#\"']|[_,|!](?=(?:user|usr|username|password|passwd|pass|pwd|psw|channel|chn?|stream|subtype|profile|token|"
    r"unicast)[=:])",
    re.IGNORECASE,
)
_PAIR = re.compile(r"\??([^=:]+)[=:](?=.)")
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_USER_KEYS = frozenset(["u", "usr", "user", "username", "account", "acc", "login", "loginuse"])
_SECRET_KEYS = frozenset(
    [
        "p",
        "pw",
        "pin",
        "otp",
        "psw",
        "pas",
        "key",
        "sig",
        "sign",
        "sid",
        "enr",
        "jwt",
        "code",
        "ticket",
        "hash",
        "digest",
        "hdnts",
        "hdnea",
        "streamid",
    ]
)
_SECRET_PARTS = re.compile(
    "pass|pwd|token|secret|auth|credential|session|signature|bearer|apikey|loginpas", re.IGNORECASE
)
_LOGINS = frozenset(["admin", "administrator", "root", "guest", "operator", "viewer", "service"])  # /admin:12345/
_TOKEN_CHARS_MIN = 8
_TOKEN_CHANGES_MIN = 3  # from a letter to a digit or a capital and back: h264Preview has two
_CHANGE = re.compile(r"(?<=[a-z])[A-Z0-9]|(?<=[A-Z])[0-9]|(?<=[0-9])[A-Za-z]")
_GROUPS = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}|[0-9A-Za-z]{4}(-[0-9A-Za-z]{4}){3,}")
_KEYED = ("live", "movie", "series", "timeshift")  # /live/USER/PASSWORD/17.ts, /live/TOKEN/stream
_STREAM_NAME = re.compile(
    r"[0-9]{1,4}|(ch|chn|channel|cam|camera|stream|video|audio|av|main|sub|primary|secondary|third|profile|track|live|"
    r"h\.?26[45]|mpeg-?4?|mjpe?g|hevc|avc|sd|hd|fhd|uhd|low|high|medium|[0-9]{3,4}p)([._-]?[0-9]{1,3})*(\.[a-z0-9]{2,4})?",
    re.IGNORECASE,
)
_PLAYLIST = re.compile(
    r"(index|playlist|master|stream|chunklist\w*|live|video|main)\.(m3u8|mpd|flv|ts|mp4|sdp)", re.IGNORECASE
)
_NAME = re.compile(r"[a-z]+([_-][a-z]+)*")
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


class Secret(NamedTuple):
    """One secret in a URL, and where it stands."""

    begin: int
    end: int
    name: str
    """Its key, or `token` where it has none."""
    is_password: bool = True
    """False: a user's name, or what is a secret by its place alone and may be an innocent word elsewhere."""


def redact(text: str) -> str:
    """Mask user info, passwords and tokens of every URL in a text; host, port, channel and stream stay.

    A password may itself hold `/`, `?` or `@`: where a URL has user info, all up to its last `@` is masked.
    """
    return _URL.sub(lambda match: match.group(1) + _redact_rest(match.group(2)), text)


def _redact_rest(rest: str) -> str:
    user_info = _user_info(rest)
    head, tail = ("", rest) if user_info is None else (f"{MASK}@", rest[len(user_info) + 1 :])
    for secret in reversed(tail_secrets(tail)):
        tail = tail[: secret.begin] + MASK + tail[secret.end :]
    return head + tail


def tail_secrets(tail: str) -> list[Secret]:
    """Find the secrets in a URL behind its scheme and its user info, by their keys and by their places.

    Args:
        tail: `host:554/user=admin_password=X_channel=1`.
    Returns:
        In the order in which they stand, none within another.
    """
    found: list[Secret] = []
    begin = 0
    login_end = max(tail.rfind("@"), tail.rfind("%40"))
    while begin < len(tail):
        inner = _INNER.search(tail, begin)  # ?src=rtsp://user:password@camera/1, as proxies have it
        found += _url_secrets(tail[begin : len(tail) if inner is None else inner.start()], begin)
        if inner is None:
            break
        begin = inner.end()
        if login_end > begin:
            found.append(Secret(begin, login_end, "inner", is_password=False))
            begin = login_end
    return found


def _url_secrets(tail: str, place: int) -> list[Secret]:
    """Return the secrets of one URL; `place` is where it begins."""
    path, mark, query = tail.partition("?")
    found: list[Secret] = []
    segments, is_keyed, at = path.split("/"), False, place
    for index, segment in enumerate(segments):
        if index:  # the first one is the host
            found += _segment_secrets(segments, index, at, is_keyed=is_keyed)
            is_keyed |= segment.lower() in _KEYED
        at += len(segment) + 1
    return [*found, *(_pair_secrets(query, place + len(path) + 1) if mark else [])]


def _segment_secrets(segments: list[str], index: int, place: int, *, is_keyed: bool) -> list[Secret]:
    """Return the secrets of one segment of a path; `is_keyed`: behind one of those that tokens follow."""
    segment = segments[index]
    pairs = _pair_secrets(segment, place, has_logins=True)
    segment = segment.rstrip(":;,.)'\"")  # of the text in which the URL stands
    if pairs or not segment:
        return pairs
    whole = Secret(place, place + len(segment), "token")
    if index > 1 and segments[index - 1].isalpha() and is_secret_key(segments[index - 1]):  # /token/X/
        return [whole._replace(name=segments[index - 1])]
    if _is_token(segment.partition(".")[0]) or _is_token(segment):
        return [whole]
    if not is_keyed or index == len(segments) - 1 or _STREAM_NAME.fullmatch(segment):
        return []
    if _PLAYLIST.fullmatch(segments[-1]) and _NAME.fullmatch(segment):  # /live/frontdoor/index.m3u8
        return []
    return [whole._replace(is_password=False)]


def _pair_secrets(text: str, place: int, *, has_logins: bool = False) -> list[Secret]:
    """Return the secrets among `key=value` and `key:value`."""
    found, begin = [], 0
    for end in (*(match.span() for match in _NEXT.finditer(text)), (len(text), len(text))):
        part = text[begin : end[0]]
        match = _PAIR.match(part)
        if match is not None:
            is_password = is_secret_key(match.group(1)) or (has_logins and match.group(1).lower() in _LOGINS)
            if is_password or _is_user_key(match.group(1)):
                at = place + begin + match.end()
                found.append(Secret(at, place + end[0], match.group(1), is_password))
        begin = end[1]
    return found


def is_secret_key(key: str) -> bool:
    """Tell whether what a key stands for is a password, a token or their like."""
    words = {word.lower() for word in _WORD.findall(key)}
    return _SECRET_PARTS.search(key) is not None or bool(words & _SECRET_KEYS) or key.lower().endswith("key")


def _is_user_key(key: str) -> bool:
    return bool({word.lower() for word in _WORD.findall(key)} & _USER_KEYS)


def _is_token(text: str) -> bool:
    """Tell whether no person has chosen this text: digits, letters and capitals in turn."""
    if _GROUPS.fullmatch(text):
        return any(character.isdigit() for character in text)
    pieces = re.split(r"[._-]", text)
    return any(len(piece) >= _TOKEN_CHARS_MIN and len(_CHANGE.findall(piece)) >= _TOKEN_CHANGES_MIN for piece in pieces)


def _user_info(rest: str) -> str | None:
    """Return what stands before the host in a URL without its scheme; None where nothing does."""
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    is_bare_host = "@" not in authority and _HOST.fullmatch(authority) is not None
    if is_bare_host or "@" not in rest:
        return None
    return rest.rpartition("@")[0]


def url_secrets(text: str) -> set[str]:
    """Return the passwords and tokens in a text's URLs, as written and as meant."""
    found = set()
    for match in _URL.finditer(text):
        rest, user_info = match.group(2), _user_info(match.group(2))
        if user_info is not None:
            found.add(user_info.partition(":")[2])
            rest = rest[len(user_info) + 1 :]
        found |= {rest[secret.begin : secret.end] for secret in tail_secrets(rest) if secret.is_password}
    found |= {unquote(secret) for secret in found}
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
