"""Ten pages that stay open: what server and browser take stays as it is, and the run loses nothing to its viewers."""

from __future__ import annotations

import functools
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from selenium import webdriver

from tests.harness.running import RunningPipeline
from tests.process.page.browser import TOKEN, Page, open_browser, open_page
from tests.process.page.situations import CODE, shop
from tests.process.web.test_reading import web_pid

PAGES = 10
CONNECTIONS_MAX = 6  # that a browser opens to a server
WARM_S = 120.0  # lists, histories and pools are full by then
LOOK_S = 15.0
MORE_MAX = 0.10  # of what it takes when it is warm, by medians of several looks
_HEAP = "return performance.memory.usedJSHeapSize"


NOISY = """
NOISE = np.random.default_rng(1).integers(0, 60, (HEIGHT, WIDTH, 3), np.uint8)
"""


def taken_mib(pids: list[int]) -> float:
    """Return the proportional set size of these processes, and of all that descend from them, in MiB."""
    found = {one.pid: one for pid in pids for one in [psutil.Process(pid), *psutil.Process(pid).children(True)]}
    return float(sum(one.memory_full_info().pss for one in found.values())) / (1 << 20)


def heaps_mib(driver: webdriver.Chrome) -> list[float]:
    """Return what each page's own objects take, after garbage was collected."""
    heaps = []
    for window in driver.window_handles:
        driver.switch_to.window(window)
        driver.execute_cdp_cmd("HeapProfiler.collectGarbage", {})
        heaps.append(float(driver.execute_script(_HEAP)) / (1 << 20))
    return heaps


def differs(before: dict[str, int], now: dict[str, Any]) -> bool:
    """Whether other pictures are shown than before."""
    return bool(now["shown"] != before)


def median(values: list[float]) -> float:
    """Return the middle one."""
    return sorted(values)[len(values) // 2]


def open_pages(page: Page, count: int) -> None:
    """Open windows until there are so many, each of which is shown: a page in the background does not listen."""
    driver = page.driver
    while len(driver.window_handles) < count:
        driver.switch_to.new_window("window")
        driver.get(page.url)
    for window in driver.window_handles:
        driver.switch_to.window(window)
        page.wait("pictures of all cameras", lambda shown: shown["shown"] and all(shown["shown"].values()))


@pytest.mark.timeout(120)
def test_a_browser_shows_more_pages_than_it_opens_connections_to_a_server(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CODE)
    with (
        RunningPipeline(tmp_path, "shop", shop(), web={"port": 0, "token": TOKEN}) as run,
        open_browser(tmp_path) as driver,
    ):
        page = open_page(driver, run)
        page.login()
        open_pages(page, CONNECTIONS_MAX + 2)
        for window in driver.window_handles:  # what is told to one that came later, and what to all
            driver.switch_to.window(window)
            shown = page.wait("what was seen", lambda shown: shown["seen"] and shown["events"])
            assert any("listening from now on: the run is running" in told for told in shown["events"])
        driver.close()
        run.kill("detect")
        for window in driver.window_handles:
            driver.switch_to.window(window)
            page.wait("the death of a node", lambda shown: any("detect" in told for told in shown["events"]))
            assert page.console() == []


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("minutes", [10])
def test_ten_pages_that_stay_open_take_no_more_and_cost_no_frame(tmp_path: Path, minutes: int) -> None:
    code = CODE.replace("picture[::16] = shade + 12", "picture += NOISE") + NOISY
    (tmp_path / "mine.py").write_text(code)  # stills of noise are large: the server's store of them is soon full
    with (
        RunningPipeline(tmp_path, "shop", shop(), web={"port": 0, "token": TOKEN}) as run,
        open_browser(tmp_path, 1200, 1200, "enable-precise-memory-info") as driver,
    ):
        page = open_page(driver, run)
        page.login()
        open_pages(page, PAGES)
        server, browser = web_pid(run), driver.service.process.pid
        looks: list[dict[str, Any]] = []
        begun = time.monotonic()
        while time.monotonic() - begun < 60 * minutes:
            time.sleep(LOOK_S)  # the time that passes is what is tested
            heaps = heaps_mib(driver)
            looks.append(
                {
                    "after_s": time.monotonic() - begun,
                    "server": taken_mib([server]),
                    "browser": taken_mib([browser]),
                    "heap": sum(heaps),
                }
            )
        for look in looks:
            print({key: round(value, 1) for key, value in look.items()})
        warm = [look for look in looks if look["after_s"] > WARM_S]
        third = len(warm) // 3
        for what in ("server", "browser", "heap"):
            early, late = (median([look[what] for look in part]) for part in (warm[:third], warm[-third:]))
            assert late <= early * (1 + MORE_MAX), (what, early, late)
        for window in driver.window_handles:
            driver.switch_to.window(window)
            before = page.read()
            assert all(before["shown"].values()) and not before["stale"]
            page.wait("pictures that go on", functools.partial(differs, before["shown"]))
            assert page.console() == []
        report = run.end()
        assert report["unaccounted"] == 0
        own = [edge for edge in report["edges"] if not edge["to"].startswith("guest")]  # a viewer's edge may drop
        assert own and not any(edge["dropped"] for edge in own), own
