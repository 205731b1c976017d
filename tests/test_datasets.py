"""The shipped descriptions, each on a small file with the quirks of the real data."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from config.dataset import SHIPPED, Dataset, load_dataset
from spark.ingest.raw_to_parquet import ingest

Files = dict[str, str | bytes | pa.Table]


@dataclass(frozen=True)
class Example:
    """Raw files and the expected result of reading them."""

    files: Files
    pairs: dict[tuple[str, str], float]
    """The value of each user and track."""
    rejected: dict[str, int] = field(default_factory=dict)
    tracks: dict[str, list[Any]] = field(default_factory=dict)
    """Title, artist, genre and tags by id."""
    users: dict[str, list[Any]] = field(default_factory=dict)
    """Age and country by id."""
    times: set[int] | None = None


MBID = "b10bbbfc-cf9e-42e0-be17-e2c3e1d2600d"
SHA = "00000c289a1829a808ac09c00daf10bc3c4e223b"
EXAMPLES: dict[str, Example] = {
    "lastfm-2k": Example(
        files={
            "user_artists.dat": "2\t51\t13883\n2\t52\t11690\n3\t51\t228\n",
            "artists.dat": 'id\tname\turl\tpictureURL\n51\tDuran "D" Duran\tu\tp\n52\tBjörk\tu\tp\n53\tNobody\tu\tp\n',
            "user_taggedartists.dat": "userID\tartistID\ttagID\tday\tmonth\tyear\r\n2\t51\t1\t1\t4\t2009\r\n"
            "3\t51\t2\t1\t4\t2009\r\n4\t51\t2\t1\t4\t2009\r\n",
            "tags.dat": b"tagID\ttagValue\r\n1\tm\xe9tal\r\n2\tnew wave\r\n",
        },
        pairs={("2", "51"): 13883, ("2", "52"): 11690, ("3", "51"): 228},
        tracks={
            "51": ['Duran "D" Duran', None, "new wave", ["new wave", "métal"]],
            "52": ["Björk", None, None, None],
            "53": ["Nobody", None, None, None],
        },
    ),
    "lastfm-360k": Example(
        files={
            "usersha1-artmbid-artname-plays.tsv": f"{SHA}\t{MBID}\tdie Ärzte\t1099\n"
            f"{SHA}\t\tmelissa \"m\" e\r\t897\nsep 20, 2008\t{MBID}\tdie Ärzte\t3\textra\n"
            f"00001\t{MBID}\tDie Ärzte\t12.0\n00001\t\t\t5\n00001\t{MBID}\tx\tmany\n00001\t{MBID}\tx\t1d\n",
            "usersha1-profile.tsv": f"{SHA}\tf\t\tGermany\tFeb 1, 2007\n00001\tm\t-1337\tSpain\tx\n",
        },
        pairs={(SHA, MBID): 1099, (SHA, 'melissa "m" e'): 897, ("00001", MBID): 12},
        rejected={"malformed_row": 1, "missing_track": 1, "not_a_number": 2},
        tracks={MBID: ["Die Ärzte", None, None, None], 'melissa "m" e': ['melissa "m" e', None, None, None]},
        users={SHA: [None, "Germany"], "00001": [-1337, "Spain"]},
    ),
    "lastfm-1k": Example(
        files={
            "userid-timestamp-artid-artname-traid-traname.tsv": "user_000001\t2009-05-04T23:08:57Z\ta1\tDeep Dish\t\t"
            '"Fuck" Me\nuser_000001\t2009-05-04T13:54:10Z\ta2\t坂本龍一\tt2\tComposition 0919\n'
            "user_000002\t2009-05-04T13:54:10Z\ta2\t坂本龍一\tt2\tComposition 0919\n"
            "user_000001\t2009-05-05T13:54:10Z\ta2\t坂本龍一\tt2\tComposition 0919\n"
            "user_000001\tyesterday\ta\tb\tt2\tc\n",
            "userid-profile.tsv": "#id\tgender\tage\tcountry\tregistered\nuser_000001\tm\t\tJapan\tAug 13, 2006\n",
        },
        pairs={("user_000001", 'Deep Dish – "Fuck" Me'): 1, ("user_000001", "t2"): 2, ("user_000002", "t2"): 1},
        rejected={"bad_time": 1},
        users={"user_000001": [None, "Japan"], "user_000002": [None, None]},
        times={1241478537, 1241531650, 1241445250},
    ),
    "msd-taste-profile": Example(
        files={
            "train_triplets.txt": f"{SHA}\tSOAKIMP12A8C130995\t1\n{SHA}\tSOAPDEY12A81C210A9\t3\n"
            "u2\tSOAKIMP12A8C130995\t2\n",
            "unique_tracks.txt": "TR1<SEP>SOAKIMP12A8C130995<SEP>Jack Johnson<SEP>The Cove\n"
            "TR2<SEP>SOAKIMP12A8C130995<SEP>Jack Johnson<SEP>The Cove (Live)\nTR3<SEP>SOX<SEP><SEP>\nTR4<SEP>broken\n",
        },
        pairs={(SHA, "SOAKIMP12A8C130995"): 1, (SHA, "SOAPDEY12A81C210A9"): 3, ("u2", "SOAKIMP12A8C130995"): 2},
        tracks={
            "SOAKIMP12A8C130995": ["The Cove", "Jack Johnson", None, None],
            "SOAPDEY12A81C210A9": [None] * 4,
            "SOX": [None] * 4,
        },
    ),
    "listenbrainz": Example(
        files={
            "1.jsonl": "\n".join(
                json.dumps(dict(zip(
                    ["listened_at", "user_id", "recording_msid", "recording_mbid", "recording_name", "artist_name"],
                    listen, strict=True,
                )))
                for listen in [
                    (1241478537, 1, "m1", MBID, "Song", "Artist"), (1241478538, 1, "m1", MBID, "Song", "Artist"),
                    (1241478539, 2, "m2", None, "Other", None), (None, 2, "m2", None, "Other", None),
                    (1241478539, None, "m2", None, "Other", None),
                ]
            ),
        },
        pairs={("1", MBID): 2, ("2", "m2"): 1},
        rejected={"missing_user": 1, "bad_time": 1},
        tracks={MBID: ["Song", "Artist", None, None], "m2": ["Other", None, None, None]},
        times={1241478538, 1241478539},
    ),
    "movielens": Example(
        files={
            "ratings.csv": "userId,movieId,rating,timestamp\r\n1,1,4.0,964982703\r\n1,11,0.5,964981247\r\n"
            "2,1,5.0,964982224\r\n2,1,3.0,964982225\r\n2,11,5.5,964982225\r\n",
            "movies.csv": 'movieId,title,genres\r\n1,"American President, The ""A"" (1995)",Comedy|Drama\r\n'
            "11,Solo (1996),(no genres listed)\r\n",
        },
        pairs={("1", "1"): 4, ("1", "11"): 0.5, ("2", "1"): 3},
        rejected={"out_of_range": 1},
        tracks={
            "1": ['American President, The "A" (1995)', None, "Comedy", ["Comedy", "Drama"]],
            "11": ["Solo (1996)", None, None, None],
        },
        times={964982703, 964981247, 964982225},
    ),
    "movielens-1m": Example(
        files={
            "ratings.dat": "1::1193::5::978300760\n1::661::3::978302109\n2::1193::4::978298413\n",
            "movies.dat": b"1193::Cit\xe9 (1995)::Drama|Sci-Fi\n661::James: Peach::Animation\n",
            "users.dat": "1::F::1::10::48067\n2::M::56::16::70072\n",
        },
        pairs={("1", "1193"): 5, ("1", "661"): 3, ("2", "1193"): 4},
        tracks={
            "1193": ["Cité (1995)", None, "Drama", ["Drama", "Sci-Fi"]],
            "661": ["James: Peach", None, "Animation", ["Animation"]],
        },
        users={"1": [1, None], "2": [56, None]},
    ),
    "movielens-100k": Example(
        files={
            "u.data": "196\t242\t3\t881250949\n186\t242\t4\t891717742\n186\t302\t1\t891717742\n",
            "u.item": ("242|Kolya \xe9 (1996)|24-Jan-1997||http://x|0|" + "|".join("0" * 14 + "1" + "001") + "\n"
                       "302|L.A. (1997)|01-Jan-1997||http://y|1|" + "|".join("0" * 18) + "\n").encode("latin-1"),
            "u.user": "186|39|F|executive|00000\n196|49|M|writer|55105\n",
        },
        pairs={("196", "242"): 3, ("186", "242"): 4, ("186", "302"): 1},
        tracks={
            "242": ["Kolya é (1996)", None, "Sci-Fi", ["Sci-Fi", "Western"]],
            "302": ["L.A. (1997)", None, None, None],
        },
        users={"186": [39, None], "196": [49, None]},
    ),
    "yambda": Example(
        files={
            "listens.parquet": pa.table({
                "uid": pa.array([10, 10, 20, 20, 20], pa.uint32()),
                "timestamp": pa.array([5, 15_929_455, 0, 10, 15], pa.uint32()),
                "item_id": pa.array([6_928_395, 6_928_395, 7, 8, 7], pa.uint32()),
                "is_organic": pa.array([1, 1, 0, 0, 0], pa.uint8()),
                "played_ratio_pct": pa.array([250, 50, 0, 100, None], pa.uint16()),
                "track_length_seconds": pa.array([200] * 5, pa.uint32()),
            }),
        },
        pairs={("10", "6928395"): 1.5, ("20", "7"): 0.01, ("20", "8"): 1},
        rejected={"not_a_number": 1},
        times={15_929_455, 0, 10},
    ),
    "listening-behaviour": Example(
        files={
            "behaviour.csv": "user_id,song_id,liked,finished_song,skip_count,repeat_count,play_count\n"
            "u1,s1,1,1,0,0,1\nu1,s2,0,0,9,0,1\nu2,s1,True,False,1,1,4\nu2,s2,false,true,0,9,9\n"
            "u3,s1,0,0,,0,1\nu3,s2,maybe,0,0,0,1\nu3,s3,0,0,x,0,1\nu4,s3,0,0,2,0,2\n",
        },
        # 2.5 + 2 + 0.5 | 2.5 − 1.5 | 2.5 + 2 − 0.3 + 0.5 + 0.8, at most 5 | 2.5 + 0.5 + 1 + 1 | 2.5 − 0.6 + 0.4
        pairs={("u1", "s1"): 5, ("u1", "s2"): 1, ("u2", "s1"): 5, ("u2", "s2"): 5, ("u4", "s3"): 2.3},
        rejected={"not_a_number": 3},
    ),
}  # fmt: skip


def write_files(directory: Path, files: Files) -> Path:
    """Write the files; return the directory."""
    directory.mkdir()
    for name, content in files.items():
        if isinstance(content, pa.Table):
            pq.write_table(content, directory / name)
        else:
            (directory / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return directory


def check(spark: SparkSession, dataset: Dataset, example: Example, raw: Path, into: Path) -> None:
    """Ingest the files and compare the result."""
    into.mkdir()
    counts = ingest(spark, dataset, raw, into, 1.0)
    users, tracks, rows = (pd.read_parquet(into / name) for name in ("users", "tracks", "interactions"))
    ids = zip(users["user_id"].take(rows["user"]), tracks["track_id"].take(rows["track"]), strict=True)
    pairs = dict(zip(ids, rows["value"], strict=True))
    assert pairs == pytest.approx(example.pairs)
    assert counts.rejected == example.rejected
    assert counts.read == counts.interactions + counts.merged + sum(counts.rejected.values())
    if example.times is not None:
        assert set(rows["time"]) == example.times
    for expected, key, table, names in (
        (example.tracks, "track_id", tracks, ["title", "artist", "genre", "tags"]),
        (example.users, "user_id", users, ["age", "country"]),
    ):
        if expected:
            rows_by_id = table.astype(object).where(table.notna(), None).set_index(key)[names].T.to_dict("list")
            assert {row_id: list(map(plain, values)) for row_id, values in rows_by_id.items()} == expected


def plain(value: Any) -> Any:
    """Convert arrays to lists."""
    return value.tolist() if hasattr(value, "tolist") else value


@pytest.mark.parametrize("name", EXAMPLES)
def test_reads_the_files_of_a_shipped_description(spark: SparkSession, tmp_path: Path, name: str) -> None:
    example = EXAMPLES[name]
    check(spark, load_dataset(name), example, write_files(tmp_path / "raw", example.files), tmp_path / "out")


def test_every_shipped_description_has_an_example() -> None:
    assert {path.stem for path in SHIPPED.glob("*.toml")} == {*EXAMPLES, "synthetic"}


def test_listenbrainz_as_parquet(spark: SparkSession, tmp_path: Path) -> None:
    description = (SHIPPED / "listenbrainz.toml").read_text()
    description = description.replace('format = "jsonl"', 'format = "parquet"').replace("*.json*", "*.parquet")
    (tmp_path / "own.toml").write_text(description)
    example = EXAMPLES["listenbrainz"]
    listens = pd.DataFrame(map(json.loads, str(example.files["1.jsonl"]).splitlines()))
    listens["listened_at"] = pd.to_datetime(listens["listened_at"], unit="s")
    listens["user_id"] = listens["user_id"].astype("Int64")
    raw = write_files(tmp_path / "raw", {"0.parquet": pa.Table.from_pandas(listens)})
    check(spark, load_dataset(str(tmp_path / "own.toml")), example, raw, tmp_path / "out")


def test_reads_tab_separated_ratings_with_times(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(
        'title = "Own data"\n[interactions]\npath = "r.tsv"\nseparator = "\\t"\nuser = "who"\ntrack = "song"\n'
        'value = "stars"\nfeedback = "rating"\nrating_range = [1, 5]\ntime = "when"\ntime_format = "iso8601"\n'
        'duplicates = "latest"\n'
    )
    rows = "when\twho\tsong\tstars\n2020-01-01\ta\tx\t5\n2020-01-02T10:00:00\ta\tx\t2\n"
    raw = write_files(tmp_path / "raw", {"r.tsv": rows})
    check(spark, load_dataset(str(tmp_path / "own.toml")), Example({}, {("a", "x"): 2}), raw, tmp_path / "out")


def test_reads_space_separated_plays_without_header(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(
        'title = "Own data"\n[interactions]\npath = "plays.txt"\nseparator = " "\nheader = false\n'
        'columns = ["who", "song", "count"]\nuser = "who"\ntrack = "song"\nvalue = "count"\nfeedback = "plays"\n'
        'duplicates = "sum"\n'
    )
    raw = write_files(tmp_path / "raw", {"plays.txt": "a x 5\na x 2\nb y 1\nb  1\n"})
    example = Example({}, {("a", "x"): 7, ("b", "y"): 1}, rejected={"missing_track": 1})
    check(spark, load_dataset(str(tmp_path / "own.toml")), example, raw, tmp_path / "out")
