"""Processors for the system tests: what a frame looks like from inside a processor's process, written down."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

from detektr import Frame


class Sums:
    """Writes down sequence and the sum of the grey picture."""

    def __init__(self, path: str) -> None:
        """Take the file to append to."""
        self.path = Path(path)

    def open(self) -> None:
        """Open it."""
        self.fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def process(self, frame: Frame) -> None:
        """Append a line."""
        os.write(
            self.fd, f"{json.dumps([frame.sequence, int(frame.gray.sum(dtype=np.int64)), os.getpid()])}\n".encode()
        )


class Whereabouts(Sums):
    """Writes down where a frame's pixels lie and whether they could be changed."""

    def process(self, frame: Frame) -> None:
        """Append a line."""
        address = frame.pixels.__array_interface__["data"][0]
        owner = next(
            (
                line.split(maxsplit=5)[-1]
                for line in Path("/proc/self/maps").read_text().splitlines()
                if int(line.split("-")[0], 16) <= address < int(line.split("-")[1].split()[0], 16)
            ),
            "",
        )
        try:
            frame.pixels[0] = 1
            refusal = ""
        except ValueError as fault:
            refusal = str(fault)
        facts = {
            "mapping": owner,
            "is_writeable": bool(frame.pixels.flags.writeable),
            "owns_data": bool(frame.pixels.flags.owndata),
            "gray_is_view": bool(np.shares_memory(frame.gray, frame.pixels)),
            "refusal": refusal,
        }
        os.write(self.fd, f"{json.dumps(facts)}\n".encode())
