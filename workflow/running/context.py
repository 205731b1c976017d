"""The context of a run: its request, settings and paths, and the state that its stages share."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from common.dates import parse_date
from common.errors import UserError
from common.log_lines import LinePrefix
from config.dataset import find_files, load_dataset
from config.paths import Paths
from config.settings import resolve
from models.promotion_gate import ChampionComparison
from run_records.record_files import new_run_id
from workflow.outputs.raw_file_digests import RawFileDigests
from workflow.outputs.source_tracing import SourceTracer
from workflow.reporting.console import Console
from workflow.reporting.stage_progress import Progress
from workflow.running.planning import PlannedStage

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_SMALL_BYTES = 100 << 20
"""Maximum size of the raw input for which the JVM is tuned for a fast start."""

_SYNTHETIC_ROW_BYTES = 24
"""Approximate size of one generated interaction."""

_RUN_ID = re.compile(r"\d{8}T\d{6}-[0-9a-f]{4}", re.ASCII)


class RunRequest(NamedTuple):
    """The parameters of a run, which each of its tasks has."""

    run_id: str
    dataset: str
    raw_dir: str
    as_of: str


class RunContext:
    """The dataset, settings and paths of a run, and the results that its stages report to it."""

    def __init__(self, request: RunRequest, console: Console) -> None:
        """Check the request.

        Raises:
            UserError: a parameter, a setting or the dataset's description is invalid.
        """
        if not _RUN_ID.fullmatch(request.run_id):  # it names files and is written to each line of the log
            raise UserError(f"--run-id: {request.run_id!r} is not a time and four hex digits, such as {new_run_id()}.")
        self.run_id = request.run_id
        self.console = console
        self.settings = resolve()
        self.dataset = load_dataset(request.dataset)
        if self.dataset.synthetic and request.raw_dir:
            raise UserError(
                f"The dataset {self.dataset.name} is generated: omit RAW= (--raw-dir), "
                "or name the dataset that the files belong to."
            )
        self.as_of = parse_date(request.as_of, "--as-of") if request.as_of else None
        if (self.as_of or self.settings["ingest"]["window_days"]) and self.dataset.interactions.time is None:
            raise UserError(
                f"The dataset {self.dataset.name} has no timestamps, which --as-of and [ingest] window_days need: name "
                "their column as [interactions] time in its description, or omit these."
            )
        roots = self.settings["paths"]
        self.paths = Paths(Path(roots["data_root"]).absolute(), Path(roots["models_root"]).absolute())
        self.raw_dir = Path(request.raw_dir) if request.raw_dir else self.paths.raw(self.dataset.name)
        self.raw_files = RawFileDigests(self.work / "raw-files.json")
        self.sources = SourceTracer(self.work / "source-files.json")
        self.log = self.paths.runs(self.dataset.name) / f"{self.run_id}.log"
        self.log_prefix = LinePrefix(self.run_id)
        self.progress = Progress()
        """Progress of the current stage."""
        self.stages: Sequence[PlannedStage] = ()
        """The stages of the run, each after those it requires; empty in a read-only run."""
        self.uses_luigid = False
        self.comparison: ChampionComparison | None = None
        """How the champion compares with popularity and the served version, once the promotion gate has run."""
        self.refusal: str | None = None
        """Why the promotion gate refused the version."""
        self.errors: dict[str, str] = {}
        """The error sentence of each failed stage, by its label."""

    @property
    def title(self) -> str:
        """The dataset, with the date of a dated run."""
        return f"{self.dataset.name} as of {self.as_of}" if self.as_of else self.dataset.name

    @property
    def work(self) -> Path:
        """The directory of the stage outputs of the dataset."""
        return self.paths.work(self.dataset.name)

    @property
    def versions(self) -> Path:
        """The directory of the dataset's published versions."""
        return self.paths.versions(self.dataset.name)

    @property
    def spark(self) -> SparkSession:
        """The run's Spark session: opened on first use, and again if its JVM has died."""
        from spark.runtime.session import SessionOptions, open_session

        small, installed_cache = self.raw_bytes() < _SMALL_BYTES, Paths().compiled
        may_write = os.access(installed_cache, os.W_OK)
        settings = {key: value for key, value in self.settings["spark_session"].items() if key != "stage_timeout"}
        on_cluster = not re.fullmatch(r"local(\[.*\])?", settings["master"])
        return open_session(
            SessionOptions(
                **settings,
                short_run=small,
                ui=self.uses_luigid or not small,
                log=self.log,
                py_files=self.paths.code if on_cluster else None,
                # Filled during installation; workers on other machines do not see it.
                numba_cache=self.paths.compiled if on_cluster or not may_write else installed_cache,
                scratch=self.paths.scratch,
                line_prefix=str(self.log_prefix),
            )
        )

    def raw_bytes(self) -> int:
        """Bytes of the raw files; an estimate for a dataset that the run generates."""
        if self.dataset.synthetic:
            return int(self.settings["synthetic"]["num_interactions"] * _SYNTHETIC_ROW_BYTES)
        files = (file for table in self.dataset.tables.values() for file in find_files(self.raw_dir, table))
        return sum(file.stat().st_size for file in files)
