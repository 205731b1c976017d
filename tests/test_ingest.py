"""Ingest: rows are kept or rejected with a reason, and joined with users, catalogue and tags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession
from support.datasets import HEADERLESS, PLAYS, RATINGS, Ingested, dataset_of, ingest_into, write_csv

from common.errors import MissingInput, UserError
from config.dataset import load_dataset
from models.assemble_version import VersionInputs, assemble_version
from models.recommender import recommend
from spark.ingest.catalogue import index_ids
from spark.ingest.catalogue_details import track_details
from spark.ingest.ingest_counts import IngestCounts
from spark.ingest.parse import REASONS, parse
from spark.ingest.raw_to_parquet import ingest
from spark.ingest.readers import read_raw_data, read_table

LASTFM = Path(__file__).parents[2] / "shared" / "datasets" / "lastfm-2k"


def parsed_rows(spark: SparkSession, raw: Path, about: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the parsed rows, with the column `reason`."""
    interactions = dataset_of(about).interactions
    rows = parse(read_table(spark, raw, interactions)).collect()
    return [row.asDict() | {"reason": row["reject"] and row["reject"].split("\t")[0]} for row in rows]


DIRTY_ROWS: dict[str, str | None] = {
    "u1,t1,4,100": None,
    "u2,t1,5.0,100": None,
    " u2 , t2 , 3 , 100 ": None,
    '"u,3","t ""3""",1,100': None,
    "u1,t1": "malformed_row",
    "u1,t1,4,100,extra": "malformed_row",
    ",t1,4,100": "missing_user",
    "   ,t2,4,100": "missing_user",
    "u1,,4,100": "missing_track",
    "u\ufffd,t2,4,100": "undecodable",
    "u1,t2,four,100": "not_a_number",
    "u1,t2,1d,100": "not_a_number",
    "u1,t2,0x1p1,100": "not_a_number",
    "u1,t3,,100": "not_a_number",
    "u1,t4,NaN,100": "not_finite",
    "u1,t5,-Infinity,100": "not_finite",
    "u1,t5,1e400,100": "not_finite",
    "u1,t5,1e39,100": "not_finite",
    "u1,t6,0.99,100": "out_of_range",
    "u1,t7,5.01,100": "out_of_range",
    "u1,t8,4,yesterday": "bad_time",
    "u1,t9,4,": "bad_time",
    "u1,t9,4,-1": "bad_time",
    "u1,t9,4,1262304000000": "bad_time",
    ",,four,never": "missing_user",
}
"""Raw rows and the reason why each is rejected; None if it is kept."""


@pytest.fixture(scope="module")
def dirty(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    """Ratings with every kind of invalid row."""
    text = "user,track,rating,time\n" + "\n".join(DIRTY_ROWS) + "\n"
    raw = write_csv(tmp_path_factory.mktemp("dirty") / "raw", ratings=text.encode().replace("\ufffd".encode(), b"\xff"))
    return ingest_into(spark, dataset_of(RATINGS), raw, max_reject_fraction=0.9)


def test_example_has_every_reject_reason() -> None:
    assert {reason for reason in DIRTY_ROWS.values() if reason} == set(REASONS)


def test_every_row_is_kept_or_rejected(dirty: Ingested) -> None:
    rejected = [reason for reason in DIRTY_ROWS.values() if reason]
    assert dirty.counted.read == len(DIRTY_ROWS)
    assert dirty.counted.kept == len(DIRTY_ROWS) - len(rejected)
    assert dirty.counted.rejected == {reason: rejected.count(reason) for reason in REASONS}
    assert list(dirty.counted.rejected) == list(REASONS)


def test_reject_has_raw_row_and_first_reason(dirty: Ingested) -> None:
    rejects = dirty.table("rejects").itertuples(index=False, name=None)
    expected = [(reason, row.strip()) for row, reason in DIRTY_ROWS.items() if reason]
    assert sorted((reason, row.strip()) for reason, row in rejects) == sorted(expected)


def test_kept_rows_are_trimmed_and_unquoted(dirty: Ingested) -> None:
    assert dirty.pairs() == {("u1", "t1"): 4.0, ("u2", "t1"): 5.0, ("u2", "t2"): 3.0, ("u,3", 't "3"'): 1.0}


def test_columns_and_types_of_outputs(dirty: Ingested) -> None:
    types = dirty.table("interactions").dtypes.astype(str).to_dict()
    assert types == {"user": "int32", "track": "int32", "value": "float64", "time": "int64"}
    assert dirty.table("users").columns.tolist() == ["index", "user_id", "hash", "interactions"]
    assert dirty.table("tracks").columns.tolist() == ["index", "track_id", "hash", "popularity"]


TWICE = """user,track,rating,time
u1,t1,1,100
u1,t1,5,300
u1,t1,3,200
u2,t1,2,100
u2,t1,4,100
u3,t1,2,100
u4,t1,4,100
u4,t1,2,100
"""


@pytest.mark.parametrize(
    ("rule", "values"),
    [
        ("sum", {"u1": 9, "u2": 6, "u3": 2, "u4": 6}),
        ("mean", {"u1": 3, "u2": 3, "u3": 2, "u4": 3}),
        ("max", {"u1": 5, "u2": 4, "u3": 2, "u4": 4}),
        ("latest", {"u1": 5, "u2": 4, "u3": 2, "u4": 4}),  # u2's and u4's are of the same second: the higher
    ],
)
def test_duplicates_are_merged_by_the_rule(
    spark: SparkSession, tmp_path: Path, rule: str, values: dict[str, float]
) -> None:
    outcome = ingest_into(
        spark, dataset_of(RATINGS | {"duplicates": rule}), write_csv(tmp_path / "raw", ratings=TWICE + "u1,t2,1,1\n")
    )
    assert outcome.pairs() == {(user, "t1"): value for user, value in values.items()} | {("u1", "t2"): 1}
    times = outcome.table("interactions").query("track == 0")["time"].tolist()
    assert times == [300, 100, 100, 100]
    assert (outcome.counted.kept, outcome.counted.merged, outcome.counted.interactions) == (9, 4, 5)


def test_rule_latest_takes_the_latest_value(spark: SparkSession, tmp_path: Path) -> None:
    raw = write_csv(tmp_path / "raw", ratings="user,track,rating,time\nu,t,5,100\nu,t,1,200\n")
    assert ingest_into(spark, dataset_of(RATINGS), raw).pairs() == {("u", "t"): 1.0}


def test_each_event_counts_as_one(spark: SparkSession, tmp_path: Path) -> None:
    events = {key: value for key, value in PLAYS.items() if key != "value"} | {"feedback": "events"}
    raw = write_csv(tmp_path / "raw", plays="user,track\nu,t\nu,t\nu,s\n")
    assert ingest_into(spark, dataset_of(events), raw).pairs() == {("u", "s"): 1.0, ("u", "t"): 2.0}


def test_plays_must_be_positive(spark: SparkSession, tmp_path: Path) -> None:
    raw = write_csv(tmp_path, plays="user,track,plays\nu,a,0\nu,b,-3\nu,c,0.5\n")
    reasons = {row["track_id"]: row["reason"] for row in parsed_rows(spark, raw, PLAYS)}
    assert reasons == {"a": "out_of_range", "b": "out_of_range", "c": None}


def test_interactions_are_sorted_in_user_ranges_for_any_files(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"u{n * 7919 % 101:03},t{n % 13},{n % 5 + 1},{n % 17}\n" for n in range(2_000)]
    raw = write_csv(tmp_path / "raw", ratings="user,track,rating,time\n" + "".join(lines))
    mean = dataset_of(RATINGS | {"duplicates": "mean"})
    whole = ingest_into(spark, mean, raw)
    shuffled = write_csv(tmp_path / "more", ratings="".join(["user,track,rating,time\n", *reversed(lines)]))
    monkeypatch.setattr("spark.ingest.encode_interactions.RANGE_ROWS", 300)
    monkeypatch.setattr("spark.ingest.encode_interactions.CHUNK_ROWS", 1)
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", 170)
    try:
        cut = ingest_into(spark, mean, shuffled)
    finally:
        spark.conf.unset("spark.sql.execution.arrow.maxRecordsPerBatch")
    files = sorted((cut.into / "interactions").iterdir())
    assert len(files) == 6
    together = pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)
    pd.testing.assert_frame_equal(together, whole.table("interactions"))
    assert together.sort_values(["user", "track"]).index.tolist() == list(range(len(together)))
    assert not list(cut.into.glob("chunks")) + list(cut.into.glob("by-range")) + list(cut.into.glob("ids"))


def test_users_without_interactions_are_kept(spark: SparkSession, tmp_path: Path) -> None:
    users = "id\n" + "".join(f"silent{n}\n" for n in range(50))
    dataset = dataset_of(RATINGS, users={"path": "users.csv", "id": "id"})
    raw = write_csv(tmp_path / "raw", ratings="user,track,rating,time\nz,a,4,1\nz,b,2,1\n", users=users)
    outcome = ingest_into(spark, dataset, raw)
    assert outcome.pairs() == {("z", "a"): 4.0, ("z", "b"): 2.0}
    assert len(outcome.table("users")) == 51


def test_indexes_are_dense_and_follow_sorted_ids() -> None:
    ids = [str(number) for number in range(200)] + ["é", "Z", "a" * 500, "00", " ", "\U0001f3b5", "\uffee"]
    details = pa.table({"user_id": [*reversed(ids[100:]), None], "age": [*range(len(ids) - 100), 1]})
    table = index_ids(pa.array(ids[:150]), details, "user_id")
    ages = dict(zip(table["user_id"].to_pylist(), table["age"].to_pylist(), strict=True))
    assert ages[ids[-1]] == 0
    assert ages[ids[0]] is None
    assert table["index"].to_pylist() == list(range(len(ids)))
    assert table["user_id"].to_pylist() == sorted(ids, key=lambda name: name.encode("utf-8"))


LONG = "b80344d063b5ccb3212f76538f3d9e43d87dca9e" * 3
CATALOGUE = dataset_of(
    PLAYS,
    tracks={"path": "tracks.csv", "id": "id", "title": "upper(name)", "artist": "artist"},
    tags={"path": "tags.csv", "track": "track", "tag": "tag"},
    tag_names={"path": "names.csv", "id": "id", "name": "name"},
    users={"path": "users.csv", "id": "id", "age": "age", "country": "land"},
)
CATALOGUE_FILES = {
    "plays": f"user,track,plays\n{LONG},t1,7\n00042,t1,1\n00042,tX,2\n42,t2,3\n",
    "tracks": "id,name,artist\nt1,Amber Dawn,The Lanterns\nt2,,\n"
    't2,,\nt3,"Never, ""heard""",Nobody\n,no id,Nobody\nt9,short row\n',
    "tags": "user,track,tag\na,t1,2\nb,t1,2\nc,t1,1\na,t2,3\nb,t2,1\na,t3,9\n",
    "names": "id,name\n1,jazz\n2,folk\n3,ambient\n",
    "users": "id,age,land\n42,33,SE\n00042,old,\nsilent,20,NG\n",
}


@pytest.fixture(scope="module")
def catalogued(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    """Plays with a catalogue, tags and users."""
    raw = write_csv(tmp_path_factory.mktemp("catalogued") / "raw", **CATALOGUE_FILES)
    return ingest_into(spark, CATALOGUE, raw)


def test_ids_are_unchanged_strings(catalogued: Ingested) -> None:
    assert catalogued.by_index("users")["user_id"].tolist() == ["00042", "42", LONG, "silent"]
    assert catalogued.pairs() == {(LONG, "t1"): 7.0, ("00042", "t1"): 1.0, ("00042", "tX"): 2.0, ("42", "t2"): 3.0}


def test_tracks_come_from_catalogue_and_interactions(catalogued: Ingested) -> None:
    tracks = catalogued.by_index("tracks").drop(columns="hash")
    assert tracks.columns.tolist() == ["index", "track_id", "title", "artist", "genre", "tags", "rows", "popularity"]
    rows = tracks.astype(object).where(tracks.notna(), None)
    # t2's two tags were given once each: by the alphabet. t3's tag has no name. tX is in no catalogue.
    tags = [None if value is None else list(value) for value in rows.pop("tags")]
    assert tags == [["folk", "jazz"], ["ambient", "jazz"], None, None]
    assert rows.values.tolist() == [
        [0, "t1", "AMBER DAWN", "The Lanterns", "folk", 1, 2],
        [1, "t2", None, None, "ambient", 2, 1],
        [2, "t3", 'NEVER, "HEARD"', "Nobody", None, 1, 0],
        [3, "tX", None, None, None, None, 1],
    ]
    assert catalogued.counted.unusable == {"users": 0, "tracks": 2}


def test_users_come_from_file_and_interactions(catalogued: Ingested) -> None:
    users = catalogued.by_index("users").drop(columns=["hash", "rows"])
    assert users.columns.tolist() == ["index", "user_id", "age", "country", "interactions"]
    rows = users.astype(object).where(users.notna(), None).values.tolist()
    assert rows == [
        [0, "00042", None, None, 2],
        [1, "42", 33, "SE", 1],
        [2, LONG, None, None, 1],
        [3, "silent", 20, "NG", 0],
    ]


@pytest.fixture(scope="module")
def plain(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    """Plays without other tables; one of four rows is rejected."""
    text = "user,track,plays\n!,t0,1\n42,t2,9\n42,t0,many\nu,t0,1\n"
    return ingest_into(spark, dataset_of(PLAYS), write_csv(tmp_path_factory.mktemp("plain") / "raw", plays=text), 0.25)


def test_rejects_up_to_the_fraction_are_accepted(plain: Ingested) -> None:
    assert plain.counted == IngestCounts(
        read=4, rejected={"not_a_number": 1}, kept=3, merged=0, unusable={},
        examples={"not_a_number": ["42,t0,many"]},
    )  # fmt: skip


def test_hash_of_an_id_is_the_same_in_every_dataset(catalogued: Ingested, plain: Ingested) -> None:
    first, other = (outcome.table("users").set_index("user_id")["hash"] for outcome in (catalogued, plain))
    assert first["42"] == other["42"]
    assert first.is_unique


def test_data_without_catalogue_can_be_published(plain: Ingested, tmp_path: Path) -> None:
    version, model, lists = (tmp_path / name for name in ("v1", "model", "lists"))
    similar, tiers, evaluation = (tmp_path / name for name in ("similar", "tiers.parquet", "evaluation.parquet"))
    for directory in (version, model, lists, similar):
        directory.mkdir()
    pd.DataFrame({"user": [0], "champion": [0.5]}).to_parquet(evaluation)
    pd.DataFrame({"tier": ["model"] * 3}).to_parquet(tiers)
    rows = {"user_id": ["u"], "rank": [1], "track_id": ["t2"], "score": [0.5]}
    pd.DataFrame(rows).to_parquet(lists / "part-0.parquet")
    users, tracks, interactions = (plain.into / name for name in ("users", "tracks", "interactions"))
    parts = VersionInputs(users, tracks, interactions, model, lists, similar, tiers, evaluation)
    counts = assemble_version(version, tmp_path, parts, {}, {})
    assert counts == {"users": 3, "tracks": 2, "interactions": 3, "recommendations": 1}
    assert recommend(version, "u").values.tolist() == [[1, "t2", None, None, 0.5]]


def test_empty_tag_does_not_become_genre(spark: SparkSession, tmp_path: Path) -> None:
    dataset = dataset_of(
        PLAYS,
        tracks={"path": "tracks.csv", "id": "id"},
        tags={"path": "tags.csv", "track": "track", "tag": "tag"},
    )
    files = {"tracks": "id,x\nt,\n", "tags": "user,track,tag\na,t,\nb,t,\nc,t,jazz\nd,t\n"}
    write_csv(tmp_path, plays="user,track,plays\n", **files)
    details = track_details(read_raw_data(spark, dataset, tmp_path))
    assert details is not None
    assert details.select(["genre", "tags"]).to_pylist() == [{"genre": "jazz", "tags": ["jazz"]}]


def test_several_files_form_one_table(spark: SparkSession, tmp_path: Path) -> None:
    about = dataset_of(PLAYS | {"path": "day-*.csv"}).interactions
    raw = write_csv(tmp_path, **{"day-1": "user,track,plays\nu,t,1\n", "day-2": "user,track,plays\nv,t,1\n"})
    assert sorted(row["user"] for row in read_table(spark, raw, about).rows.collect()) == ["u", "v"]
    write_csv(tmp_path, **{"day-3": "track,user,plays\nt,w,1\n"})
    with pytest.raises(UserError, match=r"day-3\.csv and .*day-1\.csv have different headers"):
        read_table(spark, raw, about)


@pytest.mark.parametrize(
    ("about", "content"),
    [
        (PLAYS | {"separator": "::"}, "user::track::plays\nu::t::3\n"),
        (HEADERLESS | {"separator": "\t", "quote": ""}, 'u\tt\t3\r\nv\t"q\t1\r\n'),
        (PLAYS | {"encoding": "iso-8859-1"}, "user,track,plays\nu,t,3\n\u00e9,t,1\n".encode("latin-1")),
        (PLAYS, b"\xef\xbb\xbfuser,track,plays\r\nu,t,3\r\n\r\n"),
        (HEADERLESS, b"\xef\xbb\xbfu,t,3\n"),
        (PLAYS, ",user,track,plays\n0,u,t,3\n1,v,t,1\n"),
        (PLAYS, "user,track,plays,note,note\nu,t,3,a,b\n"),
        (PLAYS | {"path": "*.csv"}, "user,track,plays\nu,t,3\n"),
        (PLAYS | {"user": "User", "value": "plays + 0"}, "user,track,plays\nu,t,3\n"),
    ],
    ids=["long separator", "tabs and CRLF", "latin-1", "BOM and CRLF", "BOM, no header", "unnamed index column",
         "two columns of one name", "glob", "case and expression"],
)  # fmt: skip
def test_common_file_variants_are_read(
    spark: SparkSession, tmp_path: Path, about: dict[str, Any], content: str | bytes
) -> None:
    rows = parsed_rows(spark, write_csv(tmp_path, plays=content), about)
    by_user = {row["user_id"]: (row["track_id"], row["value"], row["reason"]) for row in rows}
    assert by_user["u"] == ("t", 3.0, None)


def test_directory_name_with_glob_characters(spark: SparkSession, tmp_path: Path) -> None:
    raw = write_csv(tmp_path / "mine [old] {1}", plays="user,track,plays\nu,t,3\n")
    assert read_table(spark, raw, dataset_of(PLAYS).interactions).rows.count() == 1


def test_missing_file_is_named(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match=f"There is no plays.csv in {tmp_path}"):
        ingest(spark, dataset_of(PLAYS), tmp_path, tmp_path / "out", 0.0)


@pytest.mark.parametrize("absent", ["tracks", "tags", "names", "users"])
def test_missing_file_of_another_table_is_named(spark: SparkSession, tmp_path: Path, absent: str) -> None:
    write_csv(tmp_path, **{name: text for name, text in CATALOGUE_FILES.items() if name != absent})
    with pytest.raises(MissingInput, match=f"There is no {absent}.csv in"):
        read_raw_data(spark, CATALOGUE, tmp_path)


def test_missing_column_suggests_nearest_name(spark: SparkSession, tmp_path: Path) -> None:
    raw = write_csv(tmp_path / "raw", plays="user,track,playz\nu,t,1\n")
    with pytest.raises(UserError) as caught:
        ingest_into(spark, dataset_of(PLAYS), raw)
    assert str(caught.value) == (
        "plays.csv has no column 'plays' ([interactions] value) (did you mean 'playz'?); it has playz, track, user."
    )


def test_spark_does_not_log_a_missing_column(
    spark: SparkSession, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    raw = write_csv(tmp_path, plays="user,track,playz\nu,t,1\n")
    for value in ("plays", "2 * plays"):
        about = dataset_of(PLAYS | {"value": value}).interactions
        with pytest.raises(UserError):
            parse(read_table(spark, raw, about))
    output = capfd.readouterr()
    assert (output.out, output.err) == ("", "")


def test_too_many_rejects_are_refused_with_reasons_and_examples(spark: SparkSession, tmp_path: Path) -> None:
    raw = write_csv(tmp_path / "raw", plays="user,track,plays\nu,t,1\nu,s,many\nu,r,lots\nu\n")
    with pytest.raises(UserError) as caught:
        ingest_into(spark, dataset_of(PLAYS), raw, max_reject_fraction=0.74)
    message = str(caught.value)
    assert message.startswith(f"{raw / 'plays.csv'}: 3 of 4 rows were rejected (not_a_number 2 times, e.g. 'u,")
    assert "malformed_row 1 times, e.g. 'u', not 3 fields between ',')" in message
    assert message.endswith("raise [ingest] max_reject_fraction = 0.74.")


def test_file_of_only_rejects_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    raw = write_csv(tmp_path / "raw", plays="user,track,plays\nu,t,many\n")
    with pytest.raises(UserError, match="1 of 1 rows were rejected"):
        ingest_into(spark, dataset_of(PLAYS), raw, max_reject_fraction=1.0)


@pytest.mark.parametrize(
    ("about", "content", "message"),
    [
        (PLAYS, "user,track,plays\n", "has no rows"),
        (PLAYS, "", "is empty; its first line should name the columns"),
        (HEADERLESS, "", "has no rows"),
        (PLAYS, "user,tr\u00e4ck,plays\n".encode("latin-1"), "is not UTF-8 text; set the encoding"),
    ],
)
def test_unusable_file_is_named(
    spark: SparkSession, tmp_path: Path, about: dict[str, Any], content: str | bytes, message: str
) -> None:
    raw = write_csv(tmp_path / "raw", plays=content)
    with pytest.raises(UserError, match=message) as caught:
        ingest_into(spark, dataset_of(about), raw)
    assert "plays.csv" in str(caught.value)


@pytest.mark.skipif(not LASTFM.is_dir(), reason=f"the Last.fm files are not in {LASTFM}")
@pytest.mark.slow
def test_lastfm_2k_is_read_completely(spark: SparkSession, tmp_path: Path) -> None:
    into = tmp_path / "out"
    into.mkdir()
    outcome = Ingested(ingest(spark, load_dataset("lastfm-2k"), LASTFM, into, 0.01), into)
    assert (outcome.counted.read, outcome.counted.interactions) == (92_834, 92_834)
    assert outcome.counted.rejected == {}
    users, artists = outcome.table("users"), outcome.table("tracks")
    assert (len(users), len(artists), len(outcome.table("interactions"))) == (1_892, 17_632, 92_834)
    assert artists["title"].notna().all()
    assert artists.loc[artists["track_id"] == "289", "title"].item() == "Britney Spears"
    assert artists["genre"].notna().mean() > 0.5
