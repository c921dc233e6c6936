"""Each block of code is right: files are accepted, commands and options exist, names can be imported.

Blocks that are files (`# name.py` in their first line) also run: tests of how-tos, of the tutorial and of README.
"""

from __future__ import annotations

import ast
import configparser
import importlib
import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from detektr.config.load import load_pipeline
from detektr.web.describing.openapi import PREFIX
from scripts.reference.commands import ALIASES, commands
from scripts.reference.http_api import described
from tests.system.docs.document import FOR_USERS, ROOT, Block, blocks, name_of
from tests.system.docs.pipeline_text import fits_somewhere

COMMANDS = dict(commands())
PLAIN = {".", "cd", "cat", "pip", "python", "python3"}
"""Commands that are not detektr's, and that every machine has."""


def ids(block: Block) -> str:
    return block.where


@pytest.mark.parametrize("block", blocks("yaml"), ids=ids)
def test_yaml_is_a_file_that_is_accepted_or_a_part_of_one(block: Block, tmp_path: Path) -> None:
    text = re.sub(r"\$\{file:[^}]*\}", "a-secret", block.text)
    values: Any = yaml.safe_load(text)
    if "services" in values:  # compose: the size of shared memory stands at the service, not below `build`
        assert all("shm_size" in service for service in values["services"].values())
    elif "nodes" in values:
        path = tmp_path / "pipeline.yaml"
        path.write_text(text)
        environment = {name: "a-stand-in-of-16-and-more" for name in re.findall(r"\$\{(\w+)\}", block.text)}
        assert load_pipeline(path, environment).graph.nodes
    else:
        assert [key for key in values if not fits_somewhere(key, values[key])] == []


@pytest.mark.parametrize("block", blocks("python"), ids=ids)
def test_python_can_be_compiled_and_finds_what_it_imports_of_detektr(block: Block) -> None:
    tree = ast.parse(block.text, block.where)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == "detektr":
            module = importlib.import_module(str(node.module))
            assert [one.name for one in node.names if not hasattr(module, one.name)] == []
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "detektr":
            import detektr.http

            assert hasattr(detektr, node.attr), node.attr


def wrong_in(line: str) -> str:
    """Return what is wrong with a line of a shell; empty: nothing."""
    words = shlex.split(line, comments=True)
    if not words or re.match(r"\w+=", words[0]):
        return ""
    if words[0] == "detektr":
        return wrong_in_command(words[1:])
    if words[0].startswith(("scripts/", ".ci/")):
        return "" if (ROOT / words[0]).stat().st_mode & 0o111 else f"{words[0]} cannot be run"
    if words[0] == "curl":
        (address,) = (word for word in words[1:] if word.startswith("localhost:"))
        return wrong_in_path("/" + address.partition("?")[0].partition("/")[2])
    return "" if words[0] in PLAIN else f"{words[0]} is not known here"


def wrong_in_command(words: list[str]) -> str:
    """Return what is wrong with the words behind `detektr`."""
    if (
        not words
        or any(path.startswith(" ".join(["detektr", *words, ""])) for path in COMMANDS)
        or words[0] in ("--version", "--install-completion", "--help")
    ):
        return ""
    words = words[1:] if words[0] == ALIASES else words
    if not words:
        return ""  # the group
    paths = [" ".join(["detektr", *words[:count]]) for count in (2, 1)]
    command = next((COMMANDS[path] for path in paths if path in COMMANDS), None)
    if command is None:
        return f"there is no command {words}"
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    unknown = {word for word in words if word.startswith("-") and word not in known and not word.lstrip("-").isdigit()}
    return f"{words}: no option {unknown}" if unknown else ""


def wrong_in_path(path: str) -> str:
    """Return what is wrong with the path of a request."""
    patterns = [re.sub(r"\{\w+\}", "[^/]+", known) for known in described()["paths"] if not known.startswith(PREFIX)]
    return "" if any(re.fullmatch(pattern, path) for pattern in patterns) else f"no endpoint answers at {path}"


@pytest.mark.parametrize("block", blocks("sh"), ids=ids)
def test_commands_of_a_shell_exist_with_their_options(block: Block) -> None:
    assert list(filter(None, map(wrong_in, block.text.splitlines()))) == []


@pytest.mark.parametrize("path", [one for one in FOR_USERS if one.name != "CHANGELOG.md"], ids=name_of)
def test_commands_in_a_sentence_exist_with_their_options(path: Path) -> None:
    named = re.findall(r"`detektr ([^`|\n]+)`", path.read_text())
    lines = [line for line in named if not re.search(r"\.\.\.|…|COMMAND|'", line)]
    assert [wrong for line in lines if (wrong := wrong_in_command(shlex.split(line)))] == []


@pytest.mark.parametrize("block", blocks("json", "toml", "ini", "dockerfile"), ids=ids)
def test_other_files_can_be_read_and_start_what_there_is(block: Block) -> None:
    lines: list[list[str]] = []
    if block.language == "json":
        assert json.loads(block.text)
    if block.language == "toml":
        assert tomllib.loads(block.text)
    if block.language == "ini":
        unit = configparser.ConfigParser(strict=False, interpolation=None)
        unit.read_string(block.text)
        lines = [shlex.split(unit["Service"]["ExecStart"])]
    if block.language == "dockerfile":
        lines = [json.loads(found) for found in re.findall(r"CMD (\[.*\])$", block.text, re.MULTILINE)]
    assert block.language in ("json", "toml") or lines
    for words in lines:
        assert words[0].rpartition("/")[2] == "detektr" and wrong_in_command(words[1:]) == ""


def test_every_block_says_what_it_is() -> None:
    known = {"", "yaml", "python", "sh", "json", "toml", "ini", "dockerfile", "mermaid", "text"}
    found = {
        (name_of(path), language)
        for path in FOR_USERS
        for language in re.findall(r"^```(\w*)\n.*?^```", path.read_text(), re.DOTALL | re.MULTILINE)
    }
    assert {(page, language) for page, language in found if language not in known} == set()
