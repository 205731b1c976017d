"""Whether a new version may replace the one that is served, and the figures that speak for or against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from config.metrics import lower_is_better

BASELINE = "popularity"
"""What every champion has to match."""

FALLBACK_METRIC = "ndcg@10"
"""What is compared where popularity has no value for the metric that chose the champion."""


@dataclass(frozen=True)
class GateInput:
    """What the gate looks at: the contents of a version's `metrics.json`, and of its manifest counts and date."""

    metrics: dict[str, Any]
    counts: dict[str, int]
    as_of: str | None = None
    """The day as of which it was made, 2026-03-01, or the latest time in its data; None where it does not matter."""

    @property
    def champion(self) -> str:
        """The model that is served."""
        return str(self.metrics["champion"])

    @property
    def compared_by(self) -> str:
        """See the function."""
        return comparison_metric(self.metrics["models"], self.metrics["select_by"])

    def measured_like(self, other: GateInput) -> bool:
        """Whether both champions were measured on the same split, and by the same metric."""
        return _same_split(self, other) and self.compared_by == other.compared_by


@dataclass(frozen=True)
class ChampionComparison:
    """How a version's champion compares by one metric, the means over the same users.

    A difference is `{"difference": …, "interval": [low, high]}`, the interval one of 95 %.
    """

    champion: str
    metric: str
    to_popularity: Mapping[str, Any] | None
    """None where popularity is the champion."""
    to_serving: Mapping[str, Any] | None = None
    """None where there is no serving version, or it was not measured alike."""
    there_is_serving: bool = False

    @property
    def figures(self) -> dict[str, Any]:
        """What is kept of it; what does not apply is absent."""
        differences = {"to_popularity": self.to_popularity, "to_serving": self.to_serving}
        return {"metric": self.metric} | {key: found for key, found in differences.items() if found is not None}

    @property
    def sentences(self) -> str:
        """What is said of it, and of a champion that does not beat popularity."""
        rivals = {"popularity": self.to_popularity, "the serving version": self.to_serving}
        clauses = [f"against {rival}: {_signed(found)}" for rival, found in rivals.items() if found is not None]
        told = []
        if clauses:
            told.append(f"{self.champion} {'; '.join(clauses)}.".replace(": ", f": {self.metric} ", 1))
        if self.there_is_serving and self.to_serving is None:
            told.append("The serving version was not measured on the same split by the same metric.")
        if self.to_popularity is None:
            told.append("No candidate beats popularity.")
        elif self.to_popularity["difference"] <= 0:
            told.append(f"{self.champion} does not beat popularity.")
        elif self.to_popularity["interval"][0] <= 0:
            told.append(f"{self.champion} does not reliably beat popularity: the interval includes 0.")
        return " ".join(told)


def refusal_reason(
    new: GateInput, serving: GateInput | None, *, select_by: str, min_size: float, tolerance: float
) -> str | None:
    """The sentence that refuses a promotion; None where it may go ahead.

    Args:
        min_size: smallest share of the serving version's users, tracks and interactions.
        tolerance: share of the serving champion's metric that may be lost, on the same split.
    """
    models, champion = new.metrics["models"], new.champion
    metric = comparison_metric(models, select_by)
    mine, baseline = models[champion][metric], models[BASELINE][metric]
    if _loss(metric, mine, baseline) > 0:
        return f"the champion {champion} has {metric} {mine:.4f}, and popularity alone has {baseline:.4f}."
    if serving is None:
        return None
    if new.as_of and serving.as_of and serving.as_of > new.as_of:  # a day comes before any time on it
        return f"it is as of {new.as_of}, and the serving version as of {serving.as_of}."
    for what in ("users", "tracks", "interactions"):
        if new.counts[what] < min_size * serving.counts[what]:
            return (
                f"it has {new.counts[what]:,} {what} and the serving version {serving.counts[what]:,}; "
                f"[publish] min_size = {min_size:g} asks for more."
            )
    theirs = serving.metrics["models"][serving.champion]
    if (
        _same_split(new, serving)
        and metric in theirs
        and _loss(metric, mine, theirs[metric]) > tolerance * theirs[metric]
    ):
        return (
            f"its {metric} is {mine:.4f} and the serving version's {theirs[metric]:.4f} on the same split; "
            f"[publish] tolerance = {tolerance:g} allows less of a loss."
        )
    return None


def comparison_metric(models: Mapping[str, Mapping[str, float]], select_by: str) -> str:
    """The metric that champions are compared by: the one that chose them, if popularity has a value of it."""
    return select_by if select_by in models[BASELINE] else FALLBACK_METRIC


def _same_split(one: GateInput, other: GateInput) -> bool:
    return bool(one.metrics["split"]["fingerprint"] == other.metrics["split"]["fingerprint"])


def _signed(found: Mapping[str, Any]) -> str:
    """A difference and its interval, with true minus signs: +0.121 [+0.102, +0.139]."""
    value, (low, high) = found["difference"], found["interval"]
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]".replace("-", "−")


def _loss(metric: str, mine: float, theirs: float) -> float:
    """By how much `mine` is worse."""
    return mine - theirs if lower_is_better(metric) else theirs - mine
