"""Pictures of frames that results are about: copied while their slots hold them, and kept within bounds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from detektr.descriptor import Descriptor
from detektr.memory.ring import RingFacts, RingWriter
from detektr.memory.run_folder import RunFolder
from detektr.picture import PictureLayout
from detektr.telemetry.trail.wanted import wanted_frame
from detektr.web.live import stills
from detektr.web.live.stills import Stills, copy_frame

RUN = 7
LAYOUT = PictureLayout("gray", 32, 16)


class Camera:
    """A capture that writes into its ring."""

    def __init__(self, folder: RunFolder, node: str = "my_cam", camera: str = "front_door") -> None:
        self.facts = RingFacts(node, camera, RUN, 1, LAYOUT, None)
        self.writer = RingWriter(folder.ring(node, 1), self.facts, 2)

    def write(self, sequence: int) -> str:
        """Write a picture of this brightness, and let go of its slot; returns the frame's id."""
        slot = self.writer.try_claim()
        assert slot is not None
        self.writer.memory(slot)[:] = bytes([sequence]) * LAYOUT.nbytes
        self.writer.publish(slot, sequence)
        self.writer.release(slot)
        return Descriptor(self.facts.node, self.facts.camera, RUN, 1, slot, 2, sequence, 0, 10**15, None).id


@pytest.fixture
def folder(shm_dir: Path) -> Iterator[RunFolder]:
    folder = RunFolder("demo")
    folder.make()
    yield folder
    folder.remove_if_empty()


@pytest.fixture
def camera(folder: RunFolder) -> Iterator[Camera]:
    camera = Camera(folder)
    yield camera
    camera.writer.close(unlink=True)


@pytest.fixture
def kept() -> Iterator[Stills]:
    made = Stills()
    yield made
    made.close()


def test_a_frame_is_copied_as_long_as_its_slot_holds_it(folder: RunFolder, camera: Camera) -> None:
    frame = camera.write(40)
    found = copy_frame(folder, wanted_frame(frame))
    assert found is not None and found[0] == LAYOUT and set(found[1].tolist()) == {40}
    camera.write(41)
    assert copy_frame(folder, wanted_frame(frame)) is None, "its slot was used again"


def test_a_frame_of_another_run_of_that_number_is_another_frame(folder: RunFolder, camera: Camera) -> None:
    frame = camera.write(40)
    assert copy_frame(folder, wanted_frame(f"{frame[:-8]}00000000")) is None
    assert copy_frame(folder, wanted_frame(frame.replace("my_cam", "my_car"))) is None


def test_what_was_noted_stays_when_its_slot_is_used_again(folder: RunFolder, camera: Camera, kept: Stills) -> None:
    frame = camera.write(40)
    assert kept.note(folder, frame) and kept.note(folder, frame)
    newer = camera.write(90)
    assert not kept.note(folder, newer), "so many a second of each camera"
    still = kept._ask(folder, frame, wanted_frame(frame)).result(10)
    assert still is not None and (still.width, still.height) == (32, 16)
    assert still.payload[:2] == b"\xff\xd8"
    assert not kept.note(folder, "no frame at all")


def test_the_oldest_make_room_and_what_is_gone_is_not_remembered(
    folder: RunFolder, camera: Camera, kept: Stills, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stills, "KEPT_BYTES_MAX", 1500)
    frames = []
    for sequence in range(10):
        frames.append(camera.write(sequence))
        assert kept._ask(folder, frames[-1], wanted_frame(frames[-1])).result(10) is not None
    alive = [frame for frame in frames if kept._ask(folder, frame, wanted_frame(frame)).result(10) is not None]
    assert alive and alive == frames[-len(alive) :] and len(alive) < 10
    gone = kept._ask(folder, frames[0], wanted_frame(frames[0]))
    assert gone.result(10) is None
    again = kept._ask(folder, frames[0], wanted_frame(frames[0]))
    assert again is not gone and again.result(10) is None


def test_brightness_stays(folder: RunFolder, camera: Camera, kept: Stills) -> None:
    import av

    frame = camera.write(120)
    still = kept._ask(folder, frame, wanted_frame(frame)).result(10)
    assert still is not None
    decoder = av.CodecContext.create("mjpeg", "r")
    (picture,) = [*decoder.decode(av.Packet(still.payload)), *decoder.decode(None)]
    assert abs(float(np.mean(picture.to_ndarray(format="gray"))) - 120) <= 4
