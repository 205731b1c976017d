"""Whether a new version may replace the one that is served."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from config.metrics import METRICS

BASELINE = "popularity"
"""What every champion has to match."""

FALLBACK_METRIC = "ndcg@10"
"""What is compared where popularity has no value for the metric that chose the champion."""

LOWER_IS_BETTER = frozenset(name for name, about in METRICS.items() if about.better == "lower")


@dataclass(frozen=True)
class Candidate:
    """What the gate looks at: the contents of a version's `metrics.json`, and its manifest's counts."""

    metrics: dict[str, Any]
    counts: dict[str, int]


def refusal(
    new: Candidate, serving: Candidate | None, *, select_by: str, min_size: float, tolerance: float
) -> str | None:
    """The sentence that refuses a promotion; None where it may go ahead.

    Args:
        min_size: smallest share of the serving version's users, tracks and interactions.
        tolerance: share of the serving champion's metric that may be lost, on the same split.
    """
    models = new.metrics["models"]
    champion = new.metrics["champion"]
    metric = select_by if select_by in models[BASELINE] else FALLBACK_METRIC
    mine, baseline = models[champion][metric], models[BASELINE][metric]
    if _loss(metric, mine, baseline) > 0:
        return f"the champion {champion} has {metric} {mine:.4f}, and popularity alone has {baseline:.4f}."
    if serving is None:
        return None
    for what in ("users", "tracks", "interactions"):
        if new.counts[what] < min_size * serving.counts[what]:
            return (
                f"it has {new.counts[what]:,} {what} and the serving version {serving.counts[what]:,}; "
                f"[publish] min_size = {min_size:g} asks for more."
            )
    theirs = serving.metrics["models"][serving.metrics["champion"]]
    same_split = new.metrics["split"]["fingerprint"] == serving.metrics["split"]["fingerprint"]
    if same_split and metric in theirs and _loss(metric, mine, theirs[metric]) > tolerance * theirs[metric]:
        return (
            f"its {metric} is {mine:.4f} and the serving version's {theirs[metric]:.4f} on the same split; "
            f"[publish] tolerance = {tolerance:g} allows less of a loss."
        )
    return None


def _loss(metric: str, mine: float, theirs: float) -> float:
    """By how much `mine` is worse."""
    return mine - theirs if metric in LOWER_IS_BETTER else theirs - mine
