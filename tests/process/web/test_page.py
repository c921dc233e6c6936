"""The page in a real browser, on a real run with a slow sink: what it shows is what `/pipeline` says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from tests.harness.running import RunningPipeline
from tests.process.web.client import WebClient

TOKEN = "let-me-look-at-this-shop"
LOOK_S_MAX = 30
CODE = """
import time

import numpy as np


def pictures():
    begun = time.monotonic()
    for count in range(100_000):
        time.sleep(max(0.0, begun + count / 20 - time.monotonic()))
        picture = np.zeros((120, 160, 3), np.uint8)
        picture[:, :, 2] = 200  # red, as BGR
        yield picture


class Sees:
    def process(self, frame):
        return {"<b>n</b>": frame.sequence}


class Sends:
    def write(self, event):
        time.sleep(0.4)
"""


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    flags = "headless=new no-sandbox disable-gpu disable-quic no-first-run disable-background-networking disable-sync"
    for flag in [*flags.split(), "disable-component-update", f"user-data-dir={tmp_path / 'browser'}"]:
        options.add_argument(f"--{flag}")
    options.add_argument("--window-size=1400,1300")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver"))
    yield driver
    driver.quit()


def shop() -> dict[str, Any]:
    return {
        "door": {"kind": "capture", "source": "python:mine:pictures", "when_full": "drop-oldest"},
        "buf": {"kind": "buffer", "input": "door", "high_water_mark": 8},
        "detect": {"kind": "processor", "input": "buf", "use": "mine:Sees", "high_water_mark": 4},
        "hook": {"kind": "sink", "input": "detect", "use": "mine:Sends", "drain": "500ms"},
    }


READ = """
const all = (selector, of = document) => [...of.querySelectorAll(selector)];
return {
  about: document.getElementById("about").textContent,
  sick: all("#sickest li").map((item) => [item.dataset.code ?? "", item.textContent]),
  columns: all("#graph > div").map((column) => all(".node", column).map((card) => card.dataset.node)),
  states: Object.fromEntries(all(".node").map((card) => [card.dataset.node, card.dataset.state])),
  bad: all(".node.bad").map((card) => card.dataset.node),
  ledger: all("#ledger .row").map((row) => [row.dataset.edge, row.querySelector(".sum").textContent]),
  open: all("#s-cameras, #s-events, #s-logs").filter((part) => !part.hidden).map((part) => part.id),
  shown: all("figure").map((figure) => Number(figure.dataset.shown ?? 0)),
  pixel: all("canvas").map((canvas) => [...canvas.getContext("2d").getImageData(40, 40, 1, 1).data].slice(0, 3)),
  logs: document.getElementById("logs").textContent,
  events: all("#events li").map((item) => item.textContent),
  markup: all("main b b").length,
};
"""


def test_the_page_shows_what_the_pipeline_says(tmp_path: Path, browser: webdriver.Chrome) -> None:
    (tmp_path / "mine.py").write_text(CODE)
    with RunningPipeline(tmp_path, "shop", shop(), web={"port": 0, "token": TOKEN}) as run:
        url = run.wait(lambda: run.status().get("web"), what="the web server")
        client = WebClient(url, TOKEN)

        def wait(what: str, condition: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
            """Return what the page shows as soon as a condition holds of it."""

            def look() -> dict[str, Any] | None:
                page: dict[str, Any] = browser.execute_script(READ)
                return page if condition(page) else None

            return dict(run.wait(look, LOOK_S_MAX, what))

        browser.get(url)
        page = wait("the culprit", lambda page: "hook takes 4" in page["sick"][0][1] if page["sick"] else False)
        said = client.get("/pipeline")
        assert page["sick"][0][0] == said["sickest"][0]["code"] == "losing" and said["sickest"][0]["culprit"] == "hook"
        assert "holds up detect" in page["sick"][0][1] and "let it retry" in page["sick"][0][1], "code stands as such"
        assert page["states"] == {node["name"]: node["state"] for node in said["nodes"]}
        assert page["columns"] == [["door"], ["buf"], ["detect"], ["hook"]] and page["bad"] == ["hook"]
        assert {edge for edge, _ in page["ledger"]} == {f"{edge['from']} -> {edge['to']}" for edge in said["edges"]}
        for _, text in page["ledger"]:
            match = re.fullmatch(r".*: (\d+) offered = ([^(]*)(?: \(.*\))?", text)
            assert match is not None and int(match[1]) == sum(map(int, re.findall(r"\d+", match[2]))), text
        assert page["open"] == [], "pictures, events and logs are for who knows the token"

        browser.find_element(By.ID, "token").send_keys(TOKEN + "\n")
        page = wait("a picture, logs and events", lambda page: sum(page["shown"]) and page["events"] and page["logs"])
        assert page["open"] == ["s-cameras", "s-events", "s-logs"] and "hook.0" in page["logs"]
        ((red, green, blue),) = page["pixel"]
        assert red > 170 and green < 40 and blue < 40, page["pixel"]
        assert page["markup"] == 0, "nothing of a run is ever markup"
        log: list[dict[str, Any]] = browser.get_log("browser")  # type: ignore[no-untyped-call]
        assert [entry for entry in log if entry["level"] == "SEVERE"] == []
        run.end()
        wait("the end", lambda page: "no answer from the server" in page["about"])
