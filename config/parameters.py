"""Luigi parameters whose error message names the allowed values."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import luigi


class CheckedParameter(luigi.Parameter[Any]):
    """Base class: `convert` returns the value, or raises ValueError, TypeError or KeyError."""

    expected: str
    """Completes the sentence "… is not …"."""

    def convert(self, given: Any) -> Any:
        """Convert a value that is a string or already converted."""
        raise NotImplementedError

    def normalize(self, given: Any) -> Any:
        """Luigi's hook for values from any source."""
        try:
            return self.convert(given)
        except (ValueError, TypeError, KeyError):
            raise ValueError(f"{given!r} is not {self.expected}") from None

    def parse(self, text: str) -> Any:
        """Luigi's hook for values from luigi.cfg and the command line."""
        return self.normalize(text)


class BoundedNumberParameter(CheckedParameter):
    """A number between two inclusive bounds; an integer if `low` is an integer.

    Unlike that of `luigi.NumericalParameter`, its error names the bounds even if the text is not a number.
    """

    def __init__(self, default: float, low: float, high: float, description: str, reason: str = "") -> None:
        super().__init__(default=default, description=description)
        self.kind, self.low, self.high = type(low), low, high
        self.expected = f"a {'whole ' if self.kind is int else ''}number from {low:,} to {high:,}{reason}"

    def convert(self, given: Any) -> int | float:
        """See `CheckedParameter`."""
        number = self.kind(given)
        if not self.low <= number <= self.high:  # also rejects NaN
            raise ValueError(given)
        return number


class OrderedChoiceParameter(CheckedParameter):
    """One of several words.

    `luigi.ChoiceParameter` lists its choices in random order, both in the description and in the error.
    """

    def __init__(self, default: str, choices: Sequence[str], description: str) -> None:
        super().__init__(default=default, description=description)
        self.choices = choices
        self.expected = f"one of {', '.join(choices)}"

    def convert(self, given: Any) -> str:
        """See `CheckedParameter`."""
        if given not in self.choices:
            raise ValueError(given)
        return str(given)


class JSONChoiceListParameter(CheckedParameter):
    """A non-empty JSON list of distinct words; `luigi.ChoiceListParameter` splits at commas and allows duplicates."""

    def __init__(self, default: Sequence[str], choices: Callable[[], Sequence[str]], description: str) -> None:
        super().__init__(default=tuple(default), description=description)
        self.choices, self.example = choices, json.dumps(list(default))

    @property
    def expected(self) -> str:  # type: ignore[override]
        """See `CheckedParameter`."""
        return f"a list such as {self.example}, of one or more of {', '.join(self.choices())}"

    def convert(self, given: Any) -> tuple[str, ...]:
        """See `CheckedParameter`."""
        names = json.loads(given) if isinstance(given, str) else given
        if not names or isinstance(names, str) or len(set(names)) < len(names) or set(names) - set(self.choices()):
            raise ValueError(given)
        return tuple(names)

    def serialize(self, names: Any) -> str:
        """Luigi's hook: the value as it is written in luigi.cfg."""
        return json.dumps(list(names))


class MemoryParameter(CheckedParameter):
    """An amount of memory in Java's notation, at least 512 MB."""

    expected = "an amount of memory of at least 512m, such as 512m or 4g"

    def convert(self, given: Any) -> str:
        """See `CheckedParameter`."""
        megabytes = int(given[:-1]) * {"m": 1, "g": 1024}.get(given[-1:], 0)
        if megabytes < 512:
            raise ValueError(given)
        return str(given)


class SparkMasterParameter(CheckedParameter):
    """A Spark master URL."""

    expected = "local[*], local[4], or the address of a cluster such as spark://host:7077"

    def convert(self, given: Any) -> str:
        """See `CheckedParameter`."""
        if not re.fullmatch(r"local(\[(\*|\d+)\])?|local-cluster\[\d+,\d+,\d+\]|spark://.+|k8s://.+|yarn", given):
            raise ValueError(given)
        return str(given)
