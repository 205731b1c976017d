"""Errors of predicted ratings: RMSE and MAE."""

from __future__ import annotations

import numpy as np

from spark.evaluation.metric_registry import RatingError, register

register("rmse", RatingError(loss=np.square, from_mean_loss=np.sqrt))
register("mae", RatingError(loss=np.abs, from_mean_loss=np.positive))
