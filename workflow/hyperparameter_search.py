"""Hyperparameter search: Optuna proposes settings, a trial trains a model with them and evaluates it.

Blends have no settings to search: their weights are learned on a grid instead.

Trials are appended to a file beside the stage's outputs, one JSON line each. The file's name depends on everything that
determines a trial, but not on the number of trials: an interrupted search resumes, and a larger one adds trials.
Lines from the first damaged one on are discarded.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from common.files import append_line
from common.locks import exclusive_lock
from config.algorithm_catalog import Algorithm, SearchRange

if TYPE_CHECKING:
    import optuna

    from spark.algorithms.training_data import TrainingData

Values = dict[str, Any]
"""Some settings of an algorithm, by name."""

_MIN_TRIALS_FOR_IMPORTANCE = 4


@dataclass(frozen=True)
class TuningResult:
    """The outcome of a search."""

    settings: Values
    """The settings of the best trial."""
    score: float
    trials: list[dict[str, Any]]
    """Settings and score of each trial, in order."""
    importance: dict[str, float]
    """The share of the variance between trials that each setting explains; the shares add up to 1."""


@dataclass(frozen=True)
class TuningContext:
    """The data that trials train on and are evaluated on."""

    training: TrainingData
    """The training part."""
    validation: Path
    """Parquet of the validation part."""
    liked_from: float | None
    """Minimum rating of a relevant track; None: all are relevant."""
    scratch: Path
    """A temporary directory on a file system that every worker can write to."""
    report: Callable[[str, float], None]


def learn_blend(parts: Mapping[str, Mapping[str, Any]], context: TuningContext) -> dict[str, Any]:
    """Learn the weights of a blend, given the settings of each part.

    Returns:
        "settings": the weights; "ndcg@10" with them; "alone": NDCG of each part; "left_out": parts that cannot learn.

    Raises:
        NotApplicable: see `spark.evaluation.blend_weights.learn_weights`.
    """
    from spark.evaluation.blend_weights import learn_weights

    with TemporaryDirectory(dir=context.scratch) as models:
        blend = learn_weights(
            context.training, parts, context.validation, context.liked_from, Path(models), context.report
        )
    return {
        "settings": {"weights": blend.weights},
        "ndcg@10": blend.ndcg,
        "alone": blend.alone,
        "left_out": blend.left_out,
    }


def tune(algorithm: Algorithm, start: Mapping[str, Any], context: TuningContext, **limits: Any) -> dict[str, Any]:
    """Search an algorithm's settings; return the fields of `TuningResult`. `limits` are passed to `search`.

    Raises:
        NotApplicable: the algorithm cannot learn from this data.
    """
    from spark.evaluation.tuning_objective import run_trial

    def measure(values: Values) -> float:
        settings = {**start, **values}
        return run_trial(
            context.training, algorithm.name, settings, context.validation, context.liked_from, context.scratch
        )

    return asdict(search(algorithm, start, measure, report=context.report, **limits))


def search(
    algorithm: Algorithm,
    start: Mapping[str, Any],
    measure: Callable[[Values], float],
    *,
    trials: int,
    minutes: float,
    seed: int,
    trials_file: Path,
    report: Callable[[str, float], None],
) -> TuningResult:
    """Run trials up to a number or a time limit, at least one: the first uses the start settings.

    Args:
        algorithm: its search space; if it predicts ratings, lower scores are better.
        start: the configured settings.
        measure: trains with the given settings and returns the score.
        trials_file: the file that stores trials.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="minimize" if algorithm.predicts_ratings else "maximize")
    space = {name: _distribution(dimension) for name, dimension in algorithm.search_space.items()}
    with exclusive_lock(trials_file.with_suffix(".lock")):
        _load_trials(study, space, trials_file)
        deadline, done = time.monotonic() + 60 * minutes, len(study.trials)
        if not done:
            study.enqueue_trial(_clip(start, algorithm.search_space))
        while done < trials and (done == 0 or time.monotonic() < deadline):
            # Seeded by the number of trials, so that a resumed search proposes the same settings.
            study.sampler = optuna.samplers.TPESampler(seed=seed + done)
            trial = study.ask(space)
            score = measure(trial.params)
            study.tell(trial, score)
            append_line(trials_file, _with_digest({"settings": trial.params, "score": score}))
            best, done = study.best_trial, done + 1
            report(f"trial {done} of {trials}, best {best.value:.4f} at {best.number + 1}", done / trials)
    return TuningResult(
        dict(study.best_params), float(study.best_value or 0.0),
        [{"settings": trial.params, "score": trial.value} for trial in study.trials], _importance(study),
    )  # fmt: skip


def _distribution(dimension: SearchRange | Any) -> optuna.distributions.BaseDistribution:
    """Convert a dimension of the search space to Optuna's class."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not isinstance(dimension, SearchRange):
        return CategoricalDistribution(dimension)
    if isinstance(dimension.low, int):
        return IntDistribution(dimension.low, int(dimension.high), step=dimension.step or 1, log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, step=dimension.step, log=dimension.log)


def _clip(start: Mapping[str, Any], space: Mapping[str, SearchRange | Any]) -> Values:
    """Return the nearest point of the search space to the start settings."""
    nearest: Values = {}
    for name, dimension in space.items():
        if not isinstance(dimension, SearchRange):
            nearest[name] = start[name] if start[name] in dimension else dimension[0]
            continue
        low, step = dimension.low, dimension.step
        value = min(max(start[name], low), dimension.high)
        nearest[name] = low + step * round((value - low) / step) if step else value
    return nearest


def _with_digest(trial: dict[str, Any]) -> dict[str, Any]:
    """Add a digest, by which a damaged line is detected."""
    return trial | {"digest": hashlib.sha256(json.dumps(trial, sort_keys=True).encode()).hexdigest()[:16]}


def _load_trials(study: optuna.Study, space: Mapping[str, Any], trials_file: Path) -> None:
    """Add the stored trials to the study; truncate the file at the first damaged line."""
    import optuna

    lines = trials_file.read_bytes().splitlines(keepends=True) if trials_file.exists() else []
    for number, line in enumerate(lines):
        try:
            trial = json.loads(line)
            settings, score = trial["settings"], trial["score"]
            if not line.endswith(b"\n") or trial != _with_digest({"settings": settings, "score": score}):
                raise ValueError
        except (ValueError, KeyError, TypeError):
            os.truncate(trials_file, sum(map(len, lines[:number])))
            return
        study.add_trial(optuna.trial.create_trial(params=settings, distributions=dict(space), value=score))


def _importance(study: optuna.Study) -> dict[str, float]:
    """Importance by PED-ANOVA (Watanabe, Bansal and Hutter 2023); empty if trials are too few or too similar."""
    import optuna

    if len(study.trials) < _MIN_TRIALS_FOR_IMPORTANCE:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # raised when the trials do not differ enough
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            evaluator = optuna.importance.PedAnovaImportanceEvaluator()
            shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
        except UserWarning:
            return {}
    return {name: round(share, 4) for name, share in shares.items()}
