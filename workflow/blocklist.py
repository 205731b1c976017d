"""The file of what nobody is recommended: `[recommend] blocked`, CSV with the columns kind and name."""

from __future__ import annotations

import csv
from pathlib import Path

from common.errors import MissingInput, UserError

KINDS = ("track", "artist")


def read_blocklist(file: str) -> dict[str, list[str]]:
    """The ids of tracks, and the artists, each in order and once; nothing where no file is named.

    Raises:
        MissingInput: the file cannot be read.
        UserError: it is not such a file.
    """
    found: dict[str, set[str]] = {kind: set() for kind in KINDS}
    if file:
        try:
            with Path(file).open(encoding="utf-8-sig", newline="") as opened:
                rows = csv.reader(opened)
                if next(rows, None) != ["kind", "name"]:
                    raise UserError(f"[recommend] blocked = {file}: its first line is not `kind,name`.")
                for row in rows:
                    if len(row) != 2 or row[0] not in KINDS:
                        raise UserError(
                            f"[recommend] blocked = {file}, line {rows.line_num}: {','.join(row)!r} is neither "
                            "`track,<id>` nor `artist,<name>`."
                        )
                    found[row[0]].add(row[1])
        except OSError as error:
            raise MissingInput(f"[recommend] blocked = {file} cannot be read ({error.strerror}).") from error
        except (UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"[recommend] blocked = {file} is not CSV in UTF-8 ({error}).") from error
    return {kind: sorted(names) for kind, names in found.items()}
