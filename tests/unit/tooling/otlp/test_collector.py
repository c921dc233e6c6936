"""What waits for a collector: bounded and in order, nothing is sent twice that was taken, and losses are counted."""

from __future__ import annotations

import logging

import pytest

from detektr.errors import RefusedError
from detektr.tooling.otlp import collector
from detektr.tooling.otlp.collector import Waiting, endpoint, hearing, made, send_all


class FussyCollector:
    """Takes a batch only while it is told so."""

    def __init__(self) -> None:
        self.is_up, self.taken = True, list[list[int]]()

    def export(self, batch: list[int]) -> bool:
        if self.is_up:
            self.taken.append(batch)
        return self.is_up


def test_what_is_not_taken_waits_and_is_sent_in_order_when_it_is_taken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "BATCH", 2)
    fussy = FussyCollector()
    waiting: Waiting[int] = Waiting(fussy.export, lambda one: 1)
    fussy.is_up = False
    for number in range(3):
        waiting.add(number)
    assert waiting.is_due and not waiting.send()
    assert (waiting.sent, waiting.lost, waiting.missing) == (0, 0, 3)
    fussy.is_up = True
    waiting.add(3)
    waiting.add(4)
    assert waiting.send() and fussy.taken == [[0, 1], [2, 3], [4]]
    assert (waiting.sent, waiting.lost, waiting.missing) == (5, 0, 0)


@pytest.mark.parametrize(("limit", "value"), [("WAITING_MAX", 3), ("WAITING_BYTES_MAX", 30)])
def test_the_oldest_go_when_there_is_no_room_and_are_counted(
    limit: str, value: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector, limit, value)
    fussy = FussyCollector()
    waiting: Waiting[int] = Waiting(fussy.export, lambda one: 10)
    for number in range(10):
        waiting.add(number)
    assert (waiting.lost, waiting.missing) == (7, 10)
    assert waiting.send() and fussy.taken == [[7, 8, 9]]
    assert (waiting.sent, waiting.missing) == (3, 7)


def test_one_that_is_larger_than_all_the_room_is_lost_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "WAITING_BYTES_MAX", 30)
    waiting: Waiting[int] = Waiting(FussyCollector().export, lambda one: one)
    waiting.add(31)
    waiting.add(30)
    assert waiting.lost == 1 and waiting.send() and waiting.sent == 1


@pytest.mark.parametrize(
    "url", ["", "collector", "collector:4318", "ftp://host/", "http://", "http://h:x", "http://[::1"]
)
def test_what_is_no_address_is_refused_in_words(url: str) -> None:
    with pytest.raises(RefusedError, match="is no address; write one such as"):
        endpoint(url, "v1/logs")


def test_an_address_may_have_a_path_and_a_slash_at_its_end() -> None:
    assert endpoint("https://host/otlp/", "v1/logs") == "https://host/otlp/v1/logs"


def test_a_password_in_an_address_is_not_shown() -> None:
    with pytest.raises(RefusedError) as refused:
        endpoint("ftp://me:secret99@host/", "v1/logs")
    assert "secret99" not in str(refused.value)


def test_a_variable_of_opentelemetrys_that_it_cannot_use_is_told_in_words() -> None:
    def fails(where: str, timeout: float) -> None:
        raise ValueError("Invalid compression type: 'zip'")

    with pytest.raises(RefusedError, match=r"Invalid compression type: 'zip'.*; correct its variables"):
        made(fails, "http://127.0.0.1:4318", "v1/logs")


class FakeSender:
    """Has one thing to send, which the collector takes or not."""

    run, what = "20300101-120000-001", "spans"

    def __init__(self, *, is_up: bool) -> None:
        fussy = FussyCollector()
        fussy.is_up = is_up
        self.waiting: Waiting[int] = Waiting(fussy.export, lambda one: 1)

    def look(self, now_s: float) -> bool:
        self.waiting.add(1)
        logging.getLogger("opentelemetry.exporter").error("no answer from http://me:secret99@host")
        return self.waiting.send()


@pytest.mark.parametrize("is_up", [True, False])
def test_what_was_not_taken_in_the_end_is_told_with_the_reason_and_without_secrets(
    is_up: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []
    with hearing() as heard:
        url = "http://me:secret99@host:4318"
        counts = send_all(FakeSender(is_up=is_up), "demo", url, heard, told.append, follow=False)
    assert counts == ((1, 0) if is_up else (0, 1))
    words = "http://***@host:4318 has not taken 1 spans; see whether a collector listens there, and has time"
    assert told == ([] if is_up else [f"{words} (no answer from http://***@host)"])
    assert capfd.readouterr() == ("", ""), "what OpenTelemetry says is printed by nobody else"
