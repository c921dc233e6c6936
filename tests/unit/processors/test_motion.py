from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from detektr.descriptor import Descriptor
from detektr.frame import Frame
from detektr.picture import PictureLayout
from detektr.processors.motion import Motion

RATE = 10
NOISE = np.random.default_rng(3).integers(90, 110, (180, 320), np.uint8)


def frame(sequence: int, left: int | None, camera: str = "door", epoch: int = 1, width: int = 320) -> Frame:
    """Return a noisy grey picture with, if wanted, a white square of 40 pixels at (left, 60)."""
    picture = np.resize(NOISE, (180, width)).copy()
    if left is not None:
        picture[60:100, left : left + 40] = 250
    moment_ns = sequence * 10**9 // RATE
    told = Descriptor(camera, camera, 1, epoch, 0, 1, sequence, moment_ns, 1753608701224_000_000, sequence, moment_ns)
    return Frame(told, PictureLayout("gray", width, 180), picture.reshape(-1), 1, Fraction(1, RATE))


def run(motion: Motion, frames: list[Frame]) -> list[dict[str, Any]]:
    return [event for one in frames for event in motion.process(one) or []]


def test_still_picture_gives_no_event() -> None:
    assert run(Motion(), [frame(number, None) for number in range(30)]) == []


def test_moving_square_begins_goes_on_and_ends_with_its_box() -> None:
    lefts = [None] * 5 + [20 + 6 * number for number in range(25)] + [None] * 60
    events = run(Motion(), [frame(number, left) for number, left in enumerate(lefts)])
    states = [event["state"] for event in events]
    assert states[0] == "began"
    assert states[-1] == "ended"
    assert set(states[1:-1]) == {"continues"}
    assert events[0]["sequence"] == 5
    assert events[0]["box"] == [20, 60, 40, 40]
    assert events[0]["fraction"] == pytest.approx(40 * 40 / (320 * 180), rel=0.1)
    assert events[0]["frame"].endswith(frame(5, None).id[-8:])
    assert events[-1]["seconds"] >= 2.4
    assert [event["seconds"] for event in events[1:3]] == [1.0, 2.0]


def test_short_pause_does_not_end_motion() -> None:
    lefts = [None, 20, 80, None, None, 140, 200]
    states = [event["state"] for event in run(Motion(every=0), [frame(n, left) for n, left in enumerate(lefts)])]
    assert states[0] == "began"
    assert "ended" not in states
    assert states.count("began") == 1


def test_threshold_is_the_fraction_that_must_differ() -> None:
    frames = [frame(0, None), frame(1, 20)]
    assert len(run(Motion(threshold=0.025), frames)) == 1
    assert run(Motion(threshold=0.03), frames) == []


def test_cameras_are_told_apart() -> None:
    motion = Motion()
    one, other = [frame(n, None, "door") for n in range(3)], [frame(n, 20, "yard") for n in range(3)]
    assert run(motion, [each for pair in zip(one, other, strict=True) for each in pair]) == []


def test_another_size_or_epoch_begins_anew_and_ends_what_was_going_on() -> None:
    motion = Motion()
    assert len(run(motion, [frame(0, None), frame(1, 20)])) == 1
    assert [event["state"] for event in run(motion, [frame(2, 20, epoch=2, width=640)])] == ["ended"]
    assert run(motion, [frame(3, 20, epoch=2, width=640)]) == []


def test_frame_delivered_late_does_not_disturb_the_average() -> None:
    motion = Motion()
    assert run(motion, [frame(0, None), frame(2, None), frame(1, 20), frame(3, None)]) == []


@pytest.mark.parametrize("wrong", [{"threshold": 0}, {"threshold": 1.5}, {"level": 0}, {"adapt": 2}, {"quiet": -1}])
def test_argument_out_of_range_is_refused_with_name_and_value(wrong: dict[str, Any]) -> None:
    [(name, value)] = wrong.items()
    with pytest.raises(ValueError, match=f"{name} {value} is out of range; expected"):
        Motion(**wrong)
