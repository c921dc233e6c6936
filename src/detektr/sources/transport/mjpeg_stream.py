"""JPEG pictures that a camera pushes over HTTP, found as browsers find them, and handed on as FFmpeg wants them.

Cheap cameras leave out the first boundary, tell a wrong length, or send something between the pictures. Neither
boundaries nor lengths are believed here: a picture is what lies between its first and its last marker.
"""

from __future__ import annotations

import contextlib
import re
import weakref
from collections import deque

from detektr.sources.transport.http_client import HttpClient, HttpError

PICTURE_BYTES_MAX = 64 << 20
READ_BYTES = 1 << 16
_BEGIN, _END = b"\xff\xd8", b"\xff\xd9"
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # others are part of the picture's data, or fill
_BOUNDARY = re.compile(rb"\r?\n--[^\r\n]{1,200}\r?\n")
_SCAN, _TEMPORARY = 0xDA, 0x01
_PUSHED_TYPES = ("multipart/", "video/x-motion-jpeg", "video/x-mjpeg", "video/mjpeg", "video/x-jpeg")
_HEAD = b"--picture\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"


class JpegScanner:
    """Cuts whole pictures out of bytes that come in pieces of any size.

    One that is cut off is handed out too, as far as it goes: who decodes it sees the damage, and counts it.
    """

    def __init__(self) -> None:
        """Begin between two pictures."""
        self._bytes = bytearray()
        self._place = 0  # from here on it was not looked at; 0: no picture has begun
        self._is_scan = False  # in the picture's data, which has no lengths

    def feed(self, fresh: bytes) -> list[bytes]:
        """Take the next bytes in and return the pictures that end in them."""
        self._bytes += fresh
        found = []
        while (end := self._find_end()) is not None:
            found.append(self._cut(end))
        if len(self._bytes) > PICTURE_BYTES_MAX:
            self._bytes.clear()
            self._place, self._is_scan = 0, False
        return found

    def _find_end(self) -> int | None:
        """Return where the picture ends; None: more bytes are needed."""
        held = self._bytes
        if not self._place:
            begin = held.find(_BEGIN + b"\xff")
            del held[: begin if begin >= 0 else max(0, len(held) - len(_BEGIN))]
            if begin < 0:
                return None
            self._place = len(_BEGIN)
        while True:
            if self._is_scan:
                match = _MARKER_IN_SCAN.search(held, self._place)
                if match is None:
                    self._place = max(self._place, len(held) - 1)
                    return None
                self._place, self._is_scan = match.start(), False
            if len(held) < self._place + 4:
                is_end = held[self._place : self._place + 2] == _END
                return self._place + 2 if is_end else None
            if held[self._place] != 0xFF:
                return self._place  # no marker where one must be
            marker = held[self._place + 1]
            if marker == 0xFF:  # fill
                self._place += 1
            elif marker == _END[1]:
                return self._place + 2
            elif marker == _BEGIN[1]:
                return self._place  # the next one has begun, and this one has not ended
            elif marker == _TEMPORARY or 0xD0 <= marker <= 0xD7:
                self._place += 2
            else:
                self._place += 2 + int.from_bytes(held[self._place + 2 : self._place + 4], "big")
                self._is_scan = marker == _SCAN

    def _cut(self, end: int) -> bytes:
        """Take the picture out; behind one that has no end its part of the stream may have one."""
        picture = bytes(self._bytes[:end])
        del self._bytes[:end]
        self._place, self._is_scan = 0, False
        if picture.endswith(_END):
            return picture
        boundaries = [match.start() for match in _BOUNDARY.finditer(picture)]
        return picture[: boundaries[-1] if boundaries else end] + _END


class MjpegFile:
    """What a camera pushes, as a file that PyAV can read: each picture in a part with the right length.

    The connection ends with this object, as PyAV does not close files.

    Args:
        client: which has been asked, and answered with pictures to come.
    """

    def __init__(self, client: HttpClient) -> None:
        self._client, self._scanner = client, JpegScanner()
        self._waiting: deque[bytes] = deque()
        weakref.finalize(self, client.close)

    def read(self, count: int) -> bytes:
        """Wait for bytes and return at most `count`; none: the camera has ended it, or is silent for too long."""
        while not self._waiting:
            try:
                fresh = self._client.read_some(READ_BYTES)
            except HttpError:  # an end like any other: it is asked again
                fresh = b""
            if not fresh:
                return b""
            for picture in self._scanner.feed(fresh):
                self._waiting.append(_HEAD % len(picture) + picture + b"\r\n")
        part = self._waiting.popleft()
        if len(part) > count:
            self._waiting.appendleft(part[count:])
        return part[:count]


def open_pushed(url: str, timeout_s: float) -> MjpegFile | None:
    """Ask once; return what is pushed from there, or None where it is something else or nothing.

    Args:
        url: http:// or https://, user info percent-encoded.
        timeout_s: longest time that the server may be silent.
    """
    client = HttpClient(url, timeout_s)
    with contextlib.suppress(HttpError):  # FFmpeg asks next and meets the same, and its errors have states
        if client.begin().lower().startswith(_PUSHED_TYPES):
            return MjpegFile(client)
    client.close()
    return None
