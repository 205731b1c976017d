"""The last lines of a run: who won, by how much, what is served, and where to look further."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.durable import read_json
from config.metrics import metric_info
from models.promotion_gate import BASELINE
from workflow.next_steps import next_steps, shorten_path

_SHOWN = ("ndcg@10", "recall@10", "precision@10", "map@10", "mrr@10", "hit_rate@10", "coverage@10", "rmse", "mae")


def nothing_to_do(dataset: str, version: str | None) -> str:
    """What a run says that found everything in place."""
    what = f"version {version} of {dataset}" if version else "what was asked for"
    return f"Nothing to do: {what} is up to date."


@dataclass(frozen=True)
class FinishedRun:
    """The facts in the summary of a run that succeeded."""

    dataset: str
    item_label: str
    log: Path
    duration_s: float
    version: Path | None
    """The directory of the published version; None if the run did not publish one."""
    comparison: str | None = None
    """How the champion compares with popularity and with the served version."""
    refusal: str | None = None
    """Why the version was not promoted; None if it was."""


def summary(run: FinishedRun) -> str:
    """The last lines of a run that succeeded."""
    directory = run.version
    if directory is None:
        return f"Done in {run.duration_s:.1f} s; the log is {shorten_path(run.log)}."
    metrics, manifest = read_json(directory / "metrics.json"), read_json(directory / "manifest.json")
    counts, profile = manifest["counts"], read_json(directory / "profile.json")
    told = [
        "",
        *_against_popularity(metrics),
        "",
        f"Version {directory.name} of {run.dataset}, made in {run.duration_s:.1f} s: {counts['recommendations']:,} "
        f"recommendations for {counts['users']:,} users, out of {counts['tracks']:,} {run.item_label}s.",
        *_dated(manifest.get("as_of"), profile),
        *_of_lists(metrics),
        *([run.comparison] if run.comparison else []),
        f"Not promoted: {run.refusal}" if run.refusal else f"It is now what {run.dataset} serves.",
        *_left_out(read_json(directory / "leaderboard.json")),
        *_tuned(read_json(directory / "tuning.json")),
        *_worth_knowing(profile),
        "",
        *_next_steps(run.dataset, directory, run.log),
    ]
    return "\n".join(told)


def _against_popularity(metrics: dict[str, Any]) -> list[str]:
    """A table of the champion's metrics beside popularity's."""
    champion = metrics["champion"]
    mine, baseline = metrics["models"][champion], metrics["models"][BASELINE]
    split = metrics["split"]
    lines = [f"The champion is {champion}, measured on {split['test']:,} held-out interactions:", ""]
    if champion == BASELINE:
        return lines + [f"  {name:<14}{mine[name]:>10.4f}" for name in _SHOWN if name in mine]
    lines.append(f"  {'':<14}{champion:>12}{BASELINE:>12}")
    for name in (name for name in _SHOWN if name in mine):
        other = f"{baseline[name]:>12.4f}" if name in baseline else f"{'–':>12}"
        ratio = f"   × {mine[name] / baseline[name]:.2f}" if baseline.get(name) else ""
        lines.append(f"  {name:<14}{mine[name]:>12.4f}{other}{ratio}")
    return lines + _explained(metrics["select_by"])


def _dated(as_of: str | None, profile: dict[str, Any]) -> list[str]:
    """As of when, and how many rows do not count, where not all of them do."""
    if not profile.get("window"):
        return []
    outside = profile["rows"]["outside"]
    return [f"As of {as_of}: {outside:,} rows of another time do not count." if outside else f"As of {as_of}."]


def _of_lists(metrics: dict[str, Any]) -> list[str]:
    """What rules and chain do to the champion's lists, where they do something."""
    if "lists" not in metrics:
        return []
    own, theirs = metrics["lists"]["metrics"], metrics["models"][metrics["champion"]]
    shown = [name for name in ("ndcg@10", "recall@20", "diversity@20", "cold_tracks@20") if name in own]
    told = ", ".join(f"{name} {theirs[name]:.4f} → {own[name]:.4f}" for name in shown)
    return [f"With the rules of [recommend], the champion's lists have {told}."]


def _explained(metric: str) -> list[str]:
    """What the metric that named the champion says."""
    known = metric_info(metric)
    return ["", f"{metric} named it. {known.sentence}"] if known else []


def _left_out(leaderboard: list[dict[str, Any]]) -> list[str]:
    """Which candidates could not learn from the data, and why."""
    return [f"{line['model']} was left out: {line['reason']}." for line in leaderboard if "reason" in line]


def _tuned(tuning: dict[str, Any]) -> list[str]:
    """What was chosen on the validation part."""
    told = []
    for candidate, found in tuning.items():
        chosen = found.get("settings", {})
        if "weights" in chosen:
            weights = ", ".join(f"{part} {weight:g}" for part, weight in chosen["weights"].items())
            told.append(f"{candidate} weighs its parts {weights}.")
        elif chosen:
            settings = ", ".join(f"{key} = {value:.4g}" if isinstance(value, float) else f"{key} = {value}"
                                 for key, value in chosen.items())  # fmt: skip
            matters = max(found["importance"], key=found["importance"].__getitem__, default=None)
            most = f"; {matters} explains {found['importance'][matters]:.0%} of the differences" if matters else ""
            first, best = found["trials"][0]["score"], found["score"]
            told.append(
                f"{candidate}, {len(found['trials'])} trials: {first:.4f} → {best:.4f} on the validation part, with "
                f"{settings}{most}."
            )
    return ["", "Tuned:", *(f"  {line}" for line in told)] if told else []


def _worth_knowing(profile: dict[str, Any]) -> list[str]:
    """What looks odd about the data."""
    said = [check["sentence"] for check in profile["checks"] if check["verdict"] != "ok"]
    return ["", "Worth knowing of the data:", *(f"  {sentence}" for sentence in said)] if said else []


def _next_steps(dataset: str, version: Path, log: Path) -> list[str]:
    """Lines with the commands for what comes next."""
    from models.serving_store import ServingStore

    with ServingStore(version) as store:
        user_id = store.users(limit=1)[0].user_id
    return next_steps(dataset, user_id, log)
