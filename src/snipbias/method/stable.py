"""Read fewer prompts: stop once two halves of the items agree on the top neurons."""

from __future__ import annotations

from collections.abc import Iterator

from snipbias.method.recipes import Recipe
from snipbias.method.scores import Scores
from snipbias.models.batching import BatchSize, Progress
from snipbias.models.language_model import LanguageModel
from snipbias.tasks.items import Item, Task

FEWEST = 2  # rounds, each with an item (or pair) for each half


def scored(
    lm: LanguageModel,
    drawn: Task,
    n: int,
    share: float | None,
    recipe: Recipe,
    *,
    batch_size: BatchSize = "auto",
    progress: Progress = lambda done: None,
) -> Scores:
    """Score the drawn items: all, or as many as two halves need to agree on the top n.

    Each round reads one more item for each half, under every instruction. A half's ranking depends
    only on its own items, so the overlap shows what another draw would change. The result is the
    sum of both halves, with the recipe's filters applied.

    Args:
        lm: the model.
        drawn: the items.
        n: number of neurons to prune.
        share: share of these, in [0, 1], on which both halves must agree; None reads all items.
        recipe: how neurons are scored.
        batch_size: prompts per pass, or `auto`; results do not depend on it.
        progress: called with the number of prompts just done.
    """
    if share is None or len(drawn) < FEWEST * 2:
        return recipe.scores(lm, drawn, batch_size=batch_size, progress=progress)
    halves: list[Scores] = []
    for done, pair in enumerate(_rounds(drawn, recipe), start=1):
        new = [
            recipe.score(lm, drawn._with_items(items), batch_size=batch_size, progress=progress)
            for items in pair
        ]
        halves = [old + more for old, more in zip(halves, new, strict=True)] if halves else new
        if done >= FEWEST and overlap(halves[0], halves[1], n) >= share:
            break
    scores = halves[0] + halves[1]
    for leave_out in recipe.filters:
        scores = leave_out(lm, drawn, scores, batch_size)
    return scores


def overlap(one: Scores, other: Scores, n: int) -> float:
    """The agreement of two rankings.

    Args:
        one: scores.
        other: scores of the same model.
        n: number of neurons at the top of each.

    Returns:
        The share of the top n of one that are among those of the other, in [0, 1].
    """
    return len({*one.ranking(n)} & {*other.ranking(n)}) / n


def _rounds(drawn: Task, recipe: Recipe) -> Iterator[tuple[tuple[Item, ...], tuple[Item, ...]]]:
    """Two lots per round: an item each, or a pair if the recipe draws both conditions."""
    items = drawn.items
    if recipe.balance == "condition":  # drawn one condition after the other, not as pairs
        half = len(items) // 2
        lots = list(zip(items[:half], items[half:], strict=True))
    else:
        size = 2 if recipe.balance == "twins" else 1
        lots = [items[start : start + size] for start in range(0, len(items), size)]
    for start in range(0, len(lots) - 1, 2):
        odd = lots[start + 2] if start + 3 == len(lots) else ()  # the last of an odd number
        yield lots[start], (*lots[start + 1], *odd)
