"""Who may what, as a table: each row is a request, and why it is refused."""

from __future__ import annotations

from typing import Any

import pytest

from detektr.web.access import Facts, Right, decide, host_name, is_loopback

HERE: dict[str, Any] = {"client": "127.0.0.1", "host": "127.0.0.1:8002", "local": "127.0.0.1"}
THERE: dict[str, Any] = {"client": "10.0.0.9", "host": "10.0.0.5:8002", "local": "10.0.0.5"}
REQUESTS: dict[str, tuple[Right, dict[str, Any], str]] = {
    "a probe from anywhere": (Right.PROBE, THERE, ""),
    "a probe by any name, from any page": (
        Right.PROBE,
        {**THERE, "host": "evil.example", "origin": "https://evil.example", "fetch_site": "cross-site"},
        "",
    ),
    "numbers on loopback": (Right.NUMBERS, HERE, ""),
    "numbers on loopback, IPv6": (Right.NUMBERS, {"client": "::1", "host": "[::1]:8002", "local": "::1"}, ""),
    "numbers as localhost": (Right.NUMBERS, {**HERE, "host": "localhost:8002"}, ""),
    "numbers from elsewhere": (Right.NUMBERS, THERE, "no_token"),
    "numbers from elsewhere, with the token": (Right.NUMBERS, {**THERE, "token": "right"}, ""),
    "numbers from elsewhere, with another token": (Right.NUMBERS, {**THERE, "token": "wrong"}, "wrong_token"),
    "numbers by a name of somebody else's": (Right.NUMBERS, {**HERE, "host": "evil.example"}, "misdirected"),
    "numbers without a name": (Right.NUMBERS, {**HERE, "host": ""}, "misdirected"),
    "numbers by a name of the file": (Right.NUMBERS, {**HERE, "host": "camera-box:8002"}, ""),
    "the token does not help a wrong name": (
        Right.TOKEN,
        {**HERE, "host": "evil.example:8002", "token": "right"},
        "misdirected",
    ),
    "a change on loopback": (Right.TOKEN, HERE, "no_token"),
    "a change with the token": (Right.TOKEN, {**HERE, "token": "right"}, ""),
    "a change with another token": (Right.TOKEN, {**HERE, "token": "wrong"}, "wrong_token"),
    "an image on a page of another site": (
        Right.TOKEN,
        {**HERE, "fetch_site": "cross-site", "token": "right"},
        "cross_site",
    ),
    "a page of another port here": (Right.NUMBERS, {**HERE, "fetch_site": "same-site"}, "cross_site"),
    "a form of another site": (Right.TOKEN, {**HERE, "origin": "https://evil.example"}, "cross_site"),
    "a form of a sandbox": (Right.TOKEN, {**HERE, "origin": "null", "token": "right"}, "cross_site"),
    "a page of this server": (
        Right.TOKEN,
        {**HERE, "origin": "http://127.0.0.1:8002", "fetch_site": "same-origin", "token": "right"},
        "",
    ),
    "the address was typed": (Right.NUMBERS, {**HERE, "fetch_site": "none"}, ""),
    "a session begins": (Right.SESSION, THERE, ""),
    "a session that another site begins": (Right.SESSION, {**HERE, "fetch_site": "cross-site"}, "cross_site"),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_is_answered_or_refused_for_its_reason(name: str) -> None:
    right, facts, verdict = REQUESTS[name]
    assert decide(right, Facts(**facts), ["camera-box"]) == verdict


def test_what_the_file_opens_is_open_for_this_machine_only() -> None:
    assert decide(Right.TOKEN, Facts(**HERE), [], is_open=True) == ""
    assert decide(Right.TOKEN, Facts(**THERE), [], is_open=True) == "no_token"
    assert decide(Right.TOKEN, Facts(**{**HERE, "fetch_site": "cross-site"}), [], is_open=True) == "cross_site"


@pytest.mark.parametrize(
    ("host", "name"),
    [("a:1", "a"), ("A.b.", "a.b"), ("[::1]:80", "::1"), ("::1", "::1"), ("10.0.0.1:8002", "10.0.0.1"), ("", "")],
)
def test_a_host_is_known_without_its_port(host: str, name: str) -> None:
    assert host_name(host) == name


@pytest.mark.parametrize(
    ("address", "is_so"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("localhost.evil.example", False),
        ("", False),
    ],
)
def test_loopback_is_told_by_the_address_alone(address: str, is_so: bool) -> None:
    assert is_loopback(address) is is_so
