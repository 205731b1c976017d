"""The whole graph, from raw files to the served version, in the order of the data flow.

`RecommendAll` at the end requires everything. Each stage declares its inputs in `requires` and its configuration in
`settings`; `make` does the work, and its imports determine which source files the result depends on.
"""

from __future__ import annotations

import datetime
import importlib.metadata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import luigi

from common.errors import NotApplicable, UserError, did_you_mean, join_sorted
from common.files import read_json, write_json
from common.formatting import count_noun
from common.locks import exclusive_lock
from config import settings
from config.algorithm_catalog import CATALOG, Algorithm, algorithm_names
from config.dataset import find_files
from config.fallbacks import FALLBACK_ALGORITHMS
from config.metrics import lower_is_better
from config.paths import EVALUATION, SUCCESS
from models.manifest import MANIFEST, read_manifest
from models.promotion_gate import (
    BASELINE,
    ChampionComparison,
    GateInput,
    comparison_metric,
    refusal_reason,
)
from models.registry import VersionRegistry
from run_records.writer import StageRecord
from workflow.blocklist import read_blocklist
from workflow.hyperparameter_search import TuningContext
from workflow.outputs import retention
from workflow.outputs.fingerprint import compute_fingerprint
from workflow.pipeline_task import PipelineTask, RedactedParameter
from workflow.reporting.console import Console
from workflow.running.run import read_only_run
from workflow.scheduler.failover_scheduler import enable_failover
from workflow.stage import Dependencies, RowCounts, Stage

_NOT_APPLICABLE = "not_applicable.json"
"""Written instead of a model: why the candidate cannot learn from this data."""

# RangeDaily needs a scheduler before its first run starts, which would check whether luigid answers.
enable_failover(lambda sentence: Console().info(sentence))


class Generate(Stage):
    """Generates the dataset `synthetic`: three CSV files of users, tracks and ratings that follow simulated tastes."""

    settings = (settings.synthetic,)

    def make(self, *, into: Path, **inputs: Path) -> RowCounts:
        from spark.ingest.synthetic_data import SyntheticSizes, generate

        num_rows = generate(SyntheticSizes(**self.values), into)
        return RowCounts(read=0, written=num_rows)


class Ingest(Stage):
    """Encodes raw rows as interactions with dense indexes, keeps rejected rows with a reason, and profiles the data."""

    settings = (settings.ingest,)

    def requires(self) -> Mapping[str, Stage]:
        return {"raw": self.clone(Generate)} if self.context.dataset.synthetic else {}

    def identity(self) -> list[Any]:
        description = self.context.dataset.model_dump(mode="json", exclude={"name", "title", "item_label"})
        return [description, self.raw_digests, *([str(self.context.as_of)] if self.context.as_of else [])]

    @cached_property
    def raw_digests(self) -> dict[str, str]:
        """The SHA-256 of every raw file at the start of the run, by path relative to the raw directory."""
        return self._digest()

    def _digest(self) -> dict[str, str]:
        if self.context.dataset.synthetic:
            return {}
        raw_dir, tables = self.context.raw_dir, self.context.dataset.tables.values()
        digests = self.context.raw_files.digests(file for table in tables for file in find_files(raw_dir, table))
        return {str(file.relative_to(raw_dir)): digest for file, digest in digests.items()}

    def make(self, *, into: Path, **inputs: Path) -> RowCounts:
        from spark.ingest.data_checks import raise_on_failed_check
        from spark.ingest.data_profile import profile_interactions
        from spark.ingest.raw_to_parquet import ingest

        dataset = self.context.dataset
        raw_dir = inputs.get("raw", self.context.raw_dir)
        limit, days = self.values["max_reject_fraction"], self.values["window_days"]
        counts = ingest(self.spark, dataset, raw_dir, into, limit, self.context.as_of, days)
        if changed := sorted({name for name, _ in self._digest().items() ^ self.raw_digests.items()}):
            raise UserError(f"{raw_dir / changed[0]} changed while it was read: run again once it is complete.")
        write_json(into / "inputs.json", self.raw_digests)
        profile = profile_interactions(self.spark, into, dataset, counts)
        raise_on_failed_check(profile["checks"], raw_dir / dataset.interactions.path)
        write_json(into / "profile.json", profile)
        return RowCounts(read=counts.read, written=counts.interactions)


class Split(Stage):
    """Splits interactions into training, validation and test parts: at random, by time, or the last of each user."""

    settings = (settings.split,)

    def requires(self) -> Mapping[str, Stage]:
        return {"ingested": self.clone(Ingest)}

    def make(self, *, into: Path, **inputs: Path) -> RowCounts:
        from spark.splitting.split import SplitConfig, split_interactions

        sizes, cuts = split_interactions(self.spark, inputs["ingested"], SplitConfig(**self.values), into)
        if not sizes["train"] or not sizes["test"]:
            keys = "last_n" if self.values["strategy"] == "leave_last_n" else "test_fraction"
            raise UserError(f"The split left {sizes} interactions: add data, or change [split] {keys}.")
        write_json(into / "sizes.json", sizes | {"strategy": self.values["strategy"]} | cuts)
        return RowCounts(read=sum(sizes.values()), written=sum(sizes.values()))


class _CandidateStage(Stage):
    """Base of the stages that run once per candidate."""

    model = luigi.Parameter(default="als", description=f"Candidate: one of {', '.join(algorithm_names())}.")

    def check_parameters(self) -> None:
        if self.model not in CATALOG:
            hint, known = did_you_mean(self.model, CATALOG), join_sorted(CATALOG)
            raise UserError(f"--model: there is no candidate {self.model!r}{hint}; the candidates are {known}.")

    @property
    def candidate(self) -> str:
        return str(self.model)

    @property
    def algorithm(self) -> Algorithm:
        """The candidate's catalogue entry."""
        return CATALOG[self.candidate]

    def depends_on(self) -> Dependencies:
        names = (self.candidate, *self.parts())
        sections = (settings.ALGORITHM_SECTIONS[name] for name in names if CATALOG[name].section)
        return Dependencies((*self.settings, *sections), tuple(CATALOG[name].module for name in names))

    def tuned(self) -> Mapping[str, Stage]:
        """The stage that tunes the candidate; empty if none does."""
        has_trials = self.algorithm.search_space and self.context.settings["tune"]["trials"]
        return {"tuned": self.clone(Tune)} if has_trials or self.algorithm.is_blend else {}

    def parts(self) -> dict[str, _CandidateStage]:
        """The training stages of the algorithms that a blend combines; empty for other candidates."""
        names = self.context.settings[self.algorithm.section]["parts"] if self.algorithm.is_blend else ()
        return {name: self.clone(Train, model=name) for name in names}

    def configured_settings(self) -> dict[str, Any]:
        """The candidate's settings as configured."""
        return dict(self.context.settings[self.algorithm.section]) if self.algorithm.section else {}

    def training_settings(self) -> dict[str, Any]:
        """The settings to train with: as configured, overridden by tuning.

        Raises:
            NotApplicable: tuning found that the candidate cannot learn from this data.
        """
        values = self.configured_settings()
        if self.algorithm.is_blend:
            values = {"parts": {name: part.training_settings() for name, part in self.parts().items()}}
        for stage in self.tuned().values():
            tuning = read_json(stage.directory / "best.json")
            if "reason" in tuning:
                raise NotApplicable(tuning["reason"])
            values |= tuning["settings"]
        return values


class Tune(_CandidateStage):
    """Tunes a candidate: trains on the training part, measures on the validation part.

    A blend learns its weights; the other candidates search their settings if `[tune] trials` is set.
    """

    settings = (settings.tune,)

    def requires(self) -> Mapping[str, Stage]:
        data: dict[str, Stage] = {"ingested": self.clone(Ingest), "split": self.clone(Split)}
        return data | {f"tuned {name}": tune for name, part in self.parts().items() for tune in part.tuned().values()}

    def identity(self) -> list[Any]:
        return [{name: repr(values) for name, values in self.algorithm.search_space.items()}]

    def make(self, *, into: Path, **inputs: Path) -> RowCounts:
        from spark.algorithms.training_data import TrainingData
        from workflow.hyperparameter_search import learn_blend, tune

        ingested, split, description = inputs["ingested"], inputs["split"], self.context.dataset.interactions
        train, validation = (split / "parts" / f"part={part}" for part in ("train", "validation"))
        training = TrainingData.read(self.spark, ingested, (train,), split / "matrix-train", description)
        context = TuningContext(training, validation, description.liked_from, into, self.report)
        try:
            if self.algorithm.is_blend:
                best = learn_blend({name: part.training_settings() for name, part in self.parts().items()}, context)
            else:
                limits = self.context.settings["tune"] | {"trials_file": self._trials_file()}
                best = tune(self.algorithm, self.configured_settings(), context, **limits)
        except NotApplicable as reason:
            best = {"reason": str(reason)}
        write_json(into / "best.json", best)
        return RowCounts(read=training.count, written=len(best.get("trials", ())))

    def _trials_file(self) -> Path:
        """The file of trials, named after what determines a trial, but not their number or start settings."""
        fixed_settings = {
            key: value for key, value in self.configured_settings().items() if key not in self.algorithm.search_space
        }
        parts = (self.candidate, fixed_settings, self.identity(), self.clone(Split).fingerprint, self.code_fingerprint)
        return self.directory.parent / f"{compute_fingerprint(*parts)}.trials"


class Train(_CandidateStage):
    """Trains one candidate on the training and validation parts, or records why it cannot learn from this data."""

    def requires(self) -> Mapping[str, Stage]:
        return {"ingested": self.clone(Ingest), "split": self.clone(Split), **self.tuned()}

    def make(self, *, into: Path, **inputs: Path) -> RowCounts:
        from spark.algorithms.saved_model import fit_model
        from spark.algorithms.training_data import TrainingData

        ingested, split, description = inputs["ingested"], inputs["split"], self.context.dataset.interactions
        training = TrainingData.without_test(self.spark, ingested, split, description)
        try:
            fit_model(self.model, training, self.training_settings(), into / "model", self.report)
        except NotApplicable as reason:
            write_json(into / _NOT_APPLICABLE, {"reason": str(reason)})
            return RowCounts(read=training.count, written=0)
        return RowCounts(read=training.count, written=training.num_users + training.num_tracks)


class Evaluate(_CandidateStage):
    """Evaluates a candidate on the test part: every user, ranking the whole catalogue."""

    def requires(self) -> Mapping[str, Stage]:
        return {
            "ingested": self.clone(Ingest),
            "split": self.clone(Split),
            "trained": self.clone(Train, model=self.model),
        }

    def make(self, *, into: Path, **inputs: Path) -> RowCounts:
        from spark.evaluation.evaluate import evaluate

        if (inputs["trained"] / _NOT_APPLICABLE).exists():
            write_json(into / "metrics.json", read_json(inputs["trained"] / _NOT_APPLICABLE))
            return RowCounts(read=0, written=0)
        evaluation = evaluate(
            self.spark,
            inputs["ingested"],
            inputs["split"],
            inputs["trained"] / "model",
            self.context.dataset.interactions.liked_from,
            into / "per_user",
        )
        write_json(into / "metrics.json", {"users_evaluated": evaluation.users_ranked, **asdict(evaluation.summary)})
        return RowCounts(read=evaluation.held_out, written=evaluation.users)


class SelectModel(Stage):
    """Selects the champion: the candidate with the best value of `[selection] select_by`."""

    settings = (settings.selection,)

    def requires(self) -> Mapping[str, Stage]:
        evaluated = {name: self.clone(Evaluate, model=name) for name in (BASELINE, *self.candidates())}
        return {"split": self.clone(Split), **evaluated}

    def candidates(self) -> list[str]:
        """The configured candidates that support the dataset's kind of feedback."""
        feedback, names = self.context.dataset.interactions.feedback, self.values["candidates"]
        supported = [name for name in names if CATALOG[name].feedback in ("any", feedback)]
        if not supported:
            raise UserError(
                f"[selection] candidates = {', '.join(names)} learns only from ratings, and "
                f"{self.context.dataset.name} has none: add another candidate, such as als."
            )
        return supported

    def make(self, *, into: Path, **inputs: Path) -> RowCounts:
        from spark.evaluation.paired_bootstrap import PerUserMetrics

        split = inputs.pop("split")
        documents = {name: read_json(directory / "metrics.json") for name, directory in inputs.items()}
        reasons = {name: document["reason"] for name, document in documents.items() if "reason" in document}
        evaluated = {name: document for name, document in documents.items() if name not in reasons}
        if reasons and not set(self.candidates()) & set(evaluated):
            details = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
            raise UserError(f"No candidate can learn from {self.context.dataset.name} ({details}).")
        select_by = self.values["select_by"]
        scores = {
            name: evaluated[name]["metrics"][select_by]
            for name in self.candidates()
            if name in evaluated and select_by in evaluated[name]["metrics"]
        }
        if not scores:
            raise UserError(
                f"[selection] select_by = {select_by} is not a metric of {', '.join(self.candidates())}: "
                f"only {', '.join(name for name in CATALOG if CATALOG[name].predicts_ratings)} predicts ratings."
            )
        ranking = sorted(scores, key=scores.__getitem__, reverse=not lower_is_better(select_by))
        sizes = read_json(split / "sizes.json") | {"users_evaluated": evaluated[BASELINE]["users_evaluated"]}
        metrics: dict[str, Any] = {
            "champion": ranking[0],
            "select_by": select_by,
            "split": sizes | {"fingerprint": split.name},
            "models": {name: evaluated[name]["metrics"] for name in evaluated},
            "intervals": {name: evaluated[name]["intervals"] for name in evaluated},
            "segments": {name: evaluated[name]["segments"] for name in evaluated},
            "curves": {name: evaluated[name]["curves"] for name in evaluated},
        }
        write_json(into / "metrics.json", metrics)
        metric = comparison_metric(metrics["models"], select_by)
        per_user = PerUserMetrics({name: inputs[name] / "per_user" for name in evaluated}, metric)
        per_user.save(ranking[0], BASELINE, into / EVALUATION)
        references = {"to_popularity": BASELINE, "to_champion": ranking[0]} if metric == select_by else {}
        differences = {key: per_user.differences(ranking, reference) for key, reference in references.items()}
        leaderboard = [
            {"model": name, select_by: scores[name], "interval": evaluated[name]["intervals"][select_by]}
            | {key: by_name[name] for key, by_name in differences.items()}
            for name in ranking
        ]
        skipped = [{"model": name, "reason": reason} for name, reason in reasons.items()]
        write_json(into / "leaderboard.json", leaderboard + skipped)
        return RowCounts(read=len(evaluated), written=len(ranking))


class Refit(Stage):
    """Retrains the champion on all interactions."""

    def requires(self) -> Mapping[str, Stage]:
        return {"ingested": self.clone(Ingest), "selected": self.clone(SelectModel)}

    def make(self, *, into: Path, **inputs: Path) -> RowCounts:
        from spark.algorithms.saved_model import fit_model
        from spark.algorithms.training_data import TrainingData

        champion = read_json(inputs["selected"] / "metrics.json")["champion"]
        ingested, description = inputs["ingested"], self.context.dataset.interactions
        training = TrainingData.all_interactions(self.spark, ingested, description)
        champion_settings = self.clone(Train, model=champion).training_settings()
        fit_model(champion, training, champion_settings, into / "model", self.report)
        return RowCounts(read=training.count, written=training.num_users + training.num_tracks)


class _ListStage(Stage):
    """Base of the stages that create lists as they are served: with fallbacks and list rules."""

    settings = (settings.recommend,)

    def depends_on(self) -> Dependencies:
        return Dependencies(self.settings, tuple(CATALOG[name].module for name in FALLBACK_ALGORITHMS.values()))

    @cached_property
    def rules(self) -> dict[str, Any]:
        """The arguments of `spark.lists.list_rules.ListRules.of`, from the settings."""
        limits = {key: self.values[key] for key in ("max_per_artist", "new_share")}
        return {**limits, "blocked": read_blocklist(self.values["blocked"])}

    @property
    def changes_lists(self) -> bool:
        """Whether rules or fallbacks may change the champion's lists."""
        values = self.values
        return bool(values["blocked"] or values["max_per_artist"] or values["new_share"] or values["min_history"] > 1)

    def identity(self) -> list[Any]:
        return [self.rules["blocked"]]


class EvaluateLists(_ListStage):
    """Evaluates the champion's lists on the test part with list rules and fallbacks applied, if they change lists."""

    def requires(self) -> Mapping[str, Stage]:
        return {"ingested": self.clone(Ingest), "split": self.clone(Split), "selected": self.clone(SelectModel)}

    def make(self, *, into: Path, **inputs: Path) -> RowCounts:
        from spark.algorithms.training_data import TrainingData
        from spark.evaluation.evaluate import evaluate
        from spark.evaluation.paired_bootstrap import PerUserMetrics
        from spark.lists.fallback_chain import FallbackChain, fit_fallbacks
        from spark.lists.list_rules import ListRules
        from spark.lists.user_lists import lists_only

        ingested, split, selected = inputs["ingested"], inputs["split"], read_json(inputs["selected"] / "metrics.json")
        champion, description = selected["champion"], self.context.dataset.interactions
        model = self.clone(Train, model=champion).directory / "model"
        training = TrainingData.without_test(self.spark, ingested, split, description)
        fit_fallbacks(training, into / "fallbacks")
        lists = partial(
            lists_only, FallbackChain(model, into / "fallbacks", self.values["min_history"]),
            ListRules.of(ingested / "tracks", **self.rules),
        )  # fmt: skip
        evaluation = evaluate(self.spark, ingested, split, model, description.liked_from, into / "per_user", lists)
        metric = comparison_metric(selected["models"], selected["select_by"])
        champion_metrics = self.clone(Evaluate, model=champion).directory / "per_user"
        per_user = PerUserMetrics({"lists": into / "per_user", champion: champion_metrics}, metric)
        difference = per_user.differences(["lists"], champion)["lists"]
        to_champion = {"metric": metric, **difference}
        write_json(into / "metrics.json", asdict(evaluation.summary) | {"to_champion": to_champion})
        return RowCounts(read=evaluation.held_out, written=evaluation.users)


class Recommend(_ListStage):
    """Recommends to every user the best `[recommend] k` tracks that they have not heard, and lists similar tracks."""

    def requires(self) -> Mapping[str, Stage]:
        return {"ingested": self.clone(Ingest), "refitted": self.clone(Refit)}

    def make(self, *, into: Path, **inputs: Path) -> RowCounts:
        from spark.algorithms.training_data import TrainingData
        from spark.lists.fallback_chain import FallbackChain, fit_fallbacks
        from spark.lists.list_rules import ListRules
        from spark.lists.recommend import recommend_all_users, write_similar_tracks

        ingested, model = inputs["ingested"], inputs["refitted"] / "model"
        training = TrainingData.all_interactions(self.spark, ingested, self.context.dataset.interactions)
        fit_fallbacks(training, into / "fallbacks")
        num_lines = recommend_all_users(
            self.spark, ingested, ingested / "matrix",
            FallbackChain(model, into / "fallbacks", self.values["min_history"]),
            self.values["k"], into / "recommendations",
            rules=ListRules.of(ingested / "tracks", **self.rules), reasons=self.values["reasons"],
        )  # fmt: skip
        write_similar_tracks(self.spark, ingested, model, self.values["k"], into / "similar")
        return RowCounts(read=training.num_users, written=num_lines)


class Publish(Stage):
    """Assembles the version: the directory that is served. Only deleting a user changes it later."""

    checksummed_files = [MANIFEST]

    def requires(self) -> Mapping[str, Stage]:
        return {
            "ingested": self.clone(Ingest),
            "selected": self.clone(SelectModel),
            "refitted": self.clone(Refit),
            "recommended": (recommended := self.clone(Recommend)),
            **({"evaluated_lists": self.clone(EvaluateLists)} if recommended.changes_lists else {}),
        }

    def identity(self) -> list[Any]:
        dataset = self.context.dataset
        return [dataset.name, dataset.title, dataset.item_label]

    @property
    def directory(self) -> Path:
        """The directory of the version, below the models root."""
        return self.context.paths.versions(self.context.dataset.name) / self.fingerprint

    def expected_checksums(self) -> dict[str, Any]:
        """The checksum of the manifest, from the marker, and those of the other files, from the manifest."""
        files: dict[str, Any] = read_manifest(self.directory)["files"]
        return super().expected_checksums() | files

    def make(self, *, into: Path, **inputs: Path) -> RowCounts:
        from models.assemble_version import VersionInputs, assemble_version

        dataset, ingested, selected = self.context.dataset, inputs["ingested"], inputs["selected"]
        labels = {"dataset": dataset.name, "version": self.fingerprint}
        version_inputs = VersionInputs(
            users=ingested / "users",
            tracks=ingested / "tracks",
            interactions=ingested / "interactions",
            model=inputs["refitted"] / "model",
            recommendations=inputs["recommended"] / "recommendations",
            similar=inputs["recommended"] / "similar",
            tiers=inputs["recommended"] / "tiers.parquet",
            evaluation=selected / EVALUATION,
        )
        lists = {"lists": read_json(inputs["evaluated_lists"] / "metrics.json")} if "evaluated_lists" in inputs else {}
        documents = {
            "metrics": labels | read_json(selected / "metrics.json") | lists,
            "leaderboard": read_json(selected / "leaderboard.json"),
            "profile": (profile := read_json(ingested / "profile.json")),
            "tuning": {
                stage.candidate: read_json(stage.directory / "best.json")
                for stage in self.context.stages
                if isinstance(stage, Tune)
            },
        }
        facts = labels | {
            "title": dataset.title,
            "item_label": dataset.item_label,
            "as_of": str(self.context.as_of) if self.context.as_of else (profile["times"] or {}).get("last"),
            "settings": {name: values for stage in self.context.stages for name, values in stage.sections.items()},
            "inputs": read_json(ingested / "inputs.json"),
            "ingested_at": read_json(ingested / SUCCESS)["at"],
            "code": {stage.label: stage.code_fingerprint for stage in self.context.stages},
            "libraries": {name: importlib.metadata.version(name) for name in ("luigi", "pyspark", "numpy", "pyarrow")},
        }
        counts = assemble_version(into, self.directory.parent, version_inputs, documents, facts)
        return RowCounts(read=counts["recommendations"], written=counts["recommendations"])


class Promote(Stage):
    """Points `current` to the version if the promotion gate accepts it."""

    def requires(self) -> Mapping[str, Stage]:
        return {"published": self.clone(Publish)}

    def output(self) -> luigi.LocalTarget:
        return luigi.LocalTarget(str(self._registry.root / "current"))

    @property
    def _registry(self) -> VersionRegistry:
        return VersionRegistry(self.context.paths.versions(self.context.dataset.name))

    @property
    def _version(self) -> str:
        return str(self.clone(Publish).fingerprint)

    def complete(self) -> bool:
        """Whether this run's version is published and served, or was refused in this run."""
        served = self.clone(Publish).complete() and self._registry.current() == self._version
        return not self.is_damaged and (served or self.context.refusal is not None)

    def check_result(self) -> str | None:
        """Promote again if the version has to be published again; a promotion has no files that could be damaged.

        Raises:
            UserError: `current` cannot be read.
        """
        self._registry.current()
        self.is_damaged = self.clone(Publish).is_damaged
        return None

    def execute(self, record: StageRecord) -> None:
        with exclusive_lock(self._registry.root / "promoting.lock", self._print_waiting):
            self.is_damaged = False
            if self.complete():
                record.status = "skipped"
                return
            serving = self._registry.current()
            comparison = self.context.comparison = self._compare(serving)
            self.context.refusal = self._refusal(serving)
            if self.context.refusal is None:
                self._registry.promote(self._version, expected=serving, by="run", comparison=comparison.figures)
                self._prune(serving)

    def _prune(self, previous: str | None) -> None:
        """Remove old versions and unused stage outputs; keep the previously served version for a rollback."""
        limits, dataset = self.context.settings["publish"], self.context.dataset.name
        versions = self._registry.prune(
            limits["keep_versions"], spared=(previous,), via="the pipeline, after promoting"
        )
        unused = retention.prune(
            self.context.paths, dataset, limits["keep_days"], limits["keep_gb"], own_run=self.run_id
        )
        if versions or unused:
            removed = f"{count_noun(len(versions), 'version')} and {count_noun(len(unused), 'stage output')}"
            self.context.console.info(f"  Removed {removed}: see keep_… in [publish].")

    def _refusal(self, serving: str | None) -> str | None:
        """Why the version must not be promoted, in a sentence; None if it may be."""
        if self._registry.is_pinned():
            return f"a rollback pinned {self._registry.dataset} to version {serving}."
        limits = {name: self.context.settings["publish"][name] for name in ("min_size", "tolerance")}
        select_by = self.context.settings["selection"]["select_by"]
        # A served version that has been deleted cannot be compared, and does not block the promotion.
        old = self._gate_input(serving) if serving and self._registry.has_version(serving) else None
        new = self._gate_input(self._version)
        if self.context.as_of is None:  # an undated version is newer than any dated one
            new = replace(new, as_of=None)
        return refusal_reason(new, old, select_by=select_by, **limits)

    def _compare(self, serving: str | None) -> ChampionComparison:
        """Compare the champion with popularity, and with the served version if both have the same split and metric."""
        from spark.evaluation.paired_bootstrap import compare_to_popularity, compare_versions

        new, new_evaluation = self._gate_input(self._version), self._registry.root / self._version / EVALUATION
        popularity = None if new.champion == BASELINE else compare_to_popularity(new_evaluation)
        if serving is None or not self._registry.has_version(serving):
            return ChampionComparison(new.champion, new.compared_by, popularity)
        serving_evaluation = self._registry.root / serving / EVALUATION
        is_comparable = new.measured_like(self._gate_input(serving)) and serving_evaluation.is_file()
        difference = compare_versions(new_evaluation, serving_evaluation) if is_comparable else None
        return ChampionComparison(new.champion, new.compared_by, popularity, difference, has_serving_version=True)

    def _gate_input(self, version: str) -> GateInput:
        directory = self._registry.root / version
        manifest = read_manifest(directory)
        return GateInput(read_json(directory / "metrics.json"), manifest["counts"], manifest.get("as_of"))


class RecommendAll(PipelineTask, luigi.WrapperTask):
    """The whole pipeline: from raw listening data to served recommendations for every user."""

    def requires(self) -> Mapping[str, Stage]:
        return {"promoted": self.clone(Promote)}


class RecommendAsOf(luigi.Task):
    """`RecommendAll` as of one day, for Luigi's `RangeDaily`, which fills a range of days.

    It is complete when the day's version is published, whether it is served or not: an older version is never promoted
    over a newer one. Each missing day is a separate run, which starts when the previous one has ended.
    """

    date = luigi.DateParameter(description="Use only interactions before this day (UTC).")
    dataset = RedactedParameter(default="synthetic", description="Name of a shipped dataset, or path of a TOML file.")
    raw_dir = RedactedParameter(default="", description="Directory of the raw files (default: data/raw/<dataset>).")

    @property
    def priority(self) -> float:  # type: ignore[override]
        """Higher for earlier days, and below the priority 1 of a run's tasks."""
        return 1 - float(self.date.toordinal()) / datetime.date.max.toordinal()

    @property
    def _parameters(self) -> dict[str, str]:
        return {"dataset": self.dataset, "raw_dir": self.raw_dir, "as_of": str(self.date)}

    def complete(self) -> bool:
        """Whether the day's version is published."""
        with read_only_run():
            return Publish(**self._parameters).complete()

    def run(self) -> Iterator[RecommendAll]:
        """Start the day's run. Luigi calls this again when the run has succeeded, and finds the day complete."""
        if not self.complete():
            yield RecommendAll(**self._parameters)

    @classmethod
    def bulk_complete(cls, parameter_tuples: Iterable[datetime.date]) -> list[datetime.date]:
        """Luigi's hook for ranges: the days that are complete. Prints how many are missing."""
        days = list(parameter_tuples)
        complete = [day for day in days if cls(day).complete()]
        Console().info(
            f"{len(days) - len(complete)} of {len(days)} days to do." if days else "There are no days to do."
        )
        return complete
