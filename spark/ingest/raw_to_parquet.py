"""Turn a dataset's raw files into Parquet: interactions with dense indexes, users, tracks and rejects.

    read ─▶ parse ─▶ encode ids ─▶ index users and tracks ─▶ deduplicate ─▶ interaction matrix ─▶ catalogue

Every raw row is written to `interactions`, merged with others of the same pair, or to `rejects` with a reason; rows
outside the time window are only counted.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

from pyspark.sql import SparkSession

from config.dataset import Dataset
from spark.ingest.catalogue import index_tracks, index_users, write_catalogue
from spark.ingest.catalogue_details import count_unusable_rows, track_details, user_details
from spark.ingest.encode_interactions import KEPT, OUTSIDE, REJECTS, deduplicate, encode_interactions
from spark.ingest.ingest_counts import IngestCounts
from spark.ingest.parse import parse
from spark.ingest.readers import explain_damaged_files, read_raw_data
from spark.ingest.rejects import RejectSummary, check_window_is_not_empty, refuse_bad_input
from spark.ingest.time_window import choose_window
from spark.runtime.worker_tasks import release_memory
from spark.storage.interaction_matrix import build_interaction_matrix
from spark.storage.tables import Columns


def ingest(
    spark: SparkSession,
    dataset: Dataset,
    raw_dir: Path,
    into: Path,
    max_reject_fraction: float,
    as_of: date | None = None,
    window_days: int = 0,
) -> IngestCounts:
    """Write `interactions`, `rejects`, `users` and `tracks` as Parquet below `into`, and `matrix`.

    `interactions` has one file for each range of users, sorted by user and track. `users` and `tracks` hold every id
    that occurs in the interactions or in its own file; `index` is the position in the sorted ids and in the file.
    The time window applies to interactions only, and to users or tracks that are read from the interactions' file.

    Args:
        max_reject_fraction: largest share of the rows that may be rejected.
        as_of, window_days: see `choose_window`; None and 0 select all times.

    Raises:
        MissingInput: a file does not exist.
        UserError: a file is damaged, a column is missing, no row is usable or inside the window, or too many rows
            are rejected.
    """
    raw = read_raw_data(spark, dataset, raw_dir)
    parsed = parse(raw.interactions)
    with explain_damaged_files(raw_dir):
        window = choose_window(parsed, as_of, window_days)
        known_users = user_details(raw)
        known_tracks = track_details(raw)
        encoded = encode_interactions(parsed, into, window)

    rejects = RejectSummary.read(into / REJECTS, encoded.counts)
    kept, outside = encoded.counts[KEPT], encoded.counts[OUTSIDE]
    refuse_bad_input(raw.interactions, kept + outside, rejects, max_reject_fraction)
    check_window_is_not_empty(raw.interactions.path, kept, window, parsed)

    users = index_users(raw, encoded.users, known_users, window)
    tracks = index_tracks(raw, encoded.tracks, known_tracks, window)
    user_ids, track_ids = users[Columns.USER_ID].combine_chunks(), tracks[Columns.TRACK_ID].combine_chunks()
    deduplicate(spark, into, user_ids, track_ids, kept, dataset.interactions.duplicates)
    build_interaction_matrix(spark, [into / "interactions"], len(users), len(tracks), into / "matrix")
    interactions = write_catalogue(users, tracks, into)
    release_memory()
    return IngestCounts(
        read=kept + outside + rejects.total,
        rejected=rejects.counts,
        kept=kept,
        merged=kept - interactions,
        unusable=count_unusable_rows(users=known_users, tracks=known_tracks),
        examples=rejects.examples,
        outside=outside,
        window=window,
    )
