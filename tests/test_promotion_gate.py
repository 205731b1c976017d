"""The gate before a promotion: each reason to refuse, and each way through."""

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
    """A version whose champion has ndcg@10 0.2, and popularity 0.1, unless told otherwise."""
    models = {"als": als or {"ndcg@10": 0.2}, "popularity": popularity or {"ndcg@10": 0.1}}
    metrics: dict[str, Any] = {
        "champion": champion, "select_by": select_by, "split": {"fingerprint": split}, "models": models,
    }  # fmt: skip
    return GateInput(metrics, COUNTS | counts, as_of)


def asked(new: GateInput, serving: GateInput | None, **settings: Any) -> str | None:
    """The gate with the usual settings: `min_size` ½, `tolerance` 10 %."""
    defaults: dict[str, Any] = {"select_by": "ndcg@10", "min_size": 0.5, "tolerance": 0.1}
    return refusal_reason(new, serving, **defaults | settings)


def test_the_first_version_passes_when_its_champion_beats_popularity() -> None:
    assert asked(candidate(), None) is None


def test_a_champion_below_popularity_is_refused() -> None:
    said = asked(candidate(als={"ndcg@10": 0.0999}), None)
    assert said == "the champion als has ndcg@10 0.0999, and popularity alone has 0.1000."


def test_a_champion_equal_to_popularity_passes() -> None:
    assert asked(candidate(als={"ndcg@10": 0.1}), None) is None


def test_popularity_may_be_the_champion() -> None:
    assert asked(candidate(als={"ndcg@10": 0.01}, champion="popularity"), None) is None


def test_a_champion_chosen_by_rmse_is_compared_with_popularity_by_ndcg() -> None:
    weak = candidate(als={"rmse": 0.7, "ndcg@10": 0.05})
    said = asked(weak, None, select_by="rmse")
    assert said is not None and "ndcg@10 0.0500" in said
    assert asked(candidate(als={"rmse": 0.7, "ndcg@10": 0.2}), None, select_by="rmse") is None


def test_of_an_error_the_lower_is_the_better() -> None:
    better = candidate(als={"rmse": 0.8}, popularity={"rmse": 0.9})
    worse = candidate(als={"rmse": 0.9}, popularity={"rmse": 0.8})
    assert asked(better, None, select_by="rmse") is None
    assert asked(worse, None, select_by="rmse") is not None
    serving = candidate(als={"rmse": 0.7}, popularity={"rmse": 0.9})
    assert asked(better, serving, select_by="rmse", tolerance=0.1) is not None  # 0.8 is more than 10 % above 0.7
    assert asked(better, serving, select_by="rmse", tolerance=0.2) is None


@pytest.mark.parametrize("what", ["users", "tracks", "interactions"])
def test_a_version_that_shrank_below_the_smallest_size_is_refused(what: str) -> None:
    half = COUNTS[what] // 2
    assert asked(candidate(**{what: half}), candidate()) is None
    said = asked(candidate(**{what: half - 1}), candidate())
    assert said == (
        f"it has {half - 1:,} {what} and the serving version {COUNTS[what]:,}; [publish] min_size = 0.5 asks for more."
    )


@pytest.mark.parametrize("serving", ["2026-03-02", "2026-03-01T00:00:00Z"])
def test_a_version_of_an_older_day_is_refused(serving: str) -> None:
    said = asked(candidate(as_of="2026-03-01", users=1), candidate(as_of=serving))
    assert said == f"it is as of 2026-03-01, and the serving version as of {serving}."


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
def test_a_version_of_no_older_day_passes(new: str | None, serving: str | None) -> None:
    assert asked(candidate(as_of=new), candidate(as_of=serving)) is None


def test_a_loss_beyond_the_tolerance_on_the_same_split_is_refused() -> None:
    serving = candidate(als={"ndcg@10": 0.25})
    said = asked(candidate(als={"ndcg@10": 0.22}), serving)  # 12 % lower
    assert said == (
        "its ndcg@10 is 0.2200 and the serving version's 0.2500 on the same split; "
        "[publish] tolerance = 0.1 allows less of a loss."
    )


def test_a_loss_within_the_tolerance_passes() -> None:
    assert asked(candidate(als={"ndcg@10": 0.23}), candidate(als={"ndcg@10": 0.25})) is None  # 8 % lower


def test_a_gain_passes_without_any_tolerance() -> None:
    assert asked(candidate(als={"ndcg@10": 0.3}), candidate(), tolerance=0.0) is None


def test_figures_of_different_splits_are_not_compared() -> None:
    assert asked(candidate(als={"ndcg@10": 0.11}), candidate(als={"ndcg@10": 0.9}, split="s2")) is None


def test_a_metric_that_the_serving_version_lacks_is_not_compared() -> None:
    serving = candidate(als={"recall@10": 0.9}, popularity={"recall@10": 0.1})
    assert asked(candidate(), serving) is None


def test_champions_measured_on_the_same_split_by_the_same_metric_are_measured_alike() -> None:
    assert candidate().measured_like(candidate())
    assert not candidate().measured_like(candidate(split="s2"))
    assert not candidate().measured_like(candidate(select_by="map@10", popularity={"ndcg@10": 0.1, "map@10": 0.1}))
    # Popularity has no RMSE, so both are compared by ndcg@10.
    assert candidate(select_by="rmse").measured_like(candidate())


def difference(value: float, low: float, high: float) -> dict[str, Any]:
    return {"difference": value, "interval": [low, high]}


def test_the_figures_beside_a_promotion_are_said_in_a_sentence() -> None:
    compared = ChampionComparison(
        "als", "ndcg@10", difference(0.121, 0.1021, 0.139), difference(0.002, -0.004, 0.008), there_is_serving=True
    )
    assert compared.sentences == (
        "als against popularity: ndcg@10 +0.121 [+0.102, +0.139]; against the serving version: +0.002 [−0.004, +0.008]."
    )
    assert compared.figures == {
        "metric": "ndcg@10",
        "to_popularity": difference(0.121, 0.1021, 0.139),
        "to_serving": difference(0.002, -0.004, 0.008),
    }


def test_a_champion_that_does_not_beat_popularity_is_said_so() -> None:
    unsure = ChampionComparison("als", "ndcg@10", difference(0.01, -0.01, 0.03)).sentences
    assert unsure.endswith("als does not reliably beat popularity: the interval includes 0.")
    worse = ChampionComparison("als", "ndcg@10", difference(-0.05, -0.07, 0.01)).sentences
    assert worse.endswith("als does not beat popularity.")
    assert ChampionComparison("popularity", "ndcg@10", None).sentences == "No candidate beats popularity."
    assert ChampionComparison(
        "popularity", "ndcg@10", None, difference(-0.1, -0.2, 0.0), there_is_serving=True
    ).sentences == (
        "popularity against the serving version: ndcg@10 −0.100 [−0.200, +0.000]. No candidate beats popularity."
    )


def test_a_serving_version_that_was_measured_otherwise_is_not_compared() -> None:
    said = ChampionComparison("als", "ndcg@10", difference(0.1, 0.05, 0.15), there_is_serving=True).sentences
    assert said.endswith("The serving version was not measured on the same split by the same metric.")
