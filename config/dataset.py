"""Dataset descriptions, `config/datasets/<name>.toml`: read and validate them."""

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
"""The supported encodings, Python's name to Java's. In all of them, the byte of a line feed is never part of another
character, so that files can be split into lines before they are decoded."""


def _encoding(name: str) -> str:
    """Return Java's name of an encoding, which Python also understands."""
    try:
        return _ENCODINGS[codecs.lookup(name).name]
    except LookupError:
        supported = join_sorted(set(_ENCODINGS.values()))
        raise ValueError(f"is not a supported encoding; supported: {supported}") from None


class Table(BaseModel):
    """Raw files of one table and their format."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Text
    """Path or glob pattern, relative to the raw directory. Files ending in .gz or .bz2 are decompressed."""
    format: Literal["csv", "jsonl", "parquet"] = "csv"
    separator: Text = ","
    quote: str = '"'
    """The quoting character; an empty string switches quoting off. Quoted fields cannot contain line breaks."""
    header: bool = True
    columns: tuple[Text, ...] = ()
    """Column names of a file without a header."""
    encoding: Annotated[Text, AfterValidator(_encoding)] = "UTF-8"

    @field_validator("path")
    @classmethod
    def _below_the_raw_directory(cls, path: str) -> str:
        if Path(path).is_absolute() or ".." in Path(path).parts:
            raise ValueError("must be inside the raw directory")
        try:
            list(Path(os.devnull).glob(path))
        except (ValueError, IndexError) as error:
            raise ValueError(f"is not a valid glob pattern ({error})") from None
        return path

    @model_validator(mode="after")
    def _consistent_format(self) -> Self:
        if self.format != "csv":
            only_csv = {"separator", "quote", "header", "columns"} | (
                {"encoding"} if self.format == "parquet" else set()
            )
            if misplaced := sorted(only_csv & self.model_fields_set):
                raise ValueError(f'has {misplaced[0]}, which does not apply to format = "{self.format}"')
        elif self.header == bool(self.columns):
            raise ValueError("needs either header = true or header = false with columns = [...]")
        if len(self.quote) > 1:
            raise ValueError("has a quote with more than one character")
        if self.quote and self.quote in self.separator:
            raise ValueError("has a separator that contains the quote")
        if "\n" in self.separator or "\r" in self.separator:
            raise ValueError("has a separator that contains a line break")
        if len({name.lower() for name in self.columns}) < len(self.columns):
            raise ValueError("has duplicate column names")
        return self


TIME_FORMATS = ("epoch_s", "epoch_ms", "iso8601")


def _time_format(name: str) -> str:
    if name not in TIME_FORMATS and "yy" not in name:
        raise ValueError(
            f"is neither one of {join_sorted(TIME_FORMATS)}{did_you_mean(name, TIME_FORMATS)} "
            "nor a pattern such as dd/MM/yyyy HH:mm"
        )
    return name


class Interactions(Table):
    """The interactions of users with tracks. user, track, value and time are columns or Spark SQL expressions."""

    user: Text
    track: Text
    value: Text | None = None
    """The rating or number of plays; omitted for events, where each row counts as one."""
    feedback: Literal["rating", "plays", "events"]
    time: Text | None = None
    time_format: Annotated[Text, AfterValidator(_time_format)] = "epoch_s"
    """epoch_s, epoch_ms, iso8601, or a Spark datetime pattern. Times without a zone are UTC."""
    rating_range: tuple[float, float] | None = None
    like_from: float | None = None
    """The lowest rating that counts as liked; default: 70 % of the range."""
    duplicates: Literal["sum", "latest", "mean", "max"]
    """How to merge several rows of the same user and track."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.feedback == "rating":
            if self.rating_range is None or self.rating_range[0] >= self.rating_range[1]:
                raise ValueError('needs rating_range = [lowest, highest] for feedback = "rating"')
        elif self.rating_range is not None or self.like_from is not None:
            raise ValueError('has a rating_range or like_from, which only apply to feedback = "rating"')
        if (self.value is None) != (self.feedback == "events"):
            raise ValueError('needs a value, unless feedback = "events", which must not have one')
        if self.duplicates == "latest" and self.time is None:
            raise ValueError('needs a time for duplicates = "latest"')
        if self.time is None and "time_format" in self.model_fields_set:
            raise ValueError("has a time_format but no time")
        return self

    @property
    def liked_from(self) -> float | None:
        """The lowest rating that counts as relevant; None if every interaction counts."""
        if self.rating_range is None:
            return None
        low, high = self.rating_range
        return self.like_from if self.like_from is not None else low + 0.7 * (high - low)


class Tracks(Table):
    """The track catalogue. Each key is a column or a Spark SQL expression."""

    id: Text
    title: Text | None = None
    artist: Text | None = None
    genre: Text | None = None
    tags: Text | None = None
    """An array of strings, or a string with `|` as the separator. The first tag replaces a missing genre."""


class Tags(Table):
    """Tags given by users, one row each. A track without tags gets the most frequent ones."""

    track: Text
    tag: Text


class TagNames(Table):
    """Names of the tags, if `[tags]` refers to them by id."""

    id: Text
    name: Text


class Users(Table):
    """User attributes."""

    id: Text
    age: Text | None = None
    country: Text | None = None


class Dataset(BaseModel):
    """A dataset description."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Text
    title: Text
    item_label: Text = "track"
    """The word for a track on the web page, such as film or song."""
    synthetic: bool = False
    """Whether the Generate stage creates the raw files."""
    interactions: Interactions
    tracks: Tracks | None = None
    tags: Tags | None = None
    tag_names: TagNames | None = None
    users: Users | None = None

    @property
    def tables(self) -> dict[str, Table]:
        """The described tables by heading."""
        tables = {key: getattr(self, key) for key in ("interactions", "tracks", "tags", "tag_names", "users")}
        return {key: table for key, table in tables.items() if table is not None}


def shipped() -> list[str]:
    """Return the names of the descriptions in `config/datasets/`."""
    return sorted(file.stem for file in SHIPPED.glob("*.toml"))


def load_dataset(name_or_path: str) -> Dataset:
    """Read a shipped description by name, or a TOML file by path; its stem becomes the dataset's name.

    Raises:
        UserError: the description does not exist or is invalid; the message names the file and key.
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
        description: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid TOML: {error}.") from error
    try:
        return Dataset(name=path.stem, **description)
    except (ValidationError, TypeError) as error:
        raise UserError(_message(path, error)) from error


def find_files(raw_dir: Path, table: Table) -> list[Path]:
    """Return the table's files in the raw directory, sorted. A Parquet directory is replaced by its files.

    Files and directories that Spark ignores, whose names begin with `.` or `_`, are left out.

    Raises:
        MissingInput: there are no such files.
    """
    matches = sorted(raw_dir.glob(table.path))
    files = [path for path in matches if path.is_file()]
    directories = [path for path in matches if path.is_dir()]
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
        raise MissingInput(f'{directories[0]} is a directory. Name its files: path = "{table.path}/*".')
    if (link := raw_dir / table.path).is_symlink():
        raise MissingInput(f"{link} is a broken symbolic link: make it point to a file.")
    raise MissingInput(
        f"There is no {table.path} in {raw_dir}. Put the raw files there, or set their directory with RAW= (--raw-dir)."
    )


def _message(path: Path, error: ValidationError | TypeError) -> str:
    """Describe the first error in one sentence with file and key."""
    if isinstance(error, TypeError):
        return f"{path}: a dataset is named after its file; remove the key 'name'."
    first = error.errors()[0]
    location = [str(part) for part in first["loc"]]
    key = ".".join(location)
    if first["type"] == "extra_forbidden":
        known = _known_keys(location[:-1])
        return f"{path}: unknown key {key!r}{did_you_mean(location[-1], known)}; valid keys: {join_sorted(known)}."
    if first["type"] == "missing":
        return f"{path}: the key {key!r} is missing."
    reason = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{path}: [{key}] {reason}."
    return f"{path}: {key!r}: {reason[:1].lower()}{reason[1:]} (found {first['input']!r})."


def _known_keys(location: list[str]) -> list[str]:
    """Return the valid keys of a table, or of the top level for an empty location."""
    tables: dict[str, type[BaseModel]] = {
        "interactions": Interactions, "tracks": Tracks, "tags": Tags, "tag_names": TagNames, "users": Users,
    }  # fmt: skip
    model = tables[location[0]] if location else Dataset
    return [name for name in model.model_fields if not (model is Dataset and name == "name")]
