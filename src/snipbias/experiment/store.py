"""Finished parts of an experiment: each is computed once and read afterwards.

A part is one small file that appears whole or not at all, so that a run that was killed goes on
from the parts it has. What is read is what was written: a run that went through and one that was
resumed see the same values to the bit.
"""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from snipbias.base import files
from snipbias.base.errors import SnipbiasError
from snipbias.base.parallel import workers

SETTINGS = "settings.json"
PARTS = "parts"
COSTS = "costs.jsonl"  # what each part took; of two lines for one part the last counts
NEXT = ".next"  # an experiment that is to replace the one it lies in


def place_of(
    task: str, method: str, trial: int | None, draw: int = 0, samples: int | None = None
) -> str:
    """Where the parts of an outcome are kept.

    Args:
        samples: items that it was found on, where they are not as many as in the settings.
    """
    places = [files.slug(task)]
    if trial is not None:
        places.append(f"trial{trial}" + ("" if samples is None else f"-samples{samples}"))
    places.append(files.slug(method))
    return "/".join(places + [f"draw{draw}"] * (draw > 0))


class Store:
    """Parts by key (a relative path without its suffix), in a folder or in memory."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.passes: Callable[[], Counter[str]] = Counter  # the model's, so far
        self._memory: dict[str, Any] = {}
        self._within: Counter[str] = Counter()  # what parts took that others asked for

    @classmethod
    @contextmanager
    def open(
        cls, folder: str | Path | None, identity: Mapping[str, Any], *, overwrite: bool = False
    ) -> Iterator[Store]:
        """The store of the experiment that `identity` describes, new or begun.

        No other process can open it meanwhile. An experiment that replaces another one is kept
        inside it until the block ends without an exception, and takes its place then.

        Args:
            folder: where; None keeps everything in memory.
            identity: everything that the results depend on.
            overwrite: replace another experiment that is there; the same one goes on.

        Raises:
            SnipbiasError: the folder is in use, holds another experiment, or something else.
        """
        if folder is None:
            yield cls()
            return
        with ExitStack() as lock:
            claim = partial(_claim, Path(folder), _plain(identity), lock, overwrite=overwrite)
            place = workers().from_main(claim)
            yield cls(place)
            if place.name == NEXT:  # the others' `folder` may be another, as in `snipbias demo`
                workers().from_main(partial(files.replace_folder, place, Path(folder)))

    def rows(self, key: str, compute: Callable[[], pa.Table]) -> pa.Table:
        """Rows of an evaluation, as Parquet."""
        return self._part(f"{key}.parquet", compute)

    def value(self, key: str, compute: Callable[[], Any]) -> Any:
        """Plain values, as JSON."""
        return self._part(f"{key}.json", lambda: _plain(compute()))

    def cost(self, place: str, only: Callable[[str], bool]) -> Counter[str]:
        """Seconds and passes that the parts of a place took, of those that `only` accepts."""
        parts = ((*key.rpartition("/"), cost) for key, cost in self._costs.items())
        return sum((cost for at, _, part, cost in parts if at == place and only(part)), Counter())

    @cached_property
    def _costs(self) -> dict[str, Counter[str]]:
        """By part; a line that a kill cut short is that of a part that is made again."""
        costs: dict[str, Counter[str]] = {}
        if self.folder is not None and (path := self.folder / COSTS).exists():
            for line in path.read_text("utf-8", "replace").splitlines():
                with suppress(ValueError, KeyError):
                    entry = json.loads(line)
                    part = entry.pop("part")
                    costs[part] = Counter(entry)
        return costs

    def _made(self, key: str, compute: Callable[[], Any]) -> Any:
        """A part, and what it took by itself written down."""
        outer, self._within = self._within, Counter()
        before, start = self.passes().copy(), time.perf_counter()
        made = compute()
        spent = Counter(self.passes())
        spent.subtract(before)
        spent["seconds"] = time.perf_counter() - start  # type: ignore[assignment]
        spent = sum(workers().gather({workers().rank: spent}).values(), Counter())
        own = Counter(spent)
        own.subtract(self._within)
        self._within = outer + spent
        part = key.rpartition(".")[0]
        self._costs[part] = own
        if self.folder is not None and workers().rank == 0:
            with open(self.folder / COSTS, "a", encoding="utf-8") as file:
                # The line break comes first: it ends a line that a kill cut short.
                file.write("\n" + json.dumps({"part": part, **own}))
        return made

    def _part(self, key: str, compute: Callable[[], Any]) -> Any:
        if self.folder is None:
            if key not in self._memory:
                self._memory[key] = self._made(key, compute)
            return self._memory[key]
        path = self.folder / PARTS / key
        read = partial(_read_part, path)
        if workers().from_main(path.exists):
            return workers().from_main(read)
        made = self._made(key, compute)

        def keep() -> Any:
            with files.atomic_file(path) as new:
                (pq.write_table if path.suffix == ".parquet" else files.write_json)(made, new)
            return read()

        return workers().from_main(keep)


def _claim(folder: Path, identity: Mapping[str, Any], lock: ExitStack, *, overwrite: bool) -> Path:
    """Where the experiment is kept: in the folder, or in one inside until it can replace another.

    Raises:
        SnipbiasError: it can be kept in neither.
    """
    if folder.is_symlink() or not folder.is_dir():
        files.refuse_existing(folder, overwrite=True)  # a file, say
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.enter_context(files.locked(folder))
    except BlockingIOError:
        raise SnipbiasError(
            f"another process is at work in {folder}: wait until it is done, or give another --out."
        ) from None
    except OSError as error:
        if not folder.is_dir():
            raise SnipbiasError(
                f"could not write {folder} ({error.strerror}): give another --out."
            ) from None
    for place in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        files.sweep(place)
    if refusal := _refusal(folder, identity):
        own = (folder / SETTINGS).is_file()
        again = ", or --overwrite it" if own else ""
        if not (overwrite and own):
            raise SnipbiasError(f"{folder} {refusal}: give another --out{again}.")
        files.refuse_existing(folder, overwrite=True)  # the folder one is in
        folder /= NEXT
        if _refusal(folder, identity):  # begun to replace it, and given up
            shutil.rmtree(folder)
    if not (folder / SETTINGS).exists():
        with files.atomic_file(folder / SETTINGS) as new:
            files.write_json(identity, new)
    return folder


def _read_part(path: Path) -> Any:
    try:
        return (pq.read_table if path.suffix == ".parquet" else _read_json)(path)
    except (OSError, ValueError, RecursionError) as error:  # Arrow's and JSON's are among these
        raise SnipbiasError(
            f"{path} is damaged ({error}): delete it and start again, the rest is kept."
        ) from None


def _refusal(folder: Path, identity: Mapping[str, Any]) -> str:
    """Why a folder cannot be gone on with; empty if it can, or is new."""
    path = folder / SETTINGS
    if not path.exists():
        there = folder.is_dir() and not all(map(files.is_leftover, folder.iterdir()))
        return "exists and is no experiment" if there else ""
    try:
        differs = _differences(_read_json(path), identity)
    except (OSError, ValueError, RecursionError) as error:
        return f"holds a damaged {SETTINGS} ({error})"
    return f"holds another experiment ({'; '.join(differs)})" if differs else ""


def _differences(then: Any, now: Any, name: str = "") -> list[str]:
    """Which fields of nested dictionaries differ, each as "name is 3 there and 5 here"."""
    if not (isinstance(then, dict) and isinstance(now, dict)):
        return [] if then == now else [f"{name} is {then} there and {now} here"]
    lines: list[str] = []
    for key in {**then, **now}:
        lines += _differences(then.get(key), now.get(key), f"{name}.{key}".lstrip("."))
    return lines


def _plain(value: Any) -> Any:
    """The value as it is read from a JSON file."""
    return json.loads(json.dumps(value))


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
