"""ALS for implicit feedback (Hu, Koren and Volinsky 2008): a heard track is a positive example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pyspark.sql import functions as F

from spark.algorithms.als.early_stopping import best_iteration_count
from spark.algorithms.als.half_iteration import Objective
from spark.algorithms.als.training import train_and_save
from spark.algorithms.factor_model import FactorScorer, load_factors
from spark.algorithms.mllib_als import fit_factors
from spark.algorithms.saved_model import model_info
from spark.algorithms.training_data import ProgressReport, TrainingData


def fit(training: TrainingData, settings: Mapping[str, Any], into: Path, report: ProgressReport) -> dict[str, Any]:
    """Train with early stopping if `patience` is set; return the objective and the number of iterations."""
    if settings["engine"] == "mllib":
        strength = {"binary": F.lit(1.0), "linear": F.col("value"), "log": F.log1p("value")}[settings["value"]]
        interactions = training.dataframe.select("user", "track", strength.alias("value"))
        fit_factors(interactions, training.count, settings, into, implicit=True)
        return {}
    names = ("rank", "reg_param", "reg_exponent", "value", "alpha")
    objective = Objective(**{name: settings[name] for name in names})
    iterations = settings["max_iter"]
    if settings["patience"]:
        iterations = best_iteration_count(
            training, objective, into, max_iterations=iterations, patience=settings["patience"],
            steps=settings["steps"], seed=settings["seed"], report=report,
        )  # fmt: skip
    train_and_save(training, objective, {**settings, "max_iter": iterations}, into, report)
    return {"objective": asdict(objective), "iterations": iterations}


def load(model: Path) -> FactorScorer:
    """Open a saved model."""
    return load_factors(model, objective=model_info(model).get("objective"))
