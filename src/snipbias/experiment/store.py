"""What is done is kept: each part of an experiment is computed once, and read ever after.

A part is one small file that appears whole or not at all, so that a run that was killed goes on
from the parts it has. What is read is what was written: a run that went through and one that was
resumed see the same values to the bit.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from snipbias.base.errors import SnipbiasError
from snipbias.base.files import atomic_file, is_leftover, refuse_existing
from snipbias.base.parallel import workers

T = TypeVar("T")
SETTINGS = "settings.json"
PARTS = "parts"


class Store:
    """Parts by key (a relative path without its suffix), in a folder or in memory."""

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = None if folder is None else Path(folder)
        self._memory: dict[str, Any] = {}

    @classmethod
    def open(
        cls, folder: str | Path | None, identity: Mapping[str, Any], *, overwrite: bool = False
    ) -> Store:
        """The store of the experiment that `identity` describes, new or begun.

        Args:
            overwrite: replace another experiment, or whatever is there; the same one goes on.

        Raises:
            SnipbiasError: the folder holds another experiment, or something else.
        """
        store = cls(folder)
        if store.folder is not None:
            workers().from_main(
                partial(store._claim, json.loads(json.dumps(identity)), overwrite=overwrite)
            )
        return store

    def rows(self, key: str, compute: Callable[[], pa.Table]) -> pa.Table:
        """Rows of an evaluation, as Parquet."""
        return self._part(f"{key}.parquet", compute, pq.write_table, pq.read_table)

    def value(self, key: str, compute: Callable[[], Any]) -> Any:
        """Plain values, as JSON."""

        def plain() -> Any:
            return json.loads(json.dumps(compute()))  # in memory as from a file

        return self._part(f"{key}.json", plain, _write_json, _read_json)

    def _part(
        self,
        key: str,
        compute: Callable[[], T],
        write: Callable[[T, Path], object],
        read: Callable[[Path], T],
    ) -> T:
        if self.folder is None:
            if key not in self._memory:
                self._memory[key] = compute()
            return self._memory[key]
        path = self.folder / PARTS / key
        if workers().from_main(path.exists):
            return workers().from_main(partial(_read, path, read))
        made = compute()

        def keep() -> T:
            with atomic_file(path) as new:
                write(made, new)
            return _read(path, read)

        return workers().from_main(keep)

    def _claim(self, identity: Mapping[str, Any], *, overwrite: bool) -> None:
        """Write down what the folder is for, or check that it is for this."""
        assert self.folder is not None
        path = self.folder / SETTINGS
        refusal = _refusal(self.folder, identity)
        if refusal and not overwrite:
            raise SnipbiasError(f"{self.folder} {refusal}: give another --out, or --overwrite it.")
        if refusal:
            refuse_existing(self.folder, overwrite=True)  # a file, or the folder one is in
            shutil.rmtree(self.folder)
        if not path.exists():
            with atomic_file(path) as new:
                _write_json(identity, new)
        for file in self.folder.rglob(".*"):
            if is_leftover(file):  # of a run that was killed
                file.unlink(missing_ok=True)


def _read(path: Path, read: Callable[[Path], T]) -> T:
    try:
        return read(path)
    except (OSError, ValueError) as error:  # Arrow's and JSON's errors are among these
        raise SnipbiasError(
            f"{path} is damaged ({error}): delete it and start again, the rest is kept."
        ) from None


def _refusal(folder: Path, identity: Mapping[str, Any]) -> str:
    """Why a folder cannot be gone on with; empty if it can, or is new."""
    path = folder / SETTINGS
    if folder.exists() and not folder.is_dir():
        return "is a file"
    if not path.exists():
        there = any(not is_leftover(file) for file in _inside(folder))
        return "exists and is no experiment" if there else ""
    try:
        differs = _differences(_read_json(path), identity)
    except (OSError, ValueError) as error:
        return f"holds a damaged {SETTINGS} ({error})"
    return f"holds another experiment ({'; '.join(differs)})" if differs else ""


def _inside(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _differences(then: Any, now: Any, name: str = "") -> list[str]:
    """Which fields of nested dictionaries differ, each as "name is 3 there and 5 here"."""
    if isinstance(then, dict) and isinstance(now, dict):
        return [
            line
            for key in {**then, **now}
            for line in _differences(then.get(key), now.get(key), f"{name}.{key}".lstrip("."))
        ]
    return [] if then == now else [f"{name} is {then} there and {now} here"]


def _write_json(value: Any, path: Path) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
