from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

import toys
from snipbias.base.errors import SnipbiasError
from snipbias.tasks import task as load
from snipbias.tasks.draws import balanced, draw, seed_of
from snipbias.tasks.items import Item, Task

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


def crossed(templates: int, people: int) -> Task:
    """Rows as BBQ makes them: polarity x whom the fact favours x people x order, with twins."""
    items = []
    for t in range(templates):
        for k, polarity, favours, order in product(
            range(people), ("neg", "nonneg"), (0, 1), (0, 1)
        ):
            twin = f"{t:02d}/{k}/{polarity}/{favours}/{order}"
            names = (f"A{k}", f"B{k}") if order else (f"B{k}", f"A{k}")
            biased = order ^ (polarity == "neg")
            for condition, gold in (("ambiguous", 2), ("disambiguated", biased ^ (not favours))):
                items.append(
                    Item(
                        id=f"{twin}/{condition}",
                        question=polarity,
                        options=(*names, "Unknown"),
                        gold=gold,
                        template=f"t{t:02d}",
                        condition=condition,
                        polarity=polarity,
                        unknown=2,
                        biased=biased,
                        twin=twin,
                    )
                )
    return Task("crossed", tuple(items), ("Answer.",))


def off_half(answers: list[bool]) -> float:
    return abs(sum(answers) - len(answers) / 2)


@pytest.mark.parametrize("name", ["mini:age", "mini:ses", "mini:disability", "mini", "crossed"])
def test_a_subsample_is_balanced_over_all_and_within_templates(name: str) -> None:
    whole = crossed(11, 12) if name == "crossed" else load(name).test
    for seed, n in product(range(12), (10, 24, 25, 40, 96)):
        rows = [i for i in whole.subsample(n, seed).items if i.condition == "disambiguated"]
        assert len(rows) == n // 2
        parts = [rows, *([i for i in rows if i.template == t] for t in whole.templates)]
        for part in parts:
            negative = [i.polarity == "neg" for i in part]
            favoured = [i.gold == i.biased for i in part]
            both = [a == b for a, b in zip(negative, favoured, strict=True)]
            assert max(map(off_half, (negative, favoured, both))) <= 1
        people = Counter(frozenset(i.options[k] for k in i.named) for i in rows)
        if name == "crossed":
            assert max(people.values()) <= len(rows) / 12 + 1.5


def test_templates_of_equal_length_give_different_places() -> None:
    task = crossed(10, 12)
    for seed in range(20):
        places = Counter(item.twin[3:] for item in task.subsample(20, seed).items)
        assert max(places.values()) <= 4  # two templates by chance; ten under one seed


def test_every_question_is_drawn_equally_often() -> None:
    task, times = crossed(3, 3), Counter[str]()
    for seed in range(400):
        times.update(item.twin for item in task.subsample(24, seed).items)
    expected = 400 * 24 / len(task)
    # Under equal chances, 72 counts stay within 4 standard deviations.
    assert all(abs(k / 2 - expected) < 4 * expected**0.5 for k in times.values())
    assert len(times) == len(task) // 2


def test_a_subsample_keeps_the_shares_of_an_unequal_template() -> None:
    rows = [replace(i, polarity="neg" if i.id[3] != "0" else "nonneg") for i in crossed(4, 4).items]
    task = Task("three quarters", tuple(rows), ("Answer.",))
    for seed in range(10):
        drawn = Counter(item.polarity for item in task.subsample(32, seed).items)
        assert abs(drawn["neg"] - 24) <= 2


@pytest.mark.parametrize("without", ["polarity", "biased", "unknown", "twin", "condition", "all"])
def test_a_subsample_without_a_field_is_balanced_in_the_others(without: str) -> None:
    blank = {"polarity": None, "biased": None, "unknown": None, "twin": "", "condition": None}
    gone = blank if without == "all" else {without: blank[without]}
    task = crossed(5, 4)
    task = replace(task, items=tuple(replace(item, **gone) for item in task.items))
    for seed, n in product(range(5), (1, 7, 20, 33)):
        rows = task.subsample(n, seed).items
        assert len(rows) == (n if "twin" in gone or n == 1 else n - n % 2)
        for name in {"polarity", "condition"} - set(gone):
            counts = Counter(getattr(item, name) for item in rows)
            assert n == 1 or max(counts.values()) - min(counts.values()) <= 4  # a pair too many
        if not {"biased", "unknown"} & set(gone):
            assert off_half([i.gold == i.biased for i in rows if i.gold != i.unknown]) <= 2


def test_balanced_goes_through_every_unit_once() -> None:
    strata = {"a": range(7), "b": range(10, 13)}
    order = list(balanced(strata, lambda unit: ((unit % 2,), ()), 0))
    assert sorted(order) == [*range(7), *range(10, 13)]
    assert {order[0] < 10, order[1] < 10} == {True, False}
    assert seed_of(0, "a") != seed_of(0, "b") != seed_of(1, "b")


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
    for n in (2, 3, 7, 12):
        chosen = load("mini:age").test.subsample(n).items
        twins = [item.twin for item in chosen]
        assert len(chosen) == n - n % 2
        assert all(twins.count(twin) == 2 for twin in twins)


def test_samples_are_balanced_by_condition_or_by_twins():
    task = toys.task(20)
    for seed in range(5):
        by_condition = task.sample(6, seed, balance="condition")
        assert [i.condition for i in by_condition.items].count("ambiguous") == 3
        assert len({i.twin for i in by_condition.items}) > 3  # halves drawn by themselves
        twins = task.sample(6, seed, balance="twins").items
        assert [i.condition for i in twins] == ["ambiguous", "disambiguated"] * 3
        assert len({i.twin for i in twins}) == 3
        assert {i.template for i in twins} <= set(task.find.templates)
    assert task.sample(6, 1, balance="twins") != task.sample(6, 2, balance="twins")
    assert task.sample(6, 1) == task.sample(6, 1, balance="none")


def test_a_sample_of_rows_that_name_their_biased_option():
    task = toys.task(20)
    assert task.sample(6, 1, balance="biased") == task.sample(6, 1)
    some = replace(
        task,
        items=tuple(
            replace(item, biased=item.biased if item.condition == "ambiguous" else None)
            for item in task.items
        ),
    )
    assert {item.condition for item in some.sample(6, 1, balance="biased").items} == {"ambiguous"}
    silent = replace(task, items=tuple(replace(item, biased=None) for item in task.items))
    assert not silent.balances("biased")
    with pytest.raises(SnipbiasError, match=r"no row .* fill in the column 'biased'"):
        silent.sample(2, balance="biased")


@pytest.mark.parametrize("balance", ["condition", "twins"])
def test_what_cannot_be_balanced_is_refused(balance):
    task = toys.task(20)
    with pytest.raises(SnipbiasError, match="even number up to 16"):
        task.sample(5, balance=balance)
    only = task.where(lambda item: item.condition == "ambiguous")
    with pytest.raises(SnipbiasError, match="no rows to balance by"):
        only.sample(2, balance=balance)
    with pytest.raises(SnipbiasError, match="none or condition or twins or biased"):
        task.sample(2, balance="both")
