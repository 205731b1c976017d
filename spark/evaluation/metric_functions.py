"""The functions that compute the metrics of `config.metrics`.

The source that the catalogue declares determines a function's arguments and result:

    hits      f(hits, relevant, k) -> (users,)        lists compared with the relevant tracks
    lists     f(lists, catalogue, k) -> (users,)      lists alone; NaN for a user without a value
    history   f(training_counts) -> (users,)          interactions of each user in the training part
    exposure  f(counts) -> float                      how often each track is recommended; NaN if undefined
    ratings   a `RatingError`                         differences between predicted and held-out ratings
"""

from __future__ import annotations

from typing import Any

from config.metrics import METRICS, Source
from spark.evaluation import beyond_accuracy, ranking_metrics, rating_errors
from spark.evaluation.metric_registry import FUNCTIONS

MODULES = (ranking_metrics, beyond_accuracy, rating_errors)
"""The modules that register functions when they are imported."""


def functions_of(source: Source) -> dict[str, Any]:
    """Return the functions of all metrics with a source, in the catalogue's order.

    Raises:
        KeyError: a metric of the catalogue has no function.
    """
    return {name: FUNCTIONS[name] for name, entry in METRICS.items() if entry.source == source}


def compute_metrics(source: Source, *arguments: Any) -> dict[str, Any]:
    """Return the result of each metric with a source, by plain name."""
    return {name: function(*arguments) for name, function in functions_of(source).items()}
