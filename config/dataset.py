"""A dataset's description, `config/datasets/<name>.toml`, validated when it is read."""

from __future__ import annotations

import codecs
import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from common.errors import MissingInput, UserError, did_you_mean, join_sorted

SHIPPED = Path(__file__).parent / "datasets"

Text = Annotated[str, Field(min_length=1)]


_ENCODINGS = {
    "utf-8": "UTF-8", "utf-8-sig": "UTF-8", "ascii": "US-ASCII",
    "iso8859-1": "ISO-8859-1", "iso8859-2": "ISO-8859-2", "iso8859-15": "ISO-8859-15",
    "cp1250": "windows-1250", "cp1251": "windows-1251", "cp1252": "windows-1252", "koi8-r": "KOI8-R",
    "shift_jis": "Shift_JIS", "euc_jp": "EUC-JP", "euc_kr": "EUC-KR", "gbk": "GBK", "gb18030": "GB18030",
    "big5": "Big5",
}  # fmt: skip
"""Java's names of the encodings in which a line feed is one byte that nothing else contains, by Python's names."""


def _encoding(name: str) -> str:
    """Java's name of an encoding; Python knows it by the same."""
    try:
        return _ENCODINGS[codecs.lookup(name).name]
    except LookupError:
        raise ValueError(
            f"is none that is read line by line; those are {join_sorted(set(_ENCODINGS.values()))}"
        ) from None


class Table(BaseModel):
    """Raw files, and how they are written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Text
    """Relative to the raw directory; a glob is allowed. Files that end in .gz or .bz2 are decompressed."""
    format: Literal["csv", "jsonl", "parquet"] = "csv"
    separator: Text = ","
    quote: str = '"'
    """The quoting character; empty switches quoting off. A quoted field ends on its line."""
    header: bool = True
    columns: tuple[Text, ...] = ()
    """Names of the columns of a file without a header."""
    encoding: Annotated[Text, AfterValidator(_encoding)] = "UTF-8"

    @field_validator("path")
    @classmethod
    def _below_the_raw_directory(cls, path: str) -> str:
        if Path(path).is_absolute() or ".." in Path(path).parts:
            raise ValueError("has to lie in the raw directory")
        try:
            list(Path(os.devnull).glob(path))
        except (ValueError, IndexError) as error:
            raise ValueError(f"is no pattern of file names ({error})") from None
        return path

    @model_validator(mode="after")
    def _consistent_format(self) -> Self:
        if self.format != "csv":
            only_csv = {"separator", "quote", "header", "columns"} | (
                {"encoding"} if self.format == "parquet" else set()
            )
            if misplaced := sorted(only_csv & self.model_fields_set):
                raise ValueError(f'has {misplaced[0]}, which means nothing for format = "{self.format}"')
        elif self.header == bool(self.columns):
            raise ValueError("needs either header = true or header = false with columns = [...]")
        if len(self.quote) > 1:
            raise ValueError("has a quote of more than one character")
        if self.quote and self.quote in self.separator:
            raise ValueError("has a separator that contains the quote")
        if "\n" in self.separator or "\r" in self.separator:
            raise ValueError("has a separator that would end the line")
        if len({name.lower() for name in self.columns}) < len(self.columns):
            raise ValueError("has columns with one name")
        return self


TIME_FORMATS = ("epoch_s", "epoch_ms", "iso8601")


def _time_format(name: str) -> str:
    if name not in TIME_FORMATS and "yy" not in name:
        raise ValueError(
            f"is none of {join_sorted(TIME_FORMATS)}{did_you_mean(name, TIME_FORMATS)}, "
            "nor a pattern such as dd/MM/yyyy HH:mm"
        )
    return name


class Interactions(Table):
    """Who listened to what. Each of user, track, value and time is a column or a Spark SQL expression."""

    user: Text
    track: Text
    value: Text | None = None
    """Left out for events: each row then counts one."""
    feedback: Literal["rating", "plays", "events"]
    time: Text | None = None
    time_format: Annotated[Text, AfterValidator(_time_format)] = "epoch_s"
    """epoch_s, epoch_ms, iso8601, or a pattern of Spark's. Times without a zone are UTC."""
    rating_range: tuple[float, float] | None = None
    like_from: float | None = None
    """From this rating on a track counts as liked; 70 % of the range where nothing is said."""
    duplicates: Literal["sum", "latest", "mean", "max"]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.feedback == "rating":
            if self.rating_range is None or self.rating_range[0] >= self.rating_range[1]:
                raise ValueError('needs rating_range = [lowest, highest] for feedback = "rating"')
        elif self.rating_range is not None or self.like_from is not None:
            raise ValueError("has a rating_range or like_from, which only ratings have")
        if (self.value is None) != (self.feedback == "events"):
            raise ValueError('needs a value, unless feedback = "events", which has none')
        if self.duplicates == "latest" and self.time is None:
            raise ValueError('needs a time for duplicates = "latest"')
        if self.time is None and "time_format" in self.model_fields_set:
            raise ValueError("has a time_format and no time")
        return self

    @property
    def liked_from(self) -> float | None:
        """The rating from which a track counts as relevant; None where every interaction does."""
        if self.rating_range is None:
            return None
        low, high = self.rating_range
        return self.like_from if self.like_from is not None else low + 0.7 * (high - low)


class Tracks(Table):
    """The catalogue: id, and what is known of each track (columns or expressions)."""

    id: Text
    title: Text | None = None
    artist: Text | None = None
    genre: Text | None = None
    tags: Text | None = None
    """An array of text, or text in which `|` separates them; the first stands in for a missing genre."""


class Tags(Table):
    """Who tagged which track with what, one row a tag given: the commonest become the track's tags, if it has none."""

    track: Text
    tag: Text


class TagNames(Table):
    """What the tags are called, where `[tags]` holds numbers."""

    id: Text
    name: Text


class Users(Table):
    """What is known of the users."""

    id: Text
    age: Text | None = None
    country: Text | None = None


class Dataset(BaseModel):
    """Everything the pipeline has to know to read somebody's listening data."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Text
    title: Text
    item_label: Text = "track"
    """What the page calls a track."""
    synthetic: bool = False
    """The files are made by the Generate stage, not looked for in a raw directory."""
    interactions: Interactions
    tracks: Tracks | None = None
    tags: Tags | None = None
    tag_names: TagNames | None = None
    users: Users | None = None

    @property
    def tables(self) -> dict[str, Table]:
        """The tables that the description names, by their heading."""
        named = {key: getattr(self, key) for key in ("interactions", "tracks", "tags", "tag_names", "users")}
        return {key: table for key, table in named.items() if table is not None}


def shipped() -> list[str]:
    """The names of the descriptions that come with the project."""
    return sorted(file.stem for file in SHIPPED.glob("*.toml"))


def load_dataset(name_or_path: str) -> Dataset:
    """Reads a shipped description by its name, or any TOML file by its path; the name is the file's stem.

    Raises:
        UserError: there is no such description, or it has a mistake; the sentence names the file and key.
    """
    is_path = name_or_path.endswith(".toml") or "/" in name_or_path
    path = Path(name_or_path) if is_path else SHIPPED / f"{name_or_path}.toml"
    if not path.is_file():
        known = shipped()
        hint = did_you_mean(name_or_path, known)
        raise UserError(
            f"There is no dataset {name_or_path!r}{hint}: name one of {join_sorted(known)}, or the path of a TOML file."
        )
    try:
        described: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid TOML: {error}.") from error
    try:
        return Dataset(name=path.stem, **described)
    except (ValidationError, TypeError) as error:
        raise UserError(_sentence(path, error)) from error


def find_files(raw_dir: Path, table: Table) -> list[Path]:
    """The table's files in the raw directory, sorted. Of a directory of Parquet, the files that Spark would read.

    Raises:
        MissingInput: there is none.
    """
    found = sorted(raw_dir.glob(table.path))
    files = [path for path in found if path.is_file()]
    directories = [path for path in found if path.is_dir()]
    if table.format == "parquet":
        files += [
            file
            for directory in directories
            for file in sorted(directory.rglob("*.parquet"))
            if file.is_file() and not any(part[0] in "._" for part in file.relative_to(directory).parts)
        ]
    if files:
        return files
    if directories:
        raise MissingInput(f'{directories[0]} is a directory: name the files in it, as path = "{table.path}/*".')
    if (link := raw_dir / table.path).is_symlink():
        raise MissingInput(f"{link} is a link that leads to nothing, or to itself: let it lead to the file.")
    raise MissingInput(
        f"There is no {table.path} in {raw_dir}: put the raw files there, "
        "or name their directory with RAW= (--raw-dir)."
    )


def _sentence(path: Path, error: ValidationError | TypeError) -> str:
    """The first mistake, naming the file and the key."""
    if isinstance(error, TypeError):
        return f"{path}: the name of a dataset is its file's name; remove the key 'name'."
    first = error.errors()[0]
    where = [str(part) for part in first["loc"]]
    if first["type"] == "extra_forbidden":
        known = _fields(where[:-1])
        return (
            f"{path}: unknown key {'.'.join(where)!r}{did_you_mean(where[-1], known)}; known are {join_sorted(known)}."
        )
    if first["type"] == "missing":
        return f"{path}: the key {'.'.join(where)!r} is missing."
    reason = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{path}: [{'.'.join(where)}] {reason}."
    return f"{path}: {'.'.join(where)!r}: {reason[:1].lower()}{reason[1:]} (found {first['input']!r})."


def _fields(where: list[str]) -> list[str]:
    """The keys that may stand at this place of a description."""
    tables: dict[str, type[BaseModel]] = {
        "interactions": Interactions, "tracks": Tracks, "tags": Tags, "tag_names": TagNames, "users": Users,
    }  # fmt: skip
    model = tables[where[0]] if where else Dataset
    return [name for name in model.model_fields if not (model is Dataset and name == "name")]
