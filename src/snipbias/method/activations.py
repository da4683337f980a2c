"""Score neurons by their activations alone: one forward pass, no gradient.

`**passes` are the `batch_size` and `progress` of `attribute.score_task`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from snipbias.method.attribute import Asked, asked, finite_logprobs, gold_options, pick, score_task
from snipbias.method.equations import Scoring, TokenReduction, most_confusing, reduce_tokens
from snipbias.method.scores import Scores
from snipbias.models.batching import one_each
from snipbias.models.language_model import LanguageModel, Query
from snipbias.models.scoring import Scored
from snipbias.models.sharded import whole
from snipbias.models.sites import Site
from snipbias.tasks.items import Item, Task

Found = dict[str, Float[Tensor, "b d"]]  # site -> a number per prompt and neuron
# Activations [b, t, d] and real tokens [b, t] -> a number per prompt and neuron [b, d].
Reduction = Callable[[Tensor, Tensor], Tensor]
_mean = partial(reduce_tokens, how="mean")


def magnitude(lm: LanguageModel, task: Task, *, largest: bool = False, **passes: Any) -> Scores:
    """Mean |h| over the prompt's tokens and over the instances.

    Args:
        task: all of its items and instructions are read.
        largest: use the largest |h| of a prompt's tokens instead of the mean.
    """
    tokens: TokenReduction = "max" if largest else "mean"
    how = Scoring("magnitude", {"tokens": tokens})
    return _scored(lm, task, how, lambda h, real: reduce_tokens(h.abs(), real, tokens), **passes)


def mean_activation(lm: LanguageModel, task: Task, **passes: Any) -> Scores:
    """Mean h over the prompt's tokens and over the instances, as mean ablation needs it."""
    return _scored(lm, task, Scoring("mean activation"), _mean, **passes)


def _scored(
    lm: LanguageModel, task: Task, how: Scoring, reduce: Reduction, **passes: Any
) -> Scores:
    def score(queries: Sequence[Query], items: Sequence[Item]) -> Found:
        return _prompt_activations(lm, queries, reduce)[0]

    return score_task(lm, task, how, score, kind="activations", **passes)


def skill_neurons(lm: LanguageModel, task: Task, **passes: Any) -> Scores:
    """Predictivity of a neuron's activation threshold (Wang et al. 2022), for options as text.

    The original asks whether the activation, above or below its mean over the data, tells which of
    two labels is right. Options that differ by row form no such classes. So the classes here are
    instances in which the model is more or less drawn to its biased option: log P(yhat) - log P(y)
    above their instruction's median, or not. The activation is the mean over the prompt's tokens.
    The score is max(a, 1 - a), averaged over instructions, where a is the share of instances that
    the threshold classifies correctly.
    """
    jobs = asked(lm, task)

    def do(batch: Sequence[Asked]) -> Iterator[tuple[Tensor, float]]:
        queries = [job.query for job in batch]
        activations, scored = _prompt_activations(lm, queries, _mean)
        logprobs = finite_logprobs(scored)
        gold = gold_options(lm, [job.item for job in batch])
        wrong = most_confusing(logprobs, gold)
        found = torch.cat([activations[site.name].float().cpu() for site in lm.sites], 1)
        gaps = pick(logprobs, wrong) - pick(logprobs, gold)
        return zip(found, gaps.tolist(), strict=True)

    with lm.frozen():
        every = one_each(lm, jobs, do, kind="activations", **passes)
    scores = Scores.zeros(lm, task, Scoring("skill neurons"))
    widths = [site.width for site in lm.sites]
    for instruction in range(len(task.instructions)):
        mine = [one for one, job in zip(every, jobs, strict=True) if job.instruction == instruction]
        h, gaps = zip(*mine, strict=True)
        margin = torch.tensor(gaps)
        found = predictivity(torch.stack(h), margin > margin.median())
        split = zip(lm.sites, found[None].split(widths, 1), strict=True)
        scores.add({site.name: part for site, part in split}, torch.tensor([instruction]))
    return scores


def predictivity(
    activations: Float[Tensor, "n d"], labels: Bool[Tensor, " n"]
) -> Float[Tensor, " d"]:
    """max(a, 1 - a), where a is the share of labels that a threshold at the mean gets right."""
    # A constant neuron equals its mean up to rounding, which must not count as a signal.
    rounding = 1e-5 * activations.abs().amax(0)
    above = activations - activations.mean(0) > rounding
    right = (above == labels[:, None]).double().mean(0)
    return torch.maximum(right, 1 - right)


def _prompt_activations(
    lm: LanguageModel, queries: Sequence[Query], reduce: Reduction
) -> tuple[Found, Scored]:
    """Reduce every neuron's activations over the tokens of each prompt to one number.

    A site that sees the answer but not the prompt is read at the answer's start token.
    """
    first: dict[str, Tensor] = {}  # outputs of the first pass of each site, over the prefix

    def keep_first(site: Site, module: nn.Module, args: object, output: Tensor) -> None:
        first.setdefault(site.name, whole(output, site.width).to(output.device))

    hooks = ((site.name, partial(keep_first, site)) for site in lm.sites)
    with torch.no_grad(), lm.hooked(hooks):
        scored = lm.score(queries)
    found = {}
    for site in lm.sites:
        h = first.pop(site.name)
        if lm.reads_whole:  # one row per option, each of which starts with the prompt
            h = scored.by_row(h)[scored.rows[:, 0]]
        h = h.reshape(len(queries), -1, site.width)
        real = scored.prefix_mask if h.shape[1] > 1 else torch.ones(h.shape[:2], dtype=torch.bool)
        found[site.name] = reduce(h.float(), real.to(h.device)).double()
    return found, scored
