"""What was seen while no page was open is on the page, at any time that one asks for."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select

from tests.harness.running import RunningPipeline
from tests.process.page.browser import TOKEN, open_browser, open_page
from tests.process.page.situations import CODE, shop
from tests.process.page.test_page import click
from tests.process.web.client import WebClient

WEB = {"port": 0, "token": TOKEN, "seen": "7d"}
_THEN = """
const list = document.getElementById("seen-then");
return {shown: !list.hidden, when: document.getElementById("seen-when").textContent,
  items: [...list.children].map((item) => item.textContent), live: !document.getElementById("seen").hidden,
  pictures: [...list.querySelectorAll("canvas")].filter((canvas) => canvas.width > 100).length};
"""


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    (tmp_path / "mine.py").write_text(CODE)
    with open_browser(tmp_path) as driver:
        yield driver


def test_the_page_says_what_was_seen_before_it_was_open_and_at_a_time(tmp_path: Path, driver: webdriver.Chrome) -> None:
    audit = {"to": f"sqlite:{tmp_path / 'audit.db'}", "frames": "all"}
    with RunningPipeline(tmp_path, "shop", shop({"with": {"label": "<b>cart</b>"}}), web=WEB, audit=audit) as run:
        client = WebClient(str(run.wait(lambda: run.status().get("web"), what="the server")), TOKEN)

        def of_all_cameras() -> list[dict[str, Any]] | None:
            found: list[dict[str, Any]] = [one for one in client.get("/seen")["seen"] if one["still"]]
            return found if {one["camera"] for one in found} == {"door", "yard", "gate"} else None

        before = run.wait(of_all_cameras, what="something seen in each camera, while no page is open")
        page = open_page(driver, run)
        page.login()
        shown = page.wait("what was seen before", lambda shown: "kept for 7 days" in shown["since"] and shown["seen"])
        first = datetime.datetime.fromisoformat(before[-1]["at"]).astimezone().strftime("%H:%M:%S")
        page.wait("the oldest of it", lambda shown: any(text.startswith(first) for text in shown["seen"]))

        # One that is looked up by its id has what was seen in it too, and its picture.
        driver.execute_script("document.getElementById('frame').value = arguments[0]", before[-1]["frame"])
        click(page, "#look-up", "look it up")
        camera = before[-1]["camera"]
        page.wait("what was seen in it", lambda shown: "detect returned: <b>cart</b> #7" in shown["found"])
        shown = page.wait("its picture", lambda _: driver.find_elements(By.CSS_SELECTOR, "#found canvas"))
        assert f" of {camera}, captured at" in shown["found"]

        now = datetime.datetime.now().strftime("%Y-%m-%dT%H:%M")
        driver.execute_script("document.getElementById('seen-time').value = arguments[0]", now)
        Select(driver.find_element(By.ID, "seen-camera")).select_by_value("yard")
        click(page, "#seen-at", "show what was seen")
        then = run.wait(
            lambda: (found := driver.execute_script(_THEN))["shown"] and found["pictures"] and found,
            what="what was seen then, with pictures",
        )
        assert not then["live"] and then["when"].startswith("what was seen in yard until ")
        assert all("yard: <b>cart</b> #7" in text for text in then["items"]), "nothing of a run is ever markup"
        page.save("what was seen then", "s-seen")

        driver.execute_script("document.getElementById('seen-time').value = '2020-01-01T00:00'")
        click(page, "#seen-at", "show what was seen")
        run.wait(
            lambda: driver.execute_script(_THEN)["when"].startswith(
                "nothing was seen in yard until 2020-01-01 00:00:59"
            ),
            what="nothing",
        )
        click(page, "#seen-at", "back to now")
        shown = page.wait("what is seen now", lambda _: driver.execute_script(_THEN)["live"])
        assert shown["markup"] == 0 and page.console() == []
        assert run.end()["unaccounted"] == 0
