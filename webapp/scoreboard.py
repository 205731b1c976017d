"""The candidates and their metrics, compared with popularity, in the order in which the page shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from models.gate import BASELINE, FALLBACK_METRIC, LOWER_IS_BETTER

HEADLINE = FALLBACK_METRIC

_LIST_LENGTH = 10
_MEANINGS = {
    "ndcg": "How well the lists are ordered: what users did choose counts the more, the higher it stands.",
    "recall": "The share of what was held out from a user that is found in the list.",
    "precision": "The share of the list that the user did choose.",
    "map": "Precision at each hit, averaged over a user's hits: rewards hits that come early.",
    "hit_rate": "The share of users whose list has at least one hit.",
    "coverage": "The share of the catalogue that stands in at least one user's list.",
    "rmse": "The error of predicted ratings, large errors weighing more. Says little about lists.",
    "mae": "By how much predicted ratings are off on average. Says little about lists.",
}


@dataclass(frozen=True)
class Metric:
    """A metric's name, e.g. `ndcg@10`, and what it means."""

    name: str

    @property
    def meaning(self) -> str:
        """One sentence; empty for a metric that this page does not know."""
        return _MEANINGS.get(self.name.partition("@")[0], "")

    @property
    def lower_is_better(self) -> bool:
        """Whether the metric is an error."""
        return self.name in LOWER_IS_BETTER

    @property
    def is_main(self) -> bool:
        """Whether it stands in the main table: errors, and metrics of lists of ten."""
        return "@" not in self.name or self.name.endswith(f"@{_LIST_LENGTH}")

    @property
    def place(self) -> tuple[int, int, str]:
        """What metrics are sorted by: list length, then the order of the meanings."""
        base, _, length = self.name.partition("@")
        known = list(_MEANINGS)
        return (
            int(length) if length.isdecimal() else 0 if base in known[:-2] else 10**6,
            known.index(base) if base in known else len(known),
            self.name,
        )


@dataclass(frozen=True)
class Cell:
    """A candidate's value of a metric, and how many times popularity's it is; None where there is no such number."""

    value: float | None
    ratio: float | None


@dataclass(frozen=True)
class Candidate:
    """A candidate's row."""

    name: str
    is_champion: bool
    is_baseline: bool
    cells: dict[str, Cell]


@dataclass(frozen=True)
class Scoreboard:
    """Candidates, champion first and popularity last, and the metrics that at least one of them has."""

    candidates: list[Candidate]
    metrics: list[Metric]

    @classmethod
    def of(cls, metrics: dict[str, Any]) -> Scoreboard:
        """From the contents of `metrics.json`."""
        models: dict[str, dict[str, float]] = metrics["models"]
        named = sorted((Metric(name) for name in set().union(*models.values())), key=lambda metric: metric.place)
        baseline = models.get(BASELINE, {})
        candidates = [
            Candidate(
                name=name,
                is_champion=name == metrics["champion"],
                is_baseline=name == BASELINE,
                cells={metric.name: _cell(values, baseline, metric.name) for metric in named},
            )
            for name, values in models.items()
        ]
        candidates.sort(key=lambda c: (not c.is_champion, c.is_baseline, -(models[c.name].get(HEADLINE) or 0.0)))
        return cls(candidates, named)

    @property
    def main(self) -> list[Metric]:
        """The metrics of the main table."""
        return [metric for metric in self.metrics if metric.is_main]

    @property
    def further(self) -> list[Metric]:
        """The others."""
        return [metric for metric in self.metrics if not metric.is_main]

    @property
    def champion(self) -> Candidate:
        """The candidate that is served."""
        return self.candidates[0]

    @property
    def headline(self) -> Cell:
        """The champion's figure that stands above all others."""
        return self.champion.cells.get(HEADLINE, Cell(None, None))


def _cell(values: dict[str, float], baseline: dict[str, float], name: str) -> Cell:
    value, popular = values.get(name), baseline.get(name)
    return Cell(value, value / popular if value is not None and popular else None)
