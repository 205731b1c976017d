"""From raw rows to interactions: cast, validate, index, merge, and join with the catalogue.

Every raw row ends in `interactions`, alone or merged with others, or in `rejects` with a reason, or is of another time
than what counts.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from common.errors import UserError
from config.dataset import Dataset, Interactions, Table, Tracks, Users, find_files
from spark.ingest.encode_interactions import (
    AFTER_REASON,
    KEPT,
    OUTSIDE,
    REJECTED,
    deduplicate,
    encode_interactions,
)
from spark.ingest.raw_lines import LINE, REPLACEMENT, head_of
from spark.ingest.readers import MALFORMED, column, column_names, lenient, other_separator, read_table
from spark.ingest.time_window import ALWAYS, Window, choose_window, format_time, time_span
from spark.runtime.worker_tasks import release_memory
from spark.storage.interaction_matrix import TRACK, USER, build_interaction_matrix, memory_map
from spark.storage.tables import Columns

REASONS = (
    "malformed_row",
    "undecodable",
    "missing_user",
    "missing_track",
    "not_a_number",
    "not_finite",
    "out_of_range",
    "bad_time",
)
"""Why a row is rejected, in the order in which it is asked."""

LARGEST = float(np.finfo(np.float32).max)
"""Values beyond it are no finite numbers to a model."""

LATEST = 253_402_300_799
"""The last second of the year 9999: a time beyond it is in another unit, milliseconds for instance."""

TAGS = 10
"""Tags a track, at most."""

BETWEEN_TAGS = "|"

EXAMPLES, READABLE = 3, 200
"""Rejected rows that are shown for each reason, and how much of a row."""


@dataclass(frozen=True)
class IngestCounts:
    """What became of the raw rows, and of those of the catalogue and the users' file that were of no use."""

    read: int
    rejected: dict[str, int]
    kept: int
    merged: int
    """Kept rows of a pair that had one already."""
    unusable: dict[str, int]
    """Rows of `tracks` and `users` that are malformed or have no id."""
    examples: dict[str, list[str]]
    """A few rejected rows, by reason, cut to a readable length."""
    outside: int = 0
    """Rows that could be used, of a time that does not count."""
    window: Window = ALWAYS
    """Which times count."""

    @property
    def interactions(self) -> int:
        """The pairs that are left."""
        return self.kept - self.merged


def ingest(
    spark: SparkSession,
    dataset: Dataset,
    raw_dir: Path,
    into: Path,
    max_reject_fraction: float,
    as_of: date | None = None,
    window_days: int = 0,
) -> IngestCounts:
    """Writes `interactions`, `rejects`, `users` and `tracks` as Parquet below `into`, and `blocks`.

    Interactions lie in one file for each range of users, sorted by user and track. Users and tracks are those that
    occur in the interactions or in their own file; `index` is a row's place in the order of the ids, and
    in the file. A file of users or tracks counts whole, whatever the times, unless it is that of the interactions.

    Args:
        as_of, window_days: see `choose_window`; None and 0 select all times.

    Raises:
        MissingInput: a file is not there.
        UserError: a file is damaged, a column is not there, no row could be used or is of a time that counts, or too
            many were rejected.
    """
    about = dataset.interactions
    parsed = parse(read_table(spark, raw_dir, about), about)
    try:
        counts = choose_window(parsed, as_of, window_days)
        known = {"users": user_details(spark, dataset, raw_dir), "tracks": track_details(spark, dataset, raw_dir)}
        heard = encode_interactions(parsed, into, counts)
    except Exception as error:
        if _tells_of_damage(error):
            raise UserError(f"A file in {raw_dir} is damaged or was cut off: fetch it again.") from error
        raise
    in_order = {reason: heard.counts[reason] for reason in REASONS if heard.counts.get(reason)}
    examples = {reason: _examples(into / REJECTED, reason) for reason in in_order}
    outside = heard.counts[OUTSIDE]
    _refuse_bad_input(heard.counts[KEPT] + outside, in_order, examples, about, raw_dir, max_reject_fraction)
    if not heard.counts[KEPT]:
        raise UserError(_nothing_counts(raw_dir / about.path, counts, time_span(parsed)))

    # Whom the interactions' own file shows only at other times is not known yet, or not any more.
    only_heard = {
        name: not counts.is_open and table is not None and table.path == about.path
        for name, table in (("users", dataset.users), ("tracks", dataset.tracks))
    }
    users = indexed(heard.users, known["users"], Columns.USER_ID, only_heard["users"])
    tracks = indexed(heard.tracks, known["tracks"], Columns.TRACK_ID, only_heard["tracks"])
    deduplicate(
        spark,
        into,
        users[Columns.USER_ID].combine_chunks(),
        tracks[Columns.TRACK_ID].combine_chunks(),
        heard.counts[KEPT],
        about.duplicates,
    )
    build_interaction_matrix(spark, [into / "interactions"], len(users), len(tracks), into / "matrix")
    for name, table, side, counted in (
        ("users", users, USER, "interactions"),
        ("tracks", tracks, TRACK, "popularity"),
    ):
        (into / name).mkdir()
        starts = memory_map(into / "matrix" / side / "indptr", np.int64)
        pq.write_table(table.append_column(counted, pa.array(np.diff(starts))), into / name / "part-0.parquet")
    release_memory()
    interactions = int(starts[-1])
    return IngestCounts(
        read=heard.counts[KEPT] + outside + sum(in_order.values()),
        rejected=in_order,
        kept=heard.counts[KEPT],
        merged=heard.counts[KEPT] - interactions,
        unusable={name: _unusable(table) for name, table in known.items() if table is not None},
        examples=examples,
        outside=outside,
        window=counts,
    )


# -- interactions ----------------------------------------------------------------------------------------------------


def parse(rows: DataFrame, about: Interactions) -> DataFrame:
    """Casts each raw row to user_id, track_id, value, time; and `reject`: null, or why it is of no use, and the row."""
    with lenient(rows.sparkSession):
        cast = rows.select(
            MALFORMED,
            column(rows, about, "[interactions] user", about.user).cast("string").alias(Columns.USER_ID),
            column(rows, about, "[interactions] track", about.track).cast("string").alias(Columns.TRACK_ID),
            (_number(rows, about, "value", about.value) if about.value else F.lit(1.0)).alias(Columns.VALUE),
            (_seconds(rows, about) if about.time else F.lit(None).cast("long")).alias(Columns.TIME),
            LINE,
        )
    judged = cast.select("*", _reason(about).alias(Columns.REASON))
    reason = F.col(Columns.REASON)
    reject = F.concat(reason, F.lit(AFTER_REASON), LINE).alias(Columns.REJECT)  # one column of text costs least
    return judged.select(Columns.USER_ID, Columns.TRACK_ID, Columns.VALUE, Columns.TIME, reject)


def _number(rows: DataFrame, about: Interactions, key: str, expression: str) -> Column:
    """A column or expression as a double, null where it is none."""
    number = column(rows, about, f"[interactions] {key}", expression)
    kind = rows.select(number).schema[0].dataType
    if isinstance(kind, T.StringType):
        whole, double = number.try_cast("long").cast("double"), number.try_cast("double")  # the first is fast
        # Java would also take 1d, 1f and 0x1p3 for numbers; infinity and NaN are told apart later.
        javas = F.right(number, F.lit(1)).isin(*"dDfF") | F.contains(F.lower(number), F.lit("x"))
        return F.coalesce(whole, F.when(~javas | F.isnan(double) | (F.abs(double) == float("inf")), double))
    if not isinstance(kind, T.NumericType | T.BooleanType):
        raise UserError(f"[interactions] {key} = {expression!r} is of the type {kind.simpleString()}, and no number.")
    return number.cast("double")


def _seconds(rows: DataFrame, about: Interactions) -> Column:
    """The time in seconds since 1970, null where it is none. What has the type of a time is taken as it is."""
    assert about.time is not None
    text = column(rows, about, "[interactions] time", about.time)
    kind = rows.select(text).schema[0].dataType
    if isinstance(kind, T.TimestampType | T.TimestampNTZType | T.DateType):
        return text.cast("timestamp").cast("long")
    if about.time_format.startswith("epoch"):
        unit = 1000 if about.time_format == "epoch_ms" else 1
        number = _number(rows, about, "time", about.time)
        return F.when(number.between(0, unit * LATEST), F.floor(number / unit).cast("long"))
    if about.time_format == "iso8601":
        # A cast alone would take 12:30 for a time of today.
        return F.when(text.rlike(r"^\d{4}-\d\d-\d\d"), text.cast("timestamp")).cast("long")
    pattern = F.lit(about.time_format)
    try:
        rows.sparkSession.range(1).select(F.try_to_timestamp(F.lit("2000"), pattern)).collect()
    except PySparkException as error:
        raise UserError(
            f"[interactions] time_format = {about.time_format!r} is no pattern of times that Spark knows."
        ) from error
    return F.try_to_timestamp(text.cast("string"), pattern).cast("long")


def _reason(about: Interactions) -> Column:
    """The first of `REASONS` that applies to a cast row."""
    user, track, value = F.col(Columns.USER_ID), F.col(Columns.TRACK_ID), F.col(Columns.VALUE)
    outside = ~value.between(*about.rating_range) if about.rating_range is not None else value <= 0
    tests = (
        F.col(MALFORMED),
        F.contains(user, F.lit(REPLACEMENT)) | F.contains(track, F.lit(REPLACEMENT)),
        user.isNull(),
        track.isNull(),
        value.isNull(),
        F.isnan(value) | (F.abs(value) > LARGEST),
        outside,
        F.col(Columns.TIME).isNull() if about.time else F.lit(False),
    )
    return F.coalesce(*(F.when(test, reason) for test, reason in zip(tests, REASONS, strict=True)))


def _tells_of_damage(error: Exception) -> bool:
    """Whether a file broke off, or could not be decompressed, while Spark read it."""
    signs = (
        "EOFException",
        "java.util.zip",
        "incorrect header check",
        "invalid block type",
        "bzip2",
        "ParquetDecoding",
    )
    return any(sign in str(error) for sign in signs)


def _examples(rejects: Path, reason: str) -> list[str]:
    """The first few rows that were rejected for a reason."""
    found = ds.dataset(rejects).head(EXAMPLES, filter=pc.field(Columns.REASON) == reason)[Columns.ROW].to_pylist()
    return [row if len(row) <= READABLE else f"{row[: READABLE - 1]}…" for row in found]


def _nothing_counts(path: Path, counts: Window, times: tuple[int, int] | None) -> str:
    """The sentence for a window that no row lies in."""
    since, until = (format_time(bound) if bound is not None else None for bound in (counts.since, counts.until))
    asked = f"from {since} to {until}" if since else f"before {until}"
    there = f"; its times go from {format_time(times[0])} to {format_time(times[1])}" if times else ""
    return f"{path} has nothing {asked}, which is what counts{there}: see --as-of and [ingest] window_days."


def _refuse_bad_input(
    usable: int,
    rejected: dict[str, int],
    examples: dict[str, list[str]],
    about: Interactions,
    raw_dir: Path,
    max_reject_fraction: float,
) -> None:
    """Refuses an empty input, and one with too many rejects; names the two commonest reasons with an example."""
    bad, path = sum(rejected.values()), raw_dir / about.path
    if usable + bad == 0:
        raise UserError(f"{path} has no rows.")
    if usable and bad <= max_reject_fraction * (usable + bad):
        return
    told = []
    for reason in sorted(rejected, key=lambda reason: -rejected[reason])[:2]:
        hint = ""
        if reason == "malformed_row" and about.format == "csv":
            file = find_files(raw_dir, about)[0]
            fields = len(column_names(file, head_of(file, about), about))
            hint = f", not {fields} fields between {about.separator!r}"
            hint += other_separator(examples[reason][0], about, fields)
        told.append(f"{reason} {rejected[reason]:,} times, e.g. {examples[reason][0]!r}{hint}")
    raise UserError(
        f"{path}: {bad:,} of {usable + bad:,} rows were rejected ({'; '.join(told)}); mend the data or its "
        f"description, or raise [ingest] max_reject_fraction = {max_reject_fraction:g}."
    )


# -- users and tracks ------------------------------------------------------------------------------------------------


def user_details(spark: SparkSession, dataset: Dataset, raw_dir: Path) -> pa.Table | None:
    """user_id, age, country of each user in the users' file, and `rows`; None where there is no such file."""
    if dataset.users is None:
        return None
    rows = read_table(spark, raw_dir, dataset.users)
    return _one_an_id(described_users(rows, dataset.users), dataset.users.path == dataset.interactions.path)


def track_details(spark: SparkSession, dataset: Dataset, raw_dir: Path) -> pa.Table | None:
    """track_id, title, artist, genre, tags of each track in the catalogue, and `rows`; None where there is none.

    Where the catalogue has no tags, a track has those that it was given most often in `[tags]`; where it has no
    genre, the first tag is it.
    """
    if dataset.tracks is None:
        return None
    about = dataset.tracks
    rows = read_table(spark, raw_dir, about)
    details = _one_an_id(described_tracks(rows, about), about.path == dataset.interactions.path)
    tags = pc.split_pattern(details["tags"], BETWEEN_TAGS)
    if about.tags is None and dataset.tags is not None:
        commonest = _commonest_tags(spark, dataset, raw_dir).toArrow()
        tags = commonest["tags"].take(pc.index_in(details[Columns.TRACK_ID], commonest[Columns.TRACK_ID]))
    details = details.set_column(details.column_names.index("tags"), "tags", tags)
    if about.genre is None:
        details = details.set_column(details.column_names.index("genre"), "genre", pc.list_element(tags, 0))
    return details


def described_users(rows: DataFrame, about: Users) -> DataFrame:
    """user_id, age, country of each raw row; null throughout where it is malformed."""
    wanted = {Columns.USER_ID: about.id, "age": about.age, "country": about.country}
    return _described(rows, about, "users", wanted, types={"age": "int"})


def described_tracks(rows: DataFrame, about: Tracks) -> DataFrame:
    """track_id, title, artist, genre, tags (between `|`) of each raw row; null throughout where it is malformed."""
    wanted = {
        Columns.TRACK_ID: about.id, "title": about.title, "artist": about.artist, "genre": about.genre,
        "tags": about.tags,
    }  # fmt: skip
    return _described(rows, about, "tracks", wanted, types={})


def _described(
    rows: DataFrame, table: Table, heading: str, wanted: dict[str, str | None], types: dict[str, str]
) -> DataFrame:
    def of(name: str, expression: str | None) -> Column:
        kind = types.get(name, "string")
        if expression is None:
            return F.lit(None).cast(kind).alias(name)
        found = column(rows, table, f"[{heading}] {name}", expression)
        if isinstance(rows.select(found).schema[0].dataType, T.ArrayType):
            found = F.array_join(found, BETWEEN_TAGS)
        known = F.when(~F.col(MALFORMED), found.try_cast(kind))
        return (F.nullif(known, F.lit("")) if kind == "string" else known).alias(name)

    with lenient(rows.sparkSession):
        return rows.select(*(of(name, value) for name, value in wanted.items()))


def _one_an_id(described: DataFrame, often_repeated: bool) -> pa.Table:
    """One row an id, the first column, and of how many rows it was made; the id is null for those of no use.

    Of several rows with one id, each column has the first value in sort order that one of them knows. Happens in the
    driver: grouping in Spark takes longer, unless the same rows come time and again.
    """
    rows = (described.distinct() if often_repeated else described).toArrow()
    key, *others = rows.column_names
    grouped = rows.group_by(key).aggregate([*((name, "min") for name in others), ([], "count_all")])
    return grouped.rename_columns([key, *others, Columns.ROWS])


def _commonest_tags(spark: SparkSession, dataset: Dataset, raw_dir: Path) -> DataFrame:
    """track_id and its commonest tags, the commonest first; of equally common ones, by the alphabet."""
    assert dataset.tags is not None
    about, names = dataset.tags, dataset.tag_names
    rows = read_table(spark, raw_dir, about)
    given = rows.where(~F.col(MALFORMED)).select(
        column(rows, about, "[tags] track", about.track).cast("string").alias(Columns.TRACK_ID),
        column(rows, about, "[tags] tag", about.tag).cast("string").alias("tag"),
    )
    if names is not None:
        named = read_table(spark, raw_dir, names)
        called = named.where(~F.col(MALFORMED)).select(
            column(named, names, "[tag_names] id", names.id).cast("string").alias("tag"),
            column(named, names, "[tag_names] name", names.name).cast("string").alias("name"),
        )
        given = given.join(called, on="tag", how="inner").select(Columns.TRACK_ID, F.col("name").alias("tag"))
    counted = given.where(F.col("tag").isNotNull()).groupBy(Columns.TRACK_ID, "tag").agg(F.count(F.lit(1)).alias("n"))
    ranked = F.sort_array(F.collect_list(F.struct((-F.col("n")).alias("fewest"), F.col("tag"))))
    return counted.groupBy(Columns.TRACK_ID).agg(F.slice(ranked, 1, TAGS)["tag"].alias("tags"))


def indexed(heard: pa.Array, details: pa.Table | None, key: str, only_heard: bool = False) -> pa.Table:
    """Every id that was heard or, unless only those are wanted, that has details: `index`, id, `hash`, details.

    In the order of the ids. Happens in the driver: whoever serves the ids holds them in memory too.
    """
    if details is None:
        return _with_index(heard, key)
    described = details.filter(pc.is_in(details[key], heard) if only_heard else pc.is_valid(details[key]))
    ids = pc.unique(pa.chunked_array([heard, *described[key].chunks], pa.string()))
    table = _with_index(ids.take(pc.sort_indices(ids)), key)
    places = pc.index_in(table[key], value_set=described[key].combine_chunks())
    for name in described.drop_columns([key]).column_names:
        table = table.append_column(name, described[name].take(places))
    return table


def _with_index(ids: pa.Array, key: str) -> pa.Table:
    hashes = np.fromiter(map(zlib.crc32, ids.cast(pa.binary()).to_pylist()), np.uint32, len(ids))
    return pa.table({Columns.INDEX: np.arange(len(ids), dtype=np.int32), key: ids, Columns.HASH: hashes})


def _unusable(details: pa.Table) -> int:
    """Rows that are malformed or have no id."""
    return pc.sum(details.filter(pc.is_null(details[0]))[Columns.ROWS]).as_py() or 0
