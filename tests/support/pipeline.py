"""Runs the pipeline for the tests: through `luigi.build` in this process, or through the command."""

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
"""Settings that make a run short."""

Sections = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Ran:
    """What became of a run."""

    succeeded: bool
    record: list[dict[str, Any]]
    """The lines of the run record."""

    @property
    def statuses(self) -> dict[str, str]:
        """The status of every stage that has a closing line, by its name and candidate."""
        return {
            f"{line['stage']} {line['model']}" if line["model"] else line["stage"]: line["status"]
            for line in self.record
            if line["event"] == "stage"
        }

    @property
    def made(self) -> set[str]:
        """The stages that did something."""
        return {stage for stage, status in self.statuses.items() if status == "done"}


@dataclass(frozen=True)
class Roots:
    """The two roots of a test's own pipeline."""

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
        """Runs a task in this process."""
        with configured(QUICK, self.paths, settings or {}):
            task = top(**parameters)
            succeeded = luigi.build([task], local_scheduler=True)
        record = self.data / "runs" / task.context.dataset.name / f"{task.run_id}.jsonl"
        return Ran(succeeded, [json.loads(line) for line in record.read_text().splitlines()])

    def command(self, *arguments: str) -> list[str]:
        """The command of a quick run, with these arguments at its end."""
        sections = {section: values for section, values in (QUICK | self.paths).items() if section != "core"}
        flags = [
            f"--{section.replace('_', '-')}-{key.replace('_', '-')}={value}"
            for section, values in sections.items()
            for key, value in values.items()
        ]
        luigi_command = str(Path(sys.executable).with_name("luigi"))
        return [luigi_command, "--module", "workflow", "RecommendAll", *flags, *arguments]

    def call(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs the command to its end, with a local scheduler."""
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
        """The version that is served."""
        return (self.models / dataset / "current").read_text().strip()

    def metrics(self, dataset: str = "synthetic") -> dict[str, Any]:
        """The served version's `metrics.json`."""
        found: dict[str, Any] = read_json(self.models / dataset / self.current(dataset) / "metrics.json")
        return found


def unreadable(root: Path, raw: Path) -> list[str]:
    """Flags of a run whose Ingest fails in Java: the description names a column that the file does not have."""
    raw.mkdir()
    (raw / "plays.csv").write_text("who,what,plays\na,x,1\n")
    (root / "mine.toml").write_text(
        'title = "Mine"\n[interactions]\npath = "plays.csv"\nuser = "who"\ntrack = "whta"\nfeedback = "events"\n'
        'duplicates = "sum"\n'
    )
    return [f"--dataset={root / 'mine.toml'}", f"--raw-dir={raw}"]


@contextmanager
def configured(*layers: Sections) -> Iterator[None]:
    """Sets keys of luigi.cfg for a while; later layers win."""
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
