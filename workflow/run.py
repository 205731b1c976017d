"""One invocation: what was asked for, where things are, and what its stages share."""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn, Protocol, cast

from luigi.interface import core
from luigi.retcodes import retcode
from luigi.worker import worker

from common.durable import read_json, remove_leftovers, remove_stale_scratch, utc_now
from common.errors import MissingInput, UserError
from common.full_disk import is_disk_full
from common.log_lines import NO_STAGE, LinePrefix
from common.redaction import redact
from config.dataset import find_files, load_dataset
from config.paths import SUCCESS, Paths
from config.settings import changed, resolve
from models.promotion_gate import ChampionComparison
from run_records.reader import new_run_id
from run_records.writer import RunRecorder, StageRecord, Status
from workflow import failure_mail, interrupts
from workflow.console import Console
from workflow.failures import failure_message
from workflow.fingerprint import RawFiles
from workflow.log_files import redact_terminal, start_logging
from workflow.next_steps import task_graph_address
from workflow.planning import GraphTask, PlannedStage, dependencies_first
from workflow.retention import touch
from workflow.run_summary import FinishedRun, nothing_to_do, summary
from workflow.scheduler import Reporter, answers, enable_failover, schedule_alone, url_of_luigid
from workflow.source_tracing import SourceTracer
from workflow.stage_progress import Progress

if TYPE_CHECKING:
    from luigi import Task
    from pyspark.sql import SparkSession

_SMALL_BYTES = 100 << 20
"""Raw input up to this size gets a Java that is tuned for starting quickly."""

_RUN_ID = re.compile(r"\d{8}T\d{6}-[0-9a-f]{4}", re.ASCII)

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)

_runs: dict[str, RunContext] = {}

_only_looking = ContextVar("_only_looking", default=False)


@contextmanager
def read_only_run() -> Iterator[None]:
    """While it lasts, a task that is constructed begins no run: it can be asked whether it is complete, and no more.

    Ends the process with a sentence where a run could not begin.
    """
    known, token = set(_runs), _only_looking.set(True)
    try:
        yield
    except UserError as error:
        _refuse(error, Console())
    finally:
        _only_looking.reset(token)
        for run_id in set(_runs) - known:
            _runs.pop(run_id).console.close()


def _checked(run_id: str) -> str:
    """The id, which names files and stands in each line of the log."""
    if not _RUN_ID.fullmatch(run_id):
        raise UserError(f"--run-id: {run_id!r} is not a time and four hex digits, such as {new_run_id()}.")
    return run_id


def _day(as_of: str) -> date | None:
    """The day that was given; None where none was."""
    with suppress(ValueError):
        if not as_of or _DATE.fullmatch(as_of):
            return date.fromisoformat(as_of) if as_of else None
    raise UserError(f"--as-of: {as_of!r} is not a date such as 2026-03-01.")


class RunRequest(NamedTuple):
    """What was asked for: the parameters that every task of a run has."""

    run_id: str
    dataset: str
    raw_dir: str
    as_of: str


class TopTask(GraphTask, Protocol):
    """The task that a run was started with."""

    def refuse(self) -> None:
        """Check the task's own parameters.

        Raises:
            UserError: a parameter has no valid value.
        """


class RunContext:
    """What the tasks of one invocation share. The first of them to be constructed begins it."""

    @classmethod
    def join(cls, request: RunRequest, attach: Callable[[RunContext], TopTask]) -> None:
        """Give a task its run: `attach` sets it on the task. Exit with a sentence if the run cannot start."""
        if request.run_id in _runs:
            attach(_runs[request.run_id])
            return
        console = Console()
        redact_terminal()
        try:
            context = _runs[request.run_id] = cls(request, console)
            context._top = attach(context)
            context._top.refuse()
            context._make_room()
            if not _only_looking.get():
                _close_consoles()
                context._begin()
        except UserError as error:
            _runs.pop(request.run_id, None)
            failure_mail.report_refusal(request.dataset, str(error))
            _refuse(error, console)

    def __init__(self, request: RunRequest, console: Console) -> None:
        self.id = _checked(request.run_id)
        self.console = console
        self.settings = resolve()
        self.dataset = load_dataset(request.dataset)
        if self.dataset.synthetic and request.raw_dir:
            raise UserError(
                f"The dataset {self.dataset.name} makes its own data: leave RAW= (--raw-dir) out, "
                "or name the dataset that the files belong to."
            )
        self.as_of = _day(request.as_of)
        if (self.as_of or self.settings["ingest"]["window_days"]) and self.dataset.interactions.time is None:
            raise UserError(
                f"The dataset {self.dataset.name} has no times, which --as-of and [ingest] window_days need: name "
                "their column as [interactions] time in its description, or leave these out."
            )
        roots = self.settings["paths"]
        self.paths = Paths(Path(roots["data_root"]).absolute(), Path(roots["models_root"]).absolute())
        self.raw_dir = Path(request.raw_dir) if request.raw_dir else self.paths.raw(self.dataset.name)
        self.raw_files = RawFiles(self.paths.work(self.dataset.name) / "raw-files.json")
        self.sources = SourceTracer(self.paths.work(self.dataset.name) / "source-files.json")
        self.log = self.paths.runs(self.dataset.name) / f"{self.id}.log"
        self.progress = Progress()
        """What the stage that is being made says of itself."""
        self.not_promoted: str | None = None
        """Why the run's version was published and not promoted."""
        self.compared: ChampionComparison | None = None
        """How its champion compares, once the gate has looked at it."""
        self.errors: dict[str, str] = {}
        """Why stages failed, a sentence each, by their labels."""
        self._top: TopTask
        self.stages: list[PlannedStage] = []
        self._pending: list[PlannedStage] = []
        self._total = 0
        self._failed = False
        self.is_over = False
        """Whether its record is closed."""
        self._prefix = LinePrefix(self.id)
        self._registered = False

    # -- from the beginning to the end ------------------------------------------------------------------------

    def _make_room(self) -> None:
        """Makes the directories that every run has."""
        with self._telling_of_roots():
            for directory in (self.paths.work, self.paths.runs, self.paths.versions):
                directory(self.dataset.name).mkdir(parents=True, exist_ok=True)

    def _begin(self) -> None:
        """Refuses what cannot work, finds out what there is to do, and opens the record."""
        _refuse_forks()
        with self._telling_of_roots():
            self.stages = dependencies_first(self._top)
            for stage in self.stages:
                if stage.directory.is_relative_to(self.paths.work(self.dataset.name)):  # a version is never touched
                    touch(stage.directory)
            remove_leftovers(self.paths.work(self.dataset.name), "*/*")
            remove_leftovers(self.paths.versions(self.dataset.name), "*")
            remove_stale_scratch(self.paths.scratch)
            faults = {stage: fault for stage in self.stages if (fault := stage.check())}
            self._pending = dependencies_first(self._top, lambda stage: not stage.complete())
            self._total = len(self._pending)
            self._record = RunRecorder(
                self.log.with_suffix(".jsonl"),
                self.id,
                self.dataset.name,
                self._say_lost,
                host=socket.gethostname(),
                pid=os.getpid(),
                raw_dir=None if self.dataset.synthetic else str(self.raw_dir),
                **({"as_of": str(self.as_of)} if self.as_of else {}),
                settings=self.settings,
                changed=changed(self.settings),
                stages=[
                    {"stage": stage.label, "requires": _before(stage), "to_do": stage in self._pending}
                    | ({"damaged": faults[stage]} if stage in faults else {})
                    for stage in self.stages
                ],
            )
        start_logging(self.log, self._prefix)
        self._choose_scheduler()
        if self._pending:
            what = f"{self.dataset.name} as of {self.as_of}" if self.as_of else self.dataset.name
            self.console.say(f"Run {self.id} of {what}: {self._total} stages to do.")
            for stage in self._pending:
                if stage in faults:
                    self.console.say(f"  {stage.label} is made again: {faults[stage]}")
        interrupts.end_in_order()

    @contextmanager
    def _telling_of_roots(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if is_disk_full(error):
                raise UserError(failure_message(error, self.log)) from error
            raise UserError(
                f"{error.filename} cannot be written ({error.strerror}): see [paths] data_root and models_root."
            ) from error

    def top_is_complete(self, task: GraphTask) -> None:
        """Luigi found a task complete. If it is the one that was asked for, the run is over."""
        if task is not self._top:
            return
        for stage in self.stages:
            self._record.stage(self._line(stage, "skipped"))
        version = self._version()
        self._record.finished("nothing_to_do", version)
        self.is_over = True
        self.console.say(nothing_to_do(self.dataset, version))

    @contextmanager
    def recording(self, stage: PlannedStage) -> Iterator[StageRecord]:
        """Shows and records a stage while it runs; the line's rows and status are the stage's to set."""
        line = self._line(stage, "done")
        began = time.monotonic()
        done = self._total - len(self._pending)
        reporter = Reporter(cast("Task", stage), stage.label, _reads(stage))
        self._at(stage.label)
        try:
            self._record.began(line)
            with self.console.bar(stage.label, done, self._total) as watchers:
                if self._registered:
                    watchers.append(reporter.show)
                watchers.append(partial(self._record.doing, stage.label))
                with self.progress.shown_to(watchers):
                    yield line
        except BaseException as error:
            line.status, line.error = "failed", redact(failure_message(error, self.log, stage.directory))
            self.errors[stage.label] = line.error
            raise
        finally:
            line.duration_s = round(time.monotonic() - began, 3)
            self._record.stage(line)
            self._say(stage, line)
            if self._registered:
                reporter.ended(_result(line), None if line.status == "failed" else 100)
            self._ended(stage, line)
            self._at(NO_STAGE)

    def _line(self, stage: PlannedStage, status: Status) -> StageRecord:
        return StageRecord(
            self.id, stage.name, stage.candidate, stage.fingerprint, status, utc_now(), requires=tuple(_before(stage))
        )

    def _at(self, stage: str) -> None:
        """From here on, the log's lines are of this stage."""
        self._prefix.stage = stage
        if "pyspark" in sys.modules:
            from spark.runtime.process_output import set_line_prefix

            set_line_prefix(str(self._prefix), self.log)

    def _ended(self, stage: PlannedStage, line: StageRecord) -> None:
        """Closes the run after its last stage: of those left, none can run once all wait for a failed one."""
        # Another run may have made some of the rest, which Luigi then never starts here.
        self._pending = [other for other in self._pending if other is not stage and not other.complete()]
        if line.status == "failed":
            self._failed = True
            self._pending = [other for other in self._pending if stage not in dependencies_first(other)]
        if self._pending:
            return
        version = self._version()
        duration = self._record.finished(
            "failed" if self._failed else "done",
            version,
            compared=self.compared.sentences if self.compared else None,
            not_promoted=self.not_promoted,
        )
        self.is_over = True
        if self._failed:
            self.console.fail(f"The run stopped after {duration:.1f} s. What was finished is kept; details: {self.log}")
        else:
            self.console.say(
                summary(
                    FinishedRun(
                        self.dataset.name,
                        self.dataset.item_label,
                        self.log,
                        duration,
                        self.paths.versions(self.dataset.name) / version if version else None,
                        self.compared.sentences if self.compared else None,
                        self.not_promoted,
                    )
                )
            )

    # -- what stages ask for ----------------------------------------------------------------------------------

    @property
    def spark(self) -> SparkSession:
        """The run's session, opened when first asked for, and again if its JVM has died."""
        from spark.runtime.session import SessionOptions, open_session

        small, standard = self.raw_bytes() < _SMALL_BYTES, Paths().compiled
        settings = {key: value for key, value in self.settings["spark_session"].items() if key != "stage_timeout"}
        on_cluster = not re.fullmatch(r"local(\[.*\])?", settings["master"])
        return open_session(
            SessionOptions(
                **settings,
                short_run=small,
                ui=self._registered or not small,
                log=self.log,
                py_files=self.paths.code if on_cluster else None,
                # The standard one was filled when the project was installed; this user may not write there, and
                # workers elsewhere do not see it.
                numba_cache=self.paths.compiled if on_cluster or not os.access(standard, os.W_OK) else standard,
                scratch=self.paths.scratch,
                line_prefix=str(self._prefix),
            )
        )

    def stage(self, name: str) -> PlannedStage | None:
        """The run's stage of that name; None where the run has none."""
        return next((stage for stage in self.stages if stage.name == name), None)

    def raw_bytes(self) -> int:
        """Bytes of the raw files; about as many, where the run makes them itself."""
        if self.dataset.synthetic:
            return int(self.settings["synthetic"]["num_interactions"] * 24)
        files = (file for table in self.dataset.tables.values() for file in find_files(self.raw_dir, table))
        return sum(file.stat().st_size for file in files)

    def _version(self) -> str | None:
        publish = self.stage("Publish")
        return publish.fingerprint if publish is not None and publish.complete() else None

    # -- what is said -----------------------------------------------------------------------------------------

    def _say(self, stage: PlannedStage, line: StageRecord) -> None:
        if line.status == "failed":
            self.console.fail(f"{stage.label} failed: {line.error}")
            return
        rows = f"{line.rows_in:>11,} → {line.rows_out:,} rows" if line.rows_in is not None else ""
        found = "  found done" if line.status == "skipped" else ""
        self.console.say(f"  {stage.label:<28}{line.duration_s:>6.1f} s{rows}{found}")

    def _say_lost(self, error: OSError) -> None:
        self.console.fail(f"The record of the run is not whole: {failure_message(error, self.log)}")

    def _choose_scheduler(self) -> None:
        """Runs locally where no luigid answers, instead of a minute and a half of connection retries."""
        if core().local_scheduler:
            return
        if answers(url_of_luigid()):
            self._registered = True
            enable_failover(self.console.say)
            self.console.say(f"The task graph is at {task_graph_address(url_of_luigid())}")
        else:
            schedule_alone(self.console.say)


def _close_consoles() -> None:
    """Those of earlier runs in this process, or a long range of days would run out of open files."""
    for earlier in _runs.values():
        if earlier.is_over:
            earlier.console.close()


def _refuse(error: UserError, console: Console) -> NoReturn:
    console.fail(str(error))
    codes = retcode()
    raise SystemExit(codes.missing_data if isinstance(error, MissingInput) else codes.scheduling_error) from error


def _refuse_forks() -> None:
    """A Spark session does not survive a fork, and Luigi forks for each of these."""
    if core().workers > 1 or worker().force_multiprocessing or worker().timeout:
        raise UserError(
            "More than one worker, force_multiprocessing or a worker timeout would fork the Spark session: "
            "leave them out; Spark itself uses every core."
        )


def _before(stage: PlannedStage) -> list[str]:
    """The labels of the stages that a stage requires."""
    return [before.label for before in stage.requires().values()]


def _reads(stage: PlannedStage) -> str:
    """What a stage works on, and how many rows that has: reads Ingest (4,931 rows)."""
    named = []
    for before in stage.requires().values():
        with suppress(OSError, ValueError, KeyError):  # Promote has no rows, and makes no directory
            named.append(f"{before.label} ({read_json(before.directory / SUCCESS)['written']:,} rows)")
    return f"reads {', '.join(named)}" if named else ""


def _result(line: StageRecord) -> str:
    """How a stage ended, for luigid, which has the sentence of an error elsewhere."""
    rows = f", {line.rows_in:,} rows in, {line.rows_out:,} out" if line.rows_in is not None else ""
    return f"{line.status} after {line.duration_s:.1f} s{rows}"
