"""The page in a real browser, on real runs: who sees what, boxes over their own frames, and what can be ordered."""

from __future__ import annotations

import functools
import json
import os
import re
import signal
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from tests.harness.running import RunningPipeline
from tests.process.page.browser import TOKEN, Page, open_browser, open_page
from tests.process.page.situations import CODE, shop
from tests.process.web.client import WebClient
from tests.process.web.test_reading import wait_successor, web_pid

WEB = {"port": 0, "token": TOKEN}
SIDE, SHADES = 48, {"door": 20, "yard": 40, "gate": 60}
BRIGHT, DARK = 170, 130
CLOCK = r"(\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d"
DETECT = '.node[data-node="detect"] .kind'
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}

# Brightness beside the edges of a box on the canvas: inside and outside, to the left and to the right; and of the edge.
_AROUND = """
const figure = document.querySelector(`figure[data-camera="${arguments[0]}"]`);
const canvas = figure?.querySelector("canvas");
if (!canvas) return null;
const boxes = JSON.parse(figure.dataset.boxes || "[]"), pen = canvas.getContext("2d");
if (boxes.length !== 1 || canvas.width !== 320) return null;
const [x, y, width, height] = boxes[0];
const pixel = (left) => {
  const rows = [0.4, 0.5, 0.6, 0.7].map((part) => [...pen.getImageData(left, y + part * height, 1, 1).data]);
  return rows.map(([red, green, blue]) => 0.3 * red + 0.59 * green + 0.11 * blue).sort((a, b) => a - b)[1];
};
const [red, green, blue] = pen.getImageData(x, y + height * 0.8, 1, 1).data;
return {
  box: boxes[0], frame: figure.dataset.frame, caption: figure.lastChild.textContent,
  inside: [pixel(x + 4), pixel(x + width - 5)], outside: [pixel(x - 5), pixel(x + width + 4)],
  edge: Math.max(red, green, blue) - Math.min(red, green, blue),
};
"""


# How many pixels of the looked-up picture have a colour: the cameras of the shop are grey.
_COLOURED = """
const canvas = document.querySelector("#found canvas"), {width, height} = canvas;
const {data} = canvas.getContext("2d").getImageData(0, 0, width, height);
let count = 0;
for (let at = 0; at < data.length; at += 4) {
  const three = [data[at], data[at + 1], data[at + 2]];
  count += Math.max(...three) - Math.min(...three) > 60;
}
return count;
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CODE)


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    with open_browser(tmp_path) as driver:
        yield driver


def around(driver: webdriver.Chrome, camera: str, known: Container[str]) -> Any:
    """Return what is to be seen around a box that is not at the edge, of a frame that is not known yet."""
    found = driver.execute_script(_AROUND, camera)
    is_new = found and found["frame"] not in known and 20 < found["box"][0] < 320 - SIDE - 20
    return found if is_new else None


def press(element: WebElement) -> None:
    """Press it with the keyboard: lists above it grow, so that it may not be where the mouse was told that it is."""
    element.send_keys(Keys.ENTER)


def click(page: Page, where: str, text: str) -> None:
    """Press the button of this text below an element, and say yes to what is asked."""
    for button in page.driver.find_elements(By.CSS_SELECTOR, f"{where} button"):
        if button.text == text:
            press(button)
            break
    else:
        raise AssertionError(f"no button {text!r} below {where}")


@pytest.mark.thorough
def test_numbers_are_for_all_and_pictures_events_and_logs_for_who_knows_the_token(
    tmp_path: Path, driver: webdriver.Chrome
) -> None:
    with RunningPipeline(tmp_path, "shop", shop(), web=WEB) as run:
        page = open_page(driver, run)
        shown = page.wait("the graph", lambda shown: len(shown["states"]) == 6 and shown["sick"])
        assert shown["open"] == [], "pictures, events and logs are for who knows the token"
        assert set(shown["states"]) == {"door", "yard", "gate", "buf", "detect", "hook"}
        assert page.console() == []
        page.login("not-the-token-at-all")
        page.wait("a refusal", lambda _: driver.find_element(By.ID, "refused").text == "this is not the token")
        assert any("401" in line for line in page.console()), "the browser says that itself"
        page.login()
        shown = page.wait("a picture and logs", lambda shown: all(shown["shown"].values()) and shown["logs"])
        assert {"s-cameras", "s-events", "s-node"} <= set(shown["open"]) and "hook.0" in shown["logs"]
        click(page, '.node[data-node="buf"]', "buf")
        page.wait("its own log", lambda shown: "buf.0" in shown["logs"] and "hook.0" not in shown["logs"])
        assert page.console() == []

        # Readable on a phone, in the dark.
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
        dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
        page.wait(
            "a page that is as wide as the phone", lambda shown: not shown["wide"] and any(shown["boxes"].values())
        )
        assert driver.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(20, 22, 26)"
        page.save("phone")
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

        # The cookie is of this browser alone, and goes when it is told to.
        driver.find_element(By.ID, "logout").click()
        page.wait("the end of that", lambda shown: shown["open"] == [])

        run.end()
        page.wait("the end", lambda shown: "no answer from the server" in shown["about"] and shown["stale"])


def test_boxes_lie_where_results_say_on_the_picture_of_their_own_frame(
    tmp_path: Path, driver: webdriver.Chrome
) -> None:
    audit = {"to": f"sqlite:{tmp_path / 'audit.db'}", "frames": "all"}
    detect = {"with": {"label": "<b>cart</b>"}}
    with RunningPipeline(tmp_path, "shop", shop(detect), web=WEB, audit=audit) as run:
        page = open_page(driver, run)
        page.login()
        frames: set[str] = set()
        for camera, shade in SHADES.items():
            for _ in range(3):
                found = run.wait(functools.partial(around, driver, camera, frames), 30, f"another box on {camera}")
                assert found["box"][1:] == [120 + shade, SIDE, SIDE], found
                assert min(found["inside"]) > BRIGHT > DARK > max(found["outside"]), found
                assert found["edge"] > 60, "the box has a colour"
                assert found["caption"].startswith(f"{camera}: <b>cart</b> 0.93 #7"), "nothing of a run is ever markup"
                frames.add(found["frame"])
        assert len(frames) == 9
        shown = page.wait("what was seen", lambda _: driver.find_elements(By.CSS_SELECTOR, "#seen li:has(canvas)"))
        assert any("<b>cart</b> #7" in text for text in shown["seen"])
        assert shown["markup"] == 0

        # Each of them can be looked up: its way, and its picture as long as the server keeps it.
        click(page, "#seen li:has(canvas)", "its frame")
        shown = page.wait("its steps", lambda shown: "captured" in shown["found"] and "delivered" in shown["found"])
        page.wait(
            "its picture",
            lambda _: driver.execute_script("return document.querySelector('#found canvas')?.width") == 320,
        )
        assert "detect returned: <b>cart</b> #7" in shown["found"] and ", captured at " in shown["found"]
        assert driver.execute_script(_COLOURED) > 40, "with the box of what was seen"
        driver.execute_script("document.getElementById('frame').value = 'door/0'")
        click(page, "#look-up", "look it up")
        page.wait(
            "the first frame of a camera",
            lambda shown: "frame 0 of door" in shown["found"] and "delivered" in shown["found"],
        )
        early = "(Not Found)"  # the trail has a frame a moment after it was seen: it is asked again until then
        assert [error for error in page.console() if not ("/frames/" in error and early in error)] == []
        assert shown["sick"][0][0] in ("", "losing", "late"), shown["sick"]  # as busy as the machine is


@pytest.mark.timeout(180)
def test_an_operator_pauses_clears_and_resends_from_the_page(tmp_path: Path, driver: webdriver.Chrome) -> None:
    retry = {"backoff": "10ms..20ms", "for": "50ms"}
    (tmp_path / "down").touch()
    with RunningPipeline(tmp_path, "shop", shop(hook={"use": "mine:Fails", "retry": retry}), web=WEB) as run:
        page = open_page(driver, run)
        page.login()
        page.wait("dead letters", lambda shown: any("the target is down" in text for text in shown["letters"]))
        shown = page.wait("blame", lambda shown: shown["sick"][0][:2] == ["failing", "hook"])
        assert re.match(f"failing, since {CLOCK}: ", shown["sick"][0][2]), "as all other words of that line say a time"
        assert re.search(rf", at {CLOCK} UTC([+-]\d\d:\d\d)?$", shown["about"])
        (tmp_path / "down").unlink()
        page.wait("what was seen", lambda shown: shown["seen"])
        page.save("what was seen and given up", "s-seen")
        press(driver.find_element(By.CSS_SELECTOR, "#letters summary"))
        page.wait("the event", lambda shown: any('"label": "cart"' in text for text in shown["letters"]))
        before = WebClient(page.url, TOKEN).get("/dead-letters")["count"]
        click(page, "#letters li", "resend")
        page.wait("that it was", lambda _: driver.find_element(By.ID, "resent").text.startswith("1 resent"))
        assert WebClient(page.url, TOKEN).get("/dead-letters")["count"] == before - 1
        click(page, "#s-letters p", "resend all events")
        page.wait("the rest", lambda shown: "s-letters" not in shown["open"], 60)

        click(page, '.node[data-node="detect"]', "detect")
        page.wait("orders", lambda _: driver.find_elements(By.CSS_SELECTOR, "#orders button"))
        click(page, "#orders", "pause")
        driver.switch_to.alert.accept()
        page.wait("a pause", lambda shown: shown["states"]["detect"] == "paused")
        page.wait("the other order", lambda _: driver.find_element(By.ID, "orders").text.startswith("resume"))
        click(page, "#orders", "resume")
        driver.switch_to.alert.accept()
        page.wait("its end", lambda shown: shown["states"]["detect"] == "running")
        page.wait("the answer", lambda _: driver.find_element(By.ID, "ordered").text.endswith("done"))
        assert driver.find_element(By.ID, "ordered").text == "resume detect: done"
        click(page, '.node[data-node="buf"]', "buf")
        page.wait("orders", lambda _: "clear" in driver.find_element(By.ID, "orders").text)
        click(page, "#orders", "clear")
        driver.switch_to.alert.accept()
        page.wait("that it was", lambda _: driver.find_element(By.ID, "ordered").text == "clear buf: done")
        page.wait("the same among the events", lambda shown: any("did clear" in text for text in shown["events"]))
        assert page.console() == []


@pytest.mark.thorough
def test_an_operator_scales_a_node_from_the_page_with_the_keyboard(tmp_path: Path, driver: webdriver.Chrome) -> None:
    with RunningPipeline(tmp_path, "shop", shop({"max_replicas": 2}), web=WEB) as run:
        page = open_page(driver, run)
        page.login()
        page.wait("what was seen", lambda shown: shown["seen"])
        click(page, '.node[data-node="buf"]', "buf")
        page.wait("orders", lambda _: driver.find_elements(By.CSS_SELECTOR, "#orders button"))
        assert "replica" not in driver.find_element(By.ID, "orders").text, "a buffer has one process"
        click(page, '.node[data-node="detect"]', "detect")
        page.wait("orders", lambda _: "one more replica" in driver.find_element(By.ID, "orders").text)

        def order(word: str, said: str, kind: str) -> None:
            """Press the button of this word, dismiss what is asked, press it again and accept."""
            button = next(one for one in driver.find_elements(By.CSS_SELECTOR, "#orders button") if one.text == word)
            button.send_keys(Keys.ENTER)
            driver.switch_to.alert.dismiss()
            assert not driver.find_element(By.ID, "ordered").text.startswith(said)
            driver.switch_to.active_element.send_keys(Keys.ENTER)
            asked = driver.switch_to.alert
            assert asked.text == f"{said.partition(':')[0]}?"
            asked.accept()
            page.wait("the answer", lambda _: driver.find_element(By.ID, "ordered").text.startswith(said))
            page.wait("how many there are", lambda _: kind in driver.find_element(By.CSS_SELECTOR, DETECT).text)
            assert driver.switch_to.active_element.text == word, "the button that was pressed keeps the focus"

        order("one more replica", "scale detect to 2: done", "2 of 2 replicas")
        run.wait(lambda: len(run.pids("detect")) == 2, what="another process")
        order("one more replica", "scale detect to 3: detect cannot have 3 replicas", "2 of 2 replicas")
        assert "`max_replicas: 2`" in driver.find_element(By.ID, "ordered").text
        order("one fewer", "scale detect to 1: done", "1 of 2 replicas")
        run.wait(lambda: len(run.pids("detect")) == 1, what="one process")
        page.wait("a node at work", lambda shown: shown["states"]["detect"] == "running")
        page.wait("the same among the events", lambda shown: any("did scale" in text for text in shown["events"]))
        assert all("422" in line for line in page.console()), "the browser says that one was refused"


@pytest.mark.thorough
def test_the_page_goes_on_when_its_server_was_killed(tmp_path: Path, driver: webdriver.Chrome) -> None:
    with RunningPipeline(tmp_path, "shop", shop(), web=WEB) as run:
        page = open_page(driver, run)
        page.login()
        page.wait("pictures", lambda shown: all(shown["shown"].values()) and shown["shown"])
        first = web_pid(run)
        os.kill(first, signal.SIGKILL)
        wait_successor(run, first)
        before = page.read()["shown"]
        page.wait("newer pictures", lambda shown: all(shown["shown"][name] > before[name] + 2 for name in before))
        page.wait("another stream", lambda shown: sum("listening" in text for text in shown["events"]) == 2)
        pid = run.kill("detect", signal.SIGSTOP)
        try:
            page.wait(
                "its events", lambda shown: any("detect: running → suspended" in text for text in shown["events"])
            )
        finally:
            os.kill(pid, signal.SIGCONT)
        assert json.loads(WebClient(page.url, TOKEN).ask("/session").body) == {"known": True}
