"""The candidates of a version and their metrics, compared to popularity, in the order of the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from config.metrics import CUTOFFS, METRICS, find_metric, lower_is_better
from models.promotion_gate import BASELINE, FALLBACK_METRIC

HEADLINE = FALLBACK_METRIC
"""The metric that the overview shows first."""

_LIST_LENGTH = CUTOFFS[0]


@dataclass(frozen=True)
class MetricColumn:
    """A metric, such as `ndcg@10`."""

    name: str

    @property
    def meaning(self) -> str:
        """One sentence; empty for an unknown metric."""
        info = find_metric(self.name)
        return info.sentence if info else ""

    @property
    def lower_is_better(self) -> bool:
        """Whether the metric is an error."""
        return lower_is_better(self.name)

    @property
    def is_beyond_accuracy(self) -> bool:
        """Whether the metric describes the lists without judging them."""
        info = find_metric(self.name)
        return info is not None and not info.in_main_table

    @property
    def is_of_longer_lists(self) -> bool:
        """Whether the metric is measured on lists longer than 10."""
        return "@" in self.name and not self.name.endswith(f"@{_LIST_LENGTH}")

    @property
    def sort_key(self) -> tuple[int, int, str]:
        """List length (metrics without one last), then the order in `METRICS`."""
        base, _, length = self.name.partition("@")
        order = list(METRICS)
        return (
            int(length) if length.isdecimal() else 10**6,
            order.index(base) if base in order else len(order),
            self.name,
        )


@dataclass(frozen=True)
class MetricCell:
    """A candidate's value of a metric, and its ratio to popularity's value; None if not applicable."""

    value: float | None
    ratio: float | None
    interval: list[float] | None = None
    """The 95 % confidence interval, if measured."""


@dataclass(frozen=True)
class CandidateRow:
    """A candidate and its metrics."""

    name: str
    is_champion: bool
    is_baseline: bool
    cells: dict[str, MetricCell]


@dataclass(frozen=True)
class Scoreboard:
    """Candidates, the champion first and popularity last, and every metric that a candidate has."""

    candidates: list[CandidateRow]
    metrics: list[MetricColumn]

    @classmethod
    def from_metrics(cls, metrics: dict[str, Any]) -> Scoreboard:
        """Create it from the contents of `metrics.json`."""
        models: dict[str, dict[str, float]] = dict(metrics["models"])
        intervals, champion = dict(metrics.get("intervals", {})), metrics["champion"]
        with_rules = f"{champion} with list rules"
        if "lists" in metrics:
            models[with_rules], intervals[with_rules] = metrics["lists"]["metrics"], metrics["lists"]["intervals"]
        columns = sorted((MetricColumn(name) for name in set().union(*models.values())), key=lambda m: m.sort_key)
        baseline = models.get(BASELINE, {})
        candidates = [
            CandidateRow(
                name=name,
                is_champion=name == champion,
                is_baseline=name == BASELINE,
                cells={m.name: _cell(values, baseline, m.name, intervals.get(name, {})) for m in columns},
            )
            for name, values in models.items()
        ]
        first = [champion, with_rules]
        candidates.sort(
            key=lambda c: (
                c.name not in first,
                c.name == with_rules,
                c.is_baseline,
                -(models[c.name].get(HEADLINE) or 0.0),
            )
        )
        return cls(candidates, columns)

    def sorted_by(self, metric: str) -> Scoreboard:
        """Return the candidates sorted by a metric, best first; those without it last."""
        lower_is_better = MetricColumn(metric).lower_is_better

        def key(candidate: CandidateRow) -> tuple[bool, float]:
            value = candidate.cells[metric].value
            return value is None, (value if lower_is_better else -value) if value is not None else 0.0

        return Scoreboard(sorted(self.candidates, key=key), self.metrics)

    @property
    def baseline(self) -> CandidateRow | None:
        """Popularity; None if it was not evaluated."""
        return next((candidate for candidate in self.candidates if candidate.is_baseline), None)

    @property
    def main(self) -> list[MetricColumn]:
        """The metrics of the main table: accuracy of lists of 10, and rating errors."""
        return [metric for metric in self.metrics if not metric.is_beyond_accuracy and not metric.is_of_longer_lists]

    @property
    def beyond_accuracy(self) -> list[MetricColumn]:
        """The metrics that describe lists of 10."""
        return [metric for metric in self.metrics if metric.is_beyond_accuracy and not metric.is_of_longer_lists]

    @property
    def longer_lists(self) -> list[MetricColumn]:
        """The metrics of longer lists."""
        return [metric for metric in self.metrics if metric.is_of_longer_lists]

    @property
    def champion(self) -> CandidateRow:
        """The candidate that makes the served lists."""
        return next(candidate for candidate in self.candidates if candidate.is_champion)

    @property
    def headline(self) -> MetricCell:
        """The champion's value of `HEADLINE`."""
        return self.champion.cells.get(HEADLINE, MetricCell(None, None))


def _cell(
    values: dict[str, float], baseline: dict[str, float], name: str, intervals: dict[str, list[float]]
) -> MetricCell:
    value, baseline_value = values.get(name), baseline.get(name)
    ratio = value / baseline_value if value is not None and baseline_value else None
    return MetricCell(value, ratio, intervals.get(name))
