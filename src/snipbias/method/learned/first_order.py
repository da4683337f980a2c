"""Factors without training: one step along the gradient of the pair loss."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from snipbias.method.learned import objective
from snipbias.method.learned.check import Material, best_of, check
from snipbias.method.learned.factors import Factors, highest
from snipbias.method.learned.train import Trained, TrainingJob

LENGTHS = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5)  # distances from 1 of the factor that moves most


def first_order(job: TrainingJob, factors: Factors, n: int | None = None) -> Trained:
    """Move the n most promising factors along -gradient / Fisher, as far as `dev` rows allow.

    Args:
        job: the model, rows and texts, and what counts as harm.
        factors: all at 1; afterwards at the best of `LENGTHS`, or at 1 if none is better.
        n: number of neurons that move, up or down; by default all.
    """
    material = job.material
    loss = pair_gradient(factors, material)
    information = _fisher(factors, material)
    information = information + information.mean()  # bounds the step of a neuron that no text uses
    promise = loss**2 / information
    if n is not None:
        loss = loss * highest(promise, n)
    direction = step_direction(loss, information)
    checks = [job.original]
    for length in LENGTHS:
        factors.set(length * direction)
        checks.append(check(factors, material))
        job.told(checks[-1])
    best = best_of(checks, job.how.harm, job.how.moved)
    factors.set((0.0, *LENGTHS)[checks.index(best)] * direction)
    return Trained(tuple(checks), best, 0.0, promise)


def step_direction(
    gradient: Float[Tensor, " neurons"], information: Float[Tensor, " neurons"]
) -> Float[Tensor, " neurons"]:
    """-gradient / Fisher, scaled so that the factor that moves most moves by 1."""
    direction = -gradient / information
    return direction / direction.abs().max()


def pair_gradient(factors: Factors, material: Material) -> Float[Tensor, " neurons"]:
    """Mean gradient of the training groups' pair loss with respect to every factor."""
    total = torch.zeros_like(factors.change)
    for group in material.rows:
        with torch.enable_grad(), factors.applied():
            logprobs = group.score(material.below)
            margin = objective.unknown_margin(logprobs, group.unknown.to(logprobs.device))
            loss = objective.pair_loss(margin, group.unanswerable.to(logprobs.device))
        total += torch.autograd.grad(loss, factors.change)[0]
        material.below.lm.passes["backward"] += len(group.items)
    return total / len(material.rows)


def _fisher(factors: Factors, material: Material) -> Float[Tensor, " neurons"]:
    """Diagonal Fisher information: the mean squared gradient of log P of the texts."""
    total = torch.zeros_like(factors.change)
    for text in material.texts:
        with torch.enable_grad(), factors.applied():
            loss = text.surprise(material.below)
        total += torch.autograd.grad(loss, factors.change)[0] ** 2
        material.below.lm.passes["backward"] += 1
    return total / max(1, len(material.texts))
