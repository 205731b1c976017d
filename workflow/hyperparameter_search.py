"""The search for what a candidate is best trained with: Optuna proposes, a trial trains and measures.

For a hybrid it is its weights, which are all tried at once.

Trials are kept in a file beside the stage's outputs, a line each. It is named by what they depend on, and not by how
many were asked for: a run that was killed goes on where it was, and twenty more trials are twenty more. A line that is
damaged, or was cut off, ends what is known: the search goes on from there.
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

from common.durable import append_line, exclusive_lock

if TYPE_CHECKING:
    import optuna

    from spark.algorithms.training_data import TrainingData

Settings = dict[str, Any]
TUNABLE = ("als", "als_explicit", "item-knn", "ease")
"""The candidates that have something to choose."""


def search_space(candidate: str) -> dict[str, Any]:
    """What is searched: each setting's distribution."""
    from optuna.distributions import CategoricalDistribution as Choice
    from optuna.distributions import FloatDistribution as Real
    from optuna.distributions import IntDistribution as Whole

    spaces: dict[str, dict[str, Any]] = {
        "als": {
            "rank": Whole(32, 192, step=32),
            "reg_param": Real(0.5, 100.0, log=True),
            "reg_exponent": Real(0.0, 1.0),
            "alpha": Real(1.0, 40.0, log=True),
            "value": Choice(("binary", "log")),
        },
        "als_explicit": {
            "rank": Whole(5, 65, step=5),
            "reg_param": Real(0.02, 1.0, log=True),
            "biases": Choice((False, True)),
        },
        "item-knn": {"similarity": Choice(("cosine", "bm25")), "neighbours": Whole(20, 2_000, log=True)},
        "ease": {"reg_param": Real(1.0, 5_000.0, log=True)},
    }
    return spaces[candidate]


@dataclass(frozen=True)
class TuningResult:
    """What a search came to."""

    settings: Settings
    """Those of the best trial."""
    score: float
    trials: list[dict[str, Any]]
    """Settings and score of each, in order."""
    importance: dict[str, float]
    """How much of the difference between trials each setting explains; shares that add up to 1."""


@dataclass(frozen=True)
class TuningContext:
    """What choices are made on."""

    training: TrainingData
    """The training part."""
    validation: Path
    """Parquet of the validation part."""
    liked_from: float | None
    """The rating from which a track is relevant; None: all are."""
    into: Path
    """A directory that every worker can write; nothing stays there."""
    report: Callable[[str, float], None]


def best_weights(parts: Mapping[str, Mapping[str, Any]], on: TuningContext) -> dict[str, Any]:
    """The weights of a hybrid's parts, whose settings are given: `settings`, and what was found about them.

    Raises:
        NotApplicable: see `spark.evaluation.blend_weights.learn_weights`.
    """
    from spark.evaluation.blend_weights import learn_weights

    with TemporaryDirectory(dir=on.into) as models:
        found = learn_weights(on.training, parts, on.validation, on.liked_from, Path(models), on.report)
    about = {"ndcg@10": found.ndcg, "alone": found.alone, "left_out": found.left_out}
    return {"settings": {"weights": found.weights}, **about}


def best_settings(candidate: str, start: Mapping[str, Any], on: TuningContext, **how: Any) -> dict[str, Any]:
    """A candidate's settings, and the fields of `Found`; `how` goes to `search`.

    Raises:
        NotApplicable: the candidate cannot learn from this data.
    """
    from spark.evaluation.tuning_objective import run_trial

    def measure(tried: Settings) -> float:
        return run_trial(on.training, candidate, {**start, **tried}, on.validation, on.liked_from, on.into)

    lower_is_better = candidate == "als_explicit"
    return asdict(search(candidate, start, measure, lower_is_better=lower_is_better, report=on.report, **how))


def search(
    candidate: str,
    start: Mapping[str, Any],
    measure: Callable[[Settings], float],
    *,
    trials: int,
    minutes: float,
    seed: int,
    lower_is_better: bool,
    kept_in: Path,
    report: Callable[[str, float], None],
) -> TuningResult:
    """Tries settings until there are enough trials, or the time is over; at least one, which is the present settings.

    Args:
        start: the candidate's present settings.
        measure: trains with the given settings in place of the present ones, and measures.
        kept_in: the file that trials are kept in.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study, space = optuna.create_study(direction="minimize" if lower_is_better else "maximize"), search_space(candidate)
    with exclusive_lock(kept_in.with_suffix(".lock")):
        _recall(study, space, kept_in)
        ends, done = time.monotonic() + 60 * minutes, len(study.trials)
        if not done:
            study.enqueue_trial(_within(space, start))
        while done < trials and (done == 0 or time.monotonic() < ends):
            # Seeded by the number of trials, so that a search that was interrupted goes on as it would have.
            study.sampler = optuna.samplers.TPESampler(seed=seed + done)
            trial = study.ask(space)
            score = measure(trial.params)
            study.tell(trial, score)
            append_line(kept_in, _sealed({"settings": trial.params, "score": score}))
            best, done = study.best_trial, done + 1
            report(f"trial {done} of {trials}, best {best.value:.4f} at {best.number + 1}", done / trials)
    return TuningResult(
        dict(study.best_params), float(study.best_value or 0.0),
        [{"settings": each.params, "score": each.value} for each in study.trials], _importance(study),
    )  # fmt: skip


def _sealed(trial: dict[str, Any]) -> dict[str, Any]:
    """A trial as it is kept, with what it can be recognised by."""
    return trial | {"digest": hashlib.sha256(json.dumps(trial, sort_keys=True).encode()).hexdigest()[:16]}


def _recall(study: optuna.Study, space: Mapping[str, Any], kept_in: Path) -> None:
    """Gives a search the trials that are kept, up to the first that is damaged; that and what follows it goes."""
    import optuna

    lines = kept_in.read_bytes().splitlines(keepends=True) if kept_in.exists() else []
    for number, line in enumerate(lines):
        try:
            kept = json.loads(line)
            settings, score = kept["settings"], kept["score"]
            if not line.endswith(b"\n") or kept != _sealed({"settings": settings, "score": score}):
                raise ValueError
        except (ValueError, KeyError, TypeError):
            os.truncate(kept_in, sum(map(len, lines[:number])))
            return
        study.add_trial(optuna.trial.create_trial(params=settings, distributions=dict(space), value=score))


def _within(space: Mapping[str, Any], start: Mapping[str, Any]) -> Settings:
    """The present settings as far as they lie in what is searched; the nearest there are for the others."""
    found: Settings = {}
    for name, distribution in space.items():
        choices = getattr(distribution, "choices", None)
        if choices:
            found[name] = start[name] if start[name] in choices else choices[0]
            continue
        low, step = distribution.low, distribution.step
        value = min(max(start[name], low), distribution.high)
        found[name] = low + step * round((value - low) / step) if step else value
    return found


def _importance(study: optuna.Study) -> dict[str, float]:
    """Watanabe, Bansal and Hutter 2023; nothing where all trials are alike or too few to tell."""
    import optuna

    if len(study.trials) < 4:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # the trials do not differ enough
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            evaluator = optuna.importance.PedAnovaImportanceEvaluator()
            shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
        except UserWarning:
            return {}
    return {name: round(share, 4) for name, share in shares.items()}
