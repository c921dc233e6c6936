"""What `deploy/` has fits what detektr says: metrics of rules and panels exist, and each alert fires and resolves."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry

from detektr.telemetry.metrics import NodeSupervision, PipelineCollector
from scripts.grafana import texts
from tests.unit.telemetry.test_metrics import EDGES, PAGES

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"
DASHBOARDS = FOLDER.parent / "grafana"
RULES = FOLDER / "detektr.rules.yml"


def scraped() -> set[str]:
    """Return the names of the series of a pipeline that is supervised."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(
        PipelineCollector(lambda: (EDGES, PAGES), "demo", lambda: {"look": NodeSupervision(1, "running")})
    )
    return {sample.name for family in registry.collect() for sample in family.samples}


def alerts() -> list[dict[str, object]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    return list(group["rules"])


def test_each_metric_that_a_rule_names_is_in_a_scrape() -> None:
    known = scraped()
    named = set(re.findall(r"detektr_\w+", "\n".join(str(alert["expr"]) for alert in alerts())))
    assert named and named - known == set()


def test_each_alert_says_what_is_so_and_which_command_says_more() -> None:
    for alert in alerts():
        annotations = alert["annotations"]
        assert isinstance(annotations, dict) and set(annotations) == {"summary", "next"}, alert["alert"]


@pytest.mark.parametrize(
    "what", [("check", "rules", RULES.name), ("test", "rules", "detektr.rules.test.yml")], ids=" ".join
)
def test_promtool_takes_the_rules_and_sees_each_alert_fire_and_resolve(what: tuple[str, ...]) -> None:
    promtool = shutil.which("promtool")
    assert promtool, "install it: apt-get install prometheus (scripts/install-test-tools does)"
    done = subprocess.run([promtool, *what], cwd=FOLDER, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboards_are_written_of_their_source_as_it_is() -> None:
    for name, text in texts().items():
        assert (DASHBOARDS / name).read_text() == text, "stale: run `python -m scripts.grafana`"


def test_each_metric_that_a_panel_names_is_in_a_scrape() -> None:
    known = scraped()
    for text in texts().values():
        named = set(re.findall(r"detektr_\w+", text))
        assert named and named - known == set()


def test_panels_lie_beside_each_other_and_each_has_its_own_number() -> None:
    for text in texts().values():
        panels = json.loads(text)["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        places = [
            (x, y)
            for panel in panels
            for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
            for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
        ]
        assert len(places) == len(set(places)) and max(x for x, _ in places) < 24


def test_each_alert_has_a_test() -> None:
    tested = re.findall(r"alertname: (\w+)", (FOLDER / "detektr.rules.test.yml").read_text())
    assert {alert["alert"] for alert in alerts()} == set(tested)
