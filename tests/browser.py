"""A headless browser for tests of pages, and where their screenshots go.

`from browser import browser, screenshot` in a test file. Chromium is the system's (a name that
`shutil.which` finds, or SNIPBIAS_CHROMIUM), or else the one that `playwright install` fetched.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

IMAGES = Path(__file__).parent.parent / "docs" / "images"
NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


# One a file, not one a session: while it is open no other test could run an event loop.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A playwright Browser; each test opens a page of its own, `browser.new_page()`."""
    api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with api.sync_playwright() as playwright:
        try:
            opened = playwright.chromium.launch(executable_path=_chromium(), args=ARGUMENTS)
        except api.Error as error:
            pytest.skip(f"no browser ({str(error).splitlines()[0]}): apt install chromium")
        yield opened
        opened.close()


def _chromium() -> str | None:
    """The system's chromium; None is playwright's own."""
    found = (shutil.which(name) for name in NAMES)
    return os.environ.get("SNIPBIAS_CHROMIUM") or next(filter(None, found), None)


def screenshot(page: Any, name: str, **options: Any) -> None:
    """A picture of the page for docs; `keep` says where it goes."""
    image = pytest.importorskip("PIL.Image", reason="pip install pillow")
    shot = image.open(io.BytesIO(page.screenshot(animations="disabled", **options)))
    file = io.BytesIO()
    shot.convert("RGB").quantize(128, dither=image.Dither.NONE).save(file, "png", optimize=True)
    keep(f"{name}.png", file.getvalue())


def run_to_show(small: Path) -> Path:
    """The run that pictures show: a small one, unless SNIPBIAS_SCREENSHOTS names another."""
    asked = Path(os.environ.get("SNIPBIAS_SCREENSHOTS", ""))
    return asked if (asked / "run.json").is_file() else small


def keep(name: str, picture: bytes) -> None:
    """Check its size; write docs/images/NAME where SNIPBIAS_SCREENSHOTS is set."""
    assert 2_000 < len(picture) < 150_000, (name, len(picture))
    if os.environ.get("SNIPBIAS_SCREENSHOTS"):
        (IMAGES / name).write_bytes(picture)
