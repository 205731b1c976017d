"""The documented table of metrics, and the table that follows from the catalogue."""

from __future__ import annotations

import re

from config.metrics import METRICS


def documented_metrics(page: str) -> list[tuple[str, ...]]:
    """Return the rows of the table in a page: name, sentence, and better direction."""
    return re.findall(r"^\| `(\w+)` \| (.*) \| (higher|lower|neither) \|$", page, re.MULTILINE)


def metric_rows() -> list[tuple[str, ...]]:
    """Return the rows that the table should have."""
    return [(name, metric.sentence, metric.better) for name, metric in METRICS.items()]
