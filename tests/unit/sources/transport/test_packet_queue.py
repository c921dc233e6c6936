"""The queue between who reads a stream and who decodes it; time comes in as an argument."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from av import Packet

from detektr.options import SECOND_NS
from detektr.sources.transport.packet_queue import BYTES_MAX, PACKETS_MAX, QUIET_NS, SETTLING_NS_MAX, PacketQueue

FPS, GOP = 10, 10
STEP_NS = SECOND_NS // FPS


def packet(number: int, *, has_time: bool = True, nbytes: int = 10, gop: int = GOP) -> Any:
    made: Any = Packet(bytes(nbytes))
    made.is_keyframe = number % gop == 0
    if has_time:
        made.pts = made.dts = number
    return made


def live() -> PacketQueue:
    return PacketQueue(Fraction(1, FPS))


def taken(packet_queue: PacketQueue, now_ns: int) -> list[tuple[int, bool]]:
    """Take all there is: each packet's number, and whether it is late."""
    found = []
    while (arrival := packet_queue.take(now_ns)) is not None:
        found.append((arrival.packet.pts or 0, arrival.is_late))
    return found


def steady(packet_queue: PacketQueue, first: int, count: int, now_ns: int) -> int:
    """Let packets come at the pace of the clock, each taken as it comes; returns the time of the last."""
    for number in range(first, first + count):
        now_ns += STEP_NS
        packet_queue.put(packet(number), now_ns)
        waited_ns = QUIET_NS if packet_queue.count == 1 else 0  # more might follow the very first
        assert taken(packet_queue, now_ns + waited_ns) == [(number, False)]
    return now_ns


def test_backlog_after_opening_is_left_out_up_to_its_newest_key_frame() -> None:
    packet_queue = live()
    for number in range(27):
        packet_queue.put(packet(number), 1000)
        assert packet_queue.take(1000) is None, "more may be waiting"
    now_ns = 1000 + STEP_NS
    packet_queue.put(packet(27), now_ns)  # at the pace of the clock: what comes now is live
    assert taken(packet_queue, now_ns) == [(20, True), (21, True), *((number, False) for number in range(22, 28))]
    assert packet_queue.stale == 20
    steady(packet_queue, 28, 50, now_ns)
    assert packet_queue.stale == 20


def test_backlog_is_given_out_when_nothing_more_comes() -> None:
    packet_queue = live()
    for number in range(12):
        packet_queue.put(packet(number), 1000)
    assert packet_queue.wait_ns(1000) == QUIET_NS
    assert packet_queue.take(1000 + QUIET_NS - 1) is None
    assert [number for number, _ in taken(packet_queue, 1000 + QUIET_NS)] == [10, 11]


def test_backlog_of_a_stall_is_left_out_as_that_of_an_opening_is() -> None:
    packet_queue = live()
    now_ns = steady(packet_queue, 0, 30, 0)
    now_ns += 30 * STEP_NS
    for number in range(30, 60):
        packet_queue.put(packet(number), now_ns)
    now_ns = now_ns + STEP_NS
    packet_queue.put(packet(60), now_ns)
    assert taken(packet_queue, now_ns) == [(60, False)]
    assert packet_queue.stale == 30


def test_backlog_without_a_key_frame_is_decoded_and_marked_as_late() -> None:
    packet_queue = PacketQueue(Fraction(1, FPS))
    for number in range(1, 9):
        packet_queue.put(packet(number, gop=1000), 1000)
    assert taken(packet_queue, 1000 + QUIET_NS) == [(1, True), (2, True), *((number, False) for number in range(3, 9))]
    assert packet_queue.stale == 0


def test_jitter_of_three_pictures_delays_and_drops_nothing() -> None:
    packet_queue = live()
    now_ns = steady(packet_queue, 0, 10, 0)
    for number in range(10, 100, 3):
        now_ns += 3 * STEP_NS
        for place in range(3):
            packet_queue.put(packet(number + place), now_ns)
            assert taken(packet_queue, now_ns) == [(number + place, False)]
    assert packet_queue.stale == 0


@pytest.mark.parametrize("moment", [None, 7])
def test_stream_whose_times_tell_nothing_is_not_starved(moment: int | None) -> None:
    packet_queue, now_ns, count = live(), 0, 0
    for number in range(600):
        now_ns += STEP_NS
        late_by_a_stall_ns = 20 * STEP_NS if number == 300 else 0
        now_ns += late_by_a_stall_ns
        plain = packet(number, has_time=False)
        plain.pts = plain.dts = moment
        packet_queue.put(plain, now_ns)
        count += len(taken(packet_queue, now_ns + QUIET_NS))
    assert (count, packet_queue.stale) == (600, 0)


def test_stream_whose_times_run_at_half_speed_is_not_starved() -> None:
    packet_queue, now_ns, count = live(), 0, 0
    for number in range(600):
        now_ns += 2 * STEP_NS
        packet_queue.put(packet(number), now_ns)
        count += len(taken(packet_queue, now_ns))
    assert (count, packet_queue.stale) == (600, 0)


def test_stream_that_goes_on_faster_than_the_clock_is_held_back_for_a_while_alone() -> None:
    packet_queue, now_ns, first_ns = live(), 0, None
    for number in range(1000):
        now_ns += STEP_NS // 4
        packet_queue.put(packet(number), now_ns)
        if first_ns is None and taken(packet_queue, now_ns):
            first_ns = now_ns
    assert first_ns is not None and first_ns <= SETTLING_NS_MAX + STEP_NS


def test_step_of_the_times_back_or_ahead_leaves_nothing_out() -> None:
    packet_queue = live()
    now_ns = steady(packet_queue, 1000, 20, 0)
    now_ns = steady(packet_queue, 0, 20, now_ns)
    steady(packet_queue, 100_000, 20, now_ns)
    assert packet_queue.stale == 0


def test_decoder_that_cannot_keep_up_gets_the_newest_key_frame() -> None:
    packet_queue = live()
    now_ns = steady(packet_queue, 0, 10, 0)
    for number in range(10, 35):
        now_ns += STEP_NS
        packet_queue.put(packet(number), now_ns)
    assert [number for number, _ in taken(packet_queue, now_ns)] == [30, 31, 32, 33, 34]
    assert packet_queue.stale == 20


@pytest.mark.parametrize(("nbytes", "most"), [(10, PACKETS_MAX), (BYTES_MAX // 20, 20)])
def test_queue_that_nobody_empties_stays_bounded_and_begins_with_a_key_frame(nbytes: int, most: int) -> None:
    packet_queue = PacketQueue(None)
    for number in range(3 * most):
        packet_queue.put(packet(number, has_time=False, nbytes=nbytes), number)
    found = []
    while (arrival := packet_queue.take(10 * SECOND_NS)) is not None:
        found.append(arrival)
    assert 0 < len(found) <= most and found[0].packet.is_keyframe
    assert len(found) + packet_queue.stale == 3 * most


def test_queue_without_a_second_key_frame_waits_for_the_next_one_when_it_is_too_long() -> None:
    packet_queue = PacketQueue(None)
    for number in range(PACKETS_MAX + 10):
        packet_queue.put(packet(number, has_time=False, gop=10_000), number)
    assert packet_queue.take(SECOND_NS * 10) is None, "what refers to lost pictures is lost too"
    packet_queue.put(packet(10_000, has_time=False, gop=10_000), SECOND_NS)
    assert packet_queue.take(SECOND_NS * 10) is not None
    assert packet_queue.stale == PACKETS_MAX + 10


def test_segment_that_comes_at_once_is_not_thrown_away_and_who_reads_waits_for_room() -> None:
    packet_queue = PacketQueue(Fraction(1, FPS), is_bursty=True)
    for number in range(100):
        packet_queue.put(packet(number), 1000)
    assert taken(packet_queue, 1000) == [(number, False) for number in range(100)]
    rooms = []
    for number in range(100, 101 + PACKETS_MAX):
        packet_queue.put(packet(number, has_time=False), 1000)
        rooms.append(packet_queue.has_room)
    assert rooms == [True] * PACKETS_MAX + [False]
    assert packet_queue.take(1000) is not None
    assert packet_queue.has_room and packet_queue.stale == 0
