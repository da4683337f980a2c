"""Fewer prompts: items are read until two halves of them agree on the top neurons (`stable`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from snipbias.method.recipes import Recipe
from snipbias.method.scores import Scores
from snipbias.models.language_model import LanguageModel
from snipbias.tasks.items import Item, Task

FEWEST = 2  # rounds, each with an item (or pair) for each half


def scored(
    lm: LanguageModel, drawn: Task, n: int, stable: float | None, recipe: Recipe, **passes: Any
) -> Scores:
    """Score the drawn items: all, or as many as two halves need to agree on the top n.

    Each round reads one more item for each half, under every instruction. A half's ranking depends
    only on its own items, so the overlap shows what another draw would change. The result is the
    sum of both halves, with the recipe's filters applied.

    Args:
        drawn: the items.
        n: number of neurons to prune.
        stable: share of these, in [0, 1], on which both halves must agree; None reads all items.
        recipe: how neurons are scored.
        passes: `batch_size` and `progress`, as in `find`.
    """
    if stable is None or len(drawn) < FEWEST * 2:
        return recipe.scores(lm, drawn, **passes)
    halves: list[Scores] = []
    for done, pair in enumerate(_rounds(drawn, recipe), start=1):
        new = [recipe.score(lm, drawn._with_items(items), **passes) for items in pair]
        halves = [old + more for old, more in zip(halves, new, strict=True)] if halves else new
        if done >= FEWEST and overlap(halves[0], halves[1], n) >= stable:
            break
    return recipe.filtered(lm, drawn, halves[0] + halves[1], passes.get("batch_size", "auto"))


def overlap(one: Scores, other: Scores, n: int) -> float:
    """The share, in [0, 1], of the top n neurons of one ranking that are among those of another.

    Args:
        one, other: scores of the same model.
        n: number of neurons at the top of each.
    """
    return len({*one.ranking(n)} & {*other.ranking(n)}) / n


def _rounds(drawn: Task, recipe: Recipe) -> Iterator[tuple[tuple[Item, ...], tuple[Item, ...]]]:
    """Two lots per round: an item each, or a pair if the recipe draws both conditions."""
    items = drawn.items
    if recipe.balance == "condition":  # drawn one condition after the other, not as pairs
        half = len(items) // 2
        lots = [items[start::half] for start in range(half)]
    else:
        size = 2 if recipe.balance == "twins" else 1
        lots = [items[start : start + size] for start in range(0, len(items), size)]
    if len(lots) % 2:
        lots[-2:] = [lots[-2] + lots[-1]]
    return zip(lots[::2], lots[1::2], strict=True)
