"""find = draw + score + select."""

from __future__ import annotations

from snipbias.base.errors import SnipbiasError
from snipbias.base.words import quoted
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.given import GivenModel, GivenTask, as_model, as_task
from snipbias.method.equations import Method
from snipbias.method.margins import Scorer
from snipbias.method.recipes import Recipe, crispr, recipe
from snipbias.method.stable import scored
from snipbias.models.batching import BatchSize, Progress


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
            0.6 (see `stable.scored`); by default read all.
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
