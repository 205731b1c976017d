"""The base of every stage: fingerprint, target, lock, staging, retries and the run record, once for all."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import luigi

from config.durable import describe, lock_of, locked, made_whole, now, read_json, tree_bytes, write_json
from config.errors import UserError
from config.paths import SUCCESS
from config.redaction import redact
from config.runs import new_run_id
from workflow import fingerprint, seams
from workflow.failures import ended_after, may_pass
from workflow.run import Run
from workflow.runlog import StageLine

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class Rows(NamedTuple):
    """How many rows a stage read and wrote, as it counted them itself."""

    read: int
    written: int


class Dependencies(NamedTuple):
    """What a stage's result depends on, beyond what comes before it."""

    settings: tuple[type[luigi.Config], ...]
    code: tuple[str, ...]


class Shown(luigi.Parameter[str]):
    """A text that luigid shows: without secrets."""

    def serialize(self, text: str) -> str:
        """Luigi's hook for what it shows of a value."""
        return redact(super().serialize(text))


class InRun(luigi.Task):
    """A task of a run. Luigi tells tasks apart by `run_id`, the file system by fingerprints."""

    dataset = Shown(default="synthetic", description="A shipped dataset's name, or a TOML file's path.")
    raw_dir = Shown(default="", description="Where the raw files are; data/raw/<dataset> if left out.")
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
        self.in_run: Run
        Run.join(self)


@InRun.event_handler(luigi.Event.DEPENDENCY_PRESENT)  # type: ignore[untyped-decorator]
def _found_complete(task: InRun) -> None:
    task.in_run.top_is_complete(task)


class Stage(InRun):
    """A restartable step whose result is a directory, named by everything that determines it."""

    is_stage = True
    settings: ClassVar[tuple[type[luigi.Config], ...]] = ()
    """The sections of settings that the result depends on."""
    code: ClassVar[tuple[str, ...]] = ()
    """The source files that the result depends on; the stage's own `make` counts without being named."""
    described: ClassVar[list[str] | None] = None
    """The files whose digests the result's marker says; None: of all."""
    is_damaged = False
    """Whether the result is there, and not what was written."""

    def make(self, *, into: Path, **inputs: Path) -> Rows:
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
        return Dependencies(self.settings, self.code)

    @property
    def sections(self) -> dict[str, dict[str, Any]]:
        """The declared sections of settings, by name."""
        names = (section.get_task_family() for section in self.depends_on().settings)
        return {name: self.in_run.settings[name] for name in names}

    @property
    def values(self) -> dict[str, Any]:
        """The declared settings, by key."""
        return {key: value for section in self.sections.values() for key, value in section.items()}

    @property
    def spark(self) -> SparkSession:
        """The run's Spark session."""
        session = self.in_run.spark
        if (page := session.sparkContext.uiWebUrl) is not None and self.set_tracking_url is not None:
            self.set_tracking_url(page)
        return session

    def report(self, text: str, fraction: float | None = None) -> None:
        """Says how far `make` is, such as "iteration 3 of 10", and the share of the work that is done.

        Cheap, and safe to call from anywhere at any rate: the terminal and luigid are told now and then. The text must
        hold nothing from the data. It can be passed on as it is: `fit(…, report=self.report)`.
        """
        self.in_run.progress.report(text, fraction)

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
        """The same over the declared source files and the stage's own `make`."""
        return fingerprint.of(fingerprint.of_code(self.depends_on().code), inspect.getsource(type(self).make))

    @property
    def directory(self) -> Path:
        """Where the result is, or will be."""
        return self.in_run.paths.work(self.in_run.dataset.name) / self.name / self.fingerprint

    def output(self) -> luigi.LocalTarget:
        """The directory as a target."""
        return luigi.LocalTarget(str(self.directory))

    def complete(self) -> bool:
        """Whether the result is there; one that was found damaged is made again."""
        return not self.is_damaged and (self.directory / SUCCESS).is_file()

    def promised(self) -> dict[str, Any]:
        """What each file of the result has to be: see `durable.describe`."""
        return seams.promised(self.directory)

    def check(self) -> str | None:
        """Looks whether a result that is there is what was written; returns what is wrong with it."""
        if not (self.directory / SUCCESS).exists():
            return None
        try:
            found = seams.fault(self.directory, self.promised(), self._memory)
        except (OSError, ValueError, KeyError, TypeError):
            found = f"{self.directory / SUCCESS} is damaged."
        self.is_damaged = found is not None
        return found

    @property
    def _memory(self) -> Path:
        beside = self.in_run.paths.work(self.in_run.dataset.name) / self.name
        return beside / f"{self.fingerprint}{seams.CHECKED}"

    def bytes_needed(self) -> int:
        """About how many bytes the result takes: as the largest of its kind that is there, or else as what it reads.

        0 where that cannot be found out.
        """
        with suppress(OSError, UserError):
            alike = (marker.parent for marker in self.directory.parent.glob(f"*/{SUCCESS}") if self._is_alike(marker))
            read = (tree_bytes(stage.directory) for stage in self.requires().values())
            return max(map(tree_bytes, alike), default=0) or sum(read) or self.in_run.raw_bytes()
        return 0

    def _is_alike(self, marker: Path) -> bool:
        with suppress(OSError, ValueError, KeyError, TypeError):
            return bool(read_json(marker)["stage"] == self.label)
        return False

    def run(self) -> None:
        """Makes the result unless another run has just made it."""
        with self.in_run.recording(self) as line:
            self.work(line)

    def work(self, line: StageLine) -> None:
        """Makes the directory, under its lock, trying again what may pass."""
        from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

        policy, limit = self.in_run.settings["retry"], self.in_run.settings["spark_session"]["stage_timeout"]
        with locked(lock_of(self.directory), self._say_waiting):
            if self.is_damaged:  # unless another run has made it again
                self.check()
            if self.complete():
                line.status = "skipped"
                return
            for attempt in Retrying(
                stop=stop_after_attempt(policy["attempts"]),
                wait=wait_exponential(policy["wait_s"]),
                retry=retry_if_exception(may_pass),
                before_sleep=lambda state: self._say_retrying(state.outcome.exception()),  # type: ignore[union-attr]
                reraise=True,
            ):
                with attempt, ended_after(limit), made_whole(self.directory) as staging:
                    rows = self.make(into=staging, **{name: stage.directory for name, stage in self.requires().items()})
                    about = {"stage": self.label, "run": self.run_id, "at": now(), **rows._asdict()}
                    write_json(staging / SUCCESS, about | {seams.FILES: describe(staging, self.described)})
            self.is_damaged = False
            seams.remember(self.directory, self.promised(), self._memory)
            line.rows_in, line.rows_out = rows

    def on_failure(self, exception: BaseException) -> str:
        """What luigid shows: the sentence alone where the user can put it right."""
        return redact(str(exception) if isinstance(exception, UserError) else super().on_failure(exception))

    def _say_waiting(self, holder: str) -> None:
        self.in_run.console.say(f"  {self.label} waits for {holder}")

    def _say_retrying(self, error: BaseException | None) -> None:
        logging.getLogger(__name__).warning("%s is tried again", self.label, exc_info=error)
        self.in_run.console.say(f"  {self.label} is tried again after {type(error).__name__}")
