"""Fewer prompts: what is read until two halves agree, and that it adds up to the whole."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import snipbias as sb
from snipbias.method.recipes import RECIPES
from snipbias.method.stable import FEWEST, _rounds, overlap, scored

TASK = sb.task("mini:age", instructions=["Choose one."])


@pytest.mark.parametrize(("name", "items"), [("v1", 7), ("paired", 8)])
def test_halves_that_never_agree_read_every_item_once(name: str, items: int) -> None:
    lm, recipe = sb.load("demo"), RECIPES[name]
    drawn = TASK.sample(items, 0, balance=recipe.balance)
    whole, read = recipe.scores(lm, drawn), scored(lm, drawn, 5, 2.0, recipe)
    assert read.counts.tolist() == whole.counts.tolist() == [items]
    torch.testing.assert_close(read.flat, whole.flat, rtol=1e-3, atol=1e-4)
    assert overlap(read, whole, 5) == overlap(whole, whole, 5) == 1
    assert read.found_on.method == whole.found_on.method  # with the draw that was chosen


def test_halves_that_agree_at_once_stop_after_the_fewest_rounds() -> None:
    lm, recipe = sb.load("demo"), RECIPES["v1"]
    drawn, done = TASK.sample(10, 0), []
    read = scored(lm, drawn, 5, 0.0, recipe, progress=done.append)
    assert read.counts.tolist() == [2 * FEWEST] == [sum(done)]
    four = recipe.scores(lm, drawn._with_items(drawn.items[: 2 * FEWEST]))
    torch.testing.assert_close(read.flat, four.flat, rtol=1e-3, atol=1e-4)
    found = sb.find(lm, TASK, 5, stable=0.0).found_on
    assert found is not None
    assert set(found.items) == set(four.found_on.items)


def test_halves_that_share_just_as_much_as_asked_agree() -> None:
    lm, recipe = sb.load("demo"), RECIPES["v1"]
    every = sum(site.width for site in lm.sites)  # of all neurons, two halves share all
    read = scored(lm, TASK.sample(6, 0), every, 1.0, recipe)
    assert read.counts.tolist() == [2 * FEWEST]


def test_items_of_either_condition_are_read_in_pairs_and_none_is_left_out() -> None:
    """They are drawn one condition after the other: 0 to 4 ambiguous, 5 to 9 disambiguated."""
    recipe = replace(RECIPES["v1"], balance="condition")
    drawn = TASK.sample(10, 0, balance="condition")
    assert [item.condition for item in drawn.items[4:6]] == ["ambiguous", "disambiguated"]
    of = {item.id: number for number, item in enumerate(drawn.items)}
    rounds = [[[of[item.id] for item in lot] for lot in lots] for lots in _rounds(drawn, recipe)]
    assert rounds == [[[0, 5], [1, 6]], [[2, 7], [3, 8, 4, 9]]]
