"""Find or download BBQ's files, and verify them."""

from __future__ import annotations

import hashlib
import json
import os
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from snipbias.base.errors import SnipbiasError
from snipbias.base.files import atomic_file, shipped
from snipbias.base.hub import cache_dir, offline
from snipbias.tasks.readers import read_bytes

COMMIT = "9eba1ba179cc3169f75a1c03a8b392a58d188303"
BASE_URL = f"https://raw.githubusercontent.com/nyu-mll/BBQ/{COMMIT}/data"
TIMEOUT_SECONDS = 60
# Rows and SHA-256 of each official file; of some only the number of rows is known.
OFFICIAL: dict[str, tuple[int, str | None]] = json.loads(shipped("bbq.json"))


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file: its content and path, its source for the run record, and notes for the user."""

    path: Path
    content: bytes
    source: str
    notes: tuple[str, ...] = ()


def fetch(category: str, data_dir: str | Path | None = None) -> Fetched:
    """Get the file of a BBQ category from `data_dir`, from the cache, or by download.

    `data_dir` (or SNIPBIAS_DATA_DIR) may hold another version of the file, as `source` then says;
    the cache may not. The official SHA-256 of Gender_identity, Race_ethnicity, Race_x_SES and
    Race_x_gender is not known, so only their number of rows is checked; `source` says that too.

    Raises:
        SnipbiasError: the file cannot be read or downloaded, or the cached one is not the official.
    """
    path, is_own = _place(category, data_dir)
    content = read_bytes(path) if path.exists() else _download(category, path)
    problem = _difference(category, content)
    if problem and not is_own:
        raise SnipbiasError(
            f"{path} is not the official file ({problem}): delete it, or keep your own version "
            "in a folder that you give as data_dir."
        )
    if problem:
        verdict = "not the official file"
    elif OFFICIAL[category][1] is None:
        verdict = "as many rows as the official file, whose sha256 snipbias does not know"
    else:
        verdict = "the official file"
    source = f"{path}, sha256 {hashlib.sha256(content).hexdigest()}: {verdict}"
    notes = (f"{path} is not the official file ({problem})",) if problem else ()
    return Fetched(path, content, source, notes)


def is_there(category: str) -> bool:
    """Whether a category is on this machine."""
    return _place(category)[0].exists()


def _place(category: str, data_dir: str | Path | None = None) -> tuple[Path, bool]:
    """A category's file, and whether it is in the user's folder and not in the cache."""
    own = own_file(data_dir, (f"{category}.jsonl", f"bbq/{category}.jsonl"))
    return own or cache_dir() / "bbq" / f"{category}.jsonl", own is not None


def _difference(category: str, content: bytes) -> str:
    """How the content differs from the official file; empty if it is the same."""
    official, sha256 = OFFICIAL[category]
    if sha256 is not None:
        found = hashlib.sha256(content).hexdigest()
        return "" if found == sha256 else f"its sha256 is {found}"
    rows = sum(1 for line in content.split(b"\n") if line.strip())
    return "" if rows == official else f"it has {rows:,} rows instead of {official:,}"


def own_file(data_dir: str | Path | None, names: Iterable[str]) -> Path | None:
    """The first of the named files in `data_dir`, else in SNIPBIAS_DATA_DIR.

    Raises:
        SnipbiasError: one of these folders does not exist.
    """
    for given in filter(None, (data_dir, os.environ.get("SNIPBIAS_DATA_DIR"))):
        folder = Path(given).expanduser()
        if not folder.is_dir():
            raise SnipbiasError(
                f"the data folder {folder} does not exist: correct data_dir or SNIPBIAS_DATA_DIR."
            )
        for path in (folder / name for name in names):
            if path.is_file():
                return path
    return None


def _download(category: str, path: Path) -> bytes:
    """Download and verify a file, then move it into the cache."""
    url = f"{BASE_URL}/{category}.jsonl"
    try:
        if forbidden := offline():
            raise OSError(f"{forbidden} is set")
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response:
            content: bytes = response.read()
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise SnipbiasError(
            f"BBQ's {category}.jsonl is not on this machine and was not downloaded ({reason}): get "
            f"{url} and save it as {path}, or in a folder that you give as data_dir or "
            "SNIPBIAS_DATA_DIR."
        ) from error
    problem = _difference(category, content)
    if problem:
        raise SnipbiasError(
            f"{url} did not send the official file ({problem}), so nothing was kept: try again, or "
            "put a copy into a folder and give it as data_dir."
        )
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)
    return content
