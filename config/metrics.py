"""The catalogue of metrics: an entry declares everything about a metric except the function that computes it.

That function is registered under the same name with `spark.evaluation.metric_registry.metric`. The selectable metrics,
the columns of an evaluation, the intervals, the promotion gate, the page and the documentation follow from the entry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CUTOFFS = (10, 20)
"""Lengths of list at which metrics are reported."""

Better = Literal["higher", "lower", "neither"]
Kind = Literal["accuracy", "description", "error"]
"""Quality of the lists; other properties of the lists; error of predicted ratings."""

Source = Literal["hits", "lists", "history", "exposure", "ratings"]
"""The input of a metric's function, see `spark.evaluation.metric_functions`."""


@dataclass(frozen=True)
class Metric:
    """An entry of the catalogue."""

    sentence: str
    better: Better
    kind: Kind
    source: Source
    in_main_table: bool = True
    """Whether the page and the summary of a run show it first, at the shorter list length."""

    @property
    def per_list_length(self) -> bool:
        """Whether it is reported at each of `CUTOFFS`, as `ndcg@10` and `ndcg@20`."""
        return self.source in ("hits", "lists", "exposure")

    @property
    def has_interval(self) -> bool:
        """Whether it is a mean over users or ratings, for which resampling users gives an interval."""
        return self.source != "exposure"


METRICS = {
    "ndcg": Metric(
        "Ranking quality: relevant tracks count more near the top of the list.",
        "higher", "accuracy", "hits",
    ),
    "recall": Metric(
        "The share of a user's held-out tracks that the list contains.",
        "higher", "accuracy", "hits",
    ),
    "precision": Metric(
        "The share of the list that is relevant to the user.",
        "higher", "accuracy", "hits",
    ),
    "map": Metric(
        "Mean average precision: the precision at each hit, averaged over the relevant tracks.",
        "higher", "accuracy", "hits",
    ),
    "mrr": Metric(
        "Mean reciprocal rank: one divided by the position of the first hit.",
        "higher", "accuracy", "hits",
    ),
    "hit_rate": Metric(
        "The share of users whose list has at least one hit.",
        "higher", "accuracy", "hits",
    ),
    "coverage": Metric(
        "The share of the catalogue that is in at least one user's list.",
        "neither", "description", "exposure",
    ),
    "novelty": Metric(
        "Mean self-information of the recommended tracks in bits; halving the listeners adds one bit.",
        "neither", "description", "lists", in_main_table=False,
    ),
    "diversity": Metric(
        "How little the tracks of a list have in common by artist, genre and tags.",
        "neither", "description", "lists", in_main_table=False,
    ),
    "arp": Metric(
        "Average recommendation popularity: the mean number of training listeners of a track.",
        "neither", "description", "lists", in_main_table=False,
    ),
    "gini": Metric(
        "Inequality of exposure: 0 if all tracks are recommended equally often, near 1 if only a few are.",
        "neither", "description", "exposure", in_main_table=False,
    ),
    "cold_tracks": Metric(
        "The share of a list's tracks that have fewer than 5 listeners in the training part.",
        "neither", "description", "lists", in_main_table=False,
    ),
    "cold_users": Metric(
        "The share of the evaluated users who have no interactions in the training part.",
        "neither", "description", "history", in_main_table=False,
    ),
    "rmse": Metric(
        "Root mean square error of predicted ratings: large errors weigh more. Says little about lists.",
        "lower", "error", "ratings",
    ),
    "mae": Metric(
        "Mean absolute error of predicted ratings. Says little about lists.",
        "lower", "error", "ratings",
    ),
}  # fmt: skip
"""Metrics by plain name, such as `ndcg` for `ndcg@10`, in display order."""


def find_metric(reported: str) -> Metric | None:
    """Return the entry of a metric by its plain or reported name, `ndcg` or `ndcg@10`; None if it is unknown."""
    return METRICS.get(reported.partition("@")[0])


def lower_is_better(reported: str) -> bool:
    """Whether smaller values of a metric are better."""
    metric = find_metric(reported)
    return metric is not None and metric.better == "lower"


def reported_names(*sources: Source) -> tuple[str, ...]:
    """Return the names under which the metrics with these sources are reported, list length by list length."""
    return _report({name: metric for name, metric in METRICS.items() if metric.source in sources}, CUTOFFS)


def _report(metrics: dict[str, Metric], cutoffs: tuple[int, ...]) -> tuple[str, ...]:
    at_cutoffs = [f"{name}@{k}" for k in cutoffs for name, metric in metrics.items() if metric.per_list_length]
    return (*at_cutoffs, *(name for name, metric in metrics.items() if not metric.per_list_length))


def selectable_names() -> tuple[str, ...]:
    """Return the reported names of the metrics that can select the champion: accuracy metrics and rating errors."""
    return _report({name: metric for name, metric in METRICS.items() if metric.kind != "description"}, CUTOFFS)


def main_table_names() -> tuple[str, ...]:
    """Return the reported names of the metrics that are shown first."""
    return _report({name: metric for name, metric in METRICS.items() if metric.in_main_table}, CUTOFFS[:1])
