"""`detektr.attach`: a consumer in a script, beside nodes that run."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import detektr
from detektr.edge.ephemeral import Producer
from detektr.edge.outcomes import OutcomeReporter
from detektr.edge.publisher import EdgePublisher
from detektr.errors import LeaseOverError, OverwrittenError, RefusedError
from detektr.memory.announcement import Announcement
from detektr.memory.completion_queue import open_completion_queue
from detektr.memory.run_folder import RunFolder
from detektr.observe.status import read_status
from detektr.wire.link import Link
from tests.harness.running import RunningPipeline
from tests.process.terminal import Terminal, Terminals, open_terminals

if TYPE_CHECKING:
    from tests.conftest import WaitUntil

FRAMES = 48
SLOTS = 40  # of a capture without a file
TEST_PICTURE = "lavfi:testsrc2=size=160x120:rate=100"
ClipNumber = Callable[["np.ndarray[Any, Any]"], int]


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminals]:
    with open_terminals(tmp_path) as terminals:
        yield terminals


@pytest.fixture
def camera(terminal: Terminals) -> Iterator[Terminal]:
    """A capture for ever, as a camera is one."""
    capture = terminal("capture", "--name", "cam", "--source", TEST_PICTURE, "--realtime")
    yield capture
    capture.tell(signal.SIGTERM)
    assert capture.end() == 0, capture.err


def edges() -> dict[str, dict[str, Any]]:
    """Return the edges of the pipeline `local` by consumer."""
    with contextlib.suppress(detektr.errors.DetektrError):
        return {edge["to"]: edge for edge in read_status("local")["edges"]}
    return {}


def test_frames_of_a_clip_come_whole_and_in_order_and_the_loop_ends_with_the_clip(
    terminal: Terminals, clip: Path, clip_number: ClipNumber
) -> None:
    capture = terminal("capture", "--name", "cam", "--source", clip)
    with detektr.attach("local/cam", name="notebook", when_full="block", wait_s=30) as frames:
        seen = [(frame.sequence, clip_number(frame.gray)) for frame in frames]
    assert seen == [(number, number) for number in range(FRAMES)]
    assert (frames.delivered, frames.refused) == (FRAMES, 0)
    assert capture.end() == 0
    assert capture.counts("cam -> notebook")["delivered"] == FRAMES


def test_the_edge_is_in_the_ledger_while_attached_and_gone_after_leaving(
    camera: Terminal, wait_until: WaitUntil
) -> None:
    with detektr.attach("local/cam", wait_s=30) as frames:
        next(frames)
        assert edges()["guest-1"]["in_flight"] == 1
        wait_until(lambda: read_status("local")["nodes"]["cam"]["state"] == "running", what="the capture to say so")
        nodes = read_status("local")["nodes"]
        assert (nodes["cam"]["pids"], nodes["guest-1"]["kind"]) == ([camera.process.pid], "guest")
        next(frames)
    wait_until(lambda: "guest-1" not in edges(), what="the edge to go")


def offered(ephemeral: str) -> int:
    return sum(int(edge["offered"]) for edge in read_status("local")["edges"] if edge["to"] == ephemeral)


def test_a_frame_is_held_for_the_loops_body_and_its_pixels_are_refused_after_it(
    camera: Terminal, wait_until: WaitUntil
) -> None:
    with detektr.attach("local/cam", name="notebook", wait_s=30) as frames:
        first = next(frames)
        seen = offered("notebook")
        before = first.pixels.copy()
        wait_until(lambda: offered("notebook") > seen + SLOTS, what="the camera to have used every other slot since")
        assert np.array_equal(first.pixels, before)
        second = next(frames)
        with pytest.raises(LeaseOverError, match="its lease is over"):
            _ = first.pixels
        assert second.sequence > first.sequence
    with pytest.raises(LeaseOverError):
        _ = second.pixels
    assert (frames.delivered, frames.refused) == (2, 0)


def test_a_frame_that_is_refused_makes_room_for_the_next(camera: Terminal, wait_until: WaitUntil) -> None:
    class Late:
        """A reader that comes too late for the first frame."""

        def __init__(self, reader: Any) -> None:
            self.reader, self.times = reader, 0

        def open(self, lease: Any) -> Any:
            self.times += 1
            if self.times == 1:
                raise OverwrittenError("slot 3 was written again")
            return self.reader.open(lease)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.reader, name)

    with detektr.attach("local/cam", wait_s=30) as frames:

        def is_open() -> bool:
            frames._try_open()
            return frames._attachment is not None

        wait_until(is_open, what="the capture to be there")
        assert frames._attachment is not None
        frames._attachment.reader = late = Late(frames._attachment.reader)  # type: ignore[assignment]
        assert next(frames).gray.shape == (120, 160)
        assert (late.times, frames.refused) == (2, 1)
        assert edges()["guest-1"]["dropped"]["overwritten"] == 1


def test_a_slow_loop_drops_its_own_frames_and_stops_nobody_else(
    camera: Terminal, terminal: Terminals, tmp_path: Path, wait_until: WaitUntil
) -> None:
    processor = terminal("processor", "writer:Write", "--input", "cam", "--with", "path=frames.txt")
    written = tmp_path / "frames.txt"
    with detektr.attach("local/cam", wait_s=30) as frames:
        next(frames)
        wait_until(lambda: written.exists() and written.read_text().count("\n") > 30, what="30 frames elsewhere")
        edge = edges()["guest-1"]
        assert edge["dropped"]["queue_full"] > 10
        assert edge["in_flight"] == 1
        assert edge["offered"] == edge["queued"] + 1 + edge["dropped"]["queue_full"]
    processor.tell(signal.SIGTERM)
    assert processor.end() == 0


def test_an_exception_in_the_body_leaves_the_edge_and_the_frame_undelivered(
    camera: Terminal, wait_until: WaitUntil
) -> None:
    with pytest.raises(ZeroDivisionError), detektr.attach("local/cam", wait_s=30) as frames:
        for _ in frames:
            _ = 1 / 0
    assert (frames.delivered, list(frames)) == (0, [])
    wait_until(lambda: edges() == {}, what="the edge to go")


def test_break_gives_the_frame_back(camera: Terminal) -> None:
    with detektr.attach("local/cam", wait_s=30) as frames:
        for _ in frames:
            break
    assert frames.delivered == 1


def test_attach_before_the_producer_waits_and_works_when_it_comes(
    terminal: Terminals, clip: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with detektr.attach("local/cam", when_full="block", wait_s=30) as frames:
        capture = terminal("capture", "--name", "cam", "--source", clip)
        assert len(list(frames)) == FRAMES
    assert "waiting for local/cam (pipeline 'local' does not run)" in caplog.text
    assert capture.end() == 0


def test_a_producer_that_does_not_come_is_a_time_out_in_words() -> None:
    with (
        pytest.raises(TimeoutError, match=r"no frame of local/cam within 0.1 s: waiting for local/cam"),
        detektr.attach("local/cam", wait_s=0.1) as frames,
    ):
        next(frames)
    assert not RunFolder("local").path.exists()


def test_attach_goes_on_with_the_successor_of_a_killed_capture(terminal: Terminals) -> None:
    arguments = "capture", "--name", "cam", "--source", TEST_PICTURE, "--realtime"
    capture = terminal(*arguments)
    with detektr.attach("local/cam", wait_s=30) as frames:
        first = next(frames)
        capture.tell(signal.SIGKILL)
        capture.end()
        capture = terminal(*arguments)
        later = next(frame for frame in frames if frame.epoch > first.epoch)
        assert later.sequence > first.sequence
    capture.tell(signal.SIGTERM)
    assert capture.end() == 0


def test_several_at_once_in_threads_have_an_edge_each(camera: Terminal) -> None:
    counts: dict[int, int] = {}

    def read(number: int) -> None:
        with detektr.attach("local/cam", wait_s=30) as frames:
            for frame in frames:
                counts[number] = counts.get(number, 0) + int(frame.gray.size > 0)
                if counts[number] == 20:
                    break

    threads = [threading.Thread(target=read, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert counts == {0: 20, 1: 20, 2: 20}


def test_a_killed_guest_is_gone_from_the_ledger_within_a_second(
    camera: Terminal, terminal: Terminals, wait_until: WaitUntil
) -> None:
    script = "import detektr; frames = detektr.attach('local/cam', wait_s=30); print(next(frames), flush=True); input()"
    ephemeral = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ, text=True
    )
    with ephemeral:
        assert ephemeral.stdout is not None
        assert ephemeral.stdout.readline().startswith("<Frame ")
        assert edges()["guest-1"]["in_flight"] == 1
        ephemeral.kill()
    wait_until(lambda: edges() == {}, what="the edge to go")
    assert terminal("shm", "clean").end() == 0


def test_down_ends_the_nodes_that_were_started_alone_but_no_guest(camera: Terminal, terminal: Terminals) -> None:
    with detektr.attach("local/cam", wait_s=6) as frames:
        next(frames)
        down = terminal("pipeline", "down", "local")
        with pytest.raises(TimeoutError, match="waiting for local/cam"):
            for _ in frames:
                pass
    assert down.end() == 0  # and this process, which is the guest, still lives


def test_a_processor_gives_no_frames_and_says_who_does(
    camera: Terminal, terminal: Terminals, wait_until: WaitUntil
) -> None:
    processor = terminal("processor", "writer:Write", "--input", "cam", "--with", "path=frames.txt")
    wait_until(lambda: "write" in edges(), what="the processor")
    with pytest.raises(RefusedError, match=r"local/write is a processor, which gives no frames.*cam"):
        next(detektr.attach("local/write", wait_s=30))
    processor.tell(signal.SIGTERM)
    assert processor.end() == 0


def test_one_guest_too_many_is_refused_with_the_cure(camera: Terminal, wait_until: WaitUntil) -> None:
    wait_until(lambda: "no consumer yet" in camera.err, what="the capture")
    with detektr.attach("local/cam", window=30, wait_s=30) as frames:
        next(frames)
        others = detektr.attach("local/cam", window=30, wait_s=30)
        with pytest.raises(RefusedError, match=r"36 frames for ephemeral consumers and 33 are taken.*--slots"):
            next(others)


def test_a_name_that_is_taken_is_refused(camera: Terminal) -> None:
    with detektr.attach("local/cam", name="viewer", wait_s=30) as frames:
        next(frames)
        others = detektr.attach("local/cam", name="viewer", wait_s=30)
        with pytest.raises(RefusedError, match=r"viewer is attached already, as guest-1\.0; choose another name"):
            next(others)


def test_a_running_pipeline_has_the_guest_in_its_status_and_ends_without_it(
    terminal: Terminals, tmp_path: Path, wait_until: WaitUntil
) -> None:
    (tmp_path / "pipeline.yaml").write_text(
        f"""
name: demo
nodes:
  cam: {{kind: capture, source: "{TEST_PICTURE}", realtime: true}}
  queue: {{kind: buffer, input: cam}}
  write: {{kind: processor, input: queue, use: "writer:Write", with: {{path: frames.txt}}}}
"""
    )
    up = terminal("pipeline", "up", "--report", "report.json")
    with detektr.attach("demo/queue", wait_s=20) as frames:
        next(frames)
        status = read_status("demo")
        assert ("queue", "guest-1") in [(edge["from"], edge["to"]) for edge in status["edges"]]
        up.tell(signal.SIGINT)
        for _ in frames:
            pass
    assert up.end() == 130
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["unaccounted"] == 0


def test_a_misspelt_node_of_a_running_pipeline_is_refused_at_once(tmp_path: Path) -> None:
    nodes = {
        "cam": {"kind": "capture", "source": TEST_PICTURE, "realtime": True},
        "buffer": {"kind": "buffer", "input": "cam"},
        "motion": {"kind": "processor", "input": "buffer", "use": "detektr.processors.motion:Motion"},
    }
    with RunningPipeline(tmp_path, "spelt", nodes) as run:
        run.wait_delivered("buffer", "motion", 1)
        with (
            pytest.raises(RefusedError, match="has no node 'bufer'; it has: buffer, cam"),
            detektr.attach("spelt/bufer") as frames,
        ):
            next(frames)
        report = run.end()
    assert report["unaccounted"] == 0


class QuietProducer:
    """A producer in this process, which does nothing unless it is told."""

    def __init__(self) -> None:
        self.folder = RunFolder("demo")
        self.folder.make()
        self.link = Link(self.folder.inbox("cam", 0), self.folder.doorbell("cam", 0))
        guests = Producer(
            node="cam", replica=0, ephemeral_frames=16, ephemeral_policy="block", ephemeral_mark=8, payload_bytes=64
        )
        self.publisher = EdgePublisher(
            guests, self.folder, self.link, lambda event: None,
            outcomes=(quiet := OutcomeReporter("", lambda event: None, lambda payload: "", lambda payload, why: "")),
            relayed_outcomes=quiet,
        )  # fmt: skip

    def hear(self) -> None:
        for message in self.link.receive():
            assert not isinstance(message, Exception), message
            self.publisher.handle(message, time.monotonic_ns())

    def close(self) -> None:
        self.publisher.close(unlink=True)
        self.link.close()
        self.folder.remove_if_empty()


@pytest.fixture
def drain(shm_dir: Path) -> Iterator[QuietProducer]:
    producer = QuietProducer()
    yield producer
    producer.close()


def test_a_guest_sleeps_though_its_producer_waits_for_leases_that_it_does_not_have(
    drain: QuietProducer, wait_until: WaitUntil
) -> None:
    with detektr.attach("demo/cam", name="notebook", when_full="block", wait_s=0.5, announce="shm") as frames:
        attachment = frames._attachment
        assert attachment is not None
        subscriber, publisher = attachment.subscriber, drain.publisher

        def is_in() -> bool:
            drain.hear()
            attachment.hear(time.monotonic_ns())
            return subscriber.is_attached

        wait_until(is_in, what="the guest to be let in")
        publisher.fanout.fan_out(0, Announcement(1, 0, time.monotonic_ns(), b""))
        publisher.pump(time.monotonic_ns())
        subscriber.receive()
        lease = subscriber.take(time.monotonic_ns())
        assert lease is not None
        subscriber.finish((1, 0), lease.delivery_tag)
        subscriber.flush()  # the producer is awake, and is not told
        publisher.is_blocked = True  # as a buffer does whose own producer waits
        publisher.pump(time.monotonic_ns())
        assert publisher.fanout.is_empty
        publisher.fall_asleep()
        completions = open_completion_queue(drain.folder.completions("guest-1.0", "cam.0"), 1)
        assert completions is not None
        before = completions.sleep_count
        with pytest.raises(TimeoutError):
            next(frames)
        slept = completions.sleep_count - before
        completions.close()
    drain.hear()
    assert slept < 100, "it woke itself again and again"
