"""The page before a pipeline of 200 nodes and 64 cameras, and a flood of results that hold anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.process.page.browser import open_browser
from tests.process.page.large_shop import CAMERAS, NODES, LargeShop, wait_for

if TYPE_CHECKING:
    from tests.conftest import WaitUntil

HEAP_MORE_MAX = 6 << 20  # bytes, over some thousands of events
_SIZE = """
const count = (selector) => document.querySelectorAll(selector).length;
return {nodes: count(".node"), figures: count("figure"), events: count("#events li"), seen: count("#seen li"),
  rows: count("#ledger .row"), all: count("*"), heap: performance.memory.usedJSHeapSize, stale: count("body.stale"),
  kept: count("#seen-at:not([hidden])"), cameras: count("#seen-camera option"),
  markup: count("main img[onerror], main script, main b"), drawn: count('figure:not([data-shown="0"])')};
"""


@pytest.fixture
def shop() -> Iterator[LargeShop]:
    made = LargeShop()
    yield made
    if not made.is_over.is_set():
        made.close()


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    with open_browser(tmp_path, 1400, 1300, "enable-precise-memory-info") as driver:
        yield driver


def size(driver: webdriver.Chrome) -> dict[str, Any]:
    """Return how much of everything there is, after garbage was collected."""
    driver.execute_cdp_cmd("HeapProfiler.collectGarbage", {})
    return dict(driver.execute_script(_SIZE))


@pytest.mark.thorough
@pytest.mark.timeout(120)
def test_a_large_pipeline_and_a_flood_of_results_keep_the_page_right_quick_and_small(
    shop: LargeShop, driver: webdriver.Chrome, wait_until: WaitUntil
) -> None:
    driver.get(f"http://127.0.0.1:{shop.port}/")
    wait_for(shop, "pipeline", 5)
    first = size(driver)
    assert (first["nodes"], first["figures"]) == (NODES, CAMERAS)
    assert first["drawn"] > 4, "pictures of those in view"

    # Whoever is at a node with the keyboard stays there while everything is drawn again.
    driver.execute_script("document.querySelector('.node[data-node=\"see9\"] .name').focus()")
    told = shop.told
    wait_for(shop, "pipeline", 12)
    assert driver.execute_script("return document.activeElement.parentNode.dataset.node") == "see9"
    assert shop.told - told > 500, "the flood goes on"
    later = size(driver)
    assert (later["events"], later["seen"]) == (200, 60), "the newest are kept"
    assert later["all"] < first["all"] + 1000
    assert later["heap"] < first["heap"] + HEAP_MORE_MAX, (first, later)
    assert later["markup"] == 0, "nothing of a run is ever markup"
    assert (later["kept"], later["cameras"]) == (1, 2), "what was kept can be asked for, in each camera"

    # One that is looked for is found by a part of its name.
    driver.find_element(By.ID, "filter").send_keys("see9", Keys.ENTER)
    wait_for(shop, "pipeline", 2)
    assert driver.execute_script("return [...document.querySelectorAll('.node')].map((one) => one.dataset.node)") == [
        "see9"
    ]

    # A server that ends and comes again: the page says so, and goes on.
    port = shop.port
    shop.close()
    wait_until(lambda: size(driver)["stale"], what="a page that says that nobody answers")
    again = LargeShop(port)
    try:
        wait_for(again, "pipeline", 3)
        wait_for(again, "events", 0 if again.asked["events"] else 1)
        assert size(driver)["stale"] == 0
        log: list[dict[str, Any]] = driver.get_log("browser")  # type: ignore[no-untyped-call]
        errors = [entry["message"] for entry in log if entry["level"] == "SEVERE"]
        assert [error for error in errors if "ERR_" not in error] == [], "none but that nobody answered"
    finally:
        again.close()
