"""`make screenshots`: screenshots of the published versions for docs/.

python tests/screenshots.py [--models models] [--data data] [--dataset synthetic] [--into docs]

Run `make pipeline` first, and look at the screenshots before committing them.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser
from support import browser

from config.paths import PROJECT, Paths
from models.registry import VersionRegistry
from run_records.reader import last_runs

DESKTOP, PHONE = (1200, 880), (390, 844)
MAX_KB = 200
TO_THE_CORNER = """(it) => {
    it.scrollIntoView({ block: "start", inline: "start" });
    (it.closest(".scroll") ?? document.scrollingElement).scrollBy(-16, -16);
}"""


@dataclass(frozen=True)
class Picture:
    """A screenshot: file name, page, and view options."""

    name: str
    address: str
    is_narrow: bool = False
    is_dark: bool = False
    scale: float = 1.0
    """Zoom factor; a smaller one shows more of the page."""
    begins: tuple[str, ...] = ()
    """Selectors of elements to scroll to the upper left corner, in order."""


def main() -> int:
    """Take all screenshots; return the exit code."""
    given = _parser().parse_args()
    if browser.CHROMIUM is None:
        print(browser.NO_CHROMIUM, file=sys.stderr)
        return 2
    if VersionRegistry(given.models / given.dataset).current() is None:
        print(f"Nothing of {given.dataset} is published in {given.models}: make pipeline does that.", file=sys.stderr)
        return 2
    with browser.served(given.models, given.data, secrets.token_urlsafe()) as home, browser.opened() as chromium:
        for picture in _pictures(chromium, home, Paths(given.data, given.models), given.dataset):
            file = given.into / f"{picture.name}.png"
            _take(chromium, home, given.dataset, picture, file)
            kilobytes = file.stat().st_size / 1000
            print(f"{file} {kilobytes:.0f} kB{f', more than {MAX_KB}' if kilobytes > MAX_KB else ''}")
    return 0


def _pictures(chromium: Browser, home: str, paths: Paths, dataset: str) -> list[Picture]:
    """Return the screenshots: of the run with most finished stages, a user with a long history, and popular tracks."""
    with chromium.new_context(base_url=home) as context:

        def answer(what: str, limit: int) -> list[dict[str, Any]]:
            asked = context.request.get(f"/api/v1/{what}", params={"dataset": dataset, "limit": limit})
            found: list[dict[str, Any]] = asked.json()[what]
            return found

        user = max(answer("users", 100), key=lambda user: user["tracks_heard"])
        tracks = answer("tracks", 6)
    run = max(last_runs(paths.runs(dataset)), key=lambda run: run.status_counts["done"])
    picked = "&".join(f"t={track['track_id']}" for track in tracks[::2])
    return [
        Picture("overview", "/"),
        Picture("run", f"/runs/{run.id}", scale=0.9, begins=(".run-graph g:has-text('Split')", "#graph")),
        Picture("leaderboard", "/leaderboard", is_dark=True),
        Picture("versions", "/versions"),
        Picture("user", f"/users/{user['user_id']}"),
        Picture("try", f"/try?{picked}", is_narrow=True, is_dark=True, begins=("#recommendations",)),
    ]


def _take(chromium: Browser, home: str, dataset: str, picture: Picture, file: Path) -> None:
    width, height = PHONE if picture.is_narrow else DESKTOP
    with chromium.new_context(
        base_url=home, color_scheme="dark" if picture.is_dark else "light", device_scale_factor=picture.scale,
        viewport={"width": round(width / picture.scale), "height": round(height / picture.scale)},
    ) as context:  # fmt: skip
        page = context.new_page()
        page.goto(f"{picture.address}{'&' if '?' in picture.address else '?'}dataset={dataset}")
        for selector in picture.begins:
            page.locator(selector).first.evaluate(TO_THE_CORNER)
        page.screenshot(path=file)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Takes the pictures in docs/.", allow_abbrev=False)
    parser.add_argument("--models", type=Path, default=Paths().models_root, help="published versions")
    parser.add_argument("--data", type=Path, default=Paths().data_root, help="run records are in its runs/")
    parser.add_argument("--dataset", default="synthetic", help="what is shown (default: %(default)s)")
    parser.add_argument("--into", type=Path, default=PROJECT / "docs", help="where the pictures go (default: docs/)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
