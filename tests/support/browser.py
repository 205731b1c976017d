"""Chromium and a running page, for the tests and for the screenshots in docs/."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from config.paths import PROJECT
from webapp.security.secret_files import TOKEN_VARIABLE

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
"""The installed browser, which the tests use instead of Playwright's own download."""

NO_CHROMIUM = "This machine has no Chromium: `apt-get install chromium` brings one."


@contextmanager
def opened() -> Iterator[Browser]:
    """Open a headless browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def served(models: Path, data: Path, token: str) -> Iterator[str]:
    """Serve the page on a free port in another process, as `make serve` does; yield its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "webapp", "--port", "0", "--models", str(models), "--data", str(data), "--allow-runs"],
        cwd=PROJECT, env=os.environ | {TOKEN_VARIABLE: token}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        try:
            assert process.stdout
            line = process.stdout.readline()
            assert line.startswith("Encore is at http://"), line
            yield line.split()[3].rstrip("/")
        finally:
            process.terminate()
