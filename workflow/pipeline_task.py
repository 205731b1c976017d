"""The base of every task of a run: its parameters, and how it joins the run."""

from __future__ import annotations

from typing import Any, ClassVar

import luigi

from common.redaction import redact
from run_records.record_files import new_run_id
from workflow.running import failure_mail, run
from workflow.running.context import RunRequest


class RedactedParameter(luigi.Parameter[str]):
    """A string parameter whose secrets luigid does not show."""

    def serialize(self, text: str) -> str:
        """The value as luigid shows it."""
        return redact(super().serialize(text))


class PipelineTask(luigi.Task):
    """A task of a run. Luigi identifies tasks by `run_id`, and the file system by fingerprints."""

    dataset = RedactedParameter(default="synthetic", description="Name of a shipped dataset, or path of a TOML file.")
    raw_dir = RedactedParameter(default="", description="Directory of the raw files (default: data/raw/<dataset>).")
    as_of = luigi.Parameter(
        default="", description="Use only interactions before this day (UTC), such as 2026-03-01 (default: all)."
    )
    run_id = luigi.Parameter(
        default="", description="Id of the run, such as 20261125T101500-ab12 (default: generated)."
    )

    is_stage: ClassVar[bool] = False
    priority = 1
    """Higher than the priority of `RecommendAsOf`, so that the tasks of one day run before the next day starts."""

    @classmethod
    def get_param_values(cls, params: Any, args: Any, kwargs: Any) -> Any:
        """Luigi's hook: a task that is constructed without a run id starts a new run."""
        values = dict(super().get_param_values(params, args, kwargs))
        values["run_id"] = values["run_id"] or new_run_id()
        return [(name, values[name]) for name, _ in params]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._session = run.join(RunRequest(self.run_id, self.dataset, self.raw_dir, self.as_of))
        self.context = self._session.context
        self._session.begin(self)

    def check_parameters(self) -> None:
        """Check the task's own parameters, for which Luigi would print a traceback.

        Raises:
            UserError: a parameter is invalid.
        """


@PipelineTask.event_handler(luigi.Event.DEPENDENCY_PRESENT)  # type: ignore[untyped-decorator]
def _end_run_if_complete(task: PipelineTask) -> None:
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
