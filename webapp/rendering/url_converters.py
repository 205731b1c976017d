"""Users' ids in URLs: any text at all can be an id, so any text has to survive the way there and back."""

from __future__ import annotations

from urllib.parse import quote

from werkzeug.routing import BaseConverter


class AnyText(BaseConverter):
    """The rest of the path, whatever is in it; written with every special character escaped, slashes too."""

    regex = r"(?s:.+)"
    part_isolating = False

    def to_url(self, value: str) -> str:
        return quote(value, safe="")


def fits_in_path(user_id: str) -> bool:
    """Whether browsers leave the id alone as a part of a path: they resolve one or two dots, even escaped ones."""
    return user_id not in (".", "..")
