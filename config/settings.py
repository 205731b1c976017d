"""All settings: each is a field of a section of luigi.cfg, `[als] rank`, and a command-line flag, `--als-rank`.

The sections of algorithms come from `config.algorithm_catalog`. No section is named like one of the project's packages.
"""

from __future__ import annotations

from typing import Any

import luigi
from luigi.configuration import get_config

from common.errors import UserError, did_you_mean, join_sorted
from config.algorithm_catalog import (
    CATALOG,
    Algorithm,
    ChoiceListSetting,
    ChoiceSetting,
    FlagSetting,
    NumberSetting,
    Setting,
    algorithm_names,
)
from config.metrics import selectable_names
from config.parameters import (
    BoundedNumberParameter,
    JSONChoiceListParameter,
    MemoryParameter,
    OrderedChoiceParameter,
    SparkMasterParameter,
)

STRATEGIES = ("random", "temporal", "leave_last_n")

Settings = dict[str, dict[str, Any]]
"""The value of each setting, by section and key."""


class paths(luigi.Config):
    """Data and model directories, relative to the working directory."""

    data_root = luigi.Parameter(default="data", description="Directory of raw files, stage outputs and run records.")
    models_root = luigi.Parameter(default="models", description="Directory of published versions.")


class synthetic(luigi.Config):
    """Size of the dataset `synthetic`, which the Generate stage creates."""

    num_users = BoundedNumberParameter(500, 1, 10_000_000, "Number of listeners.")
    num_tracks = BoundedNumberParameter(300, 2, 10_000_000, "Number of tracks in the catalogue.")
    num_interactions = BoundedNumberParameter(5_000, 2, 1_000_000_000, "Number of ratings, at least one per listener.")
    seed = BoundedNumberParameter(42, 0, 2**31 - 1, "Random seed; the same seed generates the same files.")


class ingest(luigi.Config):
    """Reading the raw files."""

    max_reject_fraction = BoundedNumberParameter(
        0.05, 0.0, 1.0, "Maximum fraction of unusable rows; the run fails if there are more."
    )
    window_days = BoundedNumberParameter(
        0, 0, 100_000, "Days before `--as-of`, or before the latest interaction, that are read; 0 reads everything."
    )


class split(luigi.Config):
    """Splitting the interactions into training, validation and test parts."""

    strategy = OrderedChoiceParameter(
        "random",
        STRATEGIES,
        "`random` holds out random interactions, `temporal` the latest, `leave_last_n` each user's latest.",
    )
    test_fraction = BoundedNumberParameter(0.2, 0.01, 0.9, "Fraction of interactions in the test part.")
    validation_fraction = BoundedNumberParameter(0.1, 0.01, 0.9, "Fraction of interactions in the validation part.")
    last_n = BoundedNumberParameter(
        1, 1, 1_000, "With `leave_last_n`: interactions per user in the test part, and in the validation part."
    )
    seed = BoundedNumberParameter(42, 0, 2**31 - 1, "With `random`: random seed of the split.")


class selection(luigi.Config):
    """Selecting the champion."""

    candidates = JSONChoiceListParameter(
        algorithm_names(),
        algorithm_names,
        "Algorithms that compete; those that cannot learn from the data are left out.",
    )
    select_by = OrderedChoiceParameter(
        "ndcg@10", selectable_names(), "Metric that decides which candidate is the champion."
    )


class tune(luigi.Config):
    """Tuning the candidates' settings on the validation part."""

    trials = BoundedNumberParameter(0, 0, 10_000, "Number of trials per candidate; 0 disables tuning.")
    minutes = BoundedNumberParameter(15.0, 0.01, 10_000.0, "Minutes after which no new trial starts.")
    seed = BoundedNumberParameter(42, 0, 2**31 - 1, "Random seed of the search.")


class recommend(luigi.Config):
    """Recommendation lists."""

    k = BoundedNumberParameter(20, 1, 1_000, "Number of tracks per list.")
    reasons = luigi.BoolParameter(
        default=True,
        parsing=luigi.BoolParameter.EXPLICIT_PARSING,
        description="Name the tracks of the user's history that explain each recommendation.",
    )
    min_history = BoundedNumberParameter(
        1, 1, 1_000, "Minimum history for the champion; users with fewer tracks are served by `content` if possible."
    )
    max_per_artist = BoundedNumberParameter(0, 0, 1_000, "Maximum tracks per artist in a list; 0 is unlimited.")
    new_share = BoundedNumberParameter(
        0.0, 0.0, 0.5, "Share of each list, at its end, for tracks with fewer than 5 listeners, chosen by `content`."
    )
    blocked = luigi.Parameter(
        default="", description="Path of a CSV file, `kind,name`, of tracks and artists that are never recommended."
    )


class publish(luigi.Config):
    """Conditions for promoting a version, and retention after a promotion."""

    min_size = BoundedNumberParameter(
        0.5, 0.0, 1.0, "Minimum ratio of users, tracks and interactions to the serving version."
    )
    tolerance = BoundedNumberParameter(
        0.1, 0.0, 1.0, "Maximum relative loss of the metric against the serving champion, on the same split."
    )
    keep_versions = BoundedNumberParameter(
        5, 1, 1_000, "Number of newest versions to keep, besides the serving version and the one before it."
    )
    keep_days = BoundedNumberParameter(30.0, 1.0, 36_500.0, "Days that stage outputs are kept after their last use.")
    keep_gb = BoundedNumberParameter(
        50.0, 0.0, 1e6, "Maximum size of a dataset's stage outputs; beyond it the least recently used are deleted."
    )


class spark_session(luigi.Config):
    """The Spark session; these settings do not change results."""

    master = SparkMasterParameter(default="local[*]", description="Spark master: `local[*]`, or a cluster's address.")
    shuffle_partitions = BoundedNumberParameter(8, 1, 100_000, "Maximum partitions after a shuffle.")
    driver_memory = MemoryParameter(default="2g", description="Heap size of Spark's driver JVM.")
    stage_timeout = BoundedNumberParameter(
        0.0, 0.0, 1e7, "Seconds after which a stage is stopped as hung; 0 disables the limit."
    )


class retry(luigi.Config):
    """Retrying transient failures: a lost executor, a crashed JVM, a full disk."""

    attempts = BoundedNumberParameter(3, 1, 100, "Maximum attempts per stage.")
    wait_s = BoundedNumberParameter(
        2.0, 0.0, 3_600.0, "Seconds before the second attempt; doubles before each further one."
    )


def _parameter(setting: Setting) -> luigi.Parameter[Any]:
    """Convert a catalogue setting to a Luigi parameter."""
    match setting:
        case NumberSetting():
            return BoundedNumberParameter(
                setting.default, setting.low, setting.high, setting.description, setting.reason
            )
        case ChoiceSetting():
            return OrderedChoiceParameter(setting.default, setting.choices, setting.description)
        case ChoiceListSetting():
            return JSONChoiceListParameter(setting.default, setting.choices, setting.description)
        case FlagSetting():
            return luigi.BoolParameter(
                default=setting.default,
                parsing=luigi.BoolParameter.EXPLICIT_PARSING,
                description=setting.description,
            )


def _algorithm_section(algorithm: Algorithm) -> type[luigi.Config]:
    """Build the configuration section of an algorithm."""
    parameters = {key: _parameter(setting) for key, setting in algorithm.settings.items()}
    return type(
        algorithm.section, (luigi.Config,), {"__doc__": algorithm.summary, "__module__": __name__, **parameters}
    )


ALGORITHM_SECTIONS: dict[str, type[luigi.Config]] = {
    name: _algorithm_section(algorithm) for name, algorithm in CATALOG.items() if algorithm.section
}
"""The configuration section of each algorithm that has settings."""

SECTIONS: tuple[type[luigi.Config], ...] = (
    paths, synthetic, ingest, split, selection, *ALGORITHM_SECTIONS.values(), tune, recommend, publish, spark_session,
    retry,
)  # fmt: skip


def resolve() -> Settings:
    """Read every setting from the command line, luigi.cfg or its default.

    Raises:
        UserError: a value is invalid, two values conflict, or a key is unknown.
    """
    names = [section.get_task_family() for section in SECTIONS]
    for name in get_config().sections():
        if name not in (*names, "retcode") and (hint := did_you_mean(name, names)):
            raise UserError(f"luigi.cfg has an unknown section [{name}]{hint}.")
    settings = {section.get_task_family(): _read_section(section) for section in SECTIONS}
    _check_synthetic(settings["synthetic"])
    _check_split(settings["split"])
    for algorithm in CATALOG.values():
        if algorithm.section:
            _check_algorithm(algorithm, settings[algorithm.section], tuning=settings["tune"]["trials"] > 0)
    return settings


def _read_section(section: type[luigi.Config]) -> dict[str, Any]:
    name, config = section.get_task_family(), get_config()
    parameters = dict(section.get_params())
    if config.has_section(name):
        for key in config[name]:
            if key not in parameters:
                hint, known = did_you_mean(key, parameters), join_sorted(parameters)
                raise UserError(f"[{name}] has no key {key!r}{hint}; its keys are {known}.")
    values = {}
    for key, parameter in parameters.items():
        try:
            values[key] = parameter.task_value(name, key)
        except ValueError as error:
            raise UserError(f"[{name}] {key}: {error}.") from error
    return values


def _check_synthetic(values: dict[str, Any]) -> None:
    if values["num_interactions"] < values["num_users"]:
        raise UserError(
            f"[synthetic] num_interactions = {values['num_interactions']:,} is less than num_users = "
            f"{values['num_users']:,}: every listener needs at least one interaction."
        )


def _check_split(values: dict[str, Any]) -> None:
    test, validation = values["test_fraction"], values["validation_fraction"]
    if values["strategy"] != "leave_last_n" and test + validation >= 1:
        raise UserError(
            f"[split] test_fraction = {test} and validation_fraction = {validation} leave nothing to train on: "
            "their sum must be less than 1."
        )


def _check_algorithm(algorithm: Algorithm, values: dict[str, Any], *, tuning: bool) -> None:
    """Reject settings that would have no effect."""
    section = algorithm.section
    for (key, value), requirements in algorithm.requirements.items():
        for required in requirements:
            if values[key] == value and values[required.setting] != required.value:
                raise UserError(
                    f"[{section}] {key} = {value} requires {required.setting} = {str(required.value).lower()}: "
                    f"{required.reason}."
                )
    for key, value in algorithm.tunable_with.items():
        if tuning and values[key] != value:
            raise UserError(
                f"[tune] trials requires [{section}] {key} = {value}: "
                f"tuning varies settings that {values[key]} ignores."
            )


def changed(settings: Settings) -> dict[str, list[str]]:
    """List the keys whose values differ from their defaults, by section."""
    defaults = {
        section.get_task_family(): {
            key: parameter.normalize(parameter._default) for key, parameter in section.get_params()
        }
        for section in SECTIONS
    }
    keys = {name: [key for key in values if values[key] != defaults[name][key]] for name, values in settings.items()}
    return {name: changed_keys for name, changed_keys in keys.items() if changed_keys}
