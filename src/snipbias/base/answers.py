"""A cache of answers that lasts between runs: one SQLite file in the cache folder."""

from __future__ import annotations

import os
import sqlite3
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager

from snipbias.base.hub import cache_dir

SWITCH = "SNIPBIAS_ANSWERS"  # off: nothing is kept, nothing is read
FILE = "answers.sqlite"
MOST = 256 * 2**20  # bytes; beyond it, the oldest answers are deleted
WAIT = 30.0  # seconds to wait for another process that is writing
_TABLE = "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer TEXT)"
_SIZE = (
    "SELECT (page_count - freelist_count) * page_size "
    "FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
)
_OLDEST = "SELECT rowid FROM answers ORDER BY rowid LIMIT (SELECT count(*) / 4 + 1 FROM answers)"
_DROP = f"DELETE FROM answers WHERE rowid IN ({_OLDEST})"


def on() -> bool:
    """Whether answers are kept."""
    return os.environ.get(SWITCH, "").strip().lower() not in {"0", "off", "no", "false"}


def known(keys: Iterable[str]) -> dict[str, str]:
    """The answers that are in the cache, by key."""
    found: dict[str, str] = {}
    with _told(), closing(_open()) as file:
        for key in keys:
            row = file.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
            if row:
                found[key] = row[0]
    return found


def keep(answers: Mapping[str, str]) -> None:
    """Add answers, all or none; several processes may do so at the same time."""
    with _told(), closing(_open()) as file, file:
        file.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", answers.items())
        (size,) = file.execute(_SIZE).fetchone()
        if size > MOST:
            file.execute(_DROP)


def _open() -> sqlite3.Connection:
    folder = cache_dir()
    folder.mkdir(parents=True, exist_ok=True)
    file = sqlite3.connect(folder / FILE, timeout=WAIT)
    file.execute("PRAGMA synchronous = NORMAL")
    file.execute(_TABLE)
    return file


@contextmanager
def _told() -> Iterator[None]:
    """Turn errors of the cache into a warning: without it, runs only take longer."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        said = f"answers are not cached ({error}): free or delete {cache_dir() / FILE}."
        warnings.warn(said, stacklevel=5)  # past contextlib and this module
