"""A dataset's description, `config/datasets/<name>.toml`, validated when it is read."""

from __future__ import annotations

import codecs
import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from config.errors import MissingInput, UserError, did_you_mean, listed

SHIPPED = Path(__file__).parent / "datasets"

Text = Annotated[str, Field(min_length=1)]


_ENCODINGS = {
    "utf-8": "utf-8", "iso8859-1": "iso-8859-1", "ascii": "us-ascii",
}  # fmt: skip
"""What Spark reads line by line, by Python's names."""


def _encoding(name: str) -> str:
    """Spark's name of an encoding."""
    try:
        return _ENCODINGS[codecs.lookup(name).name]
    except LookupError:
        raise ValueError(f"is none that Spark reads; those are {listed(_ENCODINGS.values())}") from None


class Table(BaseModel):
    """A raw file and how it is written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Text
    """Relative to the raw directory."""
    format: Literal["csv"] = "csv"
    separator: Text = ","
    quote: str = '"'
    """The quoting character; empty switches quoting off."""
    header: bool = True
    columns: tuple[Text, ...] = ()
    """Names of the columns of a file without a header."""
    encoding: Annotated[Text, AfterValidator(_encoding)] = "utf-8"

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
    def _columns_without_header(self) -> Self:
        if self.header == bool(self.columns):
            raise ValueError("needs either header = true or header = false with columns = [...]")
        if len(self.quote) > 1:
            raise ValueError("has a quote of more than one character")
        return self


class Interactions(Table):
    """Who listened to what. Each of user, track, value and time is a column or a Spark SQL expression."""

    user: Text
    track: Text
    value: Text | None = None
    """Left out for events: each row then counts one."""
    feedback: Literal["rating", "plays", "events"]
    time: Text | None = None
    time_format: Literal["epoch_s"] = "epoch_s"
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


class Tags(Table):
    """Who tagged which track with what, one row a tag given; the commonest tag stands in for a missing genre."""

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


def load_dataset(name_or_path: str) -> Dataset:
    """Reads a shipped description by its name, or any TOML file by its path; the name is the file's stem.

    Raises:
        UserError: there is no such description, or it has a mistake; the sentence names the file and key.
    """
    is_path = name_or_path.endswith(".toml") or "/" in name_or_path
    path = Path(name_or_path) if is_path else SHIPPED / f"{name_or_path}.toml"
    if not path.is_file():
        shipped = [file.stem for file in SHIPPED.glob("*.toml")]
        hint = did_you_mean(name_or_path, shipped)
        raise UserError(
            f"There is no dataset {name_or_path!r}{hint}: name one of {listed(shipped)}, or the path of a TOML file."
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
    """The table's files in the raw directory, sorted.

    Raises:
        MissingInput: there is none.
    """
    files = sorted(path for path in raw_dir.glob(table.path) if path.is_file())
    if not files:
        raise MissingInput(
            f"There is no {table.path} in {raw_dir}: put the raw files there, "
            "or name their directory with RAW= (--raw-dir)."
        )
    return files


def _sentence(path: Path, error: ValidationError | TypeError) -> str:
    """The first mistake, naming the file and the key."""
    if isinstance(error, TypeError):
        return f"{path}: the name of a dataset is its file's name; remove the key 'name'."
    first = error.errors()[0]
    where = [str(part) for part in first["loc"]]
    if first["type"] == "extra_forbidden":
        known = _fields(where[:-1])
        return f"{path}: unknown key {'.'.join(where)!r}{did_you_mean(where[-1], known)}; known are {listed(known)}."
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
