"""Who may what: decided from what is known of a request. Pure.

A probe or a scrape (`/ping`, `/ready`, `/healthz`, `/metrics`) is answered to everybody. Numbers are free for who asks
from this machine. Pictures, results, logs, events, and whatever changes something, need the token: any web page can
make a browser on this machine ask, so to come from here says nothing about who wants it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from typing import Literal

Verdict = Literal["", "misdirected", "cross_site", "no_token", "wrong_token"]
TokenFact = Literal["none", "right", "wrong"]
_OWN_SITES = ("same-origin", "none")  # none: the user typed the address


class Right(Enum):
    """What an endpoint asks for."""

    PROBE = "probe"
    """Nothing."""
    NUMBERS = "numbers"
    """To come from this machine, or the token."""
    TOKEN = "token"
    """The token, unless the file says that this is open to whoever comes from this machine."""
    SESSION = "session"
    """The token, which stands in the request: it is about to be checked by its endpoint."""


@dataclass(frozen=True)
class Facts:
    """What is known of a request."""

    client: str
    """Address that the connection comes from."""
    host: str
    """The header Host, with its port; empty: there is none."""
    local: str = ""
    """Address of ours that the connection has come in at."""
    origin: str = ""
    """The header Origin; empty: there is none."""
    fetch_site: str = ""
    """The header Sec-Fetch-Site; empty: there is none."""
    token: TokenFact = "none"
    """What the header Authorization, or the cookie of a session, comes to."""


def decide(right: Right, facts: Facts, names: Collection[str], *, is_open: bool = False) -> Verdict:
    """Return why a request is refused; empty: it is not.

    Args:
        right: what its endpoint asks for.
        facts: what is known of it.
        names: hosts by which this server may be called, beside loopback and the address that it was reached at.
        is_open: whether the file says that this needs no token.
    """
    if right is Right.PROBE:
        return ""
    if not is_own_host(facts.host, facts.local, names):
        return "misdirected"  # a name of somebody else's that leads here: DNS rebinding
    if facts.fetch_site and facts.fetch_site not in _OWN_SITES:
        return "cross_site"
    if facts.origin and not _is_own_origin(facts.origin, facts.host):
        return "cross_site"
    if right is Right.SESSION or facts.token == "right":
        return ""
    if is_loopback(facts.client) and (right is Right.NUMBERS or is_open):
        return ""
    return "wrong_token" if facts.token == "wrong" else "no_token"


def is_own_host(host: str, local: str, names: Collection[str]) -> bool:
    """Whether a header Host names this server: loopback, the address that was reached, or one of its names."""
    name = host_name(host)
    return (
        name == "localhost" or is_loopback(name) or (bool(name) and name in (host_name(local), *map(host_name, names)))
    )


def host_name(host: str) -> str:
    """Return a host without its port and brackets, in small letters."""
    text = host.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0].rstrip(".") if text.count(":") == 1 else text.rstrip(".")


def is_loopback(address: str) -> bool:
    """Whether an address is one of this machine alone."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return bool((mapped or found).is_loopback)


def _is_own_origin(origin: str, host: str) -> bool:
    scheme, colon, rest = origin.strip().lower().partition("://")
    return bool(colon) and scheme in ("http", "https") and rest == host.strip().lower()
