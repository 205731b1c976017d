"""The candidates and their metrics, compared with popularity, in the order in which the page shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from config.metrics import CUTOFFS, METRICS, find_metric, lower_is_better
from models.promotion_gate import BASELINE, FALLBACK_METRIC

HEADLINE = FALLBACK_METRIC

_LIST_LENGTH = CUTOFFS[0]


@dataclass(frozen=True)
class MetricColumn:
    """A metric's name, e.g. `ndcg@10`, and what it means."""

    name: str

    @property
    def meaning(self) -> str:
        """One sentence; empty for a metric that this page does not know."""
        known = find_metric(self.name)
        return known.sentence if known else ""

    @property
    def lower_is_better(self) -> bool:
        """Whether the metric is an error."""
        return lower_is_better(self.name)

    @property
    def is_beyond(self) -> bool:
        """Whether it says what lists are like, and not how good they are."""
        known = find_metric(self.name)
        return known is not None and not known.in_main_table

    @property
    def is_long(self) -> bool:
        """Whether it is one of longer lists than those of ten."""
        return "@" in self.name and not self.name.endswith(f"@{_LIST_LENGTH}")

    @property
    def place(self) -> tuple[int, int, str]:
        """What metrics are sorted by: list length, those without one last; then the order in which they are listed."""
        base, _, length = self.name.partition("@")
        known = list(METRICS)
        return (
            int(length) if length.isdecimal() else 10**6,
            known.index(base) if base in known else len(known),
            self.name,
        )


@dataclass(frozen=True)
class MetricCell:
    """A candidate's value of a metric, and how many times popularity's it is; None where there is no such number."""

    value: float | None
    ratio: float | None
    interval: list[float] | None = None
    """The 95 % interval, where it is known."""


@dataclass(frozen=True)
class CandidateRow:
    """A candidate's row."""

    name: str
    is_champion: bool
    is_baseline: bool
    cells: dict[str, MetricCell]


@dataclass(frozen=True)
class Scoreboard:
    """Candidates, champion first and popularity last, and the metrics that at least one of them has."""

    candidates: list[CandidateRow]
    metrics: list[MetricColumn]

    @classmethod
    def of(cls, metrics: dict[str, Any]) -> Scoreboard:
        """From the contents of `metrics.json`."""
        models: dict[str, dict[str, float]] = dict(metrics["models"])
        intervals, champion = dict(metrics.get("intervals", {})), metrics["champion"]
        served = f"{champion} within the rules"
        if "lists" in metrics:
            models[served], intervals[served] = metrics["lists"]["metrics"], metrics["lists"]["intervals"]
        named = sorted((MetricColumn(name) for name in set().union(*models.values())), key=lambda metric: metric.place)
        baseline = models.get(BASELINE, {})
        candidates = [
            CandidateRow(
                name=name,
                is_champion=name == champion,
                is_baseline=name == BASELINE,
                cells={metric.name: _cell(values, baseline, metric.name, intervals.get(name, {})) for metric in named},
            )
            for name, values in models.items()
        ]
        first = [champion, served]
        candidates.sort(
            key=lambda c: (c.name not in first, c.name == served, c.is_baseline, -(models[c.name].get(HEADLINE) or 0.0))
        )
        return cls(candidates, named)

    def by(self, metric: str) -> Scoreboard:
        """The candidates in the order of one of the metrics, the best first; those without it last."""
        lower = MetricColumn(metric).lower_is_better

        def place(candidate: CandidateRow) -> tuple[bool, float]:
            value = candidate.cells[metric].value
            return value is None, (value if lower else -value) if value is not None else 0.0

        return Scoreboard(sorted(self.candidates, key=place), self.metrics)

    @property
    def baseline(self) -> CandidateRow | None:
        """Popularity; None where it was not measured."""
        return next((each for each in self.candidates if each.is_baseline), None)

    @property
    def main(self) -> list[MetricColumn]:
        """The metrics of the main table: how good lists of ten are, and errors."""
        return [metric for metric in self.metrics if not metric.is_beyond and not metric.is_long]

    @property
    def beyond(self) -> list[MetricColumn]:
        """What lists of ten are like otherwise."""
        return [metric for metric in self.metrics if metric.is_beyond and not metric.is_long]

    @property
    def further(self) -> list[MetricColumn]:
        """All of longer lists."""
        return [metric for metric in self.metrics if metric.is_long]

    @property
    def champion(self) -> CandidateRow:
        """The candidate that is served."""
        return next(each for each in self.candidates if each.is_champion)

    @property
    def headline(self) -> MetricCell:
        """The champion's figure that stands above all others."""
        return self.champion.cells.get(HEADLINE, MetricCell(None, None))


def _cell(
    values: dict[str, float], baseline: dict[str, float], name: str, intervals: dict[str, list[float]]
) -> MetricCell:
    value, popular = values.get(name), baseline.get(name)
    ratio = value / popular if value is not None and popular else None
    return MetricCell(value, ratio, intervals.get(name))
