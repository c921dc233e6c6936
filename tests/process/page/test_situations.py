"""A shop that is healthy or sick: page, `top`, `/pipeline` and `why` say the same of it, the sickest first."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from detektr.errors import DetektrError
from detektr.observe.why.answer import explain
from tests.harness.effort import alike
from tests.harness.running import RunningPipeline
from tests.process.commands.test_top import look
from tests.process.page.browser import TOKEN, open_browser, open_page
from tests.process.page.situations import CODE, SITUATIONS, camera_server, fill_all_but, shop, small_memory
from tests.process.web.client import WebClient

COLUMNS = (80, 200)
ALWAYS = ("hung sink",)  # the others where there is time


@pytest.fixture(autouse=True)
def module(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CODE)


def without_numbers(text: str) -> str:
    """Return a text without what changes from second to second."""
    return re.sub(r"[0-9][0-9.:]*( (ms|s|min)\b)?", "N", text)


def told(sickest: Iterable[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Return what is said to be wrong, so that it can be compared."""
    return [(one["code"], one["culprit"], without_numbers(one["text"])) for one in sickest]


def is_sum(text: str) -> bool:
    """Whether a line of the ledger adds up."""
    match = re.fullmatch(r".*: (\d+) offered = ([^(]*)(?: \(.*\))?", text)
    return match is not None and int(match[1]) == sum(map(int, re.findall(r"\d+", match[2])))


@pytest.mark.timeout(150)
@pytest.mark.parametrize("name", [name if name in ALWAYS else alike(name) for name in SITUATIONS])
def test_page_and_top_say_what_why_says_and_the_sickest_first(tmp_path: Path, shm_dir: Path, name: str) -> None:
    wanted = SITUATIONS[name]
    with contextlib.ExitStack() as stack:
        driver = stack.enter_context(open_browser(tmp_path))
        if wanted.is_memory_small:
            stack.enter_context(small_memory(shm_dir / "s"))
        server = stack.enter_context(camera_server(tmp_path)) if wanted.has_camera_off else None
        yard = {"source": server.url("yard.mp4"), "stall_timeout": "1s"} if server else {}
        more: dict[str, Any] = {"memory": "8MiB"} if wanted.is_memory_small else {}
        nodes = shop(wanted.detect, wanted.hook, **yard)
        run = RunningPipeline(tmp_path, "shop", nodes, web={"port": 0, "token": TOKEN}, **more)
        stack.enter_context(run)
        page = open_page(driver, run)
        client = WebClient(page.url, TOKEN)
        page.login()
        foreign = None
        if name != "hung sink":  # where nothing ends, nothing is delivered
            run.wait_delivered("detect", "hook", 5)
        if server:
            page.wait("pictures", lambda shown: shown["shown"].get("yard"))
            server.kill()
        if wanted.is_memory_small:
            foreign = fill_all_but(shm_dir / "s", 4 << 20)
        page.wait(
            wanted.code or "health",
            lambda shown: (
                shown["sick"]
                and shown["sick"][0][:2] == [wanted.code, wanted.culprit]
                and wanted.words in shown["sick"][0][2]
            ),
            60,
        )

        # Within one look all four say the same.
        def agree() -> Any:
            shown, said = page.read(), client.get("/pipeline")
            with contextlib.suppress(DetektrError):
                here, there = told(explain("shop")["sickest"]), told(said["sickest"])
                words = [
                    (code, culprit, without_numbers(text.partition(": ")[2])) for code, culprit, text in shown["sick"]
                ]
                is_same = len(words) == len(there) and all(
                    one[:2] == other[:2] and one[2].startswith(other[2].replace("`", ""))
                    for one, other in zip(words, there, strict=True)
                )
                return (shown, said) if here == there and (is_same or not there) else None

        shown, said = run.wait(agree, 30, "page, /pipeline and why to say the same")
        states = {node["name"]: node["state"] for node in said["nodes"]}
        assert {name: shown["states"].get(name) for name in nodes} == {name: states[name] for name in nodes}
        columns = [[name for name in column if name in nodes] for column in shown["columns"]]  # not those who look on
        assert columns == [["door", "yard", "gate"], ["buf"], ["detect"], ["hook"]]
        if wanted.culprit in nodes:
            assert wanted.culprit in shown["bad"]
        edges = {f"{edge['from']} -> {edge['to']}" for edge in said["edges"] if edge["to"] in nodes}
        assert edges <= {edge for edge, _ in shown["ledger"]} and len(edges) == 5
        assert all(is_sum(text) for _, text in shown["ledger"]), shown["ledger"]
        assert all(
            99.9 < filled < 100.1 or ": 0 offered" in text
            for filled, (_, text) in zip(shown["bars"], shown["ledger"], strict=True)
        ), "the bars add up, too"
        page.wait("the camera that is down", lambda shown: shown["down"] == (["yard"] if server else []))
        if server:
            assert re.search(r"yard: \w+ since .*\d", shown["captions"]["yard"]), shown["captions"]
        if name == "dead letters":
            page.wait("dead letters", lambda shown: any("no such track <img" in text for text in shown["letters"]))
        page.wait("pictures", lambda shown: sum(map(bool, shown["shown"].values())) >= (2 if server else 3))
        assert page.read()["markup"] == 0, "nothing of a run is ever markup"
        assert page.console() == []
        if name != "hung sink":
            page.wait("boxes", lambda shown: any(shown["boxes"].values()))
        drops = Counter(tuple(re.findall(r"(\S+ → \S+) dropped \d+: (\w+)", text)) for text in page.read()["events"])
        assert all(count <= 3 for drop, count in drops.items() if drop), "an edge's drops are one entry a minute"
        page.save(name)

        def top_agrees(columns: int) -> bool:
            words, rows, _ = asyncio.run(look(columns, "shop"))
            if not wanted.code:
                return "nothing was lost or late" in words
            head, _, text = words.partition("\n")[0].partition(": ")
            is_first = rows[0] == wanted.culprit or wanted.culprit not in nodes
            is_same = without_numbers(text) == told(explain("shop")["sickest"])[0][2]
            return is_first and is_same and head.startswith(f"1. {wanted.code}, since ")

        for width in COLUMNS:
            run.wait(functools.partial(top_agrees, width), 30, f"`top` in {width} columns to say the same")
        if foreign:
            foreign.unlink()
        run.end()
