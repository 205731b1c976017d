"""Invalid data: every row is accounted for, and unusable input is refused with one sentence."""

from __future__ import annotations

import bz2
import gzip
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from support import datasets
from support.datasets import HEADERLESS, PLAYS, dataset_of, values_by_ids

from common.errors import MissingInput, UserError
from spark.ingest.ingest_counts import IngestCounts
from spark.ingest.parse import REASONS
from spark.ingest.raw_to_parquet import ingest

RATINGS = datasets.RATINGS | {"duplicates": "mean"}


def read(
    spark: SparkSession, directory: Path, interactions: dict[str, Any], content: bytes, max_reject_fraction: float = 1.0
) -> IngestCounts:
    """Ingest a file with this content."""
    (directory / interactions["path"]).write_bytes(content)
    (directory / "out").mkdir()
    return ingest(spark, dataset_of(interactions), directory, directory / "out", max_reject_fraction)


FIELDS = st.one_of(
    st.sampled_from(["", " ", "u1", "u2", "5", "4.5", "1e3", "NaN", "inf", "-1", "1d", "0x1p1", "1e999", '"', '""']),
    st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=6),
    st.integers(-(2**70), 2**70).map(str),
)  # fmt: skip
ROWS = st.lists(FIELDS, min_size=1, max_size=6).map(",".join).map(str.encode) | st.binary(max_size=12).filter(
    lambda line: b"\n" not in line
)
VALID_ROWS = [b"u1,t1,4,100", b"u1,t1,2,101", b"u2,t2,5,1"]


@pytest.mark.slow
@settings(max_examples=15)
@given(st.lists(ROWS, max_size=40), st.sampled_from([b"\n", b"\r\n"]))
def test_kept_rejected_and_merged_rows_add_up(spark: SparkSession, dirt: list[bytes], end: bytes) -> None:
    # Enough valid rows that the file is recognised as text.
    lines = [*VALID_ROWS * 40, *dirt]
    with TemporaryDirectory() as directory:
        counts = read(spark, Path(directory), RATINGS, end.join([b"user,track,rating,time", *lines, b""]))
        interactions = len(pd.read_parquet(Path(directory) / "out" / "interactions"))
        rejects = list(Path(directory).glob("out/rejects/*.parquet"))
        reasons = pd.concat(map(pd.read_parquet, rejects))["reason"].value_counts().to_dict() if rejects else {}
    rows = sum(line not in (b"", b"\r", b"user,track,rating,time", b"\xef\xbb\xbf") for line in lines)
    assert counts.read == rows
    assert interactions + counts.merged + sum(counts.rejected.values()) == rows
    assert counts.rejected == reasons
    assert set(reasons) <= set(REASONS)


def test_ids_may_be_any_text(spark: SparkSession, tmp_path: Path) -> None:
    ids = ["9" * 30, "2147483648", "-1", "0007", "7", "7.0", "ü/%2f..", "a b", "🎵", "NULL", "null", "x" * 10_000]
    text = "user,track,plays\n" + "".join(f"{name},{name},1\n" for name in ids)
    read(spark, tmp_path, PLAYS, text.encode())
    assert set(values_by_ids(tmp_path / "out")) == {(name, name) for name in ids}


@pytest.mark.parametrize("line", [b',,,,,"', b'"u",t,1' + b",x" * 5, b'"u"' + b"," * 30_000])
def test_quoted_line_with_too_many_fields_is_rejected(spark: SparkSession, tmp_path: Path, line: bytes) -> None:
    counts = read(spark, tmp_path, PLAYS, b"user,track,plays\nu,t,1\n" + line + b"\n")
    assert counts.rejected == {"malformed_row": 1}
    assert counts.kept == 1


def test_truncated_last_line_is_rejected(spark: SparkSession, tmp_path: Path) -> None:
    counts = read(spark, tmp_path, PLAYS, b"user,track,plays\nu,t,1\nv,t,2\nw,t")
    assert counts.rejected == {"malformed_row": 1}
    assert counts.examples == {"malformed_row": ["w,t"]}


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "BOM"])
@pytest.mark.parametrize("interactions", [PLAYS, HEADERLESS], ids=["header", "no header"])
def test_line_endings_and_byte_order_marks(
    spark: SparkSession, tmp_path: Path, interactions: dict[str, Any], mark: bytes, end: bytes
) -> None:
    header = [b"user,track,plays"] if interactions is PLAYS else []
    counts = read(spark, tmp_path, interactions, mark + end.join([*header, b"u,t,1", b'v,"t",2', b"", b""]), 0.0)
    assert counts.read == 2
    assert values_by_ids(tmp_path / "out") == {("u", "t"): 1.0, ("v", "t"): 2.0}


def test_stray_carriage_return_does_not_end_a_line(spark: SparkSession, tmp_path: Path) -> None:
    read(spark, tmp_path, HEADERLESS | {"separator": "\t", "quote": ""}, b"u\tt\r1\t3\nv\tt\t1\n", 0.0)
    assert values_by_ids(tmp_path / "out") == {("u", "t1"): 3.0, ("v", "t"): 1.0}


def test_repeated_header_is_skipped(spark: SparkSession, tmp_path: Path) -> None:
    counts = read(spark, tmp_path, PLAYS, b"user,track,plays\nu,t,1\nuser,track,plays\nv,t,2\n", 0.0)
    assert counts.read == 2


@pytest.mark.parametrize(
    ("encoding", "name"), [("latin-1", "Café"), ("cp1252", "“quoted”"), ("cp1251", "Песня"), ("shift_jis", "音楽")]
)
def test_text_is_decoded_by_the_given_encoding(spark: SparkSession, tmp_path: Path, encoding: str, name: str) -> None:
    content = f"user,track,plays\n{name},t,1\nv,t,2\n".encode(encoding)
    read(spark, tmp_path, PLAYS | {"encoding": encoding}, content, 0.0)
    assert set(values_by_ids(tmp_path / "out")) == {(name, "t"), ("v", "t")}


def test_wrong_encoding_is_rejected_as_undecodable(spark: SparkSession, tmp_path: Path) -> None:
    content = "user,track,plays,note\nCafé,t,1,x\nv,t,2,é\nw,t,2,x\n".encode("latin-1")
    counts = read(spark, tmp_path, PLAYS, content)
    assert counts.rejected == {"undecodable": 1}  # undecodable text in other columns is ignored
    assert counts.examples == {"undecodable": ["Caf\ufffd,t,1,x"]}


@pytest.mark.parametrize(("ending", "compress"), [(".gz", gzip.compress), (".bz2", bz2.compress)])
def test_compressed_files_are_read(spark: SparkSession, tmp_path: Path, ending: str, compress: Any) -> None:
    interactions = PLAYS | {"path": f"plays.csv{ending}"}
    read(spark, tmp_path, interactions, compress(b"user,track,plays\nu,t,1\nv,t,2\n"), 0.0)
    assert values_by_ids(tmp_path / "out") == {("u", "t"): 1.0, ("v", "t"): 2.0}


def test_quoting_can_be_switched_off(spark: SparkSession, tmp_path: Path) -> None:
    read(spark, tmp_path, PLAYS | {"quote": ""}, b'user,track,plays\n"u,t",1\nu,"t,2\n', 0.0)
    assert values_by_ids(tmp_path / "out") == {('"u', 't"'): 1.0, ("u", '"t'): 2.0}


@pytest.mark.parametrize(
    ("time_format", "given", "seconds"),
    [
        ("epoch_s", "1241478537", 1241478537),
        ("epoch_s", "1241478537.9", 1241478537),
        ("epoch_s", "0", 0),
        ("epoch_ms", "1241478537999", 1241478537),
        ("iso8601", "2009-05-04T23:08:57Z", 1241478537),
        ("iso8601", "2009-05-05 01:08:57+02:00", 1241478537),
        ("iso8601", "2009-05-04 23:08:57.123", 1241478537),
        ("iso8601", "2009-05-04", 1241395200),
        ("dd/MM/yyyy HH:mm", "04/05/2009 23:08", 1241478480),
        ("epoch_s", "1241478537000", None),
        ("epoch_s", "4 May 2009", None),
        ("iso8601", "23:08", None),
        ("iso8601", "2009", None),
        ("iso8601", "2009-13-01", None),
        ("dd/MM/yyyy HH:mm", "2009-05-04", None),
    ],
)
def test_time_formats(spark: SparkSession, tmp_path: Path, time_format: str, given: str, seconds: int | None) -> None:
    content = f"user,track,rating,time\nu,t,1,{given}\nv,t,2,{given}\n".encode()
    interactions = RATINGS | {"time_format": time_format}
    if seconds is None:
        with pytest.raises(UserError, match="bad_time 2 times"):
            read(spark, tmp_path, interactions, content)
    else:
        read(spark, tmp_path, interactions, content, 0.0)
        assert pd.read_parquet(tmp_path / "out" / "interactions")["time"].tolist() == [seconds, seconds]


def test_json_lines_are_read(spark: SparkSession, tmp_path: Path) -> None:
    lines = [
        {"who": 7, "listened_at": 1241478537, "meta": {"id": "t", "info": {"ms": 3}}},
        {"who": "8", "listened_at": "1241478537", "meta": {"id": None}},
        {"who": "9", "meta": {"id": "s", "info": {"ms": "4.5"}}, "listened_at": 1, "later": [1]},
        {"who": "9"},
    ]
    text = "\n".join([*map(json.dumps, lines), '{"who": ', "[]", ""])
    interactions = PLAYS | {
        "path": "listens.jsonl", "format": "jsonl", "user": "who", "track": "meta.id", "value": "meta.info.ms",
    }  # fmt: skip
    counts = read(spark, tmp_path, interactions, text.encode())
    assert values_by_ids(tmp_path / "out") == {("7", "t"): 3.0, ("9", "s"): 4.5}
    assert counts.rejected == {"malformed_row": 2, "missing_track": 2}
    assert '{"who": ' in counts.examples["malformed_row"]


def test_parquet_keeps_its_types(spark: SparkSession, tmp_path: Path) -> None:
    moment = pd.Timestamp("2009-05-04T23:08:57Z")
    table = pa.table({
        "user": pa.array([1, 2, None], pa.int64()), "track": ["t", " s ", "t"],
        "rating": pa.array([1.5, float("nan"), 2.0]), "time": pa.array([moment, moment, None]),
    })  # fmt: skip
    (tmp_path / "ratings").mkdir()
    pq.write_table(table, tmp_path / "ratings" / "part-0.parquet")
    pq.write_table(table.slice(0, 1).set_column(0, "user", pa.array([3])), tmp_path / "ratings" / "part-1.parquet")
    (tmp_path / "out").mkdir()
    dataset = dataset_of(RATINGS | {"path": "ratings", "format": "parquet"})
    counts = ingest(spark, dataset, tmp_path, tmp_path / "out", 1.0)
    assert counts.rejected == {"missing_user": 1, "not_finite": 1}
    assert values_by_ids(tmp_path / "out") == {("1", "t"): 1.5, ("3", "t"): 1.5}
    assert set(pd.read_parquet(tmp_path / "out" / "interactions")["time"]) == {1241478537}
    assert counts.examples["missing_user"] == ['{"track":"t","rating":2.0}']


def test_expression_over_invalid_text_rejects_the_row(spark: SparkSession, tmp_path: Path) -> None:
    interactions = PLAYS | {"value": "2 * plays + int(boolean(liked))"}
    content = b"user,track,plays,liked\nu,t,1.5,true\nv,t,many,1\nw,t,2,maybe\nx,t,1,0\n"
    counts = read(spark, tmp_path, interactions, content)
    assert values_by_ids(tmp_path / "out") == {("u", "t"): 4.0, ("x", "t"): 2.0}
    assert counts.rejected == {"not_a_number": 2}


REFUSED: dict[str, tuple[dict[str, Any], bytes, str]] = {
    "an empty file": (PLAYS, b"", "plays.csv is empty; its first line should name the columns"),
    "an empty file without a header": (HEADERLESS, b"", "plays.csv has no rows"),
    "a header alone": (PLAYS, b"user,track,plays\n", "plays.csv has no rows"),
    "a wrong separator": (
        PLAYS, b"user;track;plays\nu;t;1\n", r"no column 'user' .*\(is the separator ';'\?\); it has user;track;plays"
    ),
    "a wrong separator without a header": (
        HEADERLESS, b"u\tt\t1\n", r"malformed_row 1 times, e.g. 'u\\tt\\t1', not 3 fields between ',' \(is the"
    ),
    "a renamed column": (PLAYS, b"user,track,playz\nu,t,1\n", r"no column 'plays' .*\(did you mean 'playz'\?\)"),
    "a renamed column in an expression": (
        PLAYS | {"value": "2 * plays"}, b"user,track,playz\nu,t,1\n",
        r"no column 'plays' \(\[interactions\] value\) \(did you mean 'playz'\?\)",
    ),
    "no expression": (
        PLAYS | {"value": "2 *"}, b"user,track,plays\nu,t,1\n", r"\[interactions\] value = '2 \*' is not a valid"
    ),
    "an aggregate": (PLAYS | {"value": "sum(plays)"}, b"user,track,plays\nu,t,1\n", "is not a valid Spark"),
    "no number": (PLAYS | {"value": "array(plays)"}, b"user,track,plays\nu,t,1\n", "type array<string>; it must be"),
    "no pattern of times": (
        RATINGS | {"time_format": "yy bogus"}, b"user,track,rating,time\nu,t,1,1\n", "is not a valid pattern for Spark"
    ),
    "a binary file": (PLAYS, bytes(range(256)) * 4, "plays.csv is not text"),
    "an archive": (PLAYS, b"PK\x03\x04rest", "plays.csv is a ZIP archive: unpack it"),
    "a compressed file": (PLAYS, gzip.compress(b"user,track,plays\n"), r"give it a name that ends in \.gz"),
    "UTF-16": (PLAYS, "user,track,plays\n".encode("utf-16"), "plays.csv is UTF-16"),
    "Parquet": (PLAYS, b"PAR1rest", "plays.csv is Parquet"),
    "no Parquet": (PLAYS | {"format": "parquet"}, b"user,track,plays\nu,t,1\n", "plays.csv is not a Parquet file"),
    "a wrong encoding": (
        PLAYS, "user,track,plays\né,t,1\nü,t,2\n".encode("latin-1"), "2 of 2 rows were rejected .*undecodable 2 times"
    ),
    "all rows rejected": (PLAYS, b"user,track,plays\nu,t,x\n,t,1\n", "2 of 2 rows were rejected"),
    "one JSON array": (PLAYS | {"format": "jsonl"}, b'[\n{"user": 1}\n]\n', "one object per line"),
    "no JSON": (PLAYS | {"format": "jsonl"}, b"user,track,plays\n", "has no JSON object"),
}  # fmt: skip


@pytest.mark.parametrize(("interactions", "content", "message"), REFUSED.values(), ids=REFUSED)
def test_unusable_input_is_refused_with_one_sentence(
    spark: SparkSession, tmp_path: Path, interactions: dict[str, Any], content: bytes, message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read(spark, tmp_path, interactions, content)
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence


@pytest.mark.parametrize("kept", [200, 200_000], ids=["at its beginning", "later"])
def test_truncated_compressed_file_is_reported(spark: SparkSession, tmp_path: Path, kept: int) -> None:
    lines = "".join(f"u{n * n % 99991},t{n * 31 % 9973},{n % 7 + 1}\n" for n in range(200_000))
    compressed = gzip.compress(f"user,track,plays\n{lines}".encode())
    assert len(compressed) > 2 * kept
    with pytest.raises(UserError, match=r"cannot be read|is damaged or truncated"):
        read(spark, tmp_path, PLAYS | {"path": "plays.csv.gz"}, compressed[:kept])


def test_directory_in_place_of_a_file_is_named(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "plays.csv").mkdir()
    with pytest.raises(MissingInput, match=r"plays.csv is a directory. Name its files"):
        ingest(spark, dataset_of(PLAYS), tmp_path, tmp_path, 1.0)
