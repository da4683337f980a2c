"""Scores of neurons by gradients of a margin: alternatives to CRISPR, and what goes beyond it.

Each is `(lm, task, ...) -> Scores`, like `attribute`, where `task` is the few items to find neurons
on. What a neuron adds to a margin of log-probabilities is the sum over tokens of
h * d(margin)/dh: the first-order effect of pruning it, with the sign flipped, so that the neurons
with the highest scores should be pruned. Scores without gradients are in `activations.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from snipbias.base.errors import SnipbiasError
from snipbias.base.parallel import workers
from snipbias.method import equations as crispr
from snipbias.method.attribute import finite_logprobs, pick, score_task
from snipbias.method.equations import Scoring, TokenReduction
from snipbias.method.gradients import SiteGradients
from snipbias.method.plan import BackwardPlan, Objective
from snipbias.method.scores import Scores
from snipbias.models.batching import BatchSize, Progress, run_batches, size_of
from snipbias.models.language_model import LanguageModel, Query
from snipbias.models.scoring import Scored
from snipbias.tasks.items import Item, Task

Scorer = Callable[..., Scores]
Bias = dict[str, Float[Tensor, "b d"]]


def gap(
    lm: LanguageModel,
    task: Task,
    *,
    tokens: TokenReduction = "sum",
    attention: float = 1.0,
    batch_size: BatchSize = "auto",
    progress: Progress = lambda done: None,
) -> Scores:
    """h * d(log P(yhat) - log P(y))/dh: both options of Eq. 2 in one backward pass, no clamp.

    Args:
        lm: the model.
        task: the items to find neurons on.
        tokens: how token scores become one per instance.
        attention: factor on the gradient through attention probabilities. A softmax changes less
            than its gradient predicts for large steps; whether damping ranks neurons better depends
            on the model (docs/fidelity.md).
        batch_size: prompts per pass, or `auto`; results do not depend on it.
        progress: called with the number of prompts just done.
    """

    def score(queries: Sequence[Query], items: Sequence[Item]) -> Bias:
        with (
            torch.enable_grad(),
            SiteGradients(lm, attention=attention).recording() as gradients,
        ):
            scored = gradients.score(queries)
            gold = option_index(lm, [item.gold for item in items])
            wrong = crispr.most_confusing(finite_logprobs(scored).detach(), gold)
            return gradients.read(scored, margin_plan(scored, wrong, gold, tokens))

    how = Scoring("gap", {"tokens": tokens})
    if attention != 1:
        how = Scoring("damped gap", {"tokens": tokens, "attention": attention})
    return score_task(lm, task, how, score, batch_size=batch_size, progress=progress)


def integrated_gap(
    lm: LanguageModel,
    task: Task,
    *,
    steps: int = 8,
    batch_size: BatchSize = "auto",
    progress: Progress = lambda done: None,
) -> Scores:
    """The gap score, integrated while all neurons are switched on together.

    A gate t multiplies the outputs of all sites, and a neuron's score is the integral over t in
    [0, 1] of the derivative of the gap with respect to its own gate (midpoint rule). The scores of
    all neurons add up to the model's gap minus that of the model with every neuron pruned.

    Args:
        lm: the model.
        task: the items to find neurons on.
        steps: steps of the integral, each a pass per prompt.
        batch_size, progress: as in `gap`.

    Raises:
        SnipbiasError: `steps` is below 1.

    Source: IG2 (Liu et al. 2024), which switches on one neuron at a time, at a pass per neuron.
    """
    if steps < 1:
        raise SnipbiasError(f"cannot integrate in {steps} steps: ask for at least 1.")

    def score(queries: Sequence[Query], items: Sequence[Item]) -> Bias:
        gold = option_index(lm, [item.gold for item in items])
        with torch.no_grad():
            wrong = crispr.most_confusing(finite_logprobs(lm.score(queries)), gold)
        total: Bias = {}
        for step in range(steps):
            with (
                torch.enable_grad(),
                SiteGradients(lm, gate=(step + 0.5) / steps).recording() as gradients,
            ):
                scored = gradients.score(queries)
                finite_logprobs(scored)
                part = gradients.read(scored, margin_plan(scored, wrong, gold, "sum"))
            for site, values in part.items():
                total[site] = total.get(site, 0) + values / steps
        return total

    how = Scoring("integrated gap", {"steps": steps})
    return score_task(lm, task, how, score, batch_size=batch_size, progress=progress)


def paired_contrast(
    lm: LanguageModel,
    task: Task,
    *,
    gold: float = 1.0,
    clamp: bool = False,
    tokens: TokenReduction = "sum",
    batch_size: BatchSize = "auto",
    progress: Progress = lambda done: None,
) -> Scores:
    """A neuron's part in naming somebody without reason, minus its part in naming the right one.

    In ambiguous rows, this is its part of the margin of the best named option over "unknown"; in
    their disambiguated twins, of the margin of the gold option over the best other one. A neuron
    that raises both equally scores 0, so pruning the top ones separates the two conditions instead
    of shifting both.

    Args:
        lm: the model.
        task: as many rows of each condition, ideally twins: `task.sample(10, balance="twins")`.
        gold: weight of the disambiguated rows.
        clamp: count a neuron that lowers the gold margin as neutral there, like Eq. 2.
        tokens, batch_size, progress: as in `gap`.

    Raises:
        SnipbiasError: rows of a condition, or their unknown options, are missing.
    """
    conditions = {item.condition for item in task.items}
    answerable = [i for i in task.items if i.condition == "ambiguous" and i.gold != i.unknown]
    if conditions != {"ambiguous", "disambiguated"} or answerable:
        raise SnipbiasError(
            f"{task.name!r} gives no contrast, which needs ambiguous rows (their unknown option is "
            "right) and disambiguated ones: draw them with balance='twins', or use another method."
        )

    def score(queries: Sequence[Query], items: Sequence[Item]) -> Bias:
        ambiguous = torch.tensor([item.condition == "ambiguous" for item in items])
        with torch.enable_grad(), SiteGradients(lm).recording() as gradients:
            scored = gradients.score(queries)
            right = option_index(lm, [item.gold for item in items])
            # In an ambiguous row the gold option is "unknown" and the best other one is named.
            other = crispr.most_confusing(finite_logprobs(scored).detach(), right)
            is_ambiguous = ambiguous.to(lm.device)
            up = torch.where(is_ambiguous, other, right)
            down = torch.where(is_ambiguous, right, other)
            margins = gradients.read(scored, margin_plan(scored, up, down, tokens))
        return {
            site: torch.where(
                ambiguous.to(values.device)[:, None],
                values,
                -gold * (values.clamp(min=0) if clamp else values),
            )
            for site, values in margins.items()
        }

    how = Scoring("paired contrast", {"gold": gold, "clamp": clamp, "tokens": tokens})
    return score_task(lm, task, how, score, batch_size=batch_size, progress=progress)


def utility(
    lm: LanguageModel,
    task: Task,
    *,
    batch_size: BatchSize = "auto",
    progress: Progress = lambda done: None,
) -> Scores:
    """How much right answers depend on a neuron: mean |sum of h * dlogP(y)/dh|.

    Args:
        lm: the model.
        task: items whose gold answers should stay.
        batch_size, progress: as in `gap`.
    """

    def score(queries: Sequence[Query], items: Sequence[Item]) -> Bias:
        return _gold_effect(lm, queries, option_index(lm, [item.gold for item in items]))

    how = Scoring("utility")
    return score_task(lm, task, how, score, batch_size=batch_size, progress=progress)


def text_utility(
    lm: LanguageModel,
    texts: Sequence[str],
    like: Scores,
    *,
    batch_size: BatchSize = "auto",
    progress: Progress = lambda done: None,
) -> Scores:
    """The same for predicting the second half of neutral texts from their first half.

    Args:
        lm: the model.
        texts: the texts.
        like: scores of the same model, whose provenance the result copies.
        batch_size, progress: as in `gap`.

    Raises:
        SnipbiasError: no text has two tokens.
    """
    queries = [query for text in texts if (query := lm.text_query(text)) is not None]
    if not queries:
        raise SnipbiasError("no text is long enough to predict: give longer ones.")
    scores = replace(
        like,
        sums={s.name: torch.zeros(1, s.width, dtype=torch.float64) for s in lm.sites},
        counts=torch.zeros(1, dtype=torch.long),
        method=Scoring("text utility"),
    )
    with torch.inference_mode(False), lm.frozen():
        run_batches(
            lm,
            queries,
            lambda batch: _gold_effect(lm, batch, option_index(lm, [0] * len(batch))),
            lambda numbers, bias: scores.add(bias, torch.zeros(len(numbers), dtype=torch.long)),
            size=size_of,
            kind="gradients",
            batch_size=batch_size,
            progress=progress,
        )
        workers().add([*scores.sums.values(), scores.counts])
    return scores


def margin_plan(
    scored: Scored, up: Int[Tensor, " b"], down: Int[Tensor, " b"], tokens: TokenReduction
) -> BackwardPlan:
    """One backward pass from log P(up) - log P(down) of each instance.

    Args:
        scored: the batch's options.
        up: index of the option that raises each instance's margin.
        down: index of the option that lowers it.
        tokens: how token scores become one per instance.
    """
    logprobs = scored.logprobs
    rows = torch.stack([pick(scored.rows, up), pick(scored.rows, down)], 1)
    one = torch.ones(len(up), device=logprobs.device)
    objective = Objective(pick(logprobs, up) - pick(logprobs, down), rows)
    return BackwardPlan((objective,), lambda attribution: attribution, tokens, one)


def _gold_effect(lm: LanguageModel, queries: Sequence[Query], gold: Int[Tensor, " b"]) -> Bias:
    with torch.enable_grad(), SiteGradients(lm).recording() as gradients:
        scored = gradients.score(queries)
        one = torch.ones(len(gold), device=lm.device)
        objective = Objective(pick(finite_logprobs(scored), gold), pick(scored.rows, gold)[:, None])
        effect = gradients.read(
            scored, BackwardPlan((objective,), lambda attribution: attribution, "sum", one)
        )
    return {site: values.abs() for site, values in effect.items()}


def option_index(lm: LanguageModel, numbers: Sequence[int]) -> Int[Tensor, " b"]:
    """Indices of options as a tensor on the model's device."""
    return torch.tensor(numbers, device=lm.device)
