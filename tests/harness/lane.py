"""The lanes on which leases are announced, and which of them a test, a benchmark or a chaos run takes."""

from __future__ import annotations

import argparse
import os
from typing import get_args

from detektr.config.schema import PipelineOptions
from detektr.options import Lane

LANES: tuple[Lane, ...] = get_args(Lane)
DEFAULT: Lane = PipelineOptions.announce
VARIABLE = "TEST_ANNOUNCE"


def lane_told() -> Lane:
    """Return the lane that the environment names; the product's default where it names none.

    Raises:
        ValueError: it names another one.
    """
    told = os.environ.get(VARIABLE) or DEFAULT
    for lane in LANES:
        if lane == told:
            return lane
    raise ValueError(f"{VARIABLE} is {told!r:.60}; write {' or '.join(LANES)}, or leave it out ({DEFAULT})")


def add_announce(parser: argparse.ArgumentParser) -> None:
    """Add the option that chooses the lane of a run; the product's default unless told otherwise."""
    words = f"how leases are announced: ZeroMQ messages or shared memory; {DEFAULT} unless told otherwise"
    parser.add_argument("--announce", choices=LANES, default=DEFAULT, help=words)
