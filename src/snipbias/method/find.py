"""find = draw + score + select.

Fewer prompts suffice where two halves of the items agree on the top neurons early (`stable`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from snipbias.base.errors import SnipbiasError
from snipbias.base.words import quoted
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.given import GivenModel, GivenTask, as_model, as_task
from snipbias.method.equations import Method
from snipbias.method.margins import Scorer
from snipbias.method.recipes import Recipe, crispr, recipe
from snipbias.method.scores import Scores
from snipbias.models.batching import BatchSize, Progress
from snipbias.models.language_model import LanguageModel
from snipbias.tasks.items import Item, Task

FEWEST = 2  # rounds of `stable`, each with an item (or pair) for each half


def find(
    lm: GivenModel,
    task: GivenTask,
    n: int = 50,
    *,
    method: Method | Recipe | Scorer | str = "v1",
    samples: int = 10,
    seed: int = 0,
    factor: float = 0.0,
    stable: float | None = None,
    batch_size: BatchSize = "auto",
    progress: Progress = lambda done: None,
) -> NeuronEdit:
    """Find the `n` neurons that most push the model to its biased answers.

    Args:
        lm: a model, or what `sb.load` takes.
        task: a task, or what `sb.task` takes. Items are drawn from its `find` part only, so that
            its `test` part stays unseen.
        n: number of neurons.
        method: name of a recipe (`v1`, `v2`, `paired` ...), a recipe of your own, a `Method`, or a
            scorer `(lm, task, batch_size=, progress=) -> Scores`.
        samples: number of items drawn (the paper: ten), each asked under every instruction.
        seed: seed of the draw.
        factor: factor on the neurons' outputs; 0 prunes them.
        stable: stop reading items once two halves of them share this much of their top `n`, such as
            0.6; see `scored`.
        batch_size: prompts per pass, or `auto`; results do not depend on it.
        progress: called with the number of prompts just done.

    Returns:
        The edit that scales these neurons.

    Raises:
        SnipbiasError: the method, the task or the model does not allow it.
    """
    chosen, lm, task = as_recipe(method), as_model(lm), as_task(task)
    drawn = task.sample(samples, seed, balance=chosen.balance)
    scores = scored(lm, drawn, n, stable, chosen, batch_size=batch_size, progress=progress)
    return scores.top(n, factor)


def as_recipe(method: Method | Recipe | Scorer | str) -> Recipe:
    """Turn a name, a `Method` or a scorer into a recipe.

    Raises:
        SnipbiasError: there is none, or it does more than score neurons once and prune the top.
    """
    if isinstance(method, Method):
        by_hand = method.biased == "manual"
        return Recipe(crispr(method), balance="biased" if by_hand else "none")
    found = recipe(method) if isinstance(method, str) else method
    if not isinstance(found, Recipe):
        if not callable(found):
            raise SnipbiasError(
                f"{quoted(method)} is not a method: give a name such as 'v2', or a Recipe."
            )
        return Recipe(found)
    if found.rounds > 1 or found.at_mean or len(found.factors) > 1:
        name = repr(method) if isinstance(method, str) else "this recipe"
        raise SnipbiasError(
            f"{name} does more than prune the top neurons of one scoring: run it with `snipbias "
            "reproduce --methods`."
        )
    return found


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
        lots = list(zip(items[:half], items[half:], strict=True))
    else:
        size = 2 if recipe.balance == "twins" else 1
        lots = [items[start : start + size] for start in range(0, len(items), size)]
    for start in range(0, len(lots) - 1, 2):
        odd = lots[start + 2] if start + 3 == len(lots) else ()  # the last of an odd number
        yield lots[start], (*lots[start + 1], *odd)
