"""Registers the functions that compute metrics, by name; see `metric_functions` for their arguments.

Separate from `metric_functions`, because models that measure themselves while training need no catalogue.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Function = TypeVar("Function", bound=Callable[..., Any])


class RatingError(NamedTuple):
    """An error of predicted ratings: the loss of each rating, and the metric as a function of the mean loss."""

    loss: Callable[[Values], Values]
    from_mean_loss: Callable[[Any], Any]


FUNCTIONS: dict[str, Any] = {}
"""What computes each metric, by plain name."""


def metric(name: str) -> Callable[[Function], Function]:
    """Register the decorated function as that of a metric."""

    def decorate(function: Function) -> Function:
        register(name, function)
        return function

    return decorate


def register(name: str, function: Callable[..., Any] | RatingError) -> None:
    """Register what computes a metric."""
    FUNCTIONS[name] = function
