"""From raw rows to interactions: cast, validate, deduplicate, index, and join with the catalogue.

Every raw row ends in `interactions` or, with a reason, in `rejects`.
"""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from config.dataset import Dataset, Interactions, Table
from config.errors import UserError
from spark.readers import MALFORMED, column, quoted, read_parquet, read_table
from spark.schemas import Columns

REASONS = (
    "malformed_row",
    "missing_user",
    "missing_track",
    "not_a_number",
    "not_finite",
    "out_of_range",
    "bad_time",
)
"""Why a row is rejected, in the order in which it is asked."""


@dataclass(frozen=True)
class Ingested:
    """What became of the raw rows."""

    read: int
    rejected: dict[str, int]
    kept: int


def ingest(spark: SparkSession, dataset: Dataset, raw_dir: Path, into: Path, max_reject_fraction: float) -> Ingested:
    """Writes `interactions`, `rejects`, `users` and `tracks` as Parquet below `into`.

    Raises:
        MissingInput: a file is not there.
        UserError: a column is not there, no row could be used, or too many were rejected.
    """
    about, path = dataset.interactions, raw_dir / dataset.interactions.path
    parsed = parse(read_table(spark, raw_dir, about), about)
    rejects = parsed.where(F.col(Columns.REASON).isNotNull()).select(Columns.REASON, Columns.ROW)
    rejects.write.parquet(str(into / "rejects"))
    merge(parsed.where(F.col(Columns.REASON).isNull()), about).write.parquet(str(into / "pairs"))
    counted = _counts(into)
    _refuse_bad_input(into / "rejects", counted, path, max_reject_fraction)

    pairs = read_parquet(spark, into / "pairs")
    details = {
        "users": with_details(pairs, Columns.USER_ID, "interactions", user_details(spark, dataset, raw_dir)),
        "tracks": with_details(pairs, Columns.TRACK_ID, "popularity", track_details(spark, dataset, raw_dir)),
    }
    for name, key in (("users", Columns.USER_ID), ("tracks", Columns.TRACK_ID)):
        (into / name).mkdir()
        pq.write_table(indexed(details[name].toArrow(), key), into / name / "part-0.parquet")
    to_indexes(pairs, *(read_parquet(spark, into / name) for name in details)).write.parquet(str(into / "interactions"))
    shutil.rmtree(into / "pairs")
    return counted


def parse(rows: DataFrame, about: Interactions) -> DataFrame:
    """Casts each raw row to user_id, track_id, value, time; `reason` says why a row cannot be used, else null."""

    def of(key: str, expression: str) -> Column:
        return column(rows, about, f"[interactions] {key}", expression)

    value = of("value", about.value).try_cast("double") if about.value else F.lit(1.0)
    time = of("time", about.time).try_cast("long") if about.time else F.lit(None).cast("long")
    fields = [F.coalesce(F.col(quoted(name)), F.lit("")) for name in rows.columns if name != MALFORMED]
    cast = rows.select(
        MALFORMED,
        of("user", about.user).cast("string").alias(Columns.USER_ID),
        of("track", about.track).cast("string").alias(Columns.TRACK_ID),
        value.alias(Columns.VALUE),
        time.alias(Columns.TIME),
        F.coalesce(F.col(MALFORMED), F.concat_ws(about.separator, *fields)).alias(Columns.ROW),
    )
    return cast.select(
        Columns.USER_ID,
        Columns.TRACK_ID,
        Columns.VALUE,
        Columns.TIME,
        _reason(about).alias(Columns.REASON),
        Columns.ROW,
    )


def _reason(about: Interactions) -> Column:
    """The first of `REASONS` that applies to a cast row."""
    value = F.col(Columns.VALUE)
    outside = ~value.between(*about.rating_range) if about.rating_range is not None else value <= 0
    tests = (
        F.col(MALFORMED).isNotNull(),
        F.coalesce(F.col(Columns.USER_ID), F.lit("")) == "",
        F.coalesce(F.col(Columns.TRACK_ID), F.lit("")) == "",
        value.isNull(),
        F.isnan(value) | (F.abs(value) == float("inf")),
        outside,
        F.col(Columns.TIME).isNull() if about.time else F.lit(False),
    )
    return F.coalesce(*(F.when(test, reason) for test, reason in zip(tests, REASONS, strict=True)))


def merge(kept: DataFrame, about: Interactions) -> DataFrame:
    """One row a user–track pair, by the description's rule for duplicates, and how many raw rows it was made of."""
    value = F.col(Columns.VALUE)
    rule = {
        "sum": F.sum(value),
        "mean": F.mean(value),
        "max": F.max(value),
        "latest": F.max_by(value, F.struct(Columns.TIME, Columns.VALUE)),
    }[about.duplicates]
    return kept.groupBy(Columns.USER_ID, Columns.TRACK_ID).agg(
        rule.alias(Columns.VALUE), F.max(Columns.TIME).alias(Columns.TIME), F.count(F.lit(1)).alias(Columns.ROWS)
    )


def with_details(pairs: DataFrame, key: str, counted_as: str, details: DataFrame | None) -> DataFrame:
    """Every id that occurs in the pairs or in its own file, its number of pairs, and what is known of it."""
    counts = pairs.groupBy(key).agg(F.count(F.lit(1)).alias(counted_as))
    if details is None:
        return counts
    together = counts.join(details, on=key, how="full")
    return together.select(
        key,
        F.coalesce(F.col(counted_as), F.lit(0)).alias(counted_as),
        *(c for c in details.columns if c != key),
    )


def user_details(spark: SparkSession, dataset: Dataset, raw_dir: Path) -> DataFrame | None:
    """user_id, age, country of each user in the users' file; None where there is no such file."""
    if dataset.users is None:
        return None
    rows = read_table(spark, raw_dir, dataset.users)
    wanted = {Columns.USER_ID: dataset.users.id, "age": dataset.users.age, "country": dataset.users.country}
    return _details(rows, dataset.users, "users", wanted, Columns.USER_ID, types={"age": "int"})


def track_details(spark: SparkSession, dataset: Dataset, raw_dir: Path) -> DataFrame | None:
    """track_id, title, artist, genre of each track in the catalogue; None where there is none.

    Where the catalogue has no genre and there are tags, a track's genre is the tag it was given most often.
    """
    if dataset.tracks is None:
        return None
    about = dataset.tracks
    rows = read_table(spark, raw_dir, about)
    wanted = {Columns.TRACK_ID: about.id, "title": about.title, "artist": about.artist, "genre": about.genre}
    details = _details(rows, about, "tracks", wanted, Columns.TRACK_ID)
    if about.genre or dataset.tags is None:
        return details
    commonest = _commonest_tags(spark, dataset, raw_dir)
    return details.drop("genre").join(commonest, on=Columns.TRACK_ID, how="left")


def _details(
    rows: DataFrame,
    table: Table,
    heading: str,
    wanted: dict[str, str | None],
    key: str,
    types: dict[str, str] | None = None,
) -> DataFrame:
    """The wanted columns, one row an id; of several rows with one id, the first in sort order."""

    def of(name: str, expression: str | None) -> Column:
        kind = (types or {}).get(name, "string")
        if expression is None:
            return F.lit(None).cast(kind).alias(name)
        return column(rows, table, f"[{heading}] {name}", expression).try_cast(kind).alias(name)

    selected = rows.where(F.col(MALFORMED).isNull()).select(*(of(name, value) for name, value in wanted.items()))
    others = [name for name in wanted if name != key]
    known = selected.where(F.coalesce(F.col(key), F.lit("")) != "")
    unique = known.groupBy(key).agg(F.min(F.struct(*others)).alias("first"))
    return unique.select(key, *(F.col(f"first.{name}").alias(name) for name in others))


def _commonest_tags(spark: SparkSession, dataset: Dataset, raw_dir: Path) -> DataFrame:
    """track_id and its commonest tag as genre; ties go to the tag that comes first in the alphabet."""
    assert dataset.tags is not None
    about, names = dataset.tags, dataset.tag_names
    rows = read_table(spark, raw_dir, about)
    given = (
        rows.where(F.col(MALFORMED).isNull())
        .select(
            column(rows, about, "[tags] track", about.track).alias(Columns.TRACK_ID),
            column(rows, about, "[tags] tag", about.tag).alias("tag"),
        )
        .where(F.col("tag") != "")
    )
    if names is not None:
        named = read_table(spark, raw_dir, names)
        called = named.select(
            column(named, names, "[tag_names] id", names.id).alias("tag"),
            column(named, names, "[tag_names] name", names.name).alias("name"),
        )
        given = given.join(called, on="tag", how="inner").select(Columns.TRACK_ID, F.col("name").alias("tag"))
    counted = given.groupBy(Columns.TRACK_ID, "tag").agg(F.count(F.lit(1)).alias("times"))
    first = F.min_by("tag", F.struct((-F.col("times")).alias("fewest"), F.col("tag")))
    return counted.groupBy(Columns.TRACK_ID).agg(first.alias("genre"))


def indexed(ids: pa.Table, key: str) -> pa.Table:
    """Adds `index`: each row's place in the order of the key, counted from 0. The key is unique.

    Happens in the driver: whoever serves the ids holds them in memory too.
    """
    index = pa.array(np.arange(len(ids), dtype=np.int32))
    return ids.sort_by(key).add_column(0, Columns.INDEX, index)


def to_indexes(pairs: DataFrame, users: DataFrame, tracks: DataFrame) -> DataFrame:
    """The pairs with dense indexes for ids: user, track, value, time, and the pair's own hash."""
    user = users.select(Columns.USER_ID, F.col(Columns.INDEX).alias(Columns.USER))
    track = tracks.select(Columns.TRACK_ID, F.col(Columns.INDEX).alias(Columns.TRACK))
    joined = pairs.join(user, on=Columns.USER_ID, how="inner").join(track, on=Columns.TRACK_ID, how="inner")
    pair = F.xxhash64(Columns.USER_ID, Columns.TRACK_ID).alias(Columns.PAIR)
    return joined.select(Columns.USER, Columns.TRACK, Columns.VALUE, Columns.TIME, pair)


def _counts(into: Path) -> Ingested:
    """Counts what was written, not what passed by: a task that Spark repeats would count twice."""
    rejected: Counter[str] = Counter()
    for batch in ds.dataset(into / "rejects").to_batches(columns=[Columns.REASON]):
        rejected.update(
            {entry["values"]: entry["counts"] for entry in batch[Columns.REASON].value_counts().to_pylist()}
        )
    batches = ds.dataset(into / "pairs").to_batches(columns=[Columns.ROWS])
    kept = sum(pc.sum(batch[Columns.ROWS]).as_py() or 0 for batch in batches)
    in_order = {reason: rejected[reason] for reason in REASONS if rejected[reason]}
    return Ingested(read=kept + rejected.total(), rejected=in_order, kept=kept)


def _refuse_bad_input(rejects: Path, counted: Ingested, path: Path, max_reject_fraction: float) -> None:
    if counted.read == 0:
        raise UserError(f"{path} has no rows.")
    rejected = sum(counted.rejected.values())
    if counted.kept and rejected <= max_reject_fraction * counted.read:
        return
    commonest = sorted(counted.rejected, key=lambda reason: -counted.rejected[reason])[:2]
    examples = []
    for reason in commonest:
        first = ds.dataset(rejects).head(1, filter=pc.field(Columns.REASON) == reason)
        examples.append(f"{reason} {counted.rejected[reason]:,} times, e.g. {first[Columns.ROW][0].as_py()!r}")
    raise UserError(
        f"{path}: {rejected:,} of {counted.read:,} rows were rejected ({'; '.join(examples)}); "
        f"mend the data or its description, or raise [ingest] max_reject_fraction = {max_reject_fraction:g}."
    )
