"""Biased FFN vectors and attention heads, masked: UniBias."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from snipbias.base.parallel import workers
from snipbias.edits.baking import plain_tensors
from snipbias.experiment.baselines.change import Change, at_prompt_end
from snipbias.experiment.cell import Cell
from snipbias.experiment.choose import Family, Setting
from snipbias.method.attribute import Asked, asked
from snipbias.models.batching import BatchSize, run_batches
from snipbias.models.language_model import LanguageModel, Query
from snipbias.tasks.items import Item, Task


def masked(inputs: Mapping[str, tuple[int, ...]], label: str) -> Change:
    """Inputs of linear layers held at 0: an FFN vector's coefficient, or an attention head."""

    def mask(units: Tensor, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return args[0].index_fill(-1, units.to(args[0].device), 0), *args[1:]

    @contextmanager
    def applied(lm: LanguageModel) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
            for site, units in inputs.items():
                hook = partial(mask, torch.tensor(units))
                stack.callback(lm.module(site).register_forward_pre_hook(hook).remove)
            yield

    return Change(label, applied, lambda lm: [lm.module(site) for site in inputs])


class Components(NamedTuple):
    """FFN vectors and attention heads, the most biased first: a layer and numbers of its inputs."""

    vectors: list[tuple[str, tuple[int, ...]]]
    heads: list[tuple[str, tuple[int, ...]]]


def most_biased(cell: Cell) -> Family:
    """UniBias; how many FFN vectors and heads are masked is to be chosen."""
    found = cell.found(biased_components)
    sizes = [n for n in (0, *cell.settings.sizes) if n <= len(found.vectors)]
    few = [n for n in (0, 1, 3) if n <= len(found.heads)]

    def at(setting: Setting) -> Change:
        vectors, heads = int(setting["vectors"]), int(setting["heads"])
        inputs: dict[str, tuple[int, ...]] = {}
        for site, units in (*found.vectors[:vectors], *found.heads[:heads]):
            inputs[site] = (*inputs.get(site, ()), *units)
        return masked(inputs, f"UniBias {vectors} vectors, {heads} heads")

    return Family([{"vectors": v, "heads": h} for v, h in product(sizes, few) if v or h], at)


def biased_components(
    lm: LanguageModel, task: Task, *, spread: float = 1.0, batch_size: BatchSize = "auto"
) -> Components:
    """The parts that push one label above the others whatever the question is.

    A part (the inner unit of an FFN with its output vector, or a head) adds its value times its
    output weights to the residual stream; by the unembedding that is an addition to each label's
    logit. It is biased where the labels' logits are high together (*relatedness*), one of them
    exceeds their mean (*bias*), and both hardly differ from question to question (*low variance*).

    Args:
        task: the questions; only who the stereotype names is taken from their labels.
        spread: the largest coefficient of variation over questions.

    Source: UniBias (Zhou et al., NeurIPS 2024, arXiv 2405.20612), its abstract, summaries and the
        three criteria. Read otherwise here: the labels are "unknown", the biased option and the
        rest in this order (as they come where the rows do not say), each read as the mean over its
        tokens that no other option has; relatedness is a sum above zero, and how many of the parts
        are masked is chosen on dev instead of thresholds.
    """
    parts: dict[str, list[tuple[int, ...]]] = {}
    for site in lm.sites:
        role = site.layout[0][0]
        if site.side == "decoder" and role in ("o", "down"):
            inputs = torch.arange(_weight(lm, site.name).shape[1])
            heads = lm.model.config.get_text_config().num_attention_heads
            slices = inputs.view(heads if role == "o" else len(inputs), -1)
            parts[site.name] = list(map(tuple, slices.tolist()))
    jobs = asked(lm, task)
    most = Counter(len(job.query.options) for job in jobs).most_common(1)[0][0]
    jobs = [job for job in jobs if len(job.query.options) == most]
    sums = {name: torch.zeros(2, most, len(found)).double() for name, found in parts.items()}

    def do(batch: Sequence[Asked]) -> dict[str, Tensor]:
        seen = at_prompt_end(lm, [job.query for job in batch], parts, inputs=True)
        labels = torch.stack([_labels(lm, job.query, job.item) for job in batch])
        moments = {}
        for name, x in seen.items():
            each = additions(labels, _weight(lm, name), x, len(parts[name])).double().cpu()
            moments[name] = torch.stack([each.sum(0), each.square().sum(0)])
        return moments

    with torch.inference_mode(), lm.frozen():
        for _, moments in run_batches(lm, jobs, do, kind="activations", batch_size=batch_size):
            for name, values in moments.items():
                sums[name] += values
        workers().add(sums.values())
    ranked = _ranked({name: total / len(jobs) for name, total in sums.items()}, spread)
    found = [(name, parts[name][number]) for name, number in ranked]
    heads = [part for part in found if len(part[1]) > 1]
    return Components([part for part in found if len(part[1]) == 1], heads)


def additions(
    labels: Float[Tensor, "b c d"],
    weight: Float[Tensor, "d i"],
    inputs: Float[Tensor, "b i"],
    parts: int,
) -> Float[Tensor, "b c k"]:
    """What each part of a layer adds to each label's logit; the sum is the layer's.

    Args:
        labels: unembedding vector of each label.
        weight: the layer's weight.
        inputs: the layer's input at one token.
        parts: number of parts, equal slices of the input.
    """
    each = (labels @ weight.float()) * inputs.float()[:, None]
    return each.unflatten(-1, (parts, -1)).sum(-1)


def _ranked(moments: Mapping[str, Float[Tensor, "2 c k"]], spread: float) -> list[tuple[str, int]]:
    """Parts that pass relatedness and low variance, by their bias."""
    bias_of: dict[tuple[str, int], float] = {}
    for name, (mean, square) in moments.items():
        deviation = (square - mean.square()).clamp(min=0).sqrt()
        steady = (deviation / mean.abs().clamp(min=1e-12)).mean(0) < spread
        bias = mean.max(0).values - mean.mean(0)
        allowed = steady & (mean.sum(0) > 0)
        bias_of |= {(name, k): bias[k].item() for k in allowed.nonzero()[:, 0].tolist()}
    return sorted(bias_of, key=lambda part: -bias_of[part])


def _weight(lm: LanguageModel, site: str) -> Float[Tensor, "out in"]:
    module = lm.module(site)
    weight = next(plain_tensors(module, site))[1]
    return weight.T if isinstance(module, Conv1D) else weight


def _labels(lm: LanguageModel, query: Query, item: Item) -> Float[Tensor, "c d"]:
    """The unembedding of each option's own tokens: unknown, biased, the rest."""
    first = [option for option in (item.unknown, item.biased) if option is not None]
    order = dict.fromkeys((*first, *range(len(query.options))))
    often = Counter(token for option in query.options for token in set(option))
    table: Any = lm.model.get_output_embeddings()
    rows = []
    for number in order:
        option = query.options[number]
        own = [token for token in option if often[token] < len(query.options)] or [*option]
        rows.append(table.weight[torch.tensor(own, device=table.weight.device)].float().mean(0))
    return torch.stack(rows)
