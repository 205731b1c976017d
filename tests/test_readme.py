"""What the README promises is what there is."""

from __future__ import annotations

import re
import subprocess

from luigi.configuration import get_config

from config.metrics import METRICS
from config.paths import PROJECT
from config.settings import SECTIONS
from spark.evaluation import ranking_metrics
from spark.evaluation.beyond_accuracy import PER_LIST

README = (PROJECT / "README.md").read_text(encoding="utf-8")


def test_the_table_of_settings_is_complete_and_right() -> None:
    documented = re.findall(r"^\| `\[(\w+)\] (\w+)` \| `(.*)` \| (.*) \|$", README, re.MULTILINE)
    actual = [
        (section.get_task_family(), key, parameter.serialize(parameter._default), parameter.description)
        for section in SECTIONS
        for key, parameter in section.get_params()
    ]
    assert documented == actual


def test_the_table_of_metrics_says_what_the_code_says() -> None:
    documented = re.findall(r"^\| `(\w+)` \| (.*) \| (higher|lower|neither) \|$", README, re.MULTILINE)
    assert documented == [(name, *about) for name, about in METRICS.items()]


def test_every_metric_that_is_measured_is_explained() -> None:
    measured = {*ranking_metrics.METRICS, *PER_LIST, "coverage", "gini", "cold_users", "rmse", "mae"}
    assert measured == set(METRICS)


def test_the_exit_codes_are_those_of_luigi_cfg() -> None:
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)}
    assert documented - {0} == {int(code) for code in get_config()["retcode"].values()}


def test_make_help_lists_every_target() -> None:
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    (phony,) = re.findall(r"^\.PHONY: ((?:.*\\\n)*.*)$", makefile, re.MULTILINE)
    targets = set(phony.replace("\\\n", " ").split())
    assert targets == set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    shown = subprocess.run(["make", "help"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"^  ([a-z-]+)  ", shown, re.MULTILINE)) == targets - {"help"}
    assert [line for line in shown.splitlines() if len(line) > 100] == []


def test_pictures_are_there_and_small() -> None:
    shown = {
        (text.parent / name).resolve()
        for text in (PROJECT / "README.md", *(PROJECT / "docs").glob("*.md"))
        for name in re.findall(r"!\[.+\]\((.+\.png)\)", text.read_text(encoding="utf-8"))
    }
    assert shown == set((PROJECT / "docs").glob("*.png"))
    assert [picture.name for picture in shown if picture.stat().st_size > 200_000] == []


def test_make_clean_touches_neither_raw_data_nor_models() -> None:
    commands = subprocess.run(["make", "-n", "clean"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    assert "data/work" in commands
    assert not re.search(r"data/raw|data/\s|data$|models", commands, re.MULTILINE)
