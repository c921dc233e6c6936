from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator

import pytest

from detektr import redaction
from detektr.errors import RefusedError
from detektr.redaction import register_secret
from detektr.telemetry import log


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, hook = list(root.handlers), root.level, threading.excepthook
    monkeypatch.setattr(redaction, "_secrets", {})
    root.handlers.clear()  # or force=True would close pytest's own
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    threading.excepthook = hook


def divide() -> None:
    _ = 1 / int("0")


def test_record_is_one_line_with_time_level_and_node(capsys: pytest.CaptureFixture[str]) -> None:
    log.setup_log("motion.0")
    logging.getLogger("anything").warning("two\nlines of %s", "text")
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} WARNING motion\.0: two\\nlines of text\n", capsys.readouterr().err)


def test_exception_is_told_in_one_line_with_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    log.setup_log("motion.0")
    try:
        divide()
    except ZeroDivisionError:
        logging.getLogger("detektr").exception("frame %d failed", 7)
    line = capsys.readouterr().err
    assert re.search(r"frame 7 failed: ZeroDivisionError: division by zero \(test_log\.py:\d+\)\n$", line)
    assert "Traceback" not in line


def test_debug_level_shows_the_whole_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DETEKTR_LOG", "debug")
    log.setup_log("motion.0")
    try:
        divide()
    except ZeroDivisionError:
        logging.getLogger("detektr").exception("failed")
    text = capsys.readouterr().err
    assert "Traceback" in text
    assert "in divide" in text


def test_level_is_info_unless_told_otherwise(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log.setup_log("cam")
    logging.getLogger("detektr").debug("hidden")
    logging.getLogger("detektr").info("shown")
    assert capsys.readouterr().err.endswith("shown\n")
    monkeypatch.setenv("DETEKTR_LOG", "ERROR")
    log.setup_log("cam")
    logging.getLogger("detektr").warning("hidden")
    assert capsys.readouterr().err == ""


def test_unknown_level_is_refused_with_the_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETEKTR_LOG", "loud")
    with pytest.raises(RefusedError, match="DETEKTR_LOG is 'loud'; write one of debug, info, warning, error"):
        log.setup_log("cam")


def test_secrets_are_masked_in_text_and_in_exceptions(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DETEKTR_LOG", "debug")
    log.setup_log("cam")
    register_secret("open-sesame")
    try:
        raise ValueError("no answer from rtsp://admin:pa55word@10.0.0.9/1 with open-sesame")
    except ValueError:
        logging.getLogger("detektr").exception("source %s, key %s", "rtsp://u:pa55word@cam", "open-sesame")
    text = capsys.readouterr().err
    assert "10.0.0.9/1" in text
    assert "pa55word" not in text
    assert "open-sesame" not in text


def test_end_of_a_thread_by_an_exception_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    log.setup_log("cam")
    thread = threading.Thread(target=divide, name="decoder")
    thread.start()
    thread.join()
    text = capsys.readouterr().err
    assert re.search(r"CRITICAL cam: thread decoder ended: ZeroDivisionError: .* \(test_log\.py:\d+\)\n$", text)
    assert text.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b]0;gone\x07", "\\x1b[2J\\x1b]0;gone\\x07"),
        ("\x9b31mred", "\\x9b31mred"),
        ("a\rb\nc\bd", "a\\rb\\nc\\x08d"),
        ("tab\tand \u00fcml\u00e4ut \u4f60", "tab\tand \u00fcml\u00e4ut \u4f60"),
    ],
)
def test_no_command_reaches_the_terminal_by_a_log_line(text: str, shown: str) -> None:
    record = logging.LogRecord("detektr", logging.ERROR, "", 1, "%s", (text,), None)
    assert log.LineFormatter("motion.0", with_traceback=False).format(record).endswith(f"motion.0: {shown}")
