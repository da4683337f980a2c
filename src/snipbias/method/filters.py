"""Which neurons may be picked at all: filters between scoring and selecting."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from jaxtyping import Bool
from torch import Tensor

from snipbias.base.errors import SnipbiasError
from snipbias.method.scores import Scores
from snipbias.models.sites import ROLES

# What writes to the residual stream: a unit of these is a coordinate that all later layers read.
RESIDUAL = ("o", "down")
# Softmax is blind to what is constant in the keys, and a unit of a key is mostly that.
KEYS = ("k",)

Allowed = Mapping[str, Bool[Tensor, " d"]]


def without_roles(scores: Scores, roles: Collection[str]) -> Scores:
    """Leave out units with any of some roles: q, k, v, o, gate, up, down."""
    if unknown := set(roles) - {*ROLES, "o"}:
        raise SnipbiasError(f"there is no role {min(unknown)!r}: use {', '.join(ROLES)} or o.")
    return scores.keep(
        {
            site.name: torch.tensor([site.role(unit) not in roles for unit in range(site.width)])
            for site in scores.sites
        }
    )


def without_top(scores: Scores, others: Scores, share: float) -> Scores:
    """Leave out the neurons that are in the top share of other scores: useful ones, or outliers.

    Args:
        share: of all neurons, at least 0 and below 1.

    Raises:
        SnipbiasError: it is not.
    """
    if not 0 <= share < 1:
        raise SnipbiasError(f"cannot leave out a share of {share}: give 0 or more, and below 1.")
    kept = max(1, len(others) - round(share * len(others)))
    bound = others.flat.sort().values[kept - 1]  # torch.quantile refuses large models
    return scores.keep({site.name: others[site] <= bound for site in scores.sites})


def less(scores: Scores, others: Scores, weight: float) -> Scores:
    """Subtract other scores of the same neurons; both in the same unit (nats of some margin).

    Args:
        weight: factor on the scores that are subtracted.
    """
    joint = {site.name: (scores[site] - weight * others[site])[None] for site in scores.sites}
    return Scores(
        sites=scores.sites,
        sums=joint,
        counts=torch.ones(1, dtype=torch.long),
        method=scores.method,
        found_on=scores.found_on,
        model=scores.model,
    )
