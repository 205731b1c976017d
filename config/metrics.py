"""What each metric says, in one sentence, and which way is better: for the README, the terminal and the page alike."""

from __future__ import annotations

from typing import Literal, NamedTuple

Better = Literal["higher", "lower", "neither"]


class MetricInfo(NamedTuple):
    """A metric in words."""

    sentence: str
    better: Better


METRICS = {
    "ndcg": MetricInfo("Ranking quality: relevant tracks count more near the top of the list.", "higher"),
    "recall": MetricInfo("The share of what was held out from a user that is found in the list.", "higher"),
    "precision": MetricInfo("The share of the list that the user did choose.", "higher"),
    "map": MetricInfo("Precision at each hit, averaged over a user's hits: rewards hits that come early.", "higher"),
    "mrr": MetricInfo("One divided by the place of the first hit: how far down a user has to look.", "higher"),
    "hit_rate": MetricInfo("The share of users whose list has at least one hit.", "higher"),
    "coverage": MetricInfo("The share of the catalogue that stands in at least one user's list.", "neither"),
    "novelty": MetricInfo("How little known the tracks are, in bits: one more for half as many listeners.", "neither"),
    "diversity": MetricInfo("How little the tracks of a list have in common by artist, genre and tags.", "neither"),
    "arp": MetricInfo("How many listeners the recommended tracks have on average in the training part.", "neither"),
    "gini": MetricInfo("Inequality of exposure: 0 recommends all tracks equally, near 1 only a few.", "neither"),
    "cold_tracks": MetricInfo("The share of a list that has fewer than 5 listeners in the training part.", "neither"),
    "cold_users": MetricInfo("The share of the users measured who have nothing in the training part.", "neither"),
    "rmse": MetricInfo("The error of predicted ratings, large errors weighing more. Says little about lists.", "lower"),
    "mae": MetricInfo("By how much predicted ratings are off on average. Says little about lists.", "lower"),
}  # fmt: skip
"""By plain name, `ndcg` for `ndcg@10`, in the order in which they are shown."""


def metric_info(metric: str) -> MetricInfo | None:
    """What is said of a metric, at whatever length of list; None of one that is not known here."""
    return METRICS.get(metric.partition("@")[0])
