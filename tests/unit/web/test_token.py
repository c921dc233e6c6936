"""The token's file: made once, for this user alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from detektr.errors import RefusedError
from detektr.web.token import FILE, check_token, is_same, session_of, token_file


def test_a_token_is_made_once_and_nobody_else_reads_it(tmp_path: Path) -> None:
    token = token_file(tmp_path / "demo")
    assert len(token) >= 32
    assert (tmp_path / "demo" / FILE).stat().st_mode & 0o777 == 0o600
    assert token_file(tmp_path / "demo") == token


def test_a_token_that_others_can_read_is_refused(tmp_path: Path) -> None:
    token_file(tmp_path)
    (tmp_path / FILE).chmod(0o644)
    with pytest.raises(RefusedError, match="can be read by others"):
        token_file(tmp_path)


def test_a_link_in_the_tokens_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RefusedError, match=r"web\.token"):
        token_file(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def test_an_empty_file_is_no_token(tmp_path: Path) -> None:
    (tmp_path / FILE).touch(0o600)
    with pytest.raises(RefusedError, match="holds no token"):
        token_file(tmp_path)


def test_a_short_token_is_refused_and_not_shown() -> None:
    with pytest.raises(RefusedError) as refusal:
        check_token("hunter2", "DETEKTR_WEB_TOKEN")
    assert "7 characters" in str(refusal.value) and "hunter2" not in str(refusal.value)


def test_a_session_does_not_tell_the_token() -> None:
    token = "a-token-of-some-length"
    assert token not in session_of(token) and session_of(token) != session_of(token + "x")
    assert is_same(session_of(token), session_of(token)) and not is_same("\udcff", token)
