"""Subsamples: spread evenly, balanced, and never parting twins."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

import toys
from sized import ids, make, many_sizes
from snipbias.base.errors import SnipbiasError
from snipbias.tasks import task as load
from snipbias.tasks.draws import balanced, draw, seed_of
from snipbias.tasks.items import Item, Task


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


def test_draw_does_not_depend_on_order() -> None:
    assert draw("abcdef", 3, 1) == draw("fedcba", 3, 1)
    assert sorted(draw("abc", None, 0)) == list("abc")


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
