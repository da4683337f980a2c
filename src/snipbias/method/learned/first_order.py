"""Factors without training: one step along the gradient of the pair loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from snipbias.method.learned import objective
from snipbias.method.learned.check import Check, Material, check
from snipbias.method.learned.factors import Factors
from snipbias.method.learned.train import Trained, Training
from snipbias.models.language_model import LanguageModel

LENGTHS = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5)


def first_order(
    lm: LanguageModel,
    factors: Factors,
    material: Material,
    how: Training,
    original: Check,
    n: int | None = None,
    lengths: Sequence[float] = LENGTHS,
) -> Trained:
    """Move the n most promising factors along -gradient / Fisher, as far as `dev` rows allow.

    Args:
        lm: the model.
        factors: all at 1; afterwards at the best length, or at 1 if none is better.
        material: rows and texts.
        how: settings of the training, for what counts as harm.
        original: the check of the original model.
        n: number of neurons that move, up or down; by default all.
        lengths: distances from 1 to try for the factor that moves most.
    """
    loss = pair_gradient(lm, factors, material)
    information = _fisher(lm, factors, material)
    information = information + information.mean()  # bounds the step of a neuron that no text uses
    promise = loss**2 / information
    if n is not None:
        few = torch.zeros_like(promise, dtype=torch.bool)
        few[promise.topk(n).indices] = True
        loss = loss * few
    direction = step_direction(loss, information)
    checks = [original]
    for length in lengths:
        factors.set(length * direction)
        checks.append(check(lm, factors, material))
    harmless = [
        (c.told, -k) for k, c in enumerate(checks) if not c.harm(original, how.harm, how.moved)
    ]
    best = -max(harmless)[1]
    factors.set(lengths[best - 1] * direction if best else 0 * direction)
    return Trained(tuple(checks), checks[best], 0.0, promise)


def step_direction(
    gradient: Float[Tensor, " neurons"], information: Float[Tensor, " neurons"]
) -> Float[Tensor, " neurons"]:
    """-gradient / Fisher, scaled so that the factor that moves most moves by 1."""
    direction = -gradient / information
    return direction / direction.abs().max()


def pair_gradient(
    lm: LanguageModel, factors: Factors, material: Material
) -> Float[Tensor, " neurons"]:
    """Mean gradient of the pair loss with respect to every factor.

    Args:
        lm: the model.
        factors: where the gradient is taken.
        material: the mean is over its training groups.
    """
    total = torch.zeros_like(factors.change)
    for group in material.rows:
        with torch.enable_grad(), factors.applied():
            logprobs = group.score(lm, material.below)
            margin = objective.unknown_margin(logprobs, group.unknown.to(logprobs.device))
            loss = objective.pair_loss(margin, group.unanswerable.to(logprobs.device))
        total += torch.autograd.grad(loss, factors.change)[0]
        lm.passes["backward"] += len(group.items)
    return total / len(material.rows)


def _fisher(lm: LanguageModel, factors: Factors, material: Material) -> Float[Tensor, " neurons"]:
    """Diagonal Fisher information: the mean squared gradient of log P of the texts."""
    total = torch.zeros_like(factors.change)
    for text in material.texts:
        with torch.enable_grad(), factors.applied():
            loss = text.surprise(lm, material.below)
        total += torch.autograd.grad(loss, factors.change)[0] ** 2
        lm.passes["backward"] += 1
    return total / max(1, len(material.texts))
