"""The base of every stage: fingerprint, target, lock, staging directory, retries and run record."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import luigi

from common.checksums import file_checksums
from common.dates import utc_now
from common.directories import atomic_directory
from common.errors import UserError
from common.files import write_json
from common.locks import exclusive_lock, lock_path
from common.redaction import redact
from config.paths import SUCCESS
from run_records.writer import StageRecord
from workflow.outputs import integrity
from workflow.outputs.fingerprint import compute_fingerprint
from workflow.outputs.source_tracing import source_with_imports
from workflow.pipeline_task import PipelineTask
from workflow.running.failures import is_transient, time_limit

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from tenacity import RetryCallState


class RowCounts(NamedTuple):
    """The numbers of rows that a stage has read and written."""

    read: int
    written: int


class Dependencies(NamedTuple):
    """The settings and code that a stage's result depends on, besides its inputs."""

    settings: tuple[type[luigi.Config], ...]
    modules: tuple[str, ...] = ()
    """Modules that `make` loads by name; imported modules are found by following the imports."""


class Stage(PipelineTask):
    """A restartable step whose result is a directory, named by a fingerprint of everything that determines it."""

    is_stage = True
    settings: ClassVar[tuple[type[luigi.Config], ...]] = ()
    """The sections of settings that the result depends on."""
    checksummed_files: ClassVar[list[str] | None] = None
    """The files whose checksums are in the result's marker; None for all files."""
    is_damaged = False
    """Whether the result exists but its files have changed since they were written."""

    def make(self, *, into: Path, **inputs: Path) -> RowCounts:
        """Write the result into an empty directory.

        It is called again, with another empty directory, after a transient error.

        Args:
            into: the empty directory.
            inputs: the result directories of `requires()`, by name.
        """
        raise NotImplementedError

    def requires(self) -> Mapping[str, Stage]:
        """The stages whose results `make` reads, by the names of its arguments."""
        return {}

    @property
    def name(self) -> str:
        """The stage's name in the run record."""
        return type(self).__name__

    @property
    def candidate(self) -> str | None:
        """The candidate of the stage; None for stages without one."""
        return None

    @property
    def label(self) -> str:
        """The name with the candidate, if there is one: `Train als`."""
        return f"{self.name} {self.candidate}" if self.candidate else self.name

    def depends_on(self) -> Dependencies:
        """The declared settings and code; a candidate's stage adds those of the candidate."""
        return Dependencies(self.settings)

    @property
    def sections(self) -> dict[str, dict[str, Any]]:
        """The declared sections of settings, by name."""
        names = (section.get_task_family() for section in self.depends_on().settings)
        return {name: self.context.settings[name] for name in names}

    @property
    def values(self) -> dict[str, Any]:
        """The declared settings, by key."""
        return {key: value for section in self.sections.values() for key, value in section.items()}

    @property
    def spark(self) -> SparkSession:
        """The run's Spark session; luigid links to its page."""
        session = self.context.spark
        if (page := session.sparkContext.uiWebUrl) is not None and self.set_tracking_url is not None:
            self.set_tracking_url(page)
        return session

    def report(self, text: str, fraction: float | None = None) -> None:
        """Report the progress of `make`, to the terminal and luigid: `fit(…, report=self.report)`.

        Cheap and thread-safe, at any call rate.

        Args:
            text: such as "iteration 3 of 10"; without anything from the data.
            fraction: the share of the work that is done, from 0 to 1.
        """
        self.context.progress.report(text, fraction)

    def identity(self) -> list[Any]:
        """Further values that determine the result, besides name, code, settings and inputs."""
        return []

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hex digits over everything that determines the result."""
        return compute_fingerprint(
            self.label,
            self.code_fingerprint,
            self.sections,
            self.identity(),
            {name: stage.fingerprint for name, stage in self.requires().items()},
        )

    @cached_property
    def code_fingerprint(self) -> str:
        """Sixteen hex digits over the source of `make` and every source file it depends on."""
        source = source_with_imports(type(self).make, self.depends_on().modules)
        return compute_fingerprint(source, self.context.sources.digests(source))

    @property
    def directory(self) -> Path:
        """The directory of the result, whether it exists or not."""
        return self.context.work / self.name / self.fingerprint

    def output(self) -> luigi.LocalTarget:
        """The directory of the result as a target."""
        return luigi.LocalTarget(str(self.directory))

    def complete(self) -> bool:
        """Whether the result exists and is undamaged."""
        return not self.is_damaged and (self.directory / SUCCESS).is_file()

    def expected_checksums(self) -> dict[str, Any]:
        """The expected size and SHA-256 of each file of the result: see `integrity.expected_checksums`."""
        return integrity.expected_checksums(self.directory)

    def check_result(self) -> str | None:
        """Compare an existing result with its checksums, and set `is_damaged`; return the damage, if any."""
        if not (self.directory / SUCCESS).exists():
            return None
        try:
            damage = integrity.find_corruption(self.directory, self.expected_checksums(), self._verified_file)
        except (OSError, ValueError, KeyError, TypeError):
            damage = f"{self.directory / SUCCESS} is damaged."
        self.is_damaged = damage is not None
        return damage

    @property
    def _verified_file(self) -> Path:
        return self.context.work / self.name / f"{self.fingerprint}{integrity.VERIFIED_SUFFIX}"

    def run(self) -> None:
        """Create the result and record the stage."""
        with self._session.record_stage(self) as record:
            self.execute(record)

    def execute(self, record: StageRecord) -> None:
        """Create the result under its lock, unless another run has created it; retry transient errors."""
        from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

        policy, limit = self.context.settings["retry"], self.context.settings["spark_session"]["stage_timeout"]
        with exclusive_lock(lock_path(self.directory), self._print_waiting):
            if self.is_damaged:
                self.check_result()  # another run may have replaced the damaged result
            if self.complete():
                record.status = "skipped"
                return
            for attempt in Retrying(
                stop=stop_after_attempt(policy["attempts"]),
                wait=wait_exponential(policy["wait_s"]),
                retry=retry_if_exception(is_transient),
                before_sleep=self._report_retry,
                reraise=True,
            ):
                with attempt, time_limit(limit), atomic_directory(self.directory) as staging:
                    rows = self.make(into=staging, **{name: stage.directory for name, stage in self.requires().items()})
                    self._write_marker(staging, rows)
            self.is_damaged = False
            integrity.remember_verified(self.directory, self.expected_checksums(), self._verified_file)
            record.rows_in, record.rows_out = rows

    def _write_marker(self, staging: Path, rows: RowCounts) -> None:
        facts = {"stage": self.label, "run": self.run_id, "at": utc_now(), **rows._asdict()}
        write_json(staging / SUCCESS, facts | {integrity.FILES: file_checksums(staging, self.checksummed_files)})

    def on_failure(self, exception: BaseException) -> str:
        """The text that luigid shows: one sentence for a UserError, otherwise the traceback, without secrets."""
        return redact(str(exception) if isinstance(exception, UserError) else super().on_failure(exception))

    def _print_waiting(self, holder: str) -> None:
        self.context.console.info(f"  {self.label} waits for {holder}")

    def _report_retry(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        logging.getLogger(__name__).warning("%s is retried", self.label, exc_info=error)
        self.context.console.info(f"  {self.label} is retried after {type(error).__name__}")
