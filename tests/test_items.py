from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import toys
from snipbias.base.errors import SnipbiasError
from snipbias.tasks.items import Item, Task, draw

ITEM = {"id": "a", "question": "Who?", "options": ("Ann", "Ben"), "gold": 0}


def make(sizes: list[int], shuffled: int | None = None) -> Task:
    """A task with so many rows in each of its templates, every other one ambiguous."""
    items = [
        Item(
            id=f"{t}-{k}",
            question="Who?",
            options=("Ann", "Ben"),
            gold=0,
            template=f"t{t:03d}",
            condition="disambiguated" if k % 2 else "ambiguous",
        )
        for t, size in enumerate(sizes)
        for k in range(size)
    ]
    if shuffled is not None:
        random.Random(shuffled).shuffle(items)
    return Task("made up", tuple(items), ("Answer.",))


many_sizes = st.lists(st.integers(1, 6), min_size=3, max_size=30)


def ids(task: Task) -> set[str]:
    return {item.id for item in task.items}


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
    with pytest.raises(SnipbiasError, match=r"already the test part .* take find of the whole"):
        task.test.sample(1)
    for n in (0, -1, 5):
        with pytest.raises(SnipbiasError, match=rf"cannot draw {n} items .* 4 of its .*1 to 4"):
            task.sample(n)


def test_parts_of_parts() -> None:
    task = make([2] * 5)
    assert task.find.find.items == task.find.items
    with pytest.raises(SnipbiasError, match=r"already the find part .* take dev of the whole"):
        _ = task.find.dev


def test_too_few_templates_to_hold_any_out() -> None:
    with pytest.raises(SnipbiasError, match=r"has 2 template\(s\), too few .* 'template'"):
        _ = make([9, 9]).find


@given(many_sizes, st.integers(1, 200), st.integers(0, 3))
def test_a_subsample_is_spread_evenly(sizes: list[int], n: int, seed: int) -> None:
    task = make(sizes)
    some = task.subsample(n, seed)
    assert len(some) == len(ids(some)) == min(n, len(task))
    taken = Counter(item.template for item in some.items)
    # No template gives two rows more than one that has rows left.
    left = [taken[f"t{t:03d}"] for t, size in enumerate(sizes) if taken[f"t{t:03d}"] < size]
    assert not left or max(taken.values()) <= min(left) + 1
    assert ids(task.subsample(max(1, n - 1), seed)) <= ids(some)


def test_a_subsample_keeps_twins_together() -> None:
    task = make([6] * 5)
    paired = replace(
        task,
        items=tuple(
            replace(item, twin=f"{item.template}/{int(item.id[-1]) // 2}") for item in task.items
        ),
    )
    for n in (2, 10, 16):
        conditions = Counter(item.condition for item in paired.subsample(n).items)
        assert conditions == {"ambiguous": n // 2, "disambiguated": n // 2}


def test_fingerprint_changes_with_any_row_and_instruction() -> None:
    task = make([3, 3, 3])
    assert task.fingerprint != task.where(lambda item: item.id != "0-0").fingerprint
    assert task.fingerprint != task.with_instructions(["Reply."]).fingerprint


def test_draw_does_not_depend_on_order() -> None:
    assert draw("abcdef", 3, 1) == draw("fedcba", 3, 1)
    assert sorted(draw("abc", None, 0)) == list("abc")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"options": ("Ann",)}, r"has 1 option\(s\)"),
        ({"options": ("Ann", " ")}, "has an empty option"),
        ({"options": ("Ann", "Ann ")}, "has the same option twice"),
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


def test_a_subsample_never_parts_twins():
    from snipbias.tasks import task

    for n in (2, 3, 7, 12):
        chosen = task("mini:age").test.subsample(n).items
        twins = [item.twin for item in chosen]
        assert len(chosen) == n - n % 2
        assert all(twins.count(twin) == 2 for twin in twins)


def test_samples_are_balanced_by_condition_or_by_twins():
    task = toys.task(20)
    for seed in range(5):
        by_condition = task.sample(6, seed, balance="condition")
        assert [i.condition for i in by_condition.items].count("ambiguous") == 3
        twins = task.sample(6, seed, balance="twins").items
        assert [i.condition for i in twins] == ["ambiguous", "disambiguated"] * 3
        assert len({i.twin for i in twins}) == 3
        assert {i.template for i in twins} <= set(task.find.templates)
    assert task.sample(6, 1, balance="twins") != task.sample(6, 2, balance="twins")
    assert task.sample(6, 1) == task.sample(6, 1, balance="none")


@pytest.mark.parametrize("balance", ["condition", "twins"])
def test_what_cannot_be_balanced_is_refused(balance):
    task = toys.task(20)
    with pytest.raises(SnipbiasError, match="even number up to 16"):
        task.sample(5, balance=balance)
    only = task.where(lambda item: item.condition == "ambiguous")
    with pytest.raises(SnipbiasError, match="no rows to balance by"):
        only.sample(2, balance=balance)
    with pytest.raises(SnipbiasError, match="none or condition or twins"):
        task.sample(2, balance="both")
