"""The base of every stage: fingerprint, target, lock, staging, retries and the run record, once for all."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import luigi

from common.durable import (
    atomic_directory,
    exclusive_lock,
    file_checksums,
    lock_path,
    utc_now,
    write_json,
)
from common.errors import UserError
from common.redaction import redact
from config.paths import SUCCESS
from run_records.reader import new_run_id
from run_records.writer import StageRecord
from workflow import failure_mail, fingerprint, integrity, run
from workflow.context import RunRequest
from workflow.failures import is_transient, time_limit
from workflow.source_tracing import source_with_imports

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class RowCounts(NamedTuple):
    """How many rows a stage read and wrote, as it counted them itself."""

    read: int
    written: int


class Dependencies(NamedTuple):
    """What a stage's result depends on, beyond what comes before it."""

    settings: tuple[type[luigi.Config], ...]
    modules: tuple[str, ...] = ()
    """Modules that `make` loads by name; those that it imports are found by following its imports."""


class RedactedParameter(luigi.Parameter[str]):
    """A text that luigid shows: without secrets."""

    def serialize(self, text: str) -> str:
        """Luigi's hook for what it shows of a value."""
        return redact(super().serialize(text))


class PipelineTask(luigi.Task):
    """A task of a run. Luigi tells tasks apart by `run_id`, the file system by fingerprints."""

    dataset = RedactedParameter(default="synthetic", description="A shipped dataset's name, or a TOML file's path.")
    raw_dir = RedactedParameter(default="", description="Where the raw files are; data/raw/<dataset> if left out.")
    as_of = luigi.Parameter(
        default="", description="Only what happened before this day (UTC), such as 2026-03-01, counts; all if left out."
    )
    run_id = luigi.Parameter(
        default="", description="Names the run, such as 20261125T101500-ab12; made up if left out."
    )

    is_stage: ClassVar[bool] = False
    priority = 1
    """For Luigi: above `RecommendAsOf`, so that the tasks of one day come before the next day begins."""

    @classmethod
    def get_param_values(cls, params: Any, args: Any, kwargs: Any) -> Any:
        """Luigi's hook: a task that is constructed without a run id begins a new run."""
        values = dict(super().get_param_values(params, args, kwargs))
        values["run_id"] = values["run_id"] or new_run_id()
        return [(name, values[name]) for name, _ in params]

    def refuse(self) -> None:
        """Looks at the task's own parameters, which Luigi would refuse with a traceback.

        Raises:
            UserError: one makes no sense.
        """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._session = run.join(RunRequest(self.run_id, self.dataset, self.raw_dir, self.as_of))
        self.context = self._session.context
        self._session.begin(self)


@PipelineTask.event_handler(luigi.Event.DEPENDENCY_PRESENT)  # type: ignore[untyped-decorator]
def _found_complete(task: PipelineTask) -> None:
    task._session.end_if_complete(task)


@PipelineTask.event_handler(luigi.Event.FAILURE)  # type: ignore[untyped-decorator]
@PipelineTask.event_handler(luigi.Event.BROKEN_TASK)  # type: ignore[untyped-decorator]
@PipelineTask.event_handler(luigi.Event.DEPENDENCY_MISSING)  # type: ignore[untyped-decorator]
def _mail_failure(task: PipelineTask, error: BaseException | None = None) -> None:
    """Send a mail if `run()`, `requires()` or `complete()` raised; Luigi fires the last event for `complete()`."""
    context, label = task.context, getattr(task, "label", task.task_family)
    failure_mail.report_failure(
        failure_mail.FailedStage(label, context.dataset.name, context.run_id, context.log, context.errors.get(label))
    )


class Stage(PipelineTask):
    """A restartable step whose result is a directory, named by everything that determines it."""

    is_stage = True
    settings: ClassVar[tuple[type[luigi.Config], ...]] = ()
    """The sections of settings that the result depends on."""
    described: ClassVar[list[str] | None] = None
    """The files whose digests the result's marker says; None: of all."""
    is_damaged = False
    """Whether the result is there, and not what was written."""

    def make(self, *, into: Path, **inputs: Path) -> RowCounts:
        """Writes the result into an empty directory; `inputs` are the directories of `requires()`, by name.

        May be called again, with another empty directory, if it failed by something that may pass.
        """
        raise NotImplementedError

    def requires(self) -> Mapping[str, Stage]:
        """What comes before, by the names that `make` knows."""
        return {}

    @property
    def name(self) -> str:
        """The stage's name in the run record."""
        return type(self).__name__

    @property
    def candidate(self) -> str | None:
        """The candidate that the stage is about; None where it is about none."""
        return None

    @property
    def label(self) -> str:
        """The stage's name on the terminal."""
        return f"{self.name} {self.candidate}" if self.candidate else self.name

    def depends_on(self) -> Dependencies:
        """The declared settings and code; a stage that there is one of for each candidate has the candidate's."""
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
        """The run's Spark session."""
        session = self.context.spark
        if (page := session.sparkContext.uiWebUrl) is not None and self.set_tracking_url is not None:
            self.set_tracking_url(page)
        return session

    def report(self, text: str, fraction: float | None = None) -> None:
        """Says how far `make` is, such as "iteration 3 of 10", and the share of the work that is done.

        Cheap, and safe to call from anywhere at any rate: the terminal and luigid are told now and then. The text must
        hold nothing from the data. It can be passed on as it is: `fit(…, report=self.report)`.
        """
        self.context.progress.report(text, fraction)

    def identity(self) -> list[Any]:
        """What else determines the result, beyond name, code, settings and what comes before."""
        return []

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hex digits over everything that determines the result."""
        return fingerprint.of(
            self.label,
            self.code_fingerprint,
            self.sections,
            self.identity(),
            {name: stage.fingerprint for name, stage in self.requires().items()},
        )

    @cached_property
    def code_fingerprint(self) -> str:
        """Sixteen hex digits over the text of `make` and every source file that it depends on."""
        source = source_with_imports(type(self).make, self.depends_on().modules)
        return fingerprint.of(source, self.context.sources.digests(source))

    @property
    def directory(self) -> Path:
        """Where the result is, or will be."""
        return self.context.paths.work(self.context.dataset.name) / self.name / self.fingerprint

    def output(self) -> luigi.LocalTarget:
        """The directory as a target."""
        return luigi.LocalTarget(str(self.directory))

    def complete(self) -> bool:
        """Whether the result is there; one that was found damaged is made again."""
        return not self.is_damaged and (self.directory / SUCCESS).is_file()

    def expected_checksums(self) -> dict[str, Any]:
        """What each file of the result has to be: see `durable.describe`."""
        return integrity.expected_checksums(self.directory)

    def check(self) -> str | None:
        """Looks whether a result that is there is what was written; returns what is wrong with it."""
        if not (self.directory / SUCCESS).exists():
            return None
        try:
            found = integrity.find_corruption(self.directory, self.expected_checksums(), self._memory)
        except (OSError, ValueError, KeyError, TypeError):
            found = f"{self.directory / SUCCESS} is damaged."
        self.is_damaged = found is not None
        return found

    @property
    def _memory(self) -> Path:
        beside = self.context.paths.work(self.context.dataset.name) / self.name
        return beside / f"{self.fingerprint}{integrity.CHECKED}"

    def run(self) -> None:
        """Makes the result unless another run has just made it."""
        with self._session.record_stage(self) as line:
            self.work(line)

    def work(self, line: StageRecord) -> None:
        """Makes the directory, under its lock, trying again what may pass."""
        from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

        policy, limit = self.context.settings["retry"], self.context.settings["spark_session"]["stage_timeout"]
        with exclusive_lock(lock_path(self.directory), self._say_waiting):
            if self.is_damaged:  # unless another run has made it again
                self.check()
            if self.complete():
                line.status = "skipped"
                return
            for attempt in Retrying(
                stop=stop_after_attempt(policy["attempts"]),
                wait=wait_exponential(policy["wait_s"]),
                retry=retry_if_exception(is_transient),
                before_sleep=lambda state: self._say_retrying(state.outcome.exception()),  # type: ignore[union-attr]
                reraise=True,
            ):
                with attempt, time_limit(limit), atomic_directory(self.directory) as staging:
                    rows = self.make(into=staging, **{name: stage.directory for name, stage in self.requires().items()})
                    about = {"stage": self.label, "run": self.run_id, "at": utc_now(), **rows._asdict()}
                    write_json(staging / SUCCESS, about | {integrity.FILES: file_checksums(staging, self.described)})
            self.is_damaged = False
            integrity.remember_verified(self.directory, self.expected_checksums(), self._memory)
            line.rows_in, line.rows_out = rows

    def on_failure(self, exception: BaseException) -> str:
        """What luigid shows: the sentence alone where the user can put it right."""
        return redact(str(exception) if isinstance(exception, UserError) else super().on_failure(exception))

    def _say_waiting(self, holder: str) -> None:
        self.context.console.info(f"  {self.label} waits for {holder}")

    def _say_retrying(self, error: BaseException | None) -> None:
        logging.getLogger(__name__).warning("%s is tried again", self.label, exc_info=error)
        self.context.console.info(f"  {self.label} is tried again after {type(error).__name__}")
