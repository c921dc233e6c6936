"""All pages of the reference, by their file's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from scripts.reference import commands, errors, events, file_keys, http_api, python_api, series, shipped, surroundings

PAGES: Mapping[str, Callable[[], str]] = MappingProxyType(
    {
        "file.md": file_keys.page,
        "commands.md": commands.page,
        "shipped.md": shipped.page,
        "python.md": python_api.page,
        "events.md": events.page,
        "metrics.md": series.page,
        "http.md": http_api.page,
        "errors.md": errors.page,
        "exit-codes.md": surroundings.exit_codes,
        "environment.md": surroundings.environment,
    }
)


def texts() -> dict[str, str]:
    """Return the pages as they should stand in docs/reference."""
    return {file: page() for file, page in PAGES.items()}
