"""Luigi's mails about failures, in our words: one sentence, where the log is, and no secrets.

Whether one is sent, to whom and by which server is Luigi's to decide: `[email]`, `[smtp]` and
`[worker] send_failure_email` in luigi.cfg.
"""

from __future__ import annotations

import logging
import socket
import warnings
from typing import TYPE_CHECKING

from luigi import notifications
from luigi.worker import Worker

from common.redaction import redact

if TYPE_CHECKING:
    from workflow.stage import PipelineTask

_WENT_ON = "What was finished is kept, and what is served goes on: the same command continues from there."


def speak_plainly() -> None:
    """Makes the workers of this process send them: Luigi's own hold the command line. It offers no other place."""
    Worker._email_error = _failed  # type: ignore[method-assign]


def refused(dataset: str, sentence: str) -> None:
    """A run could not begin."""
    _send(f"Encore: the run of {dataset} could not begin", sentence, f"Host: {socket.gethostname()}")


def _failed(worker: Worker, task: PipelineTask, explanation: object, subject: str, headline: str) -> None:
    """Stands for Luigi's method. What it would say is in the log, or luigid shows it."""
    run, stage = task.context, getattr(task, "label", task.task_family)
    sentence = run.errors.get(stage) or "it is not known why; the log may say."
    facts = {"Dataset": run.dataset.name, "Stage": stage, "Run": run.id, "Host": worker.host, "Log": run.log}
    told = [f"{name + ':':<9}{value}" for name, value in facts.items()]
    _send(f"Encore: {stage} of {run.dataset.name} failed", f"{stage} failed: {sentence}", *told, "", _WENT_ON)


def _send(subject: str, sentence: str, *lines: str) -> None:
    """A mail that cannot be sent is no reason to fail in another way."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # Luigi's own, about its own defaults
            notifications.send_error_email(redact(subject), redact("\n".join([sentence, "", *lines, ""])))
    except Exception:
        logging.getLogger(__name__).exception("The mail about a failure could not be sent")
