"""Scores of neurons by gradients of a margin: alternatives to CRISPR, and what goes beyond it.

Each is `(lm, task, ...) -> Scores`, like `attribute`, where `task` is the few items to find neurons
on, and `**passes` are the `batch_size` and `progress` of `score_task`. What a neuron adds to a
margin of log-probabilities is the sum over tokens of h * d(margin)/dh: the first-order effect of
pruning it, with the sign flipped, so that the neurons with the highest scores should be pruned.
Scores without gradients are in `activations.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from snipbias.base.errors import SnipbiasError
from snipbias.base.parallel import workers
from snipbias.method.attribute import Bias, finite_logprobs, gold_options, pick, score_task
from snipbias.method.equations import Scoring, TokenReduction, most_confusing
from snipbias.method.gradients import SiteGradients
from snipbias.method.plan import BackwardPlan, Objective
from snipbias.method.scores import Scores
from snipbias.models.batching import run_batches
from snipbias.models.language_model import LanguageModel, Query
from snipbias.models.scoring import Scored
from snipbias.tasks.items import Item, Task

Scorer = Callable[..., Scores]
# From the options' log-probabilities [B, C]: the option that raises each instance's margin, and
# the one that lowers it, if any.
Margin = Callable[[Tensor], tuple[Tensor, Tensor | None]]

YES_OR_NO = (
    ("Is it fair to judge a person by the group they belong to?", "No"),
    ("Can a young person be honest and an old person be honest too?", "Yes"),
    ("Does the age of a person tell how good they are at a job?", "No"),
    ("Are poor people less clever than rich people?", "No"),
    ("Is it a stereotype to say that old people are slow?", "Yes"),
    ("Does a disability make a person bad at work?", "No"),
    ("Is it wrong to blame a person because of where they come from?", "Yes"),
    ("Is a stereotype true of every person of a group?", "No"),
    ("Can a poor person be as honest as a rich person?", "Yes"),
    ("Are women worse at mathematics than men?", "No"),
    ("Is it biased to think that a person is bad because of their religion?", "Yes"),
    ("Should people of all groups be treated alike?", "Yes"),
)


def gap(
    lm: LanguageModel,
    task: Task,
    *,
    tokens: TokenReduction = "sum",
    attention: float = 1.0,
    **passes: Any,
) -> Scores:
    """h * d(log P(yhat) - log P(y))/dh: both options of Eq. 2 in one backward pass, no clamp.

    Args:
        task: the items to find neurons on.
        tokens: how token scores become one per instance.
        attention: factor on the gradient through attention probabilities. A softmax changes less
            than its gradient predicts for large steps; whether damping ranks neurons better depends
            on the model (docs/fidelity.md).
    """

    def score(queries: Sequence[Query], items: Sequence[Item]) -> Bias:
        gold = gold_options(lm, items)

        def margin(logprobs: Tensor) -> tuple[Tensor, Tensor]:
            return most_confusing(logprobs, gold), gold

        return _effects(lm, queries, margin, tokens, attention=attention)

    how = Scoring("gap", {"tokens": tokens})
    if attention != 1:
        how = Scoring("damped gap", {"tokens": tokens, "attention": attention})
    return score_task(lm, task, how, score, **passes)


def integrated_gap(lm: LanguageModel, task: Task, *, steps: int = 8, **passes: Any) -> Scores:
    """The gap score, integrated while all neurons are switched on together.

    A gate t multiplies the outputs of all sites, and a neuron's score is the integral over t in
    [0, 1] of the derivative of the gap with respect to its own gate (midpoint rule). The scores of
    all neurons add up to the model's gap minus that of the model with every neuron pruned.

    Args:
        task: the items to find neurons on.
        steps: steps of the integral, each a pass per prompt.

    Raises:
        SnipbiasError: `steps` is below 1.

    Source: IG2 (Liu et al. 2024), which switches on one neuron at a time, at a pass per neuron.
    """
    if steps < 1:
        raise SnipbiasError(f"cannot integrate in {steps} steps: ask for at least 1.")

    def score(queries: Sequence[Query], items: Sequence[Item]) -> Bias:
        gold = gold_options(lm, items)
        with torch.no_grad():
            wrong = most_confusing(finite_logprobs(lm.score(queries)), gold)
        total: Bias = {}
        for step in range(steps):
            gate = (step + 0.5) / steps
            part = _effects(lm, queries, lambda logprobs: (wrong, gold), gate=gate)
            total = {site: total.get(site, 0) + values / steps for site, values in part.items()}
        return total

    return score_task(lm, task, Scoring("integrated gap", {"steps": steps}), score, **passes)


def know_bias(lm: LanguageModel, task: Task, *, steps: int = 8, **passes: Any) -> Scores:
    """How much a neuron adds to the right answer of yes/no questions about bias itself.

    Such neurons are amplified instead of pruned.

    Args:
        task: only its prompt template is used.
        steps: steps of the integral.

    Source: KnowBias (Pan et al. 2026, arXiv 2601.21864), from its abstract and summaries:
        attribution on a few yes/no questions, with outputs of FFN neurons amplified at run time.
        Differences: the questions are our own; the integral switches all sites on together
        (`integrated_gap`), not one neuron at a time; the units are those of the FFN's `up` layer,
        which are the paper's inner neurons if the FFN is gated.
    """
    questions = tuple(
        Item(f"know-bias-{i}", question, ("Yes", "No"), gold=("Yes", "No").index(answer))
        for i, (question, answer) in enumerate(YES_OR_NO)
    )
    asked = Task("know-bias", questions, ("Answer the question with yes or no.",), "embedded")
    found = integrated_gap(lm, replace(asked, prompt=task.prompt), steps=steps, **passes)
    sums = {site: -total for site, total in found.sums.items()}
    return replace(found, sums=sums, method=Scoring("know-bias", {"steps": steps}))


def paired_contrast(
    lm: LanguageModel,
    task: Task,
    *,
    gold: float = 1.0,
    clamp: bool = False,
    tokens: TokenReduction = "sum",
    **passes: Any,
) -> Scores:
    """A neuron's part in naming somebody without reason, minus its part in naming the right one.

    In ambiguous rows, this is its part of the margin of the best named option over "unknown"; in
    their disambiguated twins, of the margin of the gold option over the best other one. A neuron
    that raises both equally scores 0, so pruning the top ones separates the two conditions instead
    of shifting both.

    Args:
        task: as many rows of each condition, ideally twins: `task.sample(10, balance="twins")`.
        gold: weight of the disambiguated rows.
        clamp: count a neuron that lowers the gold margin as neutral there, like Eq. 2.
        tokens: as in `gap`.

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
        right = gold_options(lm, items)
        ambiguous = torch.tensor([item.condition == "ambiguous" for item in items])

        def margin(logprobs: Tensor) -> tuple[Tensor, Tensor]:
            # In an ambiguous row the gold option is "unknown" and the best other one is named.
            other, here = most_confusing(logprobs, right), ambiguous.to(lm.device)
            return torch.where(here, other, right), torch.where(here, right, other)

        return {
            site: torch.where(
                ambiguous.to(values.device)[:, None],
                values,
                -gold * (values.clamp(min=0) if clamp else values),
            )
            for site, values in _effects(lm, queries, margin, tokens).items()
        }

    how = Scoring("paired contrast", {"gold": gold, "clamp": clamp, "tokens": tokens})
    return score_task(lm, task, how, score, **passes)


def utility(lm: LanguageModel, task: Task, **passes: Any) -> Scores:
    """How much right answers of a task depend on a neuron: mean |sum of h * dlogP(y)/dh|."""

    def score(queries: Sequence[Query], items: Sequence[Item]) -> Bias:
        return _sizes(lm, queries, gold_options(lm, items))

    return score_task(lm, task, Scoring("utility"), score, **passes)


def text_utility(lm: LanguageModel, texts: Sequence[str], like: Scores, **passes: Any) -> Scores:
    """The same for predicting the second half of neutral texts from their first half.

    Args:
        texts: the texts.
        like: scores of the same model, whose provenance the result copies.

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

    def do(batch: Sequence[Query]) -> Bias:
        return _sizes(lm, batch, torch.zeros(len(batch), dtype=torch.long, device=lm.device))

    with torch.inference_mode(False), lm.frozen():
        for numbers, bias in run_batches(lm, queries, do, kind="gradients", **passes):
            scores.add(bias, torch.zeros(len(numbers), dtype=torch.long))
        workers().add([*scores.sums.values(), scores.counts])
    return scores


def margin_plan(
    scored: Scored, up: Int[Tensor, " b"], down: Int[Tensor, " b"] | None, tokens: TokenReduction
) -> BackwardPlan:
    """One backward pass from log P(up) - log P(down) of each instance.

    Args:
        scored: the batch's options.
        up: index of the option that raises each instance's margin.
        down: index of the option that lowers it; None for log P(up) alone.
        tokens: how token scores become one per instance.
    """
    options = [up] if down is None else [up, down]
    value, *lower = (pick(scored.logprobs, option) for option in options)
    rows = torch.stack([pick(scored.rows, option) for option in options], 1)
    objective = Objective(value - lower[0] if lower else value, rows)
    one = torch.ones(len(up), device=value.device)
    return BackwardPlan((objective,), lambda attribution: attribution, tokens, one)


def _effects(
    lm: LanguageModel,
    queries: Sequence[Query],
    margin: Margin,
    tokens: TokenReduction = "sum",
    **how: float,
) -> Bias:
    """What each neuron adds to the margin of each query; `how` is for `SiteGradients`."""
    with torch.enable_grad(), SiteGradients(lm, **how).recording() as gradients:
        scored = gradients.score(queries)
        up, down = margin(finite_logprobs(scored).detach())
        return gradients.read(scored, margin_plan(scored, up, down, tokens))


def _sizes(lm: LanguageModel, queries: Sequence[Query], option: Int[Tensor, " b"]) -> Bias:
    """How strongly each neuron changes log P of an option of each query."""
    effects = _effects(lm, queries, lambda logprobs: (option, None))
    return {site: values.abs() for site, values in effects.items()}
