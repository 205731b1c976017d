"""Mail about a failed stage or a run that could not start: one sentence and the log's path, without secrets.

`[email]` and `[smtp]` in luigi.cfg determine whether a mail is sent, its receiver and its server. Luigi's own
mails, which contain the command line and a traceback, are off there: `[worker] send_failure_email = false`.
"""

from __future__ import annotations

import logging
import socket
import warnings
from pathlib import Path
from typing import NamedTuple

from luigi import notifications

from common.redaction import redact

_KEPT = "Finished stages are kept, and the served version stays in place: the same command continues from there."


class FailedStage(NamedTuple):
    """The facts in the mail about a failed stage."""

    stage: str
    dataset: str
    run: str
    log: Path
    sentence: str | None
    """Why the stage failed; None if it failed before it was recorded."""


def report_failure(failed: FailedStage) -> None:
    """Send the mail about a failed stage."""
    sentence = failed.sentence or "the cause is unknown; see the log."
    facts = {
        "Dataset": failed.dataset,
        "Stage": failed.stage,
        "Run": failed.run,
        "Host": socket.gethostname(),
        "Log": failed.log,
    }
    lines = [f"{name + ':':<9}{value}" for name, value in facts.items()]
    subject = f"Encore: {failed.stage} of {failed.dataset} failed"
    _send(subject, f"{failed.stage} failed: {sentence}", *lines, "", _KEPT)


def report_refusal(dataset: str, sentence: str) -> None:
    """Send the mail about a run that could not start."""
    _send(f"Encore: the run of {dataset} could not start", sentence, f"Host: {socket.gethostname()}")


def _send(subject: str, sentence: str, *lines: str) -> None:
    """Send a mail; log an error of the mail server instead of raising it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # Luigi's own, about its own defaults
            notifications.send_error_email(redact(subject), redact("\n".join([sentence, "", *lines, ""])))
    except Exception:
        logging.getLogger(__name__).exception("The mail about a failure could not be sent")
