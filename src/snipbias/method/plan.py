"""The objectives that are differentiated in a scored batch, and how they become scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from snipbias.method import equations as crispr
from snipbias.method.equations import TokenReduction
from snipbias.models.scoring import Scored

# What is reduced over tokens: values [B, K, D], and which of their tokens count [B, K].
Track = tuple[Float[Tensor, "b _ d"], Bool[Tensor, "b _"]]


@dataclass(frozen=True)
class Objective:
    """One objective that is differentiated."""

    value: Float[Tensor, " b"]  # one number per instance, whose gradients must fit into float32
    rows: Int[Tensor, "b m"]  # the options' rows that it reads, per instance; -1 for none


@dataclass(frozen=True)
class BackwardPlan:
    """How a scored batch of B instances is differentiated and reduced."""

    objectives: tuple[Objective, ...]
    # Maps all terms' attributions, at each token [B, K, D] or reduced [B, D], to a score like one.
    combine: Callable[..., Tensor]
    tokens: TokenReduction  # how an instance's token scores become one
    factor: Float[Tensor, " b"]  # factor on each instance's score, in float64
    apart: bool = False  # reduce each term over its own tokens, then combine them

    def tracks(self, attributions: Sequence[Tensor]) -> list[Tensor]:
        """The values to reduce over tokens: each term, or their combination."""
        return list(attributions) if self.apart else [self.combine(*attributions)]

    def score(self, tracks: Sequence[Track]) -> Float[Tensor, "b d"]:
        """One number per instance."""
        reduced = [crispr.reduce_tokens(*track, self.tokens) for track in tracks]
        return self.combine(*reduced) if self.apart else reduced[0]

    def real_answer(self, scored: Scored, whole: bool) -> list[Bool[Tensor, "b t"]]:
        """Which of the answer's positions count, for each track.

        Positions align from the first answer token. A separate term counts the positions of the
        options that it reads. The maximum over combined terms counts those of the last term, yhat:
        beyond its end there is no bias, and a 0 would beat a neuron that is negative everywhere.

        Args:
            scored: the batch's options.
            whole: whether each option is read after its own copy of the prompt, which counts too.
        """
        read = [
            ((term.rows >= 0)[..., None] & scored.options_mask[term.rows]).any(1)
            for term in self.objectives
        ]
        if self.tokens in ("last", "prompt"):
            prompt = scored.prefix_mask
            real = crispr.last_token(prompt) if self.tokens == "last" else prompt
            read = [real if whole else torch.zeros_like(there) for there in read]
        if self.apart:
            return read
        return read[-1:] if self.tokens in ("max", "quantile") else [torch.stack(read).any(0)]


def behind_each_other(first: Sequence[Track], then: Sequence[Track]) -> list[Track]:
    """Concatenate the tracks of two segments along the tokens."""
    return [
        (torch.cat([values, more], 1), torch.cat([real, more_real], 1))
        for (values, real), (more, more_real) in zip(first, then, strict=True)
    ]
