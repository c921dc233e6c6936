"""A real browser, without a window, on the page of a pipeline: what it shows, and what its console says."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from selenium import webdriver
from selenium.webdriver.common.by import By

from tests.harness.running import RunningPipeline

TOKEN = "let-me-look-at-this-shop"
LOOK_S_MAX = 30
PICTURES = os.environ.get("TEST_PICTURES", "")
"""Where pictures of the page are saved, for the docs; empty: nowhere."""
_FLAGS = "headless=new no-sandbox disable-gpu disable-quic no-first-run disable-background-networking disable-sync"
_READ = """
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const open = (part) => !part.hidden;
const wide = (bar) => all("i", bar).reduce((sum, part) => sum + parseFloat(part.style.width || "0"), 0);
const of = (tell) => Object.fromEntries(all("figure").map((figure) => [figure.dataset.camera, tell(figure)]));
return {
  about: document.getElementById("about").textContent,
  stale: document.body.classList.contains("stale"),
  sick: all("#sickest li").map((item) => [item.dataset.code ?? "", item.dataset.culprit ?? "", item.textContent]),
  columns: all("#graph > div").map((column) => all(".node", column).map((card) => card.dataset.node)),
  states: Object.fromEntries(all(".node").map((card) => [card.dataset.node, card.dataset.state])),
  bad: all(".node.bad").map((card) => card.dataset.node),
  ledger: all("#ledger .row").map((row) => [row.dataset.edge, row.querySelector(".sum").textContent]),
  bars: all("#ledger .bar").map(wide),
  open: all("#s-cameras, #s-events, #s-node, #s-letters, #s-seen").filter(open).map((part) => part.id),
  shown: of((figure) => Number(figure.dataset.shown)),
  down: all("figure.down").map((figure) => figure.dataset.camera),
  captions: of((figure) => figure.lastChild.textContent),
  boxes: of((figure) => JSON.parse(figure.dataset.boxes || "[]")),
  logs: document.getElementById("logs").textContent,
  events: all("#events li").map((item) => item.textContent),
  seen: all("#seen li").map((item) => item.textContent),
  since: document.getElementById("seen-since").textContent,
  letters: all("#letters li").map((item) => item.textContent),
  found: document.getElementById("found").textContent,
  markup: all("main b, main script, main img[onerror]").length,
  wide: document.documentElement.scrollWidth > window.innerWidth + 1,
};
"""


class Page:
    """The page of a running pipeline in a browser."""

    def __init__(self, driver: webdriver.Chrome, run: RunningPipeline, url: str) -> None:
        """Open the page."""
        self.driver, self.run, self.url = driver, run, url
        driver.get(url)

    def read(self) -> dict[str, Any]:
        """Return what it shows now."""
        return dict(self.driver.execute_script(_READ))

    def wait(
        self, what: str, condition: Callable[[dict[str, Any]], Any], within_s: float = LOOK_S_MAX
    ) -> dict[str, Any]:
        """Return what it shows as soon as a condition holds of it."""
        shown: dict[str, Any] = {}

        def look() -> dict[str, Any] | None:
            shown.update(self.read())
            return shown if condition(shown) else None

        try:
            return dict(self.run.wait(look, within_s, what))
        except AssertionError as fault:
            raise AssertionError(f"{fault}\nthe page shows: {shown}\nits console: {self.console()}") from None

    def login(self, token: str = TOKEN) -> None:
        """Say the token."""
        self.wait("the form", lambda _: self.driver.find_element(By.ID, "token").is_displayed())
        self.driver.find_element(By.ID, "token").send_keys(token + "\n")

    def console(self) -> list[str]:
        """Return the errors of its console since the last call."""
        log: list[dict[str, Any]] = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [str(entry["message"]) for entry in log if entry["level"] == "SEVERE"]

    def save(self, name: str, part: str = "name") -> None:
        """Save a picture of it for the docs, from this part on, where they are wanted."""
        if PICTURES:
            self.driver.execute_script("document.getElementById(arguments[0]).scrollIntoView()", part)
            with av.open(io.BytesIO(self.driver.get_screenshot_as_png()), "r") as container:
                picture = next(container.decode(video=0)).reformat(format="bgra")
            picture.pts = 0
            encoder: Any = av.CodecContext.create("libwebp", "w")
            encoder.width, encoder.height, encoder.pix_fmt = picture.width, picture.height, "bgra"
            encoder.time_base, encoder.options = Fraction(1, 25), {"quality": "82"}
            payload = b"".join(bytes(packet) for packet in [*encoder.encode(picture), *encoder.encode(None)])
            (Path(PICTURES) / f"{name.replace(' ', '-')}.webp").write_bytes(payload)


@contextlib.contextmanager
def open_browser(folder: Path, width: int = 1200, height: int = 1200, *more: str) -> Iterator[webdriver.Chrome]:
    """Start a browser; `more` are flags."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in [*_FLAGS.split(), "disable-component-update", f"user-data-dir={folder / 'browser'}", *more]:
        options.add_argument(f"--{flag}")
    options.add_argument(f"--window-size={width},{height}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver"))
    try:
        yield driver
    finally:
        driver.quit()


def open_page(driver: webdriver.Chrome, run: RunningPipeline) -> Page:
    """Open the page of a pipeline once its server is there."""
    return Page(driver, run, run.wait(lambda: run.status().get("web"), what="the web server"))
