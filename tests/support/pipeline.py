"""Run the pipeline in the tests: through `luigi.build` in this process, or through the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import luigi
import pytest
from luigi.cmdline import luigi_run
from luigi.configuration import get_config

from common.files import read_json
from config.paths import PROJECT
from support.datasets import write_description
from workflow import RecommendAll
from workflow.pipeline_task import PipelineTask

SMALL = {"num_users": 60, "num_tracks": 40, "num_interactions": 900}
QUICK = {
    "synthetic": SMALL,
    "als": {"rank": 4, "max_iter": 3},
    "als_explicit": {"rank": 4, "max_iter": 3},
    "retry": {"wait_s": 0},
    "core": {"local_scheduler": "true"},
}
"""Settings of a short run."""

Sections = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Ran:
    """The outcome of a run."""

    succeeded: bool
    record: list[dict[str, Any]]
    """The lines of the run record."""

    @property
    def statuses(self) -> dict[str, str]:
        """The status of every finished stage, by its name and candidate."""
        return {
            f"{line['stage']} {line['model']}" if line["model"] else line["stage"]: line["status"]
            for line in self.record
            if line["event"] == "stage"
        }

    @property
    def made(self) -> set[str]:
        """The stages that made their output."""
        return {stage for stage, status in self.statuses.items() if status == "done"}


@dataclass(frozen=True)
class Roots:
    """The data and models directories of one test's pipeline."""

    root: Path

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def paths(self) -> Sections:
        return {"paths": {"data_root": self.data, "models_root": self.models}}

    def run(
        self, top: type[PipelineTask] = RecommendAll, *, settings: Sections | None = None, **parameters: str
    ) -> Ran:
        """Run a task in this process."""
        with configured(QUICK, self.paths, settings or {}):
            task = top(**parameters)
            succeeded = luigi.build([task], local_scheduler=True)
        record = self.data / "runs" / task.context.dataset.name / f"{task.run_id}.jsonl"
        return Ran(succeeded, [json.loads(line) for line in record.read_text().splitlines()])

    def command(self, *arguments: str) -> list[str]:
        """Return the command of a quick run, followed by these arguments."""
        sections = {section: values for section, values in (QUICK | self.paths).items() if section != "core"}
        flags = [
            f"--{section.replace('_', '-')}-{key.replace('_', '-')}={value}"
            for section, values in sections.items()
            for key, value in values.items()
        ]
        luigi_command = str(Path(sys.executable).with_name("luigi"))
        return [luigi_command, "--module", "workflow", "RecommendAll", *flags, *arguments]

    def call(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the command as a subprocess, with a local scheduler."""
        return subprocess.run(
            [*self.command("--local-scheduler"), *arguments],
            cwd=PROJECT,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def exit_code(self, *arguments: str) -> int:
        """Run the command in this process, with a local scheduler; return the code that it exits with."""
        with configured({"core": QUICK["core"]}), pytest.raises(SystemExit) as ended:
            luigi_run([*self.command("--local-scheduler")[1:], *arguments])
        return int(str(ended.value.code))

    def current(self, dataset: str = "synthetic") -> str:
        """Return the serving version."""
        return (self.models / dataset / "current").read_text().strip()

    def metrics(self, dataset: str = "synthetic") -> dict[str, Any]:
        """Read `metrics.json` of the serving version."""
        metrics: dict[str, Any] = read_json(self.models / dataset / self.current(dataset) / "metrics.json")
        return metrics


def unreadable(root: Path, raw: Path) -> list[str]:
    """Return the options of a run whose Ingest fails in Java because the file lacks a column of the description."""
    raw.mkdir()
    (raw / "plays.csv").write_text("who,what,plays\na,x,1\n")
    dataset = write_description(root / "mine.toml", user="who", track="whta", feedback="events")
    return [f"--dataset={dataset}", f"--raw-dir={raw}"]


@contextmanager
def configured(*layers: Sections) -> Iterator[None]:
    """Set keys of luigi.cfg inside the context; later layers win."""
    config = get_config()
    touched = {section for layer in layers for section in layer}
    before = {section: dict(config[section]) for section in touched if config.has_section(section)}
    for layer in layers:
        for section, values in layer.items():
            for key, value in values.items():
                config.set(section, key, str(value))
    try:
        yield
    finally:
        for section in touched:
            config.remove_section(section)
            if section in before:
                config.add_section(section)
                for key, value in before[section].items():
                    config.set(section, key, value)
