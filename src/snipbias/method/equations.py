"""CRISPR (Yang et al. 2023), one small pure function per equation.

Shapes: B instances, K token positions, D neurons of one site, C options. Attributions are kept as
h * dlogP/dh and multiplied by P at the end, in float64: P of a long option underflows float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args, get_type_hints

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from snipbias.base.errors import SnipbiasError

Target = Literal["prob", "logprob", "share"]
TokenReduction = Literal["max", "prompt", "mean", "sum", "last", "quantile"]
InstanceWeight = Literal["none", "confusion"]
InstructionAggregate = Literal["mean", "max"]

# The token quantile: high enough to find a neuron that acts on a few tokens, low enough that a
# single one, such as a decoder's first token with its massive activations, cannot decide.
QUANTILE = 0.9


@dataclass(frozen=True)
class Scoring:
    """How scores other than CRISPR's were made: a name for tables, and settings."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    instructions: InstructionAggregate = "mean"

    def to_dict(self) -> dict[str, Any]:
        """Name and settings, for a record."""
        return {"name": self.name, **self.settings}


@dataclass(frozen=True)
class Method:
    """Every choice in which the paper, its second version and the ablations differ.

    Attributes:
        target: attribute the option's probability (Eq. 1), its logarithm, or its share of the
            options' total probability, which does not vanish for long options.
        biased: which option is yhat: the most likely wrong one (automatic, Eq. 3), or the item's
            `biased` (manual, section 3.3), unless that is the right answer.
        tokens: how an instance's token scores become one number (Eq. 4: max); `prompt` is the
            maximum over the prompt's tokens only, `last` the prompt's last token, `quantile` the
            0.9 quantile.
        terms: compute Eq. 2 at each token (together), or reduce each of its two terms over its own
            tokens first, and then clamp (apart).
        skill: weight of the gold option's attribution, which is subtracted (Eq. 2: 1; 0: only
            A(yhat)).
        clamp: whether negative gold attributions count as zero (Eq. 2: yes).
        weight: weight of an instance in the mean: none (v1), or the confusion P(yhat) (v2).
        instances: average the scores (Eq. 4), or each instance's ranks of all neurons, so that all
            instances count equally.
        instructions: how the instructions' means become one score.
    """

    target: Target = "prob"
    biased: Literal["automatic", "manual"] = "automatic"
    tokens: TokenReduction = "max"
    terms: Literal["together", "apart"] = "together"
    skill: float = 1.0
    clamp: bool = True
    weight: InstanceWeight = "none"
    instances: Literal["mean", "rank"] = "mean"
    instructions: InstructionAggregate = "mean"

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(Method).items():
            choices = get_args(kind)  # none for a number
            if choices and getattr(self, name) not in choices:
                raise SnipbiasError(
                    f"Method has {name} = {getattr(self, name)!r}: choose {' or '.join(choices)}."
                )
        if not isinstance(self.skill, (int, float)) or not math.isfinite(self.skill):
            raise SnipbiasError(f"Method has skill = {self.skill!r}: give a number.")

    @classmethod
    def v1(cls, **changes: Any) -> Method:
        """The method of arXiv 2311.09627v1, with `changes` to single fields."""
        return replace(cls(), **changes)

    @classmethod
    def v2(cls, **changes: Any) -> Method:
        """The method of the ACL 2024 version: v1 with the confusion weight."""
        return replace(cls(weight="confusion"), **changes)

    @classmethod
    def v2_as_coded(cls, **changes: Any) -> Method:
        """The second version as its authors' program computes it: each term's own maximum of
        h * dlogP/dh, both weighted by P(yhat). The program clamps the sum over a batch; here each
        instance is clamped separately, so that the batch size does not matter.
        """
        return replace(cls.v2(target="logprob", terms="apart"), **changes)

    @property
    def name(self) -> str:
        """The closest version, and the fields that differ from it."""
        bases = {name: version() for name, version in VERSIONS.items()}
        changed = {
            name: [f"{f}={v}" for f, v in asdict(self).items() if v != getattr(base, f)]
            for name, base in bases.items()
        }
        nearest = min(changed, key=lambda name: len(changed[name]))
        return " ".join([nearest, *changed[nearest]])

    def to_dict(self) -> dict[str, Any]:
        """The fields, for a record."""
        return asdict(self)


VERSIONS: dict[str, Callable[..., Method]] = {
    "v1": Method.v1,
    "v2": Method.v2,
    "v2 as coded": Method.v2_as_coded,
}


def attribution(h: Float[Tensor, "b k d"], grad: Float[Tensor, "b k d"]) -> Float[Tensor, "b k d"]:
    """Eq. 1 with dlogP/dh instead of dP/dh; `targets_scale` gives the factor P."""
    return h.float() * grad.float()


def most_confusing(logprobs: Float[Tensor, "b c"], gold: Int[Tensor, " b"]) -> Int[Tensor, " b"]:
    """Eq. 3: yhat, the wrong option with the highest probability. Absent options are -inf."""
    return logprobs.scatter(1, gold[:, None], -torch.inf).argmax(1)


def given_biased(
    logprobs: Float[Tensor, "b c"], gold: Int[Tensor, " b"], biased: Int[Tensor, " b"]
) -> Int[Tensor, " b"]:
    """Section 3.3: yhat named by hand; Eq. 3 chooses if the biased option is the right one.

    Args:
        logprobs: log-probabilities of each instance's options.
        gold, biased: indices of options.

    Returns:
        yhat of each instance: `biased`, or the choice of Eq. 3 if that is the gold option.
    """
    return torch.where(biased == gold, most_confusing(logprobs, gold), biased)


def targets_scale(
    logp_wrong: Float[Tensor, " b"], logp_gold: Float[Tensor, " b"], target: Target
) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"], Float[Tensor, " b"]]:
    """The factor from attributions of log P to those of the target, without underflow.

    Args:
        logp_wrong: log P(yhat).
        logp_gold: log P(y).
        target: prob, logprob or another of `Target`.

    Returns:
        (scale, wrong, gold), float64. Multiply an attribution of log P(yhat) by scale * wrong, and
        one of log P(y) by scale * gold. The larger of wrong and gold is 1, so both are safe in
        float32 before `scale` is applied.
    """
    if target == "logprob":
        one = torch.ones_like(logp_wrong, dtype=torch.float64)
        return one, one, one
    logp_wrong, logp_gold = logp_wrong.double(), logp_gold.double()
    largest = torch.maximum(logp_wrong, logp_gold)
    return largest.exp(), (logp_wrong - largest).exp(), (logp_gold - largest).exp()


def bias_attribution(
    wrong: Float[Tensor, "b *k d"], gold: Float[Tensor, "b *k d"], skill: float, clamp: bool
) -> Float[Tensor, "b *k d"]:
    """Eq. 2: A(yhat) minus the skill term, the gold option's attribution with negatives zeroed.

    Args:
        wrong: attributions of yhat, at each token or already reduced.
        gold: attributions of y.
        skill: weight of the skill term (lambda).
        clamp: whether negative attributions of y count as 0.
    """
    return torch.sub(wrong, gold.clamp(min=0) if clamp else gold, alpha=skill)


def reduce_tokens(
    bias: Float[Tensor, "b k d"], real: Bool[Tensor, "b k"], how: TokenReduction
) -> Float[Tensor, "b d"]:
    """Eq. 4, first line: reduce B over an instance's real tokens.

    Args:
        bias: B at every token.
        real: tokens that count; padding never does.
        how: the reduction; max in the paper.
    """
    if how in ("max", "prompt"):
        # Padding is excluded, not zeroed: 0 would beat a neuron that is negative everywhere.
        return bias.masked_fill(~real[..., None], -torch.inf).amax(1)
    if how == "quantile":
        ordered = bias.masked_fill(~real[..., None], torch.inf).sort(dim=1).values
        place = (QUANTILE * (real.sum(1) - 1)).long().clamp(min=0)
        return ordered.gather(1, place[:, None, None].expand(-1, 1, bias.shape[2]))[:, 0]
    total = (bias * real[..., None]).sum(1)
    return total / real.sum(1, keepdim=True) if how == "mean" else total


def last_token(real: Bool[Tensor, "b k"]) -> Bool[Tensor, "b k"]:
    """The last real token of each row, wherever the padding is."""
    return real & (real.long().flip(1).cumsum(1).flip(1) == 1)


def instance_weight(logp_wrong: Float[Tensor, " b"], how: InstanceWeight) -> Float[Tensor, " b"]:
    """alpha_j of the second version: the confusion P(yhat_j), or 1."""
    return logp_wrong.double().exp() if how == "confusion" else torch.ones_like(logp_wrong).double()


def ranks(scores: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
    """Ranks of each instance's neurons, from 0 (lowest score) to 1; ties by index."""
    order = scores.argsort(dim=1, stable=True)
    places = torch.arange(scores.shape[1], device=scores.device).expand_as(order)
    rank = torch.empty_like(order).scatter_(1, order, places)
    return rank.double() / max(1, scores.shape[1] - 1)


def over_instructions(
    sums: Float[Tensor, "i d"], counts: Int[Tensor, " i"], how: InstructionAggregate
) -> Float[Tensor, " d"]:
    """Eq. 4, second line: the mean over instances, then over instructions.

    Args:
        sums: sums of B over the instances under each instruction.
        counts: number of instances under each instruction.
        how: the aggregate over instructions; mean in the paper.
    """
    seen = counts > 0
    means = sums[seen] / counts[seen, None]
    return means.amax(0) if how == "max" else means.mean(0)
