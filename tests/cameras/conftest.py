"""What the tests of cameras share: a server of the clips that a module makes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cameras.rtsp_servers import RtspServer


@pytest.fixture(scope="module")
def server(clips: Path) -> Iterator[RtspServer]:
    with RtspServer(clips) as server:
        yield server
