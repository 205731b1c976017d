"""Dataset descriptions: shipped ones load, and the message of each mistake names the file and key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from common.errors import MissingInput, UserError, did_you_mean
from config.dataset import SHIPPED, Interactions, find_files, load_dataset

PLAYS = """
title = "Mine"

[interactions]
path = "plays.csv"
user = "user"
track = "track"
value = "plays"
feedback = "plays"
duplicates = "sum"
"""


@pytest.fixture
def load_invalid(tmp_path: Path) -> Callable[[str], str]:
    """Return a function that loads an invalid description and returns the message without the path."""

    def load(text: str) -> str:
        path = tmp_path / "mine.toml"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(UserError) as caught:
            load_dataset(str(path))
        message = str(caught.value)
        assert message.startswith(str(path))
        assert message.endswith(".")
        assert "\n" not in message
        return message.removeprefix(str(path)).lstrip(": ")

    return load


@pytest.mark.parametrize("name", [path.stem for path in SHIPPED.glob("*.toml")])
def test_shipped_description_is_named_by_its_stem(name: str) -> None:
    assert load_dataset(name).name == name


def test_shipped_descriptions() -> None:
    assert {path.stem for path in SHIPPED.glob("*.toml")} >= {"synthetic", "lastfm-2k"}
    assert load_dataset("synthetic").synthetic
    assert load_dataset("lastfm-2k").item_label == "artist"


def test_tables_are_the_described_headings() -> None:
    assert list(load_dataset("lastfm-2k").tables) == ["interactions", "tracks", "tags", "tag_names"]
    assert list(load_dataset("synthetic").tables) == ["interactions", "tracks", "users"]


def test_description_at_a_path_is_named_by_its_stem(tmp_path: Path) -> None:
    (tmp_path / "my-plays.toml").write_text(PLAYS)
    dataset = load_dataset(str(tmp_path / "my-plays.toml"))
    assert dataset.name == "my-plays"
    assert dataset.interactions.separator == ","
    assert dataset.interactions.header
    assert dataset.item_label == "track"
    assert list(dataset.tables) == ["interactions"]


def test_rejects_unknown_dataset_with_a_list_of_names() -> None:
    with pytest.raises(UserError) as caught:
        load_dataset("lastfm")
    message = str(caught.value)
    assert message.startswith("There is no dataset 'lastfm' (did you mean 'lastfm-2k'?): name one of lastfm-1k, ")
    assert message.endswith(", yambda, or the path of a TOML file.")


def test_rejects_missing_path(tmp_path: Path) -> None:
    missing = str(tmp_path / "none.toml")
    with pytest.raises(UserError, match="There is no dataset") as caught:
        load_dataset(missing)
    assert missing in str(caught.value)


MISTAKES = {
    "unknown key": ('duplicates = "sum"', 'duplicates = "sum"\nseperator = ";"',
        ["unknown key 'interactions.seperator'", "did you mean 'separator'?", "valid keys: columns, duplicates,"]),
    "unknown heading": ("[interactions]", "[user]\nid = 'x'\n[interactions]",
        ["unknown key 'user'", "did you mean 'users'?"]),
    "unknown top key": ('title = "Mine"', 'title = "Mine"\nitemlabel = "artist"',
        ["unknown key 'itemlabel'", "did you mean 'item_label'?"]),
    "missing key": ('track = "track"', "", ["the key 'interactions.track' is missing"]),
    "missing title": ('title = "Mine"', "", ["the key 'title' is missing"]),
    "missing table": (PLAYS, 'title = "Mine"', ["the key 'interactions' is missing"]),
    "wrong type": ('path = "plays.csv"', "path = 7",
        ["'interactions.path'", "should be a valid string", "found 7"]),
    "empty text": ('user = "user"', 'user = ""', ["'interactions.user'", "at least 1 character"]),
    "not a table": (PLAYS, 'title = "Mine"\ninteractions = "plays.csv"', ["'interactions'", "found 'plays.csv'"]),
    "bad feedback": ('feedback = "plays"', 'feedback = "likes"',
        ["'interactions.feedback'", "'rating', 'plays' or 'events'", "found 'likes'"]),
    "bad duplicates": ('"sum"', '"first"', ["'interactions.duplicates'", "'latest'", "found 'first'"]),
    "absolute path": ('"plays.csv"', '"/plays.csv"', ["[interactions.path] must be inside the raw directory"]),
    "path outside": ('"plays.csv"', '"../p.csv"', ["[interactions.path] must be inside the raw directory"]),
    "bad encoding": ("[interactions]", '[interactions]\nencoding = "utf-99"',
        ["[interactions.encoding] is not a supported encoding; supported: ", "ISO-8859-1", "UTF-8, windows-1250"]),
    "latest without time": ('"sum"', '"latest"', ["[interactions] needs a time"]),
    "rating without range": ('feedback = "plays"', 'feedback = "rating"', ["[interactions] needs rating_range"]),
    "range upside down": ('feedback = "plays"', 'feedback = "rating"\nrating_range = [5, 1]',
        ["[interactions] needs rating_range = [lowest, highest]"]),
    "range of one number": ('feedback = "plays"', 'feedback = "rating"\nrating_range = [5]',
        ["'interactions.rating_range"]),
    "range for plays": ('"sum"', '"sum"\nrating_range = [1, 5]', ["[interactions] has a rating_range"]),
    "plays without value": ('value = "plays"', "", ["[interactions] needs a value"]),
    "events with value": ('feedback = "plays"', 'feedback = "events"', ["[interactions] needs a value, unless"]),
    "no header, no columns": ('path = "plays.csv"', 'path = "plays.csv"\nheader = false',
        ["[interactions] needs either header = true or header = false with columns"]),
    "header and columns": ('path = "plays.csv"', 'path = "plays.csv"\ncolumns = ["a"]',
        ["[interactions] needs either header = true or header = false with columns"]),
    "long quote": ('path = "plays.csv"', 'path = "plays.csv"\nquote = "<<"',
        ["[interactions] has a quote with more than one character"]),
    "quote in the separator": ('path = "plays.csv"', 'path = "plays.csv"\nseparator = "\\",\\""',
        ["[interactions] has a separator that contains the quote"]),
    "separator ends lines": ('path = "plays.csv"', 'path = "plays.csv"\nseparator = "\\r\\n"',
        ["[interactions] has a separator that contains a line break"]),
    "two columns of one name": ('path = "plays.csv"', 'path = "plays.csv"\nheader = false\ncolumns = ["a", "A"]',
        ["[interactions] has duplicate column names"]),
    "separator of JSON": ('path = "plays.csv"', 'path = "plays.csv"\nformat = "jsonl"\nseparator = ";"',
        ['[interactions] has separator, which does not apply to format = "jsonl"']),
    "encoding of Parquet": ('path = "plays.csv"', 'path = "plays.csv"\nformat = "parquet"\nencoding = "utf-8"',
        ['[interactions] has encoding, which does not apply to format = "parquet"']),
    "bad format": ('path = "plays.csv"', 'path = "plays.csv"\nformat = "json"',
        ["'interactions.format'", "'jsonl'", "found 'json'"]),
    "misspelt time format": ('"sum"', '"sum"\ntime = "t"\ntime_format = "epoch"',
        ["[interactions.time_format] is neither one of epoch_ms, epoch_s, iso8601 (did you mean 'epoch_s'?)"]),
    "time format without time": ('"sum"', '"sum"\ntime_format = "epoch_s"',
        ["[interactions] has a time_format but no time"]),
    "mistake in another table": ('"sum"', '"sum"\n[tracks]\npath = "t.csv"\nid = "id"\ntitel = "t"',
        ["unknown key 'tracks.titel'", "did you mean 'title'?"]),
    "a name inside": ('title = "Mine"', 'title = "Mine"\nname = "yours"', ["remove the key 'name'"]),
    "invalid TOML": ('title = "Mine"', "title = Mine", ["is not valid TOML", "line 2"]),
}  # fmt: skip


@pytest.mark.parametrize(("original", "replacement", "expected"), MISTAKES.values(), ids=MISTAKES)
def test_message_of_a_mistake_names_file_and_key(
    load_invalid: Callable[[str], str], original: str, replacement: str, expected: list[str]
) -> None:
    assert original in PLAYS
    message = load_invalid(PLAYS.replace(original, replacement))
    for part in expected:
        assert part in message


def test_rejects_description_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(PLAYS.replace("Mine", "Café").encode("latin-1"))
    with pytest.raises(UserError, match="is not valid TOML"):
        load_dataset(str(path))


def rated(**more: object) -> Interactions:
    """Return a description of ratings from 1 to 5."""
    keys = {"path": "r.csv", "user": "u", "track": "t", "value": "r", "feedback": "rating", "duplicates": "mean"}
    return Interactions.model_validate(keys | {"rating_range": [1, 5]} | more)


def test_relevance_threshold_defaults_to_70_percent_of_the_range() -> None:
    assert rated().liked_from == pytest.approx(3.8)  # 1 + 0.7 · (5 − 1)
    assert rated(like_from=3).liked_from == 3
    assert rated(like_from=0).liked_from == 0


def test_no_relevance_threshold_without_ratings() -> None:
    assert load_dataset("lastfm-2k").interactions.liked_from is None


def test_files_are_found_by_name_or_pattern_in_order(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv", "c.txt"):
        (tmp_path / name).touch()
    (tmp_path / "d.csv").mkdir()
    assert find_files(tmp_path, rated(path="b.csv")) == [tmp_path / "b.csv"]
    assert find_files(tmp_path, rated(path="*.csv")) == [tmp_path / "a.csv", tmp_path / "b.csv"]
    with pytest.raises(MissingInput, match=r'd.csv is a directory. Name its files: path = "d.csv/\*"'):
        find_files(tmp_path, rated(path="d.csv"))


def test_parquet_directory_is_replaced_by_its_files(tmp_path: Path) -> None:
    (tmp_path / "plays" / "day=1" / "_temporary").mkdir(parents=True)
    for name in ("part-1.parquet", "part-0.parquet", "_SUCCESS", ".part-0.parquet.crc", "_temporary/x.parquet"):
        (tmp_path / "plays" / "day=1" / name).touch()
    files = find_files(tmp_path, rated(path="plays", format="parquet"))
    assert [file.name for file in files] == ["part-0.parquet", "part-1.parquet"]


@pytest.mark.parametrize("raw", ["", "no-such-directory"])
def test_missing_file_is_reported_with_its_directory(tmp_path: Path, raw: str) -> None:
    with pytest.raises(MissingInput, match=f"There is no r.csv in {tmp_path / raw}. Put the raw files there"):
        find_files(tmp_path / raw, rated())


def test_hint_names_only_similar_names() -> None:
    assert did_you_mean("sedd", ["seed", "rank"]) == " (did you mean 'seed'?)"
    assert did_you_mean("alpha", ["seed", "rank"]) == ""
