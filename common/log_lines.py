"""Log lines: each starts with its run and stage, and none contains a secret."""

from __future__ import annotations

import logging

from common.redaction import redact

NO_STAGE = "-"
"""Replaces the stage in lines written between stages."""


class LinePrefix:
    """The start of each line: the run's id and the current stage, such as `Train:als`."""

    def __init__(self, run: str) -> None:
        self._run, self.stage = run, NO_STAGE

    def __str__(self) -> str:
        """The prefix in the log."""
        return f"{self._run} {self.stage.replace(' ', ':')} "


class LineFormatter(logging.Formatter):
    """Puts the prefix before every line, also of a traceback, and masks secrets."""

    def __init__(self, layout: str = "%(levelname)s: %(message)s", prefix: LinePrefix | None = None) -> None:
        super().__init__(layout)
        self._prefix = prefix

    def format(self, record: logging.LogRecord) -> str:
        """Format the record as prefixed lines."""
        before = str(self._prefix or "")
        return "\n".join(before + line for line in redact(super().format(record)).splitlines())
