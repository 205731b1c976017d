"""Open a run: the first task constructed with a run id opens it, the others join it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import NoReturn, Protocol

from luigi.interface import core
from luigi.retcodes import retcode
from luigi.worker import worker

from common.directories import remove_leftovers
from common.errors import MissingInput, UserError
from common.full_disk import is_disk_full
from common.scratch import remove_stale_scratch
from run_records.writer import StageRecord
from workflow.outputs.retention import touch
from workflow.reporting.console import Console
from workflow.reporting.log_files import redact_terminal, start_logging
from workflow.running import failure_mail, interrupts
from workflow.running.context import RunContext, RunRequest
from workflow.running.failures import failure_message
from workflow.running.planning import GraphTask, PlannedStage, RunPlan, dependencies_first
from workflow.running.recording import RunRecording
from workflow.scheduler.failover_scheduler import choose_scheduler

_sessions: dict[str, RunSession] = {}

_read_only = ContextVar("_read_only", default=False)


class TopTask(GraphTask, Protocol):
    """The task that a run is started with."""

    def check_parameters(self) -> None:
        """Check the task's own parameters.

        Raises:
            UserError: a parameter is invalid.
        """


@contextmanager
def read_only_run() -> Iterator[None]:
    """Let tasks be constructed and checked for completeness without starting a run.

    A UserError ends the process with its sentence.
    """
    known, token = set(_sessions), _read_only.set(True)
    try:
        yield
    except UserError as error:
        _exit(error, Console())
    finally:
        _read_only.reset(token)
        for run_id in set(_sessions) - known:
            _sessions.pop(run_id).close()


def join(request: RunRequest) -> RunSession:
    """Find the session with the requested run id, or open one. A UserError ends the process."""
    if request.run_id not in _sessions:
        _sessions[request.run_id] = RunSession(request)
    return _sessions[request.run_id]


class RunSession:
    """A run in this process: its context, its plan and its record."""

    def __init__(self, request: RunRequest) -> None:
        self._request, self._console = request, Console()
        self._top: TopTask | None = None
        self._recording: RunRecording | None = None
        redact_terminal()
        with self._exit_on_user_error():
            self.context = RunContext(request, self._console)

    def begin(self, top: TopTask) -> None:
        """Plan the run and open its record, unless an earlier task has done so. A UserError ends the process."""
        if self._top is not None:
            return
        self._top = top
        with self._exit_on_user_error(), _explain_os_errors(self.context):
            top.check_parameters()
            context = self.context
            for directory in (context.work, context.log.parent, context.versions):
                directory.mkdir(parents=True, exist_ok=True)
            if not _read_only.get():
                _close_ended_sessions()
                _refuse_forks()
                self._recording = _open_record(context, top)
                interrupts.install_handlers()

    def record_stage(self, stage: PlannedStage) -> AbstractContextManager[StageRecord]:
        """Record and report a stage while it runs."""
        assert self._recording is not None, "a read-only run has no record"
        return self._recording.stage(stage)

    def end_if_complete(self, task: GraphTask) -> None:
        """End the run if Luigi has found its top task complete: there is nothing to do."""
        if task is self._top and self._recording is not None:
            self._recording.nothing_to_do()

    @property
    def is_ended(self) -> bool:
        """Whether the record of the run is closed."""
        return self._recording is not None and self._recording.is_closed

    def close(self) -> None:
        """Release the session's copies of standard output and error."""
        self._console.close()

    @contextmanager
    def _exit_on_user_error(self) -> Iterator[None]:
        try:
            yield
        except UserError as error:
            _sessions.pop(self._request.run_id, None)
            failure_mail.report_refusal(self._request.dataset, str(error))
            _exit(error, self._console)


def _open_record(context: RunContext, top: TopTask) -> RunRecording:
    """Clean up after earlier runs, check the existing results, open the record and announce the pending stages."""
    context.stages = dependencies_first(top)
    for stage in context.stages:
        if stage.directory.is_relative_to(context.work):  # a published version is never touched
            touch(stage.directory)
    remove_leftovers(context.work, "*/*")
    remove_leftovers(context.versions, "*")
    remove_stale_scratch(context.paths.scratch)
    recording = RunRecording(context, RunPlan(top, context.stages))
    start_logging(context.log, context.log_prefix)
    context.uses_luigid = choose_scheduler(context.console.info)
    recording.announce()
    return recording


def _close_ended_sessions() -> None:
    """Release the output copies of earlier runs: a long range of days would run out of file descriptors."""
    for session in _sessions.values():
        if session.is_ended:
            session.close()


def _refuse_forks() -> None:
    """Refuse Luigi settings that make it fork: a Spark session does not survive a fork.

    Raises:
        UserError: such a setting is on.
    """
    if core().workers > 1 or worker().force_multiprocessing or worker().timeout:
        raise UserError(
            "More than one worker, force_multiprocessing or a worker timeout would fork the Spark session: "
            "leave them out; Spark itself uses every core."
        )


@contextmanager
def _explain_os_errors(context: RunContext) -> Iterator[None]:
    """Turn an OSError in the data or models root into a UserError that names the settings."""
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise UserError(failure_message(error, context.log)) from error
        raise UserError(
            f"{error.filename} cannot be written ({error.strerror}): see [paths] data_root and models_root."
        ) from error


def _exit(error: UserError, console: Console) -> NoReturn:
    """Print the sentence and end the process with Luigi's code for a missing input or a scheduling error."""
    console.error(str(error))
    codes = retcode()
    raise SystemExit(codes.missing_data if isinstance(error, MissingInput) else codes.scheduling_error) from error
