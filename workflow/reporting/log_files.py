"""The log file of a run."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from pathlib import Path

from common.log_lines import LineFormatter, LinePrefix


class _RunLogHandler(logging.FileHandler):
    """Writes the log of the latest run of this process, and ignores that it cannot, as on a full disk."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        with suppress(OSError):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Ignore an OSError, for which logging would print a traceback."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def start_logging(log: Path, prefix: LinePrefix) -> None:
    """Send all log records to the run's file, each line with the prefix."""
    root = logging.getLogger()
    for earlier in [handler for handler in root.handlers if isinstance(handler, _RunLogHandler)]:
        root.removeHandler(earlier)
        earlier.close()
    handler = _RunLogHandler(log, encoding="utf-8", delay=True)
    handler.setFormatter(LineFormatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s", prefix))
    root.addHandler(handler)
    logging.getLogger("luigi-interface").setLevel(logging.INFO)


def redact_terminal() -> None:
    """Redact the log records that reach the terminal because no run log is open yet."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(LineFormatter())
