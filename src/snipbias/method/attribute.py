"""Attribute the biased answer to every neuron: from batches of prompts to Scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from snipbias.base.errors import SnipbiasError
from snipbias.base.parallel import workers
from snipbias.edits.given import GivenModel, GivenTask, as_model, as_task
from snipbias.method import equations as crispr
from snipbias.method.equations import Method, Scoring
from snipbias.method.gradients import SiteGradients
from snipbias.method.plan import BackwardPlan, Objective
from snipbias.method.scores import Scores
from snipbias.models.batching import BatchSize, Kind, Progress, run_batches
from snipbias.models.language_model import LanguageModel, Query
from snipbias.models.scoring import Scored
from snipbias.tasks.items import Item, Task

Bias = dict[str, Float[Tensor, "b d"]]  # site -> scores of a batch
ScoreBatch = Callable[[Sequence[Query], Sequence[Item]], Bias]


@dataclass(frozen=True)
class Asked:
    """An item under an instruction (by index), with its query."""

    instruction: int
    item: Item
    query: Query

    @property
    def size(self) -> tuple[int, int]:
        """Tokens of the prompt, and of all options."""
        return self.query.size


def attribute(
    lm: GivenModel,
    task: GivenTask,
    method: Method | None = None,
    *,
    batch_size: BatchSize = "auto",
    progress: Progress = lambda done: None,
) -> Scores:
    """Bias score of every neuron over all items and instructions of a task (Eq. 1 to 4).

    Args:
        lm: a model, or what `sb.load` takes.
        task: the few items to find neurons on, such as `task.sample(10, seed=0)`, or what `sb.task`
            takes.
        method: by default v1.
        batch_size: prompts per pass, or `auto`; results do not depend on it.
        progress: called with the number of prompts just done.

    Raises:
        SnipbiasError: the model or a prompt is not supported, a score is not finite, or an item
            names no biased option although the method needs it (`biased="manual"`).
    """
    how, lm, task = method or Method.v1(), as_model(lm), as_task(task)
    if how.biased == "manual":
        _named_biased(lm, task.items)

    def score(queries: Sequence[Query], items: Sequence[Item]) -> Bias:
        biased = None if how.biased == "automatic" else _named_biased(lm, items)
        return batch_bias(lm, queries, gold_options(lm, items), how, biased)

    return score_task(lm, task, how, score, batch_size=batch_size, progress=progress)


def score_task(
    lm: LanguageModel,
    task: Task,
    method: Method | Scoring,
    score: ScoreBatch,
    *,
    kind: Kind = "gradients",
    **passes: Any,
) -> Scores:
    """Add up the scores of a task's batches: the loop that all additive scorers share.

    Args:
        task: all of its items and instructions are read.
        method: recorded in the result.
        score: returns site -> scores [B, D] for a batch of queries and their items.
        kind: kind of pass, for its memory.
        passes: `batch_size` and `progress`, as in `attribute`.
    """
    jobs = asked(lm, task)

    def do(batch: Sequence[Asked]) -> Bias:
        return score([job.query for job in batch], [job.item for job in batch])

    with torch.inference_mode(False), lm.frozen():
        scores = Scores.zeros(lm, task, method)
        for numbers, bias in run_batches(lm, jobs, do, kind=kind, **passes):
            scores.add(bias, torch.tensor([jobs[number].instruction for number in numbers]))
        workers().add([*scores.sums.values(), scores.counts])
    scores.check()
    return scores


def asked(lm: LanguageModel, task: Task) -> list[Asked]:
    """Every item under every instruction."""
    return [
        Asked(number, item, lm.query(*task.prompt.ask(instruction, item)))
        for number, instruction in enumerate(task.instructions)
        for item in task.items
    ]


def batch_bias(
    lm: LanguageModel,
    queries: Sequence[Query],
    gold: Int[Tensor, " b"],
    method: Method,
    biased: Int[Tensor, " b"] | None = None,
) -> Bias:
    """B_i(x_j), weighted by alpha_j, of every neuron for each query of a batch.

    One forward pass scores the options, which determines yhat (Eq. 3) unless `biased` does, and
    keeps the graph. Hooks reduce a backward pass from each of log P(y) and log P(yhat) to a score
    per neuron.

    Args:
        queries: B prompts with their options.
        gold: index of the gold option of each query.
        method: the choices in Eq. 1 to 4.
        biased: index of the biased option of each item; by default Eq. 3 chooses.

    Returns:
        site -> scores [B, D] in float64.
    """
    with torch.enable_grad(), SiteGradients(lm).recording() as gradients:
        scored = gradients.score(queries)
        bias = gradients.read(scored, crispr_plan(scored, gold, method, biased))
    if method.instances == "rank":
        widths = [site.shape[1] for site in bias.values()]
        ranked = crispr.ranks(torch.cat([site.cpu() for site in bias.values()], 1))
        bias = dict(zip(bias, ranked.split(widths, 1), strict=True))
    return bias


def _named_biased(lm: LanguageModel, items: Sequence[Item]) -> Int[Tensor, " b"]:
    """The option that each item calls biased."""
    silent = [item.id for item in items if item.biased is None]
    if silent:
        raise SnipbiasError(
            f"the item {silent[0]!r} does not name its biased option: fill in the column 'biased', "
            "leave such rows out, or use biased='automatic'."
        )
    return torch.tensor([item.biased for item in items], device=lm.device)


def crispr_plan(
    scored: Scored, gold: Int[Tensor, " b"], method: Method, biased: Int[Tensor, " b"] | None = None
) -> BackwardPlan:
    """The backward passes of Eq. 1 and 2: from yhat, and from the gold option if it is used.

    Args:
        scored: the batch's options.
        gold, method, biased: as in `batch_bias`.
    """
    logprobs = finite_logprobs(scored)
    if biased is None:
        wrong = crispr.most_confusing(logprobs.detach(), gold)
    else:
        wrong = crispr.given_biased(logprobs.detach(), gold, biased)
    if method.target == "share":
        # In float64: if one share is near 1, float32 loses all digits of the others.
        logprobs = logprobs.double().log_softmax(1)
    logp_gold, logp_wrong = pick(logprobs, gold), pick(logprobs, wrong)
    scale, share_wrong, share_gold = crispr.targets_scale(
        logp_wrong.detach(), logp_gold.detach(), method.target
    )

    def bias(*attributions: Tensor) -> Tensor:
        if len(attributions) == 1:
            return attributions[0]
        of_gold, of_wrong = attributions
        return crispr.bias_attribution(of_wrong, of_gold, method.skill, method.clamp)

    objectives = []
    for option, logp, share in ((gold, logp_gold, share_gold), (wrong, logp_wrong, share_wrong)):
        # A share depends on all options of the row, a probability only on its own.
        rows = scored.rows if method.target == "share" else pick(scored.rows, option)[:, None]
        objectives.append(Objective(logp * share.to(logp.dtype), rows))
    if method.skill == 0:
        objectives = objectives[1:]
    weight = crispr.instance_weight(logp_wrong.detach(), method.weight)
    apart = method.terms == "apart"
    return BackwardPlan(tuple(objectives), bias, method.tokens, scale * weight, apart=apart)


def finite_logprobs(scored: Scored) -> Float[Tensor, "b c"]:
    """The options' log-probabilities, [B, options].

    Raises:
        SnipbiasError: one of an option is not finite.
    """
    if not torch.isfinite(scored.logprobs[scored.rows >= 0]).all():
        raise SnipbiasError(
            "the model gives an option a probability that is zero or not a number: load it in a "
            "wider type (--dtype float32)."
        )
    return scored.logprobs


def gold_options(lm: LanguageModel, items: Sequence[Item]) -> Int[Tensor, " b"]:
    """Index of each item's gold option, on the model's device."""
    return torch.tensor([item.gold for item in items], device=lm.device)


def pick(table: Tensor, option: Int[Tensor, " b"]) -> Tensor:
    """The entry of each row's option."""
    return table.gather(1, option[:, None])[:, 0]
