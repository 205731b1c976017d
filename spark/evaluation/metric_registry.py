"""Registers the functions that compute metrics, by name; see `metric_functions` for their arguments.

Separate from `metric_functions`, so that training can use one metric without importing all of them.
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
"""The function or `RatingError` of each metric, by plain name."""


def metric(name: str) -> Callable[[Function], Function]:
    """Register the decorated function under the name of a metric."""

    def decorate(function: Function) -> Function:
        register(name, function)
        return function

    return decorate


def register(name: str, function: Callable[..., Any] | RatingError) -> None:
    """Register the function or `RatingError` of a metric."""
    FUNCTIONS[name] = function
