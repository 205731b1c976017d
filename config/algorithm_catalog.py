"""The algorithm catalogue: one entry declares everything that the pipeline needs to know about an algorithm.

To add an algorithm, write a module with `fit` and `load` (see `spark.algorithms.saved_model`) and add its entry to
`CATALOG`. Settings, candidates, tuning, blending, user deletion and the contract tests follow from the entry. The
catalogue is plain data: it imports neither Spark nor Luigi nor numpy, so every package may read it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

MODEL_INFO = "algorithm.json"
"""The file in a model directory that names the algorithm. A blend's directory contains one model directory per part."""


@dataclass(frozen=True)
class NumberSetting:
    """A number between two inclusive bounds; an integer if `low` is an integer."""

    default: float
    low: float
    high: float
    description: str
    reason: str = ""
    """The reason for the bounds, for the error message."""


@dataclass(frozen=True)
class ChoiceSetting:
    """One of several words."""

    default: str
    choices: Sequence[str]
    description: str


@dataclass(frozen=True)
class ChoiceListSetting:
    """A list of distinct words."""

    default: Sequence[str]
    choices: Callable[[], Sequence[str]]
    description: str


@dataclass(frozen=True)
class FlagSetting:
    """True or false."""

    default: bool
    description: str


Setting = NumberSetting | ChoiceSetting | ChoiceListSetting | FlagSetting


@dataclass(frozen=True)
class SearchRange:
    """An inclusive interval that tuning searches; of integers if `low` is an integer."""

    low: float
    high: float
    step: int | None = None
    log: bool = False
    """Whether values are sampled on a logarithmic scale."""


@dataclass(frozen=True)
class Requirement:
    """A value that one setting must have because of another setting's value."""

    setting: str
    value: Any
    reason: str


@dataclass(frozen=True)
class UserRows:
    """Parquet files with one row per user. Deleting a user removes the row."""

    pattern: str
    """A glob, relative to the model directory."""
    column: str
    """The column of user indexes."""


@dataclass(frozen=True)
class UserArray:
    """A `.npy` array whose first axis is the user index. Deleting a user overwrites their element."""

    pattern: str
    deleted_value: float = 0
    """Replaces the element of a deleted user."""


@dataclass(frozen=True)
class Algorithm:
    """The catalogue entry of one algorithm."""

    name: str
    module: str
    summary: str
    section: str = ""
    """Section of luigi.cfg with its settings; empty if it has none."""
    settings: Mapping[str, Setting] = field(default_factory=dict)
    search_space: Mapping[str, SearchRange | Sequence[Any]] = field(default_factory=dict)
    """Settings that tuning varies: a range or the possible values of each. Empty if there is nothing to tune."""
    requirements: Mapping[tuple[str, Any], Sequence[Requirement]] = field(default_factory=dict)
    """By (setting, value): the values that other settings must then have."""
    tunable_with: Mapping[str, Any] = field(default_factory=dict)
    """Settings that must have these values for the search space to take effect."""
    feedback: Literal["any", "rating"] = "any"
    """The kind of interactions that it learns from."""
    predicts_ratings: bool = False
    """Whether it predicts ratings, so that tuning minimises their error instead of maximising NDCG."""
    can_blend: bool = False
    """Whether it may be a part of a blend."""
    is_blend: bool = False
    """Whether it combines the algorithms in its setting `parts`, with weights learned on the validation part."""
    can_fold_in: bool = False
    """Whether `models.fold_in` can compute a new user's factors from the model directory."""
    user_files: Sequence[UserRows | UserArray] = ()
    """Files of the model directory with data about individual users. All other files must be aggregates."""

    @property
    def defaults(self) -> dict[str, Any]:
        """The default of every setting."""
        return {name: setting.default for name, setting in self.settings.items()}


def algorithm_names() -> tuple[str, ...]:
    """Return the names of all algorithms, in catalogue order."""
    return tuple(CATALOG)


def blendable_names() -> tuple[str, ...]:
    """Return the names of the algorithms that may be a part of a blend."""
    return tuple(name for name, algorithm in CATALOG.items() if algorithm.can_blend)


_FACTORS_OF_USERS = UserRows("userFactors/*.parquet", "id")
_ENGINE = ChoiceSetting("encore", ("encore", "mllib"), "Training engine: Encore's own, or Spark MLlib as a reference.")
_RANK = "Number of latent factors."
_ITERATIONS = "Number of iterations."
_REGULARIZATION = "Regularisation strength λ."
_REG_EXPONENT = "Exponent of the interaction count in the regularisation: 0 as in `implicit`, 1 as in MLlib."
_NOT_UNIQUE = ": without λ the solution is not unique for users with fewer interactions than factors"
_STEPS = "Conjugate gradient steps per half-iteration; 0 solves exactly by Cholesky decomposition."
_REPORT_OBJECTIVE = FlagSetting(
    False, "Report the objective after each iteration, at the cost of a pass over the data."
)
_SEED = "Seed of the initial factors."
_MLLIB_EXPONENT = Requirement("reg_exponent", 1, "MLlib always scales λ by the number of interactions")
_MLLIB_OBJECTIVE = Requirement("say_objective", False, "MLlib does not report its objective")

CATALOG: dict[str, Algorithm] = {
    algorithm.name: algorithm
    for algorithm in (
        Algorithm(
            "popularity",
            module="spark.algorithms.popularity",
            summary="The baseline: the most popular tracks for everyone.",
        ),
        Algorithm(
            "segment-popularity",
            module="spark.algorithms.segment_popularity",
            summary="The most popular tracks among users of the same country or age group.",
            user_files=(UserArray("segment.npy", deleted_value=-1),),
        ),
        Algorithm(
            "als",
            module="spark.algorithms.implicit_als",
            summary="ALS for implicit feedback: a heard track is a positive example.",
            section="als",
            settings={
                "engine": _ENGINE,
                "rank": NumberSetting(64, 1, 1_000, _RANK),
                "max_iter": NumberSetting(10, 1, 1_000, _ITERATIONS),
                "reg_param": NumberSetting(6.0, 1e-6, 10_000.0, _REGULARIZATION, _NOT_UNIQUE),
                "reg_exponent": NumberSetting(0.5, 0.0, 2.0, _REG_EXPONENT),
                "value": ChoiceSetting(
                    "binary", ("binary", "linear", "log"),
                    "Transformation of an interaction's value before alpha is applied; `binary` ignores the value.",
                ),
                "alpha": NumberSetting(10.0, 0.0, 10_000.0, "Confidence added to a heard track."),
                "steps": NumberSetting(3, 0, 1_000, _STEPS),
                "patience": NumberSetting(
                    0, 0, 1_000, "Stop after this many iterations without better lists; 0 disables early stopping."
                ),
                "say_objective": _REPORT_OBJECTIVE,
                "seed": NumberSetting(42, 0, 2**31 - 1, _SEED),
            },
            search_space={
                "rank": SearchRange(32, 192, step=32),
                "reg_param": SearchRange(0.5, 100.0, log=True),
                "reg_exponent": SearchRange(0.0, 1.0),
                "alpha": SearchRange(1.0, 40.0, log=True),
                "value": ("binary", "log"),
            },
            requirements={
                ("engine", "mllib"): (
                    _MLLIB_EXPONENT,
                    Requirement("patience", 0, "MLlib cannot stop early"),
                    _MLLIB_OBJECTIVE,
                )
            },
            tunable_with={"engine": "encore"},
            can_blend=True,
            can_fold_in=True,
            user_files=(_FACTORS_OF_USERS,),
        ),
        Algorithm(
            "als_explicit",
            module="spark.algorithms.explicit_als",
            summary="ALS for explicit ratings: predicts the rating.",
            section="als_explicit",
            settings={
                "engine": _ENGINE,
                "rank": NumberSetting(20, 1, 1_000, _RANK),
                "max_iter": NumberSetting(10, 1, 1_000, _ITERATIONS),
                "reg_param": NumberSetting(0.15, 1e-6, 10_000.0, _REGULARIZATION, _NOT_UNIQUE),
                "reg_exponent": NumberSetting(1.0, 0.0, 2.0, _REG_EXPONENT),
                "biases": FlagSetting(False, "Model user and track biases; not available with MLlib."),
                "steps": NumberSetting(0, 0, 1_000, _STEPS),
                "say_objective": _REPORT_OBJECTIVE,
                "seed": NumberSetting(42, 0, 2**31 - 1, _SEED),
            },
            search_space={
                "rank": SearchRange(5, 65, step=5),
                "reg_param": SearchRange(0.02, 1.0, log=True),
                "biases": (False, True),
            },
            requirements={
                ("engine", "mllib"): (
                    _MLLIB_EXPONENT,
                    _MLLIB_OBJECTIVE,
                    Requirement("biases", False, "MLlib's model has no biases"),
                )
            },
            tunable_with={"engine": "encore"},
            feedback="rating",
            predicts_ratings=True,
            can_fold_in=True,
            user_files=(_FACTORS_OF_USERS,),
        ),
        Algorithm(
            "item-knn",
            module="spark.algorithms.item_knn",
            summary="Item-based nearest neighbours: tracks heard by the same users are similar.",
            section="item_knn",
            settings={
                "similarity": ChoiceSetting("cosine", ("cosine", "bm25"), "Similarity of two tracks' listeners."),
                "neighbours": NumberSetting(200, 1, 100_000, "Number of nearest tracks kept per track."),
            },
            search_space={"similarity": ("cosine", "bm25"), "neighbours": SearchRange(20, 2_000, log=True)},
            can_blend=True,
        ),
        Algorithm(
            "ease",
            module="spark.algorithms.ease",
            summary="EASE: a linear model of all pairs of tracks, in closed form.",
            section="ease",
            settings={
                "reg_param": NumberSetting(100.0, 0.001, 10_000_000.0, _REGULARIZATION),
                "min_listeners": NumberSetting(
                    2, 1, 1_000_000_000,
                    "Minimum listeners of a modelled track; time and memory grow with the number of tracks.",
                ),
            },
            search_space={"reg_param": SearchRange(1.0, 5_000.0, log=True)},
            can_blend=True,
        ),
        Algorithm(
            "content",
            module="spark.algorithms.content",
            summary="Content-based: tracks with the artist, genre and tags of the user's history.",
            can_blend=True,
        ),
        Algorithm(
            "hybrid",
            module="spark.algorithms.hybrid",
            summary="A weighted sum of several models, with weights learned on the validation part.",
            section="hybrid",
            settings={
                "parts": ChoiceListSetting(
                    ("als", "ease", "content"), blendable_names,
                    "Algorithms to blend; those that cannot learn from the data are left out, and two must remain.",
                ),
            },
            is_blend=True,
        ),
    )
}  # fmt: skip
"""The algorithms by name, in the order in which documentation and reports list them."""
