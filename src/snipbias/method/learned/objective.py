"""The training objective: the right answer, a margin that separates, and no other change."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Bool, Float, Int
from torch import Tensor


def unknown_margin(
    logprobs: Float[Tensor, "rows options"], unknown: Int[Tensor, " rows"]
) -> Float[Tensor, " rows"]:
    """m = log P(unknown) - log sum P(named): preference for declining, in nats."""
    declines = F.one_hot(unknown, logprobs.shape[1]).bool()
    named = logprobs.masked_fill(declines, -torch.inf).logsumexp(1)
    return logprobs.gather(1, unknown[:, None])[:, 0] - named


def pair_loss(
    margin: Float[Tensor, " rows"], unanswerable: Bool[Tensor, " rows"]
) -> Float[Tensor, ""]:
    """Mean softplus(-(m_u - m_a)) over every unanswerable row u and answerable row a.

    A constant on "unknown" does not change it, so it rewards only telling the two kinds apart.
    """
    gaps = margin[unanswerable][:, None] - margin[~unanswerable][None]
    return F.softplus(-gaps).mean() if gaps.numel() else margin.sum() * 0


def decline_loss(
    logprobs: Float[Tensor, "rows options"],
    unknown: Int[Tensor, " rows"],
    unanswerable: Bool[Tensor, " rows"],
    constant: Float[Tensor, ""],
    answerable: float,
    smoothing: float,
) -> Float[Tensor, ""]:
    """Logistic loss that pushes m + constant above 0 on unanswerable rows, and below on others.

    Here m = log P(unknown) - max log P(named), so the answer changes at 0. The constant absorbs a
    shift, so that the factors need not learn it.

    Args:
        logprobs: log-probabilities of the options.
        unknown: index of each row's unknown option.
        unanswerable: which rows cannot be answered.
        constant: added to m.
        answerable: weight of all answerable rows relative to all unanswerable ones.
        smoothing: share of the label that goes to the other answer, to bound the margins.
    """
    declines = F.one_hot(unknown, logprobs.shape[1]).bool()
    margin = logprobs.gather(1, unknown[:, None])[:, 0]
    margin = margin - logprobs.masked_fill(declines, -torch.inf).amax(1) + constant
    label = torch.where(unanswerable, 1 - smoothing, smoothing)
    each = F.binary_cross_entropy_with_logits(margin, label, reduction="none")
    parts = [each[unanswerable], answerable * each[~unanswerable]]
    return torch.stack([part.mean() for part in parts if len(part)]).sum() / (1 + answerable)


def person_loss(
    logprobs: Float[Tensor, "rows options"],
    gold: Int[Tensor, " rows"],
    unknown: Int[Tensor, " rows"],
    unanswerable: Bool[Tensor, " rows"],
    smoothing: float,
) -> Float[Tensor, ""]:
    """Cross-entropy of answerable rows over the options that name somebody.

    Args:
        logprobs: log-probabilities of the options.
        gold: index of each row's right option.
        unknown: index of each row's unknown option.
        unanswerable: which rows cannot be answered; they do not count.
        smoothing: share of the label spread over all named options.
    """
    declines = F.one_hot(unknown, logprobs.shape[1]).bool()
    named = logprobs.masked_fill(declines, -1e4)[~unanswerable].log_softmax(1)
    if not len(named):
        return logprobs.sum() * 0
    kept = ~declines[~unanswerable] & ~named.isneginf()  # a row may have fewer options
    target = F.one_hot(gold[~unanswerable], logprobs.shape[1]) * (1 - smoothing)
    target = (target + smoothing / kept.sum(1, keepdim=True)) * kept
    return -(target * named.where(kept, 0.0)).sum(1).mean()


def auroc(higher: Float[Tensor, " u"], lower: Float[Tensor, " a"]) -> float:
    """The share of pairs in which the first is higher; ties count half."""
    wins = (higher[:, None] > lower[None]).double() + 0.5 * (higher[:, None] == lower[None])
    return float(wins.mean()) if wins.numel() else float("nan")
