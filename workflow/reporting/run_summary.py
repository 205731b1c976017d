"""The last lines of a run: the champion and its metrics, the version, warnings about the data, and next steps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.files import read_json
from common.formatting import MISSING, format_duration, plural
from common.terminal import text_table
from config.metrics import find_metric, main_table_names
from models.promotion_gate import BASELINE
from workflow.reporting.next_steps import next_steps, shorten_path


def nothing_to_do(dataset: str, version: str | None) -> str:
    """The last line of a run whose results all exist."""
    subject = f"version {version} of {dataset}" if version else "the result"
    return f"Nothing to do: {subject} is up to date."


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
        return f"Done in {format_duration(run.duration_s)}; the log is {shorten_path(run.log)}."
    metrics, manifest = read_json(directory / "metrics.json"), read_json(directory / "manifest.json")
    counts, profile = manifest["counts"], read_json(directory / "profile.json")
    lines = [
        "",
        *_metrics(metrics),
        "",
        f"Version {directory.name} of {run.dataset}, published after {format_duration(run.duration_s)}: "
        f"{counts['recommendations']:,} recommendations for {counts['users']:,} users, from {counts['tracks']:,} "
        f"{plural(run.item_label)}.",
        *_time_window(manifest.get("as_of"), profile),
        *_effect_of_rules(metrics),
        *([run.comparison] if run.comparison else []),
        f"Not promoted: {run.refusal}" if run.refusal else f"Promoted: {run.dataset} now serves this version.",
        *_left_out(read_json(directory / "leaderboard.json")),
        *_tuned(read_json(directory / "tuning.json")),
        *_data_warnings(profile),
        "",
        *_next_steps(run.dataset, directory, run.log),
    ]
    return "\n".join(lines)


def _metrics(metrics: dict[str, Any]) -> list[str]:
    """A table of the metrics of the champion and of popularity."""
    champion = metrics["champion"]
    scores, baseline = metrics["models"][champion], metrics["models"][BASELINE]
    rows: list[tuple[str, ...]] = [("", champion, *(() if champion == BASELINE else (BASELINE, "")))]
    for name in (name for name in main_table_names() if name in scores):
        row: tuple[str, ...] = (name, f"{scores[name]:.4f}")
        if champion != BASELINE:
            ratio = f"× {scores[name] / baseline[name]:.2f}" if baseline.get(name) else ""
            row += (f"{baseline[name]:.4f}" if name in baseline else MISSING, ratio)
        rows.append(row)
    table = text_table(rows, numbers={1, 2}).splitlines()
    held_out = metrics["split"]["test"]
    lines = [f"The champion is {champion}, evaluated on {held_out:,} held-out interactions:", ""]
    return [*lines, *(f"  {line}" for line in table), *_selection_metric(metrics["select_by"])]


def _selection_metric(name: str) -> list[str]:
    """The metric that selected the champion, with its description."""
    info = find_metric(name)
    return ["", f"Selected by {name}. {info.sentence}"] if info else []


def _time_window(as_of: str | None, profile: dict[str, Any]) -> list[str]:
    """The date of a dated version, and the number of rows outside its window."""
    if not profile.get("window"):
        return []
    outside = profile["rows"]["outside"]
    return [f"As of {as_of}: {outside:,} rows are outside the time window." if outside else f"As of {as_of}."]


def _effect_of_rules(metrics: dict[str, Any]) -> list[str]:
    """How the rules of `[recommend]` change the metrics of the champion's lists; nothing without rules."""
    if "lists" not in metrics:
        return []
    with_rules, without = metrics["lists"]["metrics"], metrics["models"][metrics["champion"]]
    names = [name for name in ("ndcg@10", "recall@20", "diversity@20", "cold_tracks@20") if name in with_rules]
    changes = ", ".join(f"{name} {without[name]:.4f} → {with_rules[name]:.4f}" for name in names)
    return [f"The rules of [recommend] change the champion's lists: {changes}."]


def _left_out(leaderboard: list[dict[str, Any]]) -> list[str]:
    """The candidates that could not learn from the data, with the reason."""
    return [f"{line['model']} was left out: {line['reason']}." for line in leaderboard if "reason" in line]


def _tuned(tuning: dict[str, Any]) -> list[str]:
    """The settings that tuning has chosen on the validation part."""
    lines = []
    for candidate, result in tuning.items():
        settings = result.get("settings", {})
        if "weights" in settings:
            weights = ", ".join(f"{part} {weight:g}" for part, weight in settings["weights"].items())
            lines.append(f"{candidate} has the weights {weights}.")
        elif settings:
            lines.append(_tuned_settings(candidate, result))
    return ["", "Tuned:", *(f"  {line}" for line in lines)] if lines else []


def _tuned_settings(candidate: str, result: dict[str, Any]) -> str:
    settings = ", ".join(
        f"{key} = {value:.4g}" if isinstance(value, float) else f"{key} = {value}"
        for key, value in result["settings"].items()
    )
    importance: dict[str, float] = result["importance"]
    explained = ""
    if importance:
        key = max(importance, key=importance.__getitem__)
        explained = f"; {key} explains {importance[key]:.0%} of the differences"
    first, best = result["trials"][0]["score"], result["score"]
    return (
        f"{candidate}, {len(result['trials'])} trials: {first:.4f} → {best:.4f} on the validation part, with "
        f"{settings}{explained}."
    )


def _data_warnings(profile: dict[str, Any]) -> list[str]:
    """The checks of the data that did not pass."""
    sentences = [check["sentence"] for check in profile["checks"] if check["verdict"] != "ok"]
    return ["", "Check your data:", *(f"  {sentence}" for sentence in sentences)] if sentences else []


def _next_steps(dataset: str, version: Path, log: Path) -> list[str]:
    """Commands for the next steps, with a user of the version as the example."""
    from models.serving_store import ServingStore

    with ServingStore(version) as store:
        user_id = store.users(limit=1)[0].user_id
    return next_steps(dataset, user_id, log)
