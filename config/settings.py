"""Every setting: a field of a section of luigi.cfg, `[als] rank`, or a flag, `--als-rank`.

None of the sections is named like a package of ours. What a stage's result depends on is declared by the stage.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import luigi
from luigi.configuration import get_config

from common.errors import UserError, did_you_mean, join_sorted

# What `spark` knows as well, repeated because `import workflow` must not import pyspark; a test compares.
CANDIDATES = ("popularity", "segment-popularity", "als", "als_explicit", "item-knn", "ease", "content", "hybrid")
PARTS = ("als", "item-knn", "ease", "content")
ENGINES = ("encore", "mllib")
STRATEGIES = ("random", "temporal", "leave_last_n")
CUTOFFS = (10, 20)
METRICS = tuple(f"{name}@{k}" for k in CUTOFFS for name in ("ndcg", "recall", "precision", "map", "mrr", "hit_rate"))
SELECTABLE = (*METRICS, "rmse", "mae")

Settings = dict[str, dict[str, Any]]
"""The value of every key of every section."""


class Checked(luigi.Parameter[Any]):
    """A parameter that refuses a wrong value with one sentence."""

    expected: str

    def accept(self, given: Any) -> Any:
        """The value that was meant; a ValueError or TypeError where none could be."""
        raise NotImplementedError

    def normalize(self, given: Any) -> Any:
        """Luigi's hook for values from anywhere."""
        try:
            return self.accept(given)
        except (ValueError, TypeError, KeyError):
            raise ValueError(f"{given!r} is not {self.expected}") from None

    def parse(self, text: str) -> Any:
        """Luigi's hook for values from luigi.cfg and the command line."""
        return self.normalize(text)


class Number(Checked):
    """A number within bounds, both allowed; whole where the lower bound is an `int`."""

    def __init__(self, default: float, low: float, high: float, description: str, because: str = "") -> None:
        super().__init__(default=default, description=description)
        self.kind, self.low, self.high = type(low), low, high
        self.expected = f"a {'whole ' if self.kind is int else ''}number from {low:,} to {high:,}{because}"

    def accept(self, given: Any) -> int | float:
        """See `Checked`."""
        number = self.kind(given)
        if not self.low <= number <= self.high:  # also true of NaN
            raise ValueError(given)
        return number


class OneOf(Checked):
    """A word out of a few."""

    def __init__(self, default: str, choices: Sequence[str], description: str) -> None:
        super().__init__(default=default, description=description)
        self.choices = choices
        self.expected = f"one of {', '.join(choices)}"

    def accept(self, given: Any) -> str:
        """See `Checked`."""
        if given not in self.choices:
            raise ValueError(given)
        return str(given)


class Several(OneOf):
    """A JSON list of different words out of a few, at least one."""

    def __init__(self, default: Sequence[str], choices: Sequence[str], description: str) -> None:
        super().__init__(default=choices[0], choices=choices, description=description)
        self._default = tuple(default)
        self.expected = f"a list such as {json.dumps(list(default))}, of one or more of {', '.join(choices)}"

    def accept(self, given: Any) -> Any:
        """See `Checked`."""
        names = json.loads(given) if isinstance(given, str) else given
        if not names or isinstance(names, str) or len(set(names)) < len(names) or set(names) - set(self.choices):
            raise ValueError(given)
        return tuple(names)

    def serialize(self, names: Any) -> str:
        """As it is written in luigi.cfg."""
        return json.dumps(list(names))


class YesNo(Checked):
    """True or false."""

    expected = "true or false"

    def accept(self, given: Any) -> bool:
        """See `Checked`."""
        if isinstance(given, bool):
            return given
        return {"true": True, "false": False}[str(given).lower()]

    def serialize(self, value: Any) -> str:
        """As it is written in luigi.cfg."""
        return str(value).lower()


class Memory(Checked):
    """An amount of memory as Java writes it."""

    expected = "an amount of memory such as 512m or 4g, and no less than 512m"

    def accept(self, given: Any) -> str:
        """See `Checked`."""
        megabytes = int(given[:-1]) * {"m": 1, "g": 1024}.get(given[-1:], 0)
        if megabytes < 512:
            raise ValueError(given)
        return str(given)


class Master(Checked):
    """Where Spark runs."""

    expected = "local[*], local[4], or the address of a cluster such as spark://host:7077"

    def accept(self, given: Any) -> str:
        """See `Checked`."""
        if not re.fullmatch(r"local(\[(\*|\d+)\])?|local-cluster\[\d+,\d+,\d+\]|spark://.+|k8s://.+|yarn", given):
            raise ValueError(given)
        return str(given)


_NO_ONE_SOLUTION = ": without λ, who has fewer interactions than there are factors has no one solution"


class paths(luigi.Config):
    """Where data and models are kept; relative to the working directory."""

    data_root = luigi.Parameter(default="data", description="Raw files, stage outputs and run records.")
    models_root = luigi.Parameter(default="models", description="Published versions.")


class synthetic(luigi.Config):
    """How much the Generate stage makes for the dataset `synthetic`."""

    num_users = Number(500, 1, 10_000_000, "Listeners.")
    num_tracks = Number(300, 2, 10_000_000, "Tracks in the catalogue.")
    num_interactions = Number(5_000, 2, 1_000_000_000, "Ratings, at least one a listener.")
    seed = Number(42, 0, 2**31 - 1, "The same seed makes the same files.")


class ingest(luigi.Config):
    """Reading the raw files."""

    max_reject_fraction = Number(0.05, 0.0, 1.0, "The run fails if a larger share of the rows is unusable.")
    window_days = Number(
        0, 0, 100_000, "Only the so many days before `--as-of`, or before the latest time in the data, count; 0: all."
    )


class split(luigi.Config):
    """Holding interactions back to measure on."""

    strategy = OneOf(
        "random", STRATEGIES, "How: `random`, each by itself; `temporal`, the latest; `leave_last_n`, each user's last."
    )
    test_fraction = Number(0.2, 0.01, 0.9, "Share of the interactions that is held back to measure on.")
    validation_fraction = Number(0.1, 0.01, 0.9, "Share, of all, that is held back to choose by.")
    last_n = Number(1, 1, 1_000, "For `leave_last_n`: interactions a user that each of the two gets.")
    seed = Number(42, 0, 2**31 - 1, "For `random`: another seed holds back others.")


class selection(luigi.Config):
    """Which models compete, and what for."""

    candidates = Several(CANDIDATES, CANDIDATES, "Models that compete, where they can learn from the data.")
    select_by = OneOf("ndcg@10", SELECTABLE, "The metric that names the champion.")


class als(luigi.Config):
    """ALS for implicit feedback: what is heard is liked."""

    engine = OneOf("encore", ENGINES, "What trains it: our own, or Spark's MLlib as a reference.")
    rank = Number(64, 1, 1_000, "Factors a user and a track are described by.")
    max_iter = Number(10, 1, 1_000, "Iterations.")
    reg_param = Number(6.0, 1e-6, 10_000.0, "λ: how much large factors cost.", _NO_ONE_SOLUTION)
    reg_exponent = Number(0.5, 0.0, 2.0, "λ grows with the number of interactions to this power; 1 with MLlib.")
    value = OneOf("binary", ("binary", "linear", "log"), "What of an interaction's value weighs.")
    alpha = Number(10.0, 0.0, 10_000.0, "How much more a heard track weighs than one that was not.")
    steps = Number(3, 0, 1_000, "Steps of conjugate gradients in each half-iteration; 0 solves exactly.")
    patience = Number(0, 0, 1_000, "Stops when so many iterations made no better lists; 0 never does.")
    say_objective = YesNo(default=False, description="Whether each iteration reports it: one more pass over the data.")
    seed = Number(42, 0, 2**31 - 1, "Where the factors start.")


class als_explicit(luigi.Config):
    """ALS for ratings: predicts the value."""

    engine = OneOf("encore", ENGINES, "What trains it: our own, or Spark's MLlib as a reference.")
    rank = Number(20, 1, 1_000, "Factors a user and a track are described by.")
    max_iter = Number(10, 1, 1_000, "Iterations.")
    reg_param = Number(0.15, 1e-6, 10_000.0, "λ: how much large factors cost.", _NO_ONE_SOLUTION)
    reg_exponent = Number(1.0, 0.0, 2.0, "λ grows with the number of interactions to this power; 1 with MLlib.")
    biases = YesNo(default=False, description="Whether users and tracks have one; not with MLlib.")
    steps = Number(0, 0, 1_000, "Steps of conjugate gradients in each half-iteration; 0 solves exactly.")
    say_objective = YesNo(default=False, description="Whether each iteration reports it: one more pass over the data.")
    seed = Number(42, 0, 2**31 - 1, "Where the factors start.")


class item_knn(luigi.Config):
    """Neighbours of items: what the same users heard is similar."""

    similarity = OneOf("cosine", ("cosine", "bm25"), "How similar two tracks are that the same users heard.")
    neighbours = Number(200, 1, 100_000, "Nearest tracks that each track keeps.")


class ease(luigi.Config):
    """EASE: a linear model of all pairs of tracks, in closed form."""

    reg_param = Number(100.0, 0.001, 10_000_000.0, "λ: how much large weights cost.")
    min_listeners = Number(2, 1, 1_000_000_000, "Tracks with fewer are left out; time and memory grow with the rest.")


class hybrid(luigi.Config):
    """A weighted sum of several models, the weights learned on the validation part."""

    parts = Several(
        ("als", "ease", "content"), PARTS, "What is blended, where it can learn from the data; two at least."
    )


class tune(luigi.Config):
    """Looking for better settings of the candidates, on the validation part."""

    trials = Number(0, 0, 10_000, "Settings that are tried of each candidate; 0: those given are used.")
    minutes = Number(15.0, 0.01, 10_000.0, "No new trial begins after so long.")
    seed = Number(42, 0, 2**31 - 1, "Another seed tries others.")


class recommend(luigi.Config):
    """The lists that are made for everyone."""

    k = Number(20, 1, 1_000, "Tracks a user.")
    reasons = YesNo(default=True, description="Whether to say which heard tracks each recommendation is due to.")
    min_history = Number(1, 1, 1_000, "Tracks a user must have heard; `content` serves those with fewer, if it can.")
    max_per_artist = Number(0, 0, 1_000, "Tracks of one artist in a list, at most; 0: any number.")
    new_share = Number(
        0.0, 0.0, 0.5, "Share of each list, its end, for tracks with fewer than 5 listeners, as `content` finds them."
    )
    blocked = luigi.Parameter(
        default="", description="A CSV file, `kind,name`: the ids of tracks, and artists, that nobody is recommended."
    )


class publish(luigi.Config):
    """What a version must fulfil to be promoted, and what is kept after a promotion."""

    min_size = Number(0.5, 0.0, 1.0, "Least users, tracks and interactions, as a share of the serving version's.")
    tolerance = Number(
        0.1, 0.0, 1.0, "Share of the serving champion's metric that may be lost, measured on the same split."
    )
    keep_versions = Number(5, 1, 1_000, "Newest versions that a promotion keeps, beside what serves and served before.")
    keep_days = Number(30.0, 1.0, 36_500.0, "Days that stage outputs are kept after a run last needed them.")
    keep_gb = Number(50.0, 0.0, 1e6, "Size of a dataset's stage outputs beyond which the longest unused go earlier.")


class spark_session(luigi.Config):
    """Where Spark runs; nothing here changes a result."""

    master = Master(default="local[*]", description="`local[*]`, or a cluster's address.")
    shuffle_partitions = Number(8, 1, 100_000, "Partitions after a shuffle, at most.")
    driver_memory = Memory(default="2g", description="Memory of Spark's Java.")
    stage_timeout = Number(0.0, 0.0, 1e7, "Seconds after which a stage counts as hung and is ended; 0 is never.")


class retry(luigi.Config):
    """Trying again what may pass: a lost executor, a JVM that died, a full disk."""

    attempts = Number(3, 1, 100, "How often a stage is tried in all.")
    wait_s = Number(2.0, 0.0, 3_600.0, "Seconds before the second attempt; doubled before each further one.")


SECTIONS: tuple[type[luigi.Config], ...] = (
    paths, synthetic, ingest, split, selection, als, als_explicit, item_knn, ease, hybrid, tune, recommend, publish,
    spark_session, retry,
)  # fmt: skip


def resolve() -> Settings:
    """Every setting, from the command line, luigi.cfg or its default.

    Raises:
        UserError: a value is wrong, two do not go together, or a key is unknown; the sentence names them.
    """
    ours = [section.get_task_family() for section in SECTIONS]
    for name in get_config().sections():
        if name not in (*ours, "retcode") and (hint := did_you_mean(name, ours)):
            raise UserError(f"luigi.cfg has a section [{name}], which nothing reads{hint}.")
    settings = {section.get_task_family(): _values(section) for section in SECTIONS}
    made = settings["synthetic"]
    if made["num_interactions"] < made["num_users"]:
        raise UserError(
            f"[synthetic] num_interactions = {made['num_interactions']:,} is less than num_users = "
            f"{made['num_users']:,}: every listener rates at least once."
        )
    dealt = settings["split"]
    if dealt["strategy"] != "leave_last_n" and dealt["test_fraction"] + dealt["validation_fraction"] >= 1:
        raise UserError(
            f"[split] test_fraction = {dealt['test_fraction']} and validation_fraction = "
            f"{dealt['validation_fraction']} leave nothing to train on: their sum must be less than 1."
        )
    for name in ("als", "als_explicit"):
        if settings[name]["engine"] == "mllib":
            _refuse_what_mllib_ignores(name, settings[name])
            if settings["tune"]["trials"]:
                raise UserError(f"[tune] trials try what [{name}] engine = mllib does not have: say engine = encore.")
    return settings


def _refuse_what_mllib_ignores(name: str, values: dict[str, Any]) -> None:
    """Refuses settings that would have no effect on MLlib's engine and mislead whoever compares."""
    if values["reg_exponent"] != 1:
        raise UserError(f"[{name}] engine = mllib scales λ in one way only: say [{name}] reg_exponent = 1.")
    if values.get("patience"):
        raise UserError(f"[{name}] engine = mllib cannot stop early: say [{name}] patience = 0.")
    if values["say_objective"]:
        raise UserError(f"[{name}] engine = mllib does not tell its objective: say [{name}] say_objective = false.")
    if values.get("biases"):
        raise UserError(f"[{name}] engine = mllib knows no biases: say [{name}] biases = false.")


def changed(settings: Settings) -> dict[str, list[str]]:
    """The keys that do not have their default, by section."""
    defaults = {
        section.get_task_family(): {
            key: parameter.normalize(parameter._default) for key, parameter in section.get_params()
        }
        for section in SECTIONS
    }
    differing = {
        name: [key for key in values if values[key] != defaults[name][key]] for name, values in settings.items()
    }
    return {name: keys for name, keys in differing.items() if keys}


def _values(section: type[luigi.Config]) -> dict[str, Any]:
    name = section.get_task_family()
    parameters = dict(section.get_params())
    configured = get_config()
    if configured.has_section(name):
        for key in configured[name]:
            if key not in parameters:
                raise UserError(
                    f"[{name}] has no key {key!r}{did_you_mean(key, parameters)}; it has {join_sorted(parameters)}."
                )
    values = {}
    for key, parameter in parameters.items():
        try:
            values[key] = parameter.task_value(name, key)
        except ValueError as error:
            raise UserError(f"[{name}] {key}: {error}.") from error
    return values
