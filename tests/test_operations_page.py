"""What docs/operations.md says of metrics, alerts and containers is what there is."""

from __future__ import annotations

import re

import yaml
from luigi.contrib.prometheus_metric import PrometheusMetricsCollector

from config.paths import PROJECT
from webapp.monitoring.prometheus import GAUGES

PAGE = (PROJECT / "docs" / "operations.md").read_text(encoding="utf-8")
BLOCKS = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)]
COMPOSE = yaml.safe_load((PROJECT / "compose.yaml").read_text(encoding="utf-8"))


def test_the_metrics_of_each_dataset_are_those_that_the_page_has() -> None:
    assert set(re.findall(r"^\| `encore_(\w+)\{dataset\}` \|", PAGE, re.MULTILINE)) == set(GAUGES)


def test_the_metrics_of_luigid_are_those_that_luigi_has() -> None:
    said = PrometheusMetricsCollector().generate_latest().decode()
    has = set(re.findall(r"^# TYPE (luigi_\w+) ", said, re.MULTILINE))
    documented = set(re.findall(r"^\| `(luigi_\w+)\{family\}` \|", PAGE, re.MULTILINE))
    assert documented == {name for name in has if not name.endswith("_created")}


def test_an_alert_asks_for_what_there_is() -> None:
    (rules,) = [group["rules"] for block in BLOCKS if "groups" in block for group in block["groups"]]
    assert len(rules) == 3
    for rule in rules:
        (metric,) = re.findall(r"encore_(\w+)", rule["expr"])
        assert metric in GAUGES
        assert rule["alert"] and rule["annotations"]["summary"]


def test_prometheus_asks_services_that_there_are() -> None:
    (jobs,) = [block["scrape_configs"] for block in BLOCKS if "scrape_configs" in block]
    targets = [target for job in jobs for group in job["static_configs"] for target in group["targets"]]
    assert targets == ["web:8000", "luigid:8082"]
    assert {target.split(":")[0] for target in targets} <= COMPOSE["services"].keys()


def test_the_table_of_services_is_complete() -> None:
    table = PAGE.split("## Containers")[1].split("```sh")[0]
    assert set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)))) == set(
        COMPOSE["services"]
    )
