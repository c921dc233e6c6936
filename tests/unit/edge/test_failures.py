from __future__ import annotations

from detektr.edge.failures import FAILED_MAX, WHYS_CHARS_MAX, Failures
from detektr.wire.codec import LEASES_MAX, MESSAGE_BYTES_MAX, decode, encode
from detektr.wire.message import Attach, FailureKind


def test_an_attach_with_the_most_leases_and_the_longest_reasons_fits_into_a_message() -> None:
    window = 1024
    failures = Failures(window, lambda lease: True)
    for number in range(FAILED_MAX + window):
        failures.add((2**64 - 1, number, FailureKind.RETRYABLE, "\U0001f4f7" * 7999 + "!"), None, is_retried=False)
    failures.note_told()
    told = failures.to_tell()
    assert len(told) == FAILED_MAX + window
    assert all(why.endswith("!") and len(why) == WHYS_CHARS_MAX // len(told) for *_, why in told)
    held = tuple((2**64 - 1, 2**62 + number) for number in range(LEASES_MAX))
    message = Attach("b", "b.0", 2**62, 2**62, 1024, True, False, "", 2**62, held, (), told, (0, 0, 0, 0))
    payload = encode(message)
    assert len(payload) <= MESSAGE_BYTES_MAX
    assert decode(payload) == message


def test_a_few_reasons_are_told_whole() -> None:
    failures = Failures(4, lambda lease: True)
    failures.add((1, 2, FailureKind.RETRYABLE, "Traceback\n" * 800), None, is_retried=False)
    failures.note_told()
    assert failures.to_tell() == ((1, 2, FailureKind.RETRYABLE, "Traceback\n" * 800),)
