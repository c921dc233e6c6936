"""Peers that lie, shout, hang or say nothing: refused and counted, and every frame of the others arrives."""

from __future__ import annotations

import ast
import contextlib
import itertools
import random
import secrets
import socket
import stat
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import psutil
import pytest

import detektr
from detektr.descriptor import stream_key
from detektr.memory import layout
from detektr.memory.completion_queue import CompletionQueueWriter
from detektr.memory.journal_reader import open_journal
from detektr.memory.status_block import acquire_status_block
from detektr.wire.codec import encode
from detektr.wire.doorbell import RemoteDoorbell
from detektr.wire.link import Link
from detektr.wire.message import (
    Announce,
    Attach,
    Clear,
    Detach,
    Failure,
    FailureKind,
    Message,
    Refusal,
    Release,
    Resend,
    Welcome,
)
from tests.harness.checked import read_notes, wrong_pixels
from tests.harness.peer import Peer
from tests.harness.running import RunningPipeline

QUICK = {"restart": {"backoff": "20ms..100ms", "limit": "99 in 1m"}, "drain": "20s"}
SOCKETS = ("camera.0", "buffer.0", "check.0", "check.1", "events.0")
UNPICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
RSS_GROWTH_BYTES_MAX = 64 << 20


def graph(tmp_path: Path, count: int = 0, rate: float = 400) -> dict[str, Any]:
    """A camera, a buffer that blocks, a processor in two replicas and a sink."""
    source = {"rate": rate, **({"count": count} if count else {})}
    queue = {"high_water_mark": 16, "when_full": "block", "guests": 8}
    use, arguments = "tests.harness.checked:Check", {"path": str(tmp_path / "notes")}
    events = {"path": str(tmp_path / "events.jsonl")}
    return {
        "camera": {"kind": "capture", "source": "python:tests.harness.checked:numbered", "with": source, **QUICK},
        "buffer": {"kind": "buffer", "input": "camera", **queue, **QUICK},
        "check": {"kind": "processor", "input": "buffer", "use": use, "with": arguments, "replicas": 2, **QUICK},
        "events": {"kind": "sink", "input": "check", "use": "detektr.sinks.jsonl:JsonLines", "with": events, **QUICK},
    }


@pytest.fixture
def running(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[RunningPipeline, Peer]]:
    """Return a pipeline that runs, and a peer of it."""
    name = "hostile"
    with RunningPipeline(tmp_path, name, graph(tmp_path, **getattr(request, "param", {}))) as run:
        run.wait_delivered("buffer", "check", 20)
        run.wait_delivered("camera", "buffer", 20)  # a lie about a frame that is still leased would be believed
        peer = Peer(name)
        try:
            run.wait(lambda: len(peer.sessions("buffer", "check")) == 2, what="both replicas attached")
            yield run, peer
        finally:
            peer.close()


def attach(consumer: str, replica: str, **changed: Any) -> Attach:
    """Build an Attach as a newcomer would."""
    newcomer = Attach(consumer, replica, secrets.randbits(60) | 1, 1, 4, False, False, "", 0, (), (), (), (0, 0, 0, 0))
    return newcomer._replace(**changed)


def errors(run: RunningPipeline) -> dict[str, int]:
    """Return how many messages each node has refused."""
    return {name: node.get("wire_errors", 0) for name, node in run.status()["nodes"].items()}


def assert_complete(run: RunningPipeline, report: dict[str, Any], count: int) -> None:
    """Nobody died, nothing was lost, nothing was worked on twice without a mark."""
    notes = read_notes(run.folder / "notes")
    assert [node["restarts"] for node in report["nodes"].values()] == [0, 0, 0, 0], run.tail()
    assert report["unaccounted"] == 0
    assert all(not edge["dropped"] and not edge["dead_lettered"] for edge in report["edges"]), report["edges"]
    assert wrong_pixels(notes) == []
    seen = Counter(note.sequence for note in notes)
    assert sorted(seen) == list(range(count))
    marked = {note.sequence for note in notes if note.delivery > 1}
    assert {sequence for sequence, times in seen.items() if times > 1} <= marked


@pytest.mark.usefixtures("lane")
@pytest.mark.parametrize("running", [{"count": 900}], indirect=True)
def test_lies_are_refused_and_counted_and_every_frame_arrives(running: tuple[RunningPipeline, Peer]) -> None:
    run, peer = running
    dice = random.Random(7)
    workers = peer.sessions("buffer", "check")
    buffer = peer.sessions("camera", "buffer")["buffer.0"]
    key, past = stream_key("camera", peer.run_of("camera")), tuple(range(15))
    worker, other = workers["check.0"], workers["check.1"]
    failed = tuple((key, sequence, FailureKind.RETRYABLE, "no reason") for sequence in past)
    far = ((key, 1 << 63, 0, "\x00"), (key, (1 << 64) - 1, 1, "x" * 9000), (0, 0, 2, ""))
    strange: list[dict[str, Any]] = [
        {"v": 2, "kind": "announce"},
        {"v": 1, "kind": "gossip"},
        {"v": 1, "kind": "announce", "edge": "buffer", "session": buffer, "leases": [{"tag": -1}]},
    ]
    lies: dict[str, list[bytes | Message]] = {
        "camera.0": [
            Welcome(buffer, 1, 1),
            Refusal(buffer, "go away"),
            Failure("buffer", buffer, failed),
            Failure("buffer", buffer, far),
            Failure("nobody", 1, failed),
            attach("buffer", "buffer.0", is_durable=True, seen=((key, 1 << 62),)),
            attach("buffer", "buffer.0", session=buffer, seen=((key, 1 << 62),)),
            attach("nobody", "buffer.0"),
            Detach("nobody", 1),
        ],
        "buffer.0": [
            Welcome(buffer, 1, 1),  # heard before: it would begin to read its leases anew
            Welcome(buffer, 2, 1 << 60),
            Welcome(buffer, 1 << 60, 1 << 60),
            Welcome(worker, 1, 1),
            Refusal(buffer, "go away"),
            Failure("check", worker, failed),
            Failure("check", 12345, failed),
            Failure("check", worker, far),
            Failure("camera", buffer, failed),
            attach("check", "check.0"),
            attach("check", "check.0", window=1 << 20),
            attach("check", "check.7"),
            attach("check", "check.0", session=worker, received=0),
            attach("check", "camera.0"),
            attach("../x", "check.0"),
            attach("check", "../../etc/passwd.0"),
            Detach("check", 999),
            Announce("buffer", buffer, 1, 0, 1 << 60, 0, 0, False, ()),
            Announce("buffer", buffer, 1, 0, 0, 1 << 60, 2, True, ()),
            Release("check", worker, 1 << 60, 1 << 40, ((key, 1, 1),)),
            Release("check", 12345, 0, 0, ((key, 1, 1),)),
            Release("nobody", worker, 0, 0, ()),
            *(msgpack.packb(fields) for fields in strange),
            Resend("check", "ab", b"\xc1"),
        ],
        "check.0": [
            Announce("check", worker, 1, 0, 1 << 60, 0, 0, False, ((1, 1, key, 3, 1, 0, b"not a descriptor"),)),
            Welcome(worker, 1, 1),
            Welcome(worker, 9, 9),
            Welcome(other, 1, 1),
            Refusal(other, "go away"),
            Resend("nobody", "ab", msgpack.packb({"frame": "f"})),
            Resend("events", "ab", b"\xc1"),
        ],
        "check.1": [Welcome(worker, 1, 1), Failure("events", 5, failed), Clear("ghost.0", 1, ())],
        "events.0": [Failure("events", 5, failed), attach("events", "events.0"), Detach("x", 1)],
    }
    for _ in range(4):
        for process, messages in lies.items():
            for message in messages:
                whole = message if isinstance(message, bytes) else encode(message)
                mangled = bytearray(whole)
                mangled[dice.randrange(len(mangled))] ^= 1 << dice.randrange(8)
                for payload in (whole, whole[: dice.randrange(len(whole))], bytes(mangled), dice.randbytes(40), b""):
                    peer.send(process, payload)
    run.wait(lambda: all(count >= 20 for count in errors(run).values()), what="refused messages at every node")
    refusals = 4 * 2 * len(failed)  # whole and unmangled, from a worker and from nobody, four times
    run.wait(lambda: run.edge("buffer", "check")["refused"] >= refusals, what="refused failures at the buffer")
    report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert_complete(run, report, 900)


@pytest.mark.parametrize("running", [{"count": 900}], indirect=True)
@pytest.mark.parametrize("side", ["a worker", "its producer"])
def test_what_a_stranger_says_in_the_name_of_one_side_does_not_stop_the_edge(
    running: tuple[RunningPipeline, Peer], side: str
) -> None:
    run, peer = running
    workers = peer.sessions("buffer", "check")
    key = stream_key("camera", peer.run_of("camera"))
    strange = tuple((key, (1 << 40) + place, 1) for place in range(12))
    for number in range(60):  # some of them count as both sides do at that moment
        if not (edge := run.edge("buffer", "check")):  # on a busy machine all frames are through by now
            break
        for name, session in workers.items():
            at = max(0, edge["delivered"] // len(workers) + number % 9 - 2)
            announce = Announce("check", session, 1, at, at + 3, 0, 0, False, ())
            release = Release("check", session, 0, at, strange)
            peer.send(*(("buffer.0", release) if side == "a worker" else (name, announce)))
    report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert_complete(run, report, 900)


@pytest.mark.parametrize("running", [{"count": 1500}], indirect=True)
def test_ten_thousand_messages_a_second_and_huge_ones_do_not_stop_the_frames(
    running: tuple[RunningPipeline, Peer],
) -> None:
    run, peer = running
    processes = [psutil.Process(pid) for node in run.status()["nodes"].values() for pid in node["pids"]]
    before = {process.pid: process.memory_info().rss for process in processes}
    delivered = run.edge("buffer", "check")["delivered"]
    peak: Counter[int] = Counter()
    stranger = encode(attach("check", "stranger.0"))
    huge = encode(Refusal(1, "x" * 16_000)) * 500
    begun, sent = time.monotonic(), 0
    while time.monotonic() - begun < 2:
        for process in SOCKETS[:3]:
            for _ in range(33):
                peer.send(process, stranger)
            sent += 33
        if sent % 990 == 0:
            peer.send("buffer.0", huge)
            for process in processes:
                peak[process.pid] = max(peak[process.pid], process.memory_info().rss)
        behind = sent / 10_000 - (time.monotonic() - begun)
        if behind > 0:
            time.sleep(behind)  # the rate of the flood
    assert sent > 10_000
    assert run.edge("buffer", "check")["delivered"] > delivered, "frames went on under the flood"
    grown = {pid: peak[pid] - before[pid] for pid in before}
    assert max(grown.values()) < RSS_GROWTH_BYTES_MAX, grown
    report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert report["nodes"]["buffer"]["wire_errors"] > 2000
    assert_complete(run, report, 1500)


def test_thousands_of_unknown_guests_get_nothing_and_a_known_one_not_a_million_frames(
    running: tuple[RunningPipeline, Peer],
) -> None:
    run, peer = running
    buffer = psutil.Process(run.pids("buffer")[0])
    files, descriptors = sorted(path.name for path in peer.folder.path.iterdir()), buffer.num_fds()
    for number in range(3000):
        peer.send(
            "buffer.0", attach(f"guest-{number}", f"guest-{number}.0", is_ephemeral=True, window=1 << number % 20)
        )
    run.wait(lambda: errors(run)["buffer"] >= 3000, what="3000 refusals")
    assert sorted(path.name for path in peer.folder.path.iterdir()) == files
    assert buffer.num_fds() <= descriptors + 2, "two ways in: from the peer"
    run.wait_delivered("buffer", "check", run.edge("buffer", "check")["delivered"] + 50)
    status_block = acquire_status_block(peer.folder, "guest-1", 0, "guest")
    link = Link(peer.folder.inbox("guest-1", 0), peer.folder.doorbell("guest-1", 0))
    wanted = attach("guest-1", "guest-1.0", is_ephemeral=True, window=1 << 20)
    status_block.words[layout.STATUS_WORD_INPUTS + layout.STATUS_INPUT_SESSION] = wanted.session
    peer.send("buffer.0", wanted)
    answer = run.wait(lambda: list(link.receive()), what="an answer")[0]
    link.close()
    status_block.close(unlink=True)
    assert isinstance(answer, Refusal) and "keeps 8 frames for ephemeral consumers and 0 are taken" in answer.why


@pytest.mark.parametrize("running", [{"count": 1500}], indirect=True)
def test_consumer_whose_returns_lie_is_refused_and_let_go(running: tuple[RunningPipeline, Peer]) -> None:
    run, peer = running
    dice = random.Random(7)
    status_block = acquire_status_block(peer.folder, "guest-1", 0, "guest")
    link = Link(peer.folder.inbox("guest-1", 0), peer.folder.doorbell("guest-1", 0))
    completions = CompletionQueueWriter(peer.folder.completions("guest-1.0", "buffer.0"), 64)
    wanted = attach("guest-1", "guest-1.0", is_ephemeral=True, when_full="drop-oldest", lane="shm")
    status_block.words[layout.STATUS_WORD_INPUTS + layout.STATUS_INPUT_SESSION] = wanted.session
    peer.send("buffer.0", wanted)
    run.wait(lambda: any(isinstance(answer, Welcome) for answer in link.receive()), what="a welcome")
    journal = open_journal(peer.folder.journal("buffer", 0, "guest-1"), "buffer", "guest-1")
    assert journal is not None
    entry = journal.entry_of(wanted.session)
    assert entry is not None
    run.wait(lambda: journal.leases(entry, wanted.session, 0, journal.last_tag(entry)), what="leases")
    remote_doorbell = RemoteDoorbell(peer.folder.doorbell("buffer", 0))
    for _ in range(50):  # frames that are not leased to it, or never were
        completions.append(stream_key("camera", peer.run_of("camera")), dice.randrange(1 << 40, 1 << 63), 0)
        completions.append(dice.randrange(9), dice.randrange(9), dice.randrange(9))
        remote_doorbell.ring()
        run.wait_delivered("buffer", "check", run.edge("buffer", "check")["delivered"] + 1)
    refused = run.edge("buffer", "guest-1")["refused"]
    completions.segment.words[layout.COMPLETION_WORD_COUNT] = 1 << 50  # more than there is room for
    told = "guest-1.0 left the edge to guest-1: it broke its completion queue"
    run.wait(lambda: told in run.tail(400), what="the ephemeral consumer being let go")
    remote_doorbell.close()
    journal.close()
    completions.close()
    link.close()
    status_block.close(unlink=True)
    report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert refused == 100
    assert_complete(run, report, 1500)


def test_failure_without_a_reason_is_dead_lettered_like_any_other(running: tuple[RunningPipeline, Peer]) -> None:
    run, peer = running
    status_block = acquire_status_block(peer.folder, "guest-1", 0, "guest")
    link = Link(peer.folder.inbox("guest-1", 0), peer.folder.doorbell("guest-1", 0))
    completions = CompletionQueueWriter(peer.folder.completions("guest-1.0", "buffer.0"), 64)
    wanted = attach("guest-1", "guest-1.0", is_ephemeral=True, when_full="drop-oldest", window=1)
    status_block.words[layout.STATUS_WORD_INPUTS + layout.STATUS_INPUT_SESSION] = wanted.session
    peer.send("buffer.0", wanted)
    run.wait(lambda: any(isinstance(answer, Welcome) for answer in link.receive()), what="a welcome")
    journal = open_journal(peer.folder.journal("buffer", 0, "guest-1"), "buffer", "guest-1")
    assert journal is not None
    entry = journal.entry_of(wanted.session)
    assert entry is not None
    [lease] = run.wait(lambda: journal.leases(entry, wanted.session, 0, journal.last_tag(entry)), what="a lease")
    peer.send(
        "buffer.0", Failure("guest-1", wanted.session, ((lease.key, lease.sequence, FailureKind.RETRYABLE, "  \n "),))
    )
    run.wait(lambda: run.edge("buffer", "guest-1")["dead_lettered"], what="the dead letter")
    journal.close()
    completions.close()
    link.close()
    status_block.close(unlink=True)
    report = run.end()
    assert report["nodes"]["buffer"]["restarts"] == 0, run.tail()


def test_peers_that_connect_and_say_nothing_disturb_nobody(running: tuple[RunningPipeline, Peer]) -> None:
    run, peer = running
    with contextlib.ExitStack() as open_ones:
        for process in itertools.islice(itertools.cycle(SOCKETS), 200):
            silent = open_ones.enter_context(socket.socket(socket.AF_UNIX))
            silent.connect(str(peer.folder.path / f"{process}.sock"))
            if len(process) % 2:
                silent.sendall(secrets.token_bytes(64))  # not even the protocol's greeting
        run.wait_delivered("buffer", "check", run.edge("buffer", "check")["delivered"] + 200)
        report = run.end()
    assert report["unaccounted"] == 0
    assert [node["restarts"] for node in report["nodes"].values()] == [0, 0, 0, 0], run.tail()


@pytest.mark.parametrize("running", [{"count": 1500}], indirect=True)
def test_doorbells_that_are_rung_for_nothing_disturb_nobody(running: tuple[RunningPipeline, Peer]) -> None:
    run, peer = running
    remote_doorbells = [RemoteDoorbell(peer.folder.path / f"{process}.bell") for process in SOCKETS]
    for remote_doorbell in remote_doorbells:
        for _ in range(70_000):  # more than a pipe has room for, should it not be read
            remote_doorbell.ring()
    run.wait_delivered("buffer", "check", run.edge("buffer", "check")["delivered"] + 200)
    for remote_doorbell in remote_doorbells:
        remote_doorbell.ring()
        remote_doorbell.close()
    report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert_complete(run, report, 1500)


@pytest.mark.usefixtures("lane")
def test_guest_that_never_gives_back_loses_only_its_own(running: tuple[RunningPipeline, Peer]) -> None:
    run, _ = running
    with detektr.attach("hostile/buffer", name="greedy", window=4, wait_s=10, announce=run.announce) as frames:
        first = next(frames)
        sequence, checksum = first.sequence, int(first.pixels.sum())
        run.wait_delivered("buffer", "check", run.edge("buffer", "check")["delivered"] + 500)
        assert run.edge("buffer", "greedy")["in_flight"] == 4
        assert (first.sequence, int(first.pixels.sum())) == (sequence, checksum), "its slot was not used again"
    report = run.end()
    check = next(edge for edge in report["edges"] if edge["to"] == "check")
    assert check["dropped"] == {} and report["unaccounted"] == 0


@pytest.mark.usefixtures("lane")
def test_every_folder_is_0700_and_every_file_and_socket_in_it_0600(running: tuple[RunningPipeline, Peer]) -> None:
    run, peer = running
    folder = peer.folder.path
    with detektr.attach("hostile/camera", wait_s=10) as frames:
        next(frames)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (folder, folder.parent)} == {0o700}
    assert {name: oct(mode) for name, mode in modes.items() if mode != 0o600} == {}
    suffixes = {".ring", ".edge", ".status", ".sock", ".bell", ".lock", ".json", ".orders"}
    assert {Path(name).suffix for name in modes} == suffixes | ({".completions"} if run.announce == "shm" else set())
    run.end()


def test_nothing_of_ours_can_unpickle() -> None:
    found = []
    for path in sorted(Path(detektr.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            is_able = {name.partition(".")[0] for name in names} & UNPICKLERS
            if is_able or (isinstance(node, ast.keyword) and node.arg == "allow_pickle"):
                found.append(f"{path.name}: {ast.unparse(node)}")
    assert found == []
