"""The block list `[recommend] blocked`: a CSV file of tracks and artists that are never recommended."""

from __future__ import annotations

import csv
from pathlib import Path

from common.errors import MissingInput, UserError

KINDS = ("track", "artist")


def read_blocklist(file: str) -> dict[str, list[str]]:
    """Read the blocked track ids and artist names, each sorted and without duplicates; empty if `file` is empty.

    Raises:
        MissingInput: the file cannot be read.
        UserError: the file is not CSV with the columns kind and name, or a row has another kind.
    """
    blocked: dict[str, set[str]] = {kind: set() for kind in KINDS}
    if file:
        try:
            with Path(file).open(encoding="utf-8-sig", newline="") as stream:
                rows = csv.reader(stream)
                if next(rows, None) != ["kind", "name"]:
                    raise UserError(f"[recommend] blocked = {file}: its first line is not `kind,name`.")
                for row in rows:
                    if len(row) != 2 or row[0] not in KINDS:
                        raise UserError(
                            f"[recommend] blocked = {file}, line {rows.line_num}: {','.join(row)!r} is neither "
                            "`track,<id>` nor `artist,<name>`."
                        )
                    blocked[row[0]].add(row[1])
        except OSError as error:
            raise MissingInput(f"[recommend] blocked = {file} cannot be read ({error.strerror}).") from error
        except (UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"[recommend] blocked = {file} is not CSV in UTF-8 ({error}).") from error
    return {kind: sorted(names) for kind, names in blocked.items()}
