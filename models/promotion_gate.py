"""The gate before a promotion: whether a new version may replace the serving version, and how the two compare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from config.metrics import lower_is_better

BASELINE = "popularity"
"""The candidate that every champion must match."""

FALLBACK_METRIC = "ndcg@10"
"""The metric to compare champions by if popularity has no value of the selection metric."""


@dataclass(frozen=True)
class GateInput:
    """The gate's view of a version: the contents of `metrics.json`, and the counts and date of its manifest."""

    metrics: dict[str, Any]
    counts: dict[str, int]
    as_of: str | None = None
    """The date of an `--as-of` run (2026-03-01), or the latest time in the data; None if age must not matter."""

    @property
    def champion(self) -> str:
        """The candidate that makes the version's lists."""
        return str(self.metrics["champion"])

    @property
    def compared_by(self) -> str:
        """The metric to compare champions by, see `comparison_metric`."""
        return comparison_metric(self.metrics["models"], self.metrics["select_by"])

    def measured_like(self, other: GateInput) -> bool:
        """Whether both champions were measured on the same split and are compared by the same metric."""
        return _same_split(self, other) and self.compared_by == other.compared_by


@dataclass(frozen=True)
class ChampionComparison:
    """A champion's mean metric over the test users, compared with popularity and with the serving version.

    A difference is `{"difference": …, "interval": [low, high]}` with a 95 % interval.
    """

    champion: str
    metric: str
    to_popularity: Mapping[str, Any] | None
    """None if popularity is the champion."""
    to_serving: Mapping[str, Any] | None = None
    """None if there is no serving version, or it was measured differently."""
    has_serving_version: bool = False

    @property
    def figures(self) -> dict[str, Any]:
        """The entries for the audit log, without those that do not apply."""
        differences = {"to_popularity": self.to_popularity, "to_serving": self.to_serving}
        return {"metric": self.metric} | {key: value for key, value in differences.items() if value is not None}

    @property
    def sentences(self) -> str:
        """The comparison in words, with a warning if the champion does not clearly beat popularity."""
        differences = {"popularity": self.to_popularity, "the serving version": self.to_serving}
        clauses = [f"against {name}: {_format_difference(value)}" for name, value in differences.items() if value]
        sentences = []
        if clauses:
            sentences.append(f"{self.champion} {'; '.join(clauses)}.".replace(": ", f": {self.metric} ", 1))
        if self.has_serving_version and self.to_serving is None:
            sentences.append("The serving version was measured on another split or selected by another metric.")
        if self.to_popularity is None:
            sentences.append("No candidate beats popularity.")
        elif self.to_popularity["difference"] <= 0:
            sentences.append(f"{self.champion} does not beat popularity.")
        elif self.to_popularity["interval"][0] <= 0:
            sentences.append(f"{self.champion} does not reliably beat popularity: the interval includes 0.")
        return " ".join(sentences)


def refusal_reason(
    new: GateInput, serving: GateInput | None, *, select_by: str, min_size: float, tolerance: float
) -> str | None:
    """Return why the promotion is refused, as a clause; None if it may proceed.

    Args:
        min_size: minimum ratio of users, tracks and interactions to those of the serving version.
        tolerance: maximum loss relative to the serving champion's metric, if both have the same split.
    """
    models, champion = new.metrics["models"], new.champion
    metric = comparison_metric(models, select_by)
    value, baseline = models[champion][metric], models[BASELINE][metric]
    if _loss(metric, value, baseline) > 0:
        return f"its champion {champion} has {metric} {value:.4f}, worse than popularity with {baseline:.4f}."
    if serving is None:
        return None
    if new.as_of and serving.as_of and serving.as_of > new.as_of:  # as text, a date sorts before any time of that day
        return f"it is as of {new.as_of}, older than the serving version (as of {serving.as_of})."
    for name in ("users", "tracks", "interactions"):
        if new.counts[name] < min_size * serving.counts[name]:
            return (
                f"it has {new.counts[name]:,} {name}, fewer than [publish] min_size = {min_size:g} × "
                f"{serving.counts[name]:,} of the serving version."
            )
    serving_value = serving.metrics["models"][serving.champion].get(metric)
    if not _same_split(new, serving) or serving_value is None:
        return None
    if _loss(metric, value, serving_value) > tolerance * serving_value:
        return (
            f"its {metric} is {value:.4f} and the serving version's is {serving_value:.4f} on the same split, a larger "
            f"loss than [publish] tolerance = {tolerance:g} allows."
        )
    return None


def comparison_metric(models: Mapping[str, Mapping[str, float]], select_by: str) -> str:
    """Return the metric to compare champions by: the selection metric, if popularity has a value of it."""
    return select_by if select_by in models[BASELINE] else FALLBACK_METRIC


def _same_split(one: GateInput, other: GateInput) -> bool:
    return bool(one.metrics["split"]["fingerprint"] == other.metrics["split"]["fingerprint"])


def _format_difference(difference: Mapping[str, Any]) -> str:
    """Format a difference and its interval, with typographic minus signs: `+0.121 [+0.102, +0.139]`."""
    value, (low, high) = difference["difference"], difference["interval"]
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]".replace("-", "−")


def _loss(metric: str, value: float, reference: float) -> float:
    """Return how much worse `value` is than `reference`; negative if it is better."""
    return value - reference if lower_is_better(metric) else reference - value
