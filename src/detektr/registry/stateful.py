"""Whether user code keeps state for each camera, as it says itself."""

from __future__ import annotations

import functools
from typing import Any

from detektr.errors import RefusedError
from detektr.registry.code_checks import shown


def is_stateful(user: Any, use: str) -> bool:
    """Whether a processor says that it keeps state for each camera: `stateful = True` in its class.

    Args:
        user: what `build_worker` built.
        use: what the file has.
    Raises:
        RefusedError: it says something else than True or False.
    """
    while isinstance(user, functools.partial):
        user = user.func
    said = getattr(user, "stateful", False)
    if not isinstance(said, bool):
        raise RefusedError(f"use: {use}: its `stateful` is {shown(said)}; write `stateful = True`, or leave it out")
    return said
