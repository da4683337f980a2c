"""Filters between scoring and selecting: which neurons may be picked."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import torch

from snipbias.base.errors import SnipbiasError
from snipbias.method.scores import Scores
from snipbias.models.sites import ROLES

# These write to the residual stream: each unit is a coordinate that all later layers read.
RESIDUAL = ("o", "down")
# Softmax ignores what is constant in the keys, and most of a key unit is.
KEYS = ("k",)


def without_roles(scores: Scores, roles: Collection[str]) -> Scores:
    """Leave out units with any of these roles: q, k, v, o, gate, up, down.

    Raises:
        SnipbiasError: there is no such role.
    """
    if unknown := set(roles) - {*ROLES, "o"}:
        raise SnipbiasError(f"there is no role {min(unknown)!r}: use {', '.join(ROLES)} or o.")
    return scores.keep(
        {
            site.name: torch.tensor([site.role(unit) not in roles for unit in range(site.width)])
            for site in scores.sites
        }
    )


def without_top(scores: Scores, others: Scores, share: float) -> Scores:
    """Leave out the neurons that rank highest by other scores, such as useful ones or outliers.

    Args:
        scores: the scores to filter.
        others: the scores to rank by.
        share: share of all neurons to leave out, in [0, 1).

    Raises:
        SnipbiasError: the share is out of range.
    """
    if not 0 <= share < 1:
        raise SnipbiasError(f"cannot leave out a share of {share}: give 0 or more, but below 1.")
    kept = max(1, len(others) - round(share * len(others)))
    bound = others.flat.sort().values[kept - 1]  # torch.quantile refuses large models
    return scores.keep({site.name: others[site] <= bound for site in scores.sites})


def less(scores: Scores, others: Scores, weight: float) -> Scores:
    """Subtract other scores of the same neurons, in the same unit (nats of a margin).

    Args:
        scores: the scores to reduce.
        others: the scores to subtract.
        weight: factor on `others`.
    """
    joint = {site.name: (scores[site] - weight * others[site])[None] for site in scores.sites}
    return replace(scores, sums=joint, counts=torch.ones(1, dtype=torch.long))
