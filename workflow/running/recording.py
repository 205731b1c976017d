"""Report a run while it happens: run record, terminal, log prefix and luigid."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, cast

from common.dates import utc_now
from common.files import read_json
from common.formatting import count_noun, format_duration
from common.log_lines import NO_STAGE
from common.redaction import redact
from config.paths import SUCCESS
from config.settings import changed
from run_records.writer import RunRecorder, StageRecord, Status
from workflow.reporting.run_summary import FinishedRun, nothing_to_do, summary
from workflow.running.context import RunContext
from workflow.running.failures import failure_message
from workflow.running.planning import PlannedStage, RunPlan, required_labels
from workflow.scheduler.luigid import StatusReporter

if TYPE_CHECKING:
    from luigi import Task


class RunRecording:
    """Writes the record of a run, and reports its stages on the terminal and to luigid."""

    def __init__(self, context: RunContext, plan: RunPlan) -> None:
        """Open the run record.

        Raises:
            UserError: a run with this id is already recorded.
            OSError: the record cannot be written.
        """
        self._context, self._plan = context, plan
        self._failed = False
        self.is_closed = False
        self._recorder = RunRecorder(
            context.log.with_suffix(".jsonl"),
            context.run_id,
            context.dataset.name,
            self._report_incomplete_record,
            host=socket.gethostname(),
            pid=os.getpid(),
            raw_dir=None if context.dataset.synthetic else str(context.raw_dir),
            **({"as_of": str(context.as_of)} if context.as_of else {}),
            settings=context.settings,
            changed=changed(context.settings),
            stages=plan.stage_entries(),
        )

    def announce(self) -> None:
        """Print the number of pending stages, and the damaged results that are recreated."""
        if not self._plan.pending:
            return
        context, plan = self._context, self._plan
        context.console.info(f"Run {context.run_id} of {context.title}: {count_noun(plan.total, 'stage')} to do.")
        for stage in plan.pending:
            if stage in plan.damaged:
                context.console.info(f"  {stage.label} runs again: {plan.damaged[stage]}")

    def nothing_to_do(self) -> None:
        """Record a run whose results all exist."""
        for stage in self._plan.stages:
            self._recorder.end_stage(self._record(stage, "skipped"))
        version = self._plan.published_version()
        self._recorder.finish("nothing_to_do", version)
        self.is_closed = True
        self._context.console.info(nothing_to_do(self._context.dataset.name, version))

    @contextmanager
    def stage(self, stage: PlannedStage) -> Iterator[StageRecord]:
        """Report and record a stage while it runs; the stage sets the rows and status of the record."""
        record, started = self._record(stage, "done"), time.monotonic()
        reporter = StatusReporter(cast("Task", stage), stage.label, _describe_inputs(stage))
        self._set_log_prefix(stage.label)
        try:
            self._recorder.start_stage(record)
            with self._context.console.bar(stage.label, self._plan.done, self._plan.total) as watchers:
                if self._context.uses_luigid:
                    watchers.append(reporter.show)
                watchers.append(partial(self._recorder.write_progress, stage.label))
                with self._context.progress.shown_to(watchers):
                    yield record
        except BaseException as error:
            record.status = "failed"
            record.error = redact(failure_message(error, self._context.log, stage.directory))
            self._context.errors[stage.label] = record.error
            raise
        finally:
            record.duration_s = round(time.monotonic() - started, 3)
            self._recorder.end_stage(record)
            self._print(stage, record)
            if self._context.uses_luigid:
                reporter.end(_describe_result(record), None if record.status == "failed" else 100)
            self._end_stage(stage, failed=record.status == "failed")
            self._set_log_prefix(NO_STAGE)

    def _record(self, stage: PlannedStage, status: Status) -> StageRecord:
        return StageRecord(
            self._context.run_id,
            stage.name,
            stage.candidate,
            stage.fingerprint,
            status,
            utc_now(),
            requires=tuple(required_labels(stage)),
        )

    def _set_log_prefix(self, stage: str) -> None:
        """Name the stage in each following line of the log, including those of Java."""
        prefix = self._context.log_prefix
        prefix.stage = stage
        if "pyspark" in sys.modules:
            from spark.runtime.process_output import set_line_prefix

            set_line_prefix(str(prefix), self._context.log)

    def _end_stage(self, stage: PlannedStage, *, failed: bool) -> None:
        """Close the run if no stage is left that can run."""
        self._failed |= failed
        self._plan.end_stage(stage, failed=failed)
        if not self._plan.pending:
            self._close()

    def _close(self) -> None:
        context, version = self._context, self._plan.published_version()
        comparison = context.comparison.sentences if context.comparison else None
        duration = self._recorder.finish(
            "failed" if self._failed else "done", version, comparison=comparison, refusal=context.refusal
        )
        self.is_closed = True
        if self._failed:
            context.console.error(
                f"The run failed after {format_duration(duration)}. Finished stages are kept; details: {context.log}"
            )
            return
        directory = context.versions / version if version else None
        dataset, item_label = context.dataset.name, context.dataset.item_label
        finished = FinishedRun(dataset, item_label, context.log, duration, directory, comparison, context.refusal)
        context.console.info(summary(finished))

    def _print(self, stage: PlannedStage, record: StageRecord) -> None:
        if record.status == "failed":
            self._context.console.error(f"{stage.label} failed: {record.error}")
            return
        rows = f"{record.rows_in:>11,} → {record.rows_out:,} rows" if record.rows_in is not None else ""
        skipped = "  up to date" if record.status == "skipped" else ""
        self._context.console.info(f"  {stage.label:<28}{record.duration_s:>6.1f} s{rows}{skipped}")

    def _report_incomplete_record(self, error: OSError) -> None:
        self._context.console.error(f"The run record is incomplete: {failure_message(error, self._context.log)}")


def _describe_inputs(stage: PlannedStage) -> str:
    """Describe the inputs of a stage with their numbers of rows: `reads Ingest (4,931 rows)`."""
    inputs = []
    for required in stage.requires().values():
        with suppress(OSError, ValueError, KeyError):  # Promote has no rows and no directory
            inputs.append(f"{required.label} ({read_json(required.directory / SUCCESS)['written']:,} rows)")
    return f"reads {', '.join(inputs)}" if inputs else ""


def _describe_result(record: StageRecord) -> str:
    """Describe the outcome of a stage for luigid, which shows the error sentence elsewhere."""
    rows = f", {record.rows_in:,} rows in, {record.rows_out:,} out" if record.rows_in is not None else ""
    return f"{record.status} after {record.duration_s:.1f} s{rows}"
