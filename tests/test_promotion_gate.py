"""The promotion gate: each reason to refuse a version, and the cases that pass."""

from __future__ import annotations

from typing import Any

import pytest

from models.promotion_gate import ChampionComparison, GateInput, refusal_reason

COUNTS = {"users": 1000, "tracks": 200, "interactions": 50_000}


def candidate(
    als: dict[str, float] | None = None,
    popularity: dict[str, float] | None = None,
    *,
    champion: str = "als",
    split: str = "s1",
    select_by: str = "ndcg@10",
    as_of: str | None = None,
    **counts: int,
) -> GateInput:
    """Return a version whose champion has ndcg@10 0.2 and popularity 0.1 by default."""
    models = {"als": als or {"ndcg@10": 0.2}, "popularity": popularity or {"ndcg@10": 0.1}}
    metrics: dict[str, Any] = {
        "champion": champion, "select_by": select_by, "split": {"fingerprint": split}, "models": models,
    }  # fmt: skip
    return GateInput(metrics, COUNTS | counts, as_of)


def refusal(new: GateInput, serving: GateInput | None, **settings: Any) -> str | None:
    """Return the gate's answer with a `min_size` of ½ and a `tolerance` of 10 % by default."""
    defaults: dict[str, Any] = {"select_by": "ndcg@10", "min_size": 0.5, "tolerance": 0.1}
    return refusal_reason(new, serving, **defaults | settings)


def test_accepts_a_first_version_that_beats_popularity() -> None:
    assert refusal(candidate(), None) is None


def test_refuses_a_champion_below_popularity() -> None:
    reason = refusal(candidate(als={"ndcg@10": 0.0999}), None)
    assert reason == "its champion als has ndcg@10 0.0999, worse than popularity with 0.1000."


def test_accepts_a_champion_equal_to_popularity() -> None:
    assert refusal(candidate(als={"ndcg@10": 0.1}), None) is None


def test_accepts_popularity_as_the_champion() -> None:
    assert refusal(candidate(als={"ndcg@10": 0.01}, champion="popularity"), None) is None


def test_compares_a_champion_selected_by_rmse_by_ndcg() -> None:
    weak = candidate(als={"rmse": 0.7, "ndcg@10": 0.05})
    reason = refusal(weak, None, select_by="rmse")
    assert reason is not None and "ndcg@10 0.0500" in reason
    assert refusal(candidate(als={"rmse": 0.7, "ndcg@10": 0.2}), None, select_by="rmse") is None


def test_prefers_lower_values_of_an_error_metric() -> None:
    better = candidate(als={"rmse": 0.8}, popularity={"rmse": 0.9})
    worse = candidate(als={"rmse": 0.9}, popularity={"rmse": 0.8})
    assert refusal(better, None, select_by="rmse") is None
    assert refusal(worse, None, select_by="rmse") is not None
    serving = candidate(als={"rmse": 0.7}, popularity={"rmse": 0.9})
    assert refusal(better, serving, select_by="rmse", tolerance=0.1) is not None  # 0.8 is more than 10 % above 0.7
    assert refusal(better, serving, select_by="rmse", tolerance=0.2) is None


@pytest.mark.parametrize("name", ["users", "tracks", "interactions"])
def test_refuses_a_version_below_the_minimum_size(name: str) -> None:
    half = COUNTS[name] // 2
    assert refusal(candidate(**{name: half}), candidate()) is None
    reason = refusal(candidate(**{name: half - 1}), candidate())
    assert reason == (
        f"it has {half - 1:,} {name}, fewer than [publish] min_size = 0.5 × {COUNTS[name]:,} of the serving version."
    )


@pytest.mark.parametrize("serving", ["2026-03-02", "2026-03-01T00:00:00Z"])
def test_refuses_a_version_of_an_earlier_date(serving: str) -> None:
    reason = refusal(candidate(as_of="2026-03-01", users=1), candidate(as_of=serving))
    assert reason == f"it is as of 2026-03-01, older than the serving version (as of {serving})."


@pytest.mark.parametrize(
    ("new", "serving"),
    [
        ("2026-03-01", "2026-03-01"),
        ("2026-03-02", "2026-03-01"),
        ("2026-03-01", "2026-02-28T23:59:59Z"),
        ("2026-03-01", None),
        (None, "2026-03-01"),
    ],
)
def test_accepts_a_version_of_the_same_or_a_later_date(new: str | None, serving: str | None) -> None:
    assert refusal(candidate(as_of=new), candidate(as_of=serving)) is None


def test_refuses_a_loss_beyond_the_tolerance_on_the_same_split() -> None:
    serving = candidate(als={"ndcg@10": 0.25})
    reason = refusal(candidate(als={"ndcg@10": 0.22}), serving)  # 12 % lower
    assert reason == (
        "its ndcg@10 is 0.2200 and the serving version's is 0.2500 on the same split, a larger loss than "
        "[publish] tolerance = 0.1 allows."
    )


def test_accepts_a_loss_within_the_tolerance() -> None:
    assert refusal(candidate(als={"ndcg@10": 0.23}), candidate(als={"ndcg@10": 0.25})) is None  # 8 % lower


def test_accepts_a_gain_with_zero_tolerance() -> None:
    assert refusal(candidate(als={"ndcg@10": 0.3}), candidate(), tolerance=0.0) is None


def test_does_not_compare_metrics_of_different_splits() -> None:
    assert refusal(candidate(als={"ndcg@10": 0.11}), candidate(als={"ndcg@10": 0.9}, split="s2")) is None


def test_does_not_compare_a_metric_that_the_serving_version_lacks() -> None:
    serving = candidate(als={"recall@10": 0.9}, popularity={"recall@10": 0.1})
    assert refusal(candidate(), serving) is None


def test_champions_with_the_same_split_and_metric_are_comparable() -> None:
    assert candidate().measured_like(candidate())
    assert not candidate().measured_like(candidate(split="s2"))
    assert not candidate().measured_like(candidate(select_by="map@10", popularity={"ndcg@10": 0.1, "map@10": 0.1}))
    # Popularity has no RMSE, so both are compared by ndcg@10.
    assert candidate(select_by="rmse").measured_like(candidate())


def difference(value: float, low: float, high: float) -> dict[str, Any]:
    return {"difference": value, "interval": [low, high]}


def test_describes_the_comparison_in_a_sentence() -> None:
    compared = ChampionComparison(
        "als", "ndcg@10", difference(0.121, 0.1021, 0.139), difference(0.002, -0.004, 0.008), has_serving_version=True
    )
    assert compared.sentences == (
        "als against popularity: ndcg@10 +0.121 [+0.102, +0.139]; against the serving version: +0.002 [−0.004, +0.008]."
    )
    assert compared.figures == {
        "metric": "ndcg@10",
        "to_popularity": difference(0.121, 0.1021, 0.139),
        "to_serving": difference(0.002, -0.004, 0.008),
    }


def test_warns_about_a_champion_that_does_not_beat_popularity() -> None:
    uncertain = ChampionComparison("als", "ndcg@10", difference(0.01, -0.01, 0.03)).sentences
    assert uncertain.endswith("als does not reliably beat popularity: the interval includes 0.")
    worse = ChampionComparison("als", "ndcg@10", difference(-0.05, -0.07, 0.01)).sentences
    assert worse.endswith("als does not beat popularity.")
    assert ChampionComparison("popularity", "ndcg@10", None).sentences == "No candidate beats popularity."
    assert ChampionComparison(
        "popularity", "ndcg@10", None, difference(-0.1, -0.2, 0.0), has_serving_version=True
    ).sentences == (
        "popularity against the serving version: ndcg@10 −0.100 [−0.200, +0.000]. No candidate beats popularity."
    )


def test_says_that_the_serving_version_is_not_comparable() -> None:
    reason = ChampionComparison("als", "ndcg@10", difference(0.1, 0.05, 0.15), has_serving_version=True).sentences
    assert reason.endswith("The serving version was measured on another split or selected by another metric.")
