"""Lines of a log: each says of which run it is, and of which stage; no secret comes into it."""

from __future__ import annotations

import logging

from common.redaction import redact

NO_STAGE = "-"
"""Stands for the stage on lines that are written between two."""


class LinePrefix:
    """What each line begins with: the run's id, and the stage that is being made, `Train:als`."""

    def __init__(self, run: str) -> None:
        self._run, self.stage = run, NO_STAGE

    def __str__(self) -> str:
        """As it stands in the log."""
        return f"{self._run} {self.stage.replace(' ', ':')} "


class LineFormatter(logging.Formatter):
    """Puts a prefix before every line, those of a traceback included, and three stars for each secret."""

    def __init__(self, layout: str = "%(levelname)s: %(message)s", prefix: LinePrefix | None = None) -> None:
        super().__init__(layout)
        self._prefix = prefix

    def format(self, record: logging.LogRecord) -> str:
        """The record as lines."""
        before = str(self._prefix or "")
        return "\n".join(before + line for line in redact(super().format(record)).splitlines())
