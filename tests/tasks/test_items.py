from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sized import ids, make, many_sizes
from snipbias.base.errors import SnipbiasError
from snipbias.tasks.items import Item, Task

ITEM = {"id": "a", "question": "Who?", "options": ("Ann", "Ben"), "gold": 0}


@given(many_sizes)
def test_the_parts_are_whole_templates_and_together_everything(sizes: list[int]) -> None:
    task = make(sizes)
    parts = [task.find, task.dev, task.test]
    assert sorted(t for part in parts for t in part.templates) == list(task.templates)
    assert set().union(*map(ids, parts)) == ids(task)
    assert sum(map(len, parts)) == len(task)
    assert [part.part for part in parts] == ["find", "dev", "test"]


@given(many_sizes, st.integers(0, 99), st.integers(0, 3))
def test_nothing_depends_on_the_order_of_rows(sizes: list[int], order: int, seed: int) -> None:
    task, other = make(sizes), make(sizes, shuffled=order)
    assert task.fingerprint == other.fingerprint
    assert ids(task.find) == ids(other.find)
    assert ids(task.test) == ids(other.test)
    n = min(4, len(task.find))
    assert task.sample(n, seed).items == other.sample(n, seed).items
    assert task.subsample(n, seed).items == other.subsample(n, seed).items


@given(many_sizes, st.integers(0, 3))
def test_a_filtered_task_splits_as_the_whole_does(sizes: list[int], seed: int) -> None:
    task = make(sizes)
    held_out = set(task.test.templates)
    fewer = [
        task.where(lambda item: item.condition == "ambiguous"),
        task.where(lambda item: item.template in {*task.find.templates, "t000"}),
        task.subsample(3, seed),
        task.subsample(3, seed).where(lambda item: item.gold == 0),
    ]
    for some in fewer:
        kept_for_find = [item for item in some.items if item.template in task.find.templates]
        if kept_for_find:
            assert list(some.find.items) == kept_for_find
            assert held_out.isdisjoint(some.find.templates)
        else:
            with pytest.raises(SnipbiasError, match="no row of the find part"):
                _ = some.find


def test_two_fifths_one_fifth_two_fifths() -> None:
    task = make([1] * 25)
    assert [len(part) for part in (task.find, task.dev, task.test)] == [10, 5, 10]


@given(many_sizes, st.data())
def test_a_sample_is_within_find(sizes: list[int], data: st.DataObject) -> None:
    task = make(sizes)
    n = data.draw(st.integers(1, len(task.find)))
    sample = task.sample(n, seed=data.draw(st.integers(0, 5)))
    assert len(sample) == len(ids(sample)) == n
    assert ids(sample) <= ids(task.find)
    assert sample.part == "find"


def test_seeds_differ() -> None:
    task = make([6] * 20)
    assert task.sample(10, 0).items != task.sample(10, 1).items


def test_a_sample_of_what_is_held_out_or_too_large_is_refused() -> None:
    task = make([2] * 5)
    with pytest.raises(SnipbiasError, match=r"the test part .* take find of the whole"):
        task.test.sample(1)
    for n in (0, -1, 5):
        with pytest.raises(SnipbiasError, match=rf"cannot draw {n} items .* 4 of its .*1 to 4"):
            task.sample(n)


def test_parts_of_parts() -> None:
    task = make([2] * 5)
    assert task.find.find.items == task.find.items
    with pytest.raises(SnipbiasError, match=r"the find part .* take dev of the whole"):
        _ = task.find.dev


def test_too_few_templates_to_hold_any_out() -> None:
    with pytest.raises(SnipbiasError, match=r"has 2 template\(s\), too few .* 'template'"):
        _ = make([9, 9]).find


def test_fingerprint_changes_with_any_row_and_instruction() -> None:
    task = make([3, 3, 3])
    assert task.fingerprint != task.where(lambda item: item.id != "0-0").fingerprint
    assert task.fingerprint != task.with_instructions(["Reply."]).fingerprint
    assert task.with_instructions("Reply.").instructions == ("Reply.",)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"options": ("Ann",)}, r"has 1 option\(s\)"),
        ({"options": ("Ann", " ")}, "has an empty option"),
        ({"options": ("Ann", "\u200b")}, "has an empty option"),
        *(
            ({"options": ("An\u00e9 B", twin)}, "has the same option twice")
            for twin in ("An\u00e9 B ", "Ane\u0301 B", "An\u00e9\u00a0B", "An\u00e9 \ufeffB")
        ),
        ({"biased": 1, "unknown": 1}, "'Ben' as its unknown and biased option"),
        ({"gold": 2}, "gold = 2, but its options are numbered 0 to 1"),
        ({"unknown": -1}, "unknown = -1"),
        ({"biased": 2}, "biased = 2"),
    ],
)
def test_an_item_that_makes_no_sense_is_refused(change: dict, sentence: str) -> None:
    with pytest.raises(SnipbiasError, match=sentence):
        Item(**{**ITEM, **change})


def test_named_options_are_all_but_the_unknown_one() -> None:
    item = Item(id="a", question="Who?", options=("x", "y", "z"), gold=0, unknown=1)
    assert item.named == (0, 2)
    assert Item(**ITEM).named == (0, 1)


def test_a_task_needs_rows_and_instructions() -> None:
    with pytest.raises(SnipbiasError, match="has no items"):
        Task("empty", (), ("Answer.",))
    with pytest.raises(SnipbiasError, match="has no instruction"):
        Task("silent", (Item(**ITEM),), ())
