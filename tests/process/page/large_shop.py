"""A server that plays a pipeline of 200 nodes and 64 cameras, with a flood of results: for the page alone."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from detektr.picture import PictureLayout
from detektr.web.live.static_files import _HEADERS, _TYPES, FOLDER
from detektr.web.live.words import result_words
from detektr.web.picture import encode_picture

CAMERAS, NODES = 64, 200
EACH_S = 0.005
EVIL = "<img src=x onerror=alert(1)>"
ODD: tuple[Any, ...] = (
    None,
    [],
    "text",
    {"detections": "no list"},
    {"detections": [None, 3, {}, {"box": [1, 2, 3]}, {"box": ["a", 2, 3, 4]}, {"box": [1e308, -1e308, 1e308, 1e308]}]},
    {
        "detections": [{"box": [1, 2, 30, 40], "label": EVIL, "score": "high", "track": {"a": 1}, "zones": {"b": 2}}]
        * 500
    },
    {"zones": [{"name": EVIL, "points": [[1, 1], ["x", 2], [5, 5], [9, 1]]}, {"points": 7}, 5]},
    {"event": EVIL, "state": "began", "box": [5, 5, 20, 20], "__proto__": {"x": 1}},
)


def pipeline(look: int) -> dict[str, Any]:
    """Return what `/pipeline` says at a look: cameras, each with a buffer and a processor, and eight sinks."""
    nodes, edges = [], []

    def add(name: str, kind: str, *inputs: str) -> None:
        state = "hanging" if name == "see7" and look % 2 else "running"
        nodes.append({"name": name, "kind": kind, "state": state, "restarts": 0, "why": EVIL if name == "see7" else ""})
        for producer in inputs:
            counts = {"offered": 10 * look + 4, "delivered": 10 * look, "dropped": {"queue_full": 1}, "queued": 2}
            edge = {"from": producer, "to": name, **counts, "in_flight": 1, "dead_lettered": 0, "high_water_mark": 8}
            edges.append(edge)

    for number in range(CAMERAS):
        add(f"cam{number}", "capture")
        add(f"buf{number}", "buffer", f"cam{number}")
        add(f"see{number}", "processor", f"buf{number}")
    for number in range(NODES - 3 * CAMERAS):
        add(f"out{number}", "sink", *(f"see{one}" for one in range(number, CAMERAS, 8)))
    sick = {
        "rank": 1,
        "code": "hung",
        "culprit": "see7",
        "since": "2026-11-30T10:00:00+00:00",
        "text": EVIL,
        "next": "`x`",
    }
    about = {"name": "large", "run": "r", "at": "2026-11-30T10:00:00+00:00", "seconds": look, "state": "running"}
    return {**about, "nodes": nodes, "edges": edges, "sickest": [sick]}


def seen() -> dict[str, Any]:
    """Return what `/seen` says, all of it as markup."""
    about = {"camera": EVIL, "node": EVIL, "words": EVIL, "frame": EVIL, "data": ODD[5], "still": True}
    one = {"at": "2026-11-29T10:00:00+00:00", "until": "2026-11-29T10:00:09+00:00", **about}
    about = {"keep_s": 86400, "since": one["at"], "left_out": 0, "fault": EVIL, "cameras": [EVIL]}
    return about | {"seen": [one] * 60}


class LargeShop:
    """The server; `asked` counts what was asked for, `told` the events that went out."""

    def __init__(self, port: int = 0) -> None:
        """Listen, and answer in threads."""
        self.asked: Counter[str] = Counter()
        self.told = 0
        self.is_over = threading.Event()
        layout = PictureLayout("gray", 64, 48)
        self.picture = encode_picture(np.full(layout.nbytes, 80, np.uint8), layout, "jpeg")[1]
        shop = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                shop.answer(self)

            def log_message(self, format: str, *arguments: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it, with all streams."""
        self.is_over.set()
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()

    def answer(self, call: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        path = call.path.partition("?")[0].removeprefix("/pipelines/large")
        kind = path.rpartition("/")[2]
        self.asked[kind] += 1
        if path in ("/", "") or path.startswith("/page/"):
            file = FOLDER / (kind or "index.html")
            return self.send(call, file.read_bytes(), _TYPES[file.name.rpartition(".")[2]], _HEADERS)
        if kind.endswith(".jpg"):
            return self.send(call, self.picture, "image/jpeg", {"X-Detektr-Width": "640"})
        if path == "/events":
            return self.flood(call)
        values: dict[str, Any] = {
            "/pipelines": [{"name": "large"}],
            "/session": {"known": True},
            "/pipeline": pipeline(self.asked["pipeline"]),
            "/seen": seen(),
            "/dead-letters": {"count": 0, "let_go": 0, "dead_letters": []},
        }
        if path not in values:
            return self.send(call, f"{EVIL}\n".encode() * 200, "text/plain", {})
        return self.send(call, json.dumps(values[path]).encode(), "application/json", {})

    def send(self, call: BaseHTTPRequestHandler, body: bytes, kind: str, headers: dict[str, str]) -> None:
        """Send one answer."""
        call.send_response(200)
        for name, value in {**headers, "Content-Type": kind, "Content-Length": str(len(body))}.items():
            call.send_header(name, value)
        call.end_headers()
        call.wfile.write(body)

    def flood(self, call: BaseHTTPRequestHandler) -> None:
        """Send events without an end: 200 a second."""
        call.send_response(200)
        call.send_header("Content-Type", "text/event-stream")
        call.end_headers()
        call.wfile.write(b'event: reset\ndata: {"state": "running"}\n\n')
        for count in itertools.count():
            camera = f"cam{count % CAMERAS}"
            about = {
                "camera": camera,
                "node": f"see{count % CAMERAS}",
                "frame": f"1_{camera}_{camera}_{count}_00000000",
            }
            good = {"detections": [{"box": [8, 8, 99, 99], "label": f"thing {count}", "track": count, "score": 0.5}]}
            data = ODD[count // 2 % len(ODD)] if count % 2 else good
            said = {"words": result_words(about["node"], data), "still": True, "data": data}
            event = {**about, **said, "timestamp": "2026-11-30T10:00:00+00:00"}
            letter = {"at": about["frame"], "from": EVIL, "to": camera, "count": 1}
            text = f"event: result\ndata: {json.dumps(event)}\n\nevent: dead_letter\ndata: {json.dumps(letter)}\n\n"
            try:
                call.wfile.write(text.encode())
            except OSError:
                return
            self.told += 2
            if self.is_over.wait(EACH_S):
                return


def wait_for(shop: LargeShop, kind: str, more: int, within_s: float = 30.0) -> None:
    """Wait until so many more requests of a kind have come."""
    deadline, wanted = time.monotonic() + within_s, shop.asked[kind] + more
    while shop.asked[kind] < wanted:
        assert time.monotonic() < deadline, (kind, more, shop.asked)
        shop.is_over.wait(0.05)
