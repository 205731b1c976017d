"""The table of metrics in the documentation, as it is and as the catalogue says it should be."""

from __future__ import annotations

import re

from config.metrics import METRICS


def documented_metrics(page: str) -> list[tuple[str, ...]]:
    """Return the rows of the table in a page: name, sentence, and which direction is better."""
    return re.findall(r"^\| `(\w+)` \| (.*) \| (higher|lower|neither) \|$", page, re.MULTILINE)


def metric_rows() -> list[tuple[str, ...]]:
    """Return the rows that the table should have."""
    return [(name, metric.sentence, metric.better) for name, metric in METRICS.items()]
