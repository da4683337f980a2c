"""Scores of neurons by their activations alone: no gradient, one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from snipbias.base.parallel import workers
from snipbias.method import equations as crispr
from snipbias.method.attribute import Asked, asked, finite_logprobs, pick, score_task
from snipbias.method.equations import Scoring, TokenReduction
from snipbias.method.margins import Bias, option_index
from snipbias.method.scores import Scores
from snipbias.models.batching import BatchSize, Progress, run_batches, size_of
from snipbias.models.language_model import LanguageModel, Query
from snipbias.models.scoring import Scored
from snipbias.models.sharded import whole
from snipbias.models.sites import Site
from snipbias.tasks.items import Item, Task

R = TypeVar("R")


def magnitude(
    lm: LanguageModel,
    task: Task,
    *,
    largest: bool = False,
    batch_size: BatchSize = "auto",
    progress: Progress = lambda done: None,
) -> Scores:
    """Mean |h| over the prompt's tokens and over the instances; no gradient, no answer.

    Args:
        largest: take the largest |h| of a prompt's tokens instead of their mean.
    """

    def score(queries: Sequence[Query], items: Sequence[Item]) -> Bias:
        return _prompt_activations(lm, queries, torch.abs, "max" if largest else "mean")[0]

    how = Scoring("magnitude", {"tokens": "max" if largest else "mean"})
    return score_task(
        lm, task, how, score, batch_size=batch_size, progress=progress, kind="activations"
    )


def mean_activation(
    lm: LanguageModel,
    task: Task,
    *,
    batch_size: BatchSize = "auto",
    progress: Progress = lambda done: None,
) -> Scores:
    """Mean h over the prompt's tokens and over the instances: what mean ablation holds it at.

    Args:
        task: all of its items and instructions are read.
        batch_size: prompts per pass, or `auto`; no result depends on it.
        progress: called with the number of prompts just done.
    """

    def score(queries: Sequence[Query], items: Sequence[Item]) -> Bias:
        return _prompt_activations(lm, queries, lambda h: h, "mean")[0]

    how = Scoring("mean activation")
    return score_task(
        lm, task, how, score, batch_size=batch_size, progress=progress, kind="activations"
    )


def read_activations(
    lm: LanguageModel,
    jobs: Sequence[Asked],
    do: Callable[[Sequence[Asked]], R],
    keep: Callable[[Sequence[int], R], object],
    *,
    batch_size: BatchSize,
    progress: Progress = lambda done: None,
) -> None:
    """`run_batches` over asked items, in passes of which activations are kept."""
    run_batches(
        lm,
        jobs,
        do,
        keep,
        size=lambda job: size_of(job.query),
        kind="activations",
        batch_size=batch_size,
        progress=progress,
    )


def skill_neurons(
    lm: LanguageModel,
    task: Task,
    *,
    batch_size: BatchSize = "auto",
    progress: Progress = lambda done: None,
) -> Scores:
    """Predictivity of a neuron's activation threshold (Wang et al. 2022), for options as text.

    Theirs: does the activation, above or below its mean over the data, tell which of two labels is
    right? Labels that differ with every row have no such classes, so the question here is whether
    it tells where the model is more and where it is less drawn to its biased option: the classes
    are the instances with log P(yhat) - log P(y) above and up to the median of their instruction.
    The activation is the mean over the prompt's tokens; the score is max(a, 1 - a) for the share a
    of instances that the threshold classifies right, averaged over instructions.

    Args:
        task: all of its items and instructions are read.
        batch_size: prompts per pass, or `auto`; no result depends on it.
        progress: called with the number of prompts just done.
    """
    jobs = asked(lm, task)
    here: dict[int, tuple[Tensor, float]] = {}

    def do(batch: Sequence[Asked]) -> tuple[Tensor, Tensor]:
        activations, scored = _prompt_activations(
            lm, [job.query for job in batch], lambda h: h, "mean"
        )
        logprobs = finite_logprobs(scored)
        gold = option_index(lm, [job.item.gold for job in batch])
        wrong = crispr.most_confusing(logprobs, gold)
        found = torch.cat([activations[site.name].float().cpu() for site in lm.sites], 1)
        return found, (pick(logprobs, wrong) - pick(logprobs, gold)).cpu()

    def keep(numbers: Sequence[int], result: tuple[Tensor, Tensor]) -> None:
        found, gaps = result
        here.update(zip(numbers, zip(found.unbind(), gaps.tolist(), strict=True), strict=True))

    with lm.frozen():
        read_activations(lm, jobs, do, keep, batch_size=batch_size, progress=progress)
    every = workers().gather(here)
    scores = Scores.zeros(lm, task, Scoring("skill neurons"))
    widths = [site.width for site in lm.sites]
    for instruction in range(len(task.instructions)):
        mine = [every[i] for i, job in enumerate(jobs) if job.instruction == instruction]
        margin = torch.tensor([gap for _, gap in mine])
        found = predictivity(torch.stack([h for h, _ in mine]), margin > margin.median())
        split = zip(lm.sites, found[None].split(widths, 1), strict=True)
        scores.add({site.name: part for site, part in split}, torch.tensor([instruction]))
    return scores


def predictivity(
    activations: Float[Tensor, "n d"], labels: Bool[Tensor, " n"]
) -> Float[Tensor, " d"]:
    """max(a, 1 - a), a the share of instances whose label the threshold at the mean tells."""
    # A constant neuron lies on its mean but for rounding, which must not tell anything.
    rounding = 1e-5 * activations.abs().amax(0)
    above = activations - activations.mean(0) > rounding
    right = (above == labels[:, None]).double().mean(0)
    return torch.maximum(right, 1 - right)


def _prompt_activations(
    lm: LanguageModel,
    queries: Sequence[Query],
    of: Callable[[Tensor], Tensor],
    tokens: TokenReduction,
) -> tuple[Bias, Scored]:
    """A figure of every neuron's activations over the tokens of each prompt.

    A site that sees the answer and not the prompt is read at the answer's start token.
    """
    first: dict[str, Tensor] = {}
    with torch.no_grad(), _first_outputs(lm, first):
        scored = lm.score(queries)
    found = {}
    for site in lm.sites:
        h = first.pop(site.name)
        if lm.reads_whole:  # a row per option, which all begin with the prompt
            h = scored.by_row(h)[scored.rows[:, 0]]
        h = h.reshape(len(queries), -1, site.width)
        real = scored.prefix_mask if h.shape[1] > 1 else torch.ones(h.shape[:2], dtype=torch.bool)
        found[site.name] = crispr.reduce_tokens(of(h.float()), real.to(h.device), tokens).double()
    return found, scored


@contextmanager
def _first_outputs(lm: LanguageModel, into: dict[str, Tensor]) -> Iterator[None]:
    """Keep the first output of every site, that of the prefix."""

    def keeper(site: Site) -> Callable[[nn.Module, object, Tensor], None]:
        def keep(module: nn.Module, args: object, output: Tensor) -> None:
            into.setdefault(site.name, whole(output, site.width).to(output.device))

        return keep

    handles = [lm.module(site.name).register_forward_hook(keeper(site)) for site in lm.sites]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
