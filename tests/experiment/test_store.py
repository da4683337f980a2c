"""The store: parts computed once, folders that belong to one experiment, and crashes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from itertools import count as count_up
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from small_experiment import SMALL, TOY, run
from snipbias.base.errors import SnipbiasError
from snipbias.experiment import store as stores
from snipbias.experiment.outcome import Outcome
from snipbias.experiment.settings import ORIGINAL
from snipbias.experiment.store import Store


def test_a_part_is_computed_once_and_read_as_it_was_written(tmp_path: Path) -> None:
    table = pa.table({"score": [[0.1, 1 / 3], [2.0]], "item": ["a", "b"]})
    value = {"tuple": (1, 2.5), "text": "é", "worst": float("-inf")}
    for folder in (None, tmp_path / "new"):
        calls = count_up()

        def make(result: object, calls=calls) -> Callable[[], object]:
            return lambda: (next(calls), result)[1]

        with Store.open(folder, {"a": 1}) as store:
            for _ in range(2):
                assert store.rows("x/y", make(table)).equals(table)  # type: ignore[arg-type]
                assert store.value("x/y", make(value)) == {**value, "tuple": [1, 2.5]}
        assert next(calls) == 2


def opened(*where: Any, value: int = 1, **how: bool) -> int:
    """The value that is kept in a store, or now put there."""
    with Store.open(*where, **how) as store:
        return store.value("a", lambda: value)


def test_a_folder_belongs_to_one_experiment(tmp_path: Path) -> None:
    place = tmp_path / "run"
    identity = {"settings": {"trials": 3, "sizes": (1, 2)}, "versions": {"torch": "2"}}
    assert opened(place, identity) == 1
    assert opened(place, identity, value=2) == 1
    other = {"settings": {"trials": 5, "sizes": (1, 2)}, "versions": {"torch": "2"}, "seed": 1}
    with pytest.raises(SnipbiasError) as refused:
        opened(place, other)
    assert str(refused.value) == (
        f"{place} holds another experiment (settings.trials is 3 there and 5 here; seed is None "
        "there and 1 here): give another --out, or --overwrite it."
    )
    assert opened(place, identity, value=2, overwrite=True) == 1
    assert opened(place, other, value=2, overwrite=True) == 2


def test_an_experiment_is_replaced_only_when_the_new_one_is_whole(tmp_path: Path) -> None:
    place = tmp_path / "run"
    opened(place, {"seed": 1})
    (place / "table1.csv").write_text("old")
    for value in (2, 3):  # the second finds what the first did
        with suppress(KeyboardInterrupt), Store.open(place, {"seed": 2}, overwrite=True) as store:
            assert store.value("a", lambda value=value: value) == 2
            raise KeyboardInterrupt
        assert (place / "table1.csv").read_text() == "old"
    assert opened(place, {"seed": 1}, value=9) == 1
    with suppress(KeyboardInterrupt), Store.open(place, {"seed": 3}, overwrite=True) as store:
        assert store.value("a", lambda: 3) == 3  # nothing of the other that was given up
        raise KeyboardInterrupt
    with suppress(KeyboardInterrupt), Store.open(place, {"seed": 2}, overwrite=True) as store:
        assert store.value("a", lambda: 2) == 2
        raise KeyboardInterrupt
    assert opened(place, {"seed": 2}, value=9, overwrite=True) == 2
    assert {file.name for file in place.iterdir()} <= {"settings.json", "parts", "costs.jsonl"}
    assert [file.name for file in tmp_path.iterdir()] == ["run"]


def test_a_cost_that_a_kill_cut_short_takes_no_other_with_it(tmp_path: Path) -> None:
    place = tmp_path / "run"
    costs = place / "costs.jsonl"
    assert opened(place, {}) == 1
    with Store.open(place, {}) as store:
        assert store.cost("", "a".__eq__)["seconds"] > 0
    costs.write_bytes(costs.read_bytes().rstrip()[:-5] + "é".encode()[:1])
    with Store.open(place, {}) as store:
        assert not store.cost("", "a".__eq__)
        store.value("b", lambda: 1)
    with Store.open(place, {}) as store:
        assert store.cost("", "b".__eq__)["seconds"] > 0


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    place = tmp_path / "run"
    with Store.open(place, {}), pytest.raises(SnipbiasError, match="another process is at work"):
        opened(place, {})
    assert opened(place, {}) == 1


def test_what_is_no_experiment_is_not_written_over(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path)
    refused = {".": "is no experiment", "notes.txt": "is a file", "link": "is a symbolic link"}
    for overwrite in (False, True):
        for name, words in refused.items():
            with pytest.raises(SnipbiasError, match=words):
                opened(tmp_path / name, {}, overwrite=overwrite)
    with pytest.raises(SnipbiasError, match=r"could not write .* give another --out"):
        opened(tmp_path / "notes.txt" / "run", {})
    new = tmp_path / "new"
    new.mkdir()
    opened(new, {})
    with monkeypatch.context() as patch:
        patch.chdir(new)
        with pytest.raises(SnipbiasError, match="holds the folder you are in"):
            opened(".", {"a": 1}, overwrite=True)
    for damage in ("{", "[" * 10**5, "\udcff"):
        (new / stores.SETTINGS).write_text(damage, errors="surrogateescape")
        with pytest.raises(SnipbiasError, match="damaged"):
            opened(new, {})
    assert opened(new, {}, overwrite=True) == 1


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s", {}) as store:
        for part, read in (("a.parquet", store.rows), ("a.json", store.value)):
            path = tmp_path / "s" / stores.PARTS / part
            path.parent.mkdir(exist_ok=True)
            for damage in ("{ nothing", "[" * 10**5):
                path.write_text(damage)
                with pytest.raises(SnipbiasError, match=f"{part} is damaged"):
                    read("a", lambda: pa.table({}))  # type: ignore[arg-type]


def test_another_experiment_is_refused_before_any_work(tmp_path: Path) -> None:
    done: list[int] = []
    run(SMALL, tmp_path / "run")
    with pytest.raises(SnipbiasError, match=r"settings.seed is 0 there and 1 here"):
        run(replace(SMALL, seed=1), tmp_path / "run", progress=done.append)
    with pytest.raises(SnipbiasError, match=r"data.toy is"):
        run(SMALL, tmp_path / "run", tasks=(TOY.with_instructions(("say it.",)),))
    assert not done


def plain(outcome: Outcome) -> dict:
    """All that is in an outcome, to compare."""
    tables = {"test": outcome.test, "dev": outcome.dev, **outcome.retention}
    return {
        **{k: v for k, v in vars(outcome).items() if k not in ("test", "dev", "retention")},
        "edit": outcome.edit and outcome.edit.to_dict(),
        "text": outcome.text and asdict(outcome.text),
        "tables": {name: t and t.to_pylist() for name, t in tables.items()},
    }


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "costs.jsonl"  # seconds, never the same twice
    }


class Crash(BaseException):
    """As sudden as a kill: nothing that catches errors may stop it."""


def test_in_memory_and_on_disk_are_the_same(tmp_path: Path) -> None:
    kept, resumed = (run(SMALL, tmp_path / "run") for _ in range(2))
    for memory, first, second in zip(
        run(SMALL).outcomes, kept.outcomes, resumed.outcomes, strict=True
    ):
        assert plain(memory) == plain(first) == plain(second)


def test_a_crash_at_any_write_changes_no_byte(tmp_path: Path, monkeypatch) -> None:
    few = replace(SMALL, methods=(ORIGINAL, "v2", "offset"), sizes=(3,), elsewhere=1)
    reference = run(few, tmp_path / "whole")
    expected = files(tmp_path / "whole")
    assert len(expected) > 10
    real = Path.replace
    for last in range(len(expected)):
        writes = count_up()

        def crash(path: Path, target: Path, writes=writes, last=last) -> Path:
            if next(writes) == last:
                path.write_bytes(path.read_bytes()[:7])  # half-written, and never renamed
                real(path, path.with_name(f".{target.name}.99999"))  # left there by a kill
                raise Crash
            return real(path, target)

        place = tmp_path / f"at{last}"
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", crash)
            with pytest.raises(Crash):
                run(few, place)
        there = {name: data for name, data in files(place).items() if not name.endswith(".99999")}
        assert there.items() <= expected.items()
        assert len(there) == last
        resumed = run(few, place)
        assert files(place) == expected
        assert list(map(plain, resumed.outcomes)) == list(map(plain, reference.outcomes))
