"""Read the details of users and tracks from raw files: one row for each id."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from config.dataset import Table, Tracks, Users
from spark.ingest.expressions import lenient_casts, resolve_column
from spark.ingest.raw_table import MALFORMED, RawData, RawTable
from spark.storage.tables import Columns

MAX_TAGS = 10
"""Tags that are kept of a track."""

TAG_SEPARATOR = "|"


def user_details(raw: RawData) -> pa.Table | None:
    """Return user_id, age, country and `rows` of each user in the users' file; None if there is no such file."""
    if raw.users is None:
        return None
    return _merge_rows(select_user_columns(raw.users), raw.shares_interactions_file(raw.users))


def track_details(raw: RawData) -> pa.Table | None:
    """Return track_id, title, artist, genre, tags and `rows` of each track; None if there is no catalogue.

    If the catalogue has no tags, a track gets its most frequent ones of `[tags]`; if it has no genre, the first tag.
    """
    if raw.tracks is None:
        return None
    description = raw.tracks.description
    details = _merge_rows(select_track_columns(raw.tracks), raw.shares_interactions_file(raw.tracks))
    tags = pc.split_pattern(details["tags"], TAG_SEPARATOR)
    if raw.tags is not None:
        most_frequent = _most_frequent_tags(raw).toArrow()
        tags = most_frequent["tags"].take(pc.index_in(details[Columns.TRACK_ID], most_frequent[Columns.TRACK_ID]))
    details = details.set_column(details.column_names.index("tags"), "tags", tags)
    if description.genre is None:
        details = details.set_column(details.column_names.index("genre"), "genre", pc.list_element(tags, 0))
    return details


def select_user_columns(raw: RawTable[Users]) -> DataFrame:
    """Return user_id, age and country of each raw row; all null where it is malformed."""
    description = raw.description
    columns = {Columns.USER_ID: description.id, "age": description.age, "country": description.country}
    return _select(raw, "users", columns, types={"age": "int"})


def select_track_columns(raw: RawTable[Tracks]) -> DataFrame:
    """Return track_id, title, artist, genre and tags (separated by `|`); all null where a row is malformed."""
    description = raw.description
    columns = {
        Columns.TRACK_ID: description.id, "title": description.title, "artist": description.artist,
        "genre": description.genre, "tags": description.tags,
    }  # fmt: skip
    return _select(raw, "tracks", columns, types={})


def _select(raw: RawTable[Table], heading: str, columns: dict[str, str | None], types: dict[str, str]) -> DataFrame:
    def select(name: str, expression: str | None) -> Column:
        data_type = types.get(name, "string")
        if expression is None:
            return F.lit(None).cast(data_type).alias(name)
        column = resolve_column(raw, f"[{heading}] {name}", expression)
        if isinstance(raw.rows.select(column).schema[0].dataType, T.ArrayType):
            column = F.array_join(column, TAG_SEPARATOR)
        value = F.when(~F.col(MALFORMED), column.try_cast(data_type))
        return (F.nullif(value, F.lit("")) if data_type == "string" else value).alias(name)

    with lenient_casts(raw.rows.sparkSession):
        return raw.rows.select(*(select(name, expression) for name, expression in columns.items()))


def _merge_rows(details: DataFrame, repeats_rows: bool) -> pa.Table:
    """Return one row for each id, the first column, and the number of raw `rows`; the null id counts unusable rows.

    Of several rows with one id, each column takes the smallest value. This happens in the driver, because grouping in
    Spark takes longer.

    Args:
        repeats_rows: whether most rows are duplicates, which Spark then removes first.
    """
    rows = (details.distinct() if repeats_rows else details).toArrow()
    key, *others = rows.column_names
    grouped = rows.group_by(key).aggregate([*((name, "min") for name in others), ([], "count_all")])
    return grouped.rename_columns([key, *others, Columns.ROWS])


def _most_frequent_tags(raw: RawData) -> DataFrame:
    """Return track_id and its most frequent tags in descending order; ties are in alphabetical order."""
    assert raw.tags is not None
    description = raw.tags.description
    assignments = raw.tags.rows.where(~F.col(MALFORMED)).select(
        resolve_column(raw.tags, "[tags] track", description.track).cast("string").alias(Columns.TRACK_ID),
        resolve_column(raw.tags, "[tags] tag", description.tag).cast("string").alias("tag"),
    )
    if raw.tag_names is not None:
        ids_to_names = raw.tag_names.rows.where(~F.col(MALFORMED)).select(
            resolve_column(raw.tag_names, "[tag_names] id", raw.tag_names.description.id).cast("string").alias("tag"),
            resolve_column(raw.tag_names, "[tag_names] name", raw.tag_names.description.name)
            .cast("string")
            .alias("name"),
        )
        named = assignments.join(ids_to_names, on="tag", how="inner")
        assignments = named.select(Columns.TRACK_ID, F.col("name").alias("tag"))
    counts = (
        assignments.where(F.col("tag").isNotNull()).groupBy(Columns.TRACK_ID, "tag").agg(F.count(F.lit(1)).alias("n"))
    )
    ranked = F.sort_array(F.collect_list(F.struct((-F.col("n")).alias("negative_count"), F.col("tag"))))
    return counts.groupBy(Columns.TRACK_ID).agg(F.slice(ranked, 1, MAX_TAGS)["tag"].alias("tags"))


def count_unusable_rows(**details: pa.Table | None) -> dict[str, int]:
    """Return the number of malformed rows and rows without an id in each table that exists."""
    return {
        name: pc.sum(table.filter(pc.is_null(table[0]))[Columns.ROWS]).as_py() or 0
        for name, table in details.items()
        if table is not None
    }
