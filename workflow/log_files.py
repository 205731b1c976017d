"""Where the log of a run goes."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from pathlib import Path

from common.log_lines import LineFormatter, LinePrefix


class _LogFile(logging.FileHandler):
    """The log of the run that began last in this process. That it cannot be written, as on a full disk, ends no run."""

    def emit(self, record: logging.LogRecord) -> None:
        """See logging."""
        with suppress(OSError):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """See logging, which would print a traceback."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def start_logging(log: Path, prefix: LinePrefix) -> None:
    """Sends everything that is logged to a run's file."""
    root = logging.getLogger()
    for earlier in [handler for handler in root.handlers if isinstance(handler, _LogFile)]:
        root.removeHandler(earlier)
        earlier.close()
    handler = _LogFile(log, encoding="utf-8", delay=True)
    handler.setFormatter(LineFormatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s", prefix))
    root.addHandler(handler)
    logging.getLogger("luigi-interface").setLevel(logging.INFO)


def redact_terminal() -> None:
    """What is logged before there is a file goes to the terminal: without secrets, too."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(LineFormatter())
