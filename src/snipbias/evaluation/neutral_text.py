"""Neutral text: how well a model still predicts it, and how far it moved from the original."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from snipbias.base.errors import SnipbiasError
from snipbias.base.parallel import workers
from snipbias.edits.interventions import Intervention
from snipbias.evaluation.bootstrap import Draws
from snipbias.evaluation.stats import RESAMPLES, Interval, from_figures, in_words, stays_below
from snipbias.models.batching import Progress, run_batches
from snipbias.models.language_model import LanguageModel


class Passage(NamedTuple):
    """One passage's sums over its predicted tokens: what an interval over passages is made of."""

    tokens: int
    nll: float
    kl: float


@dataclass(frozen=True)
class TextShift:
    """Figures on neutral text.

    Attributes:
        perplexity: exp of the mean negative log-likelihood of a token.
        kl_per_token: mean KL(original || this model) of the next-token distribution, in nats.
        tokens: number of tokens that were predicted.
        passages: the sums of each passage of which something was predicted, in their order.
    """

    perplexity: float
    kl_per_token: float
    tokens: int
    passages: tuple[Passage, ...] = ()

    @classmethod
    def of(cls, passages: Sequence[Passage]) -> TextShift:
        """The figures that the sums of the passages add up to."""
        tokens = sum(passage.tokens for passage in passages)
        nll = sum(passage.nll for passage in passages) / tokens
        kl = sum(passage.kl for passage in passages) / tokens
        return cls(_exp(nll), kl, tokens, tuple(passages))


def text_shifts(
    lm: LanguageModel,
    texts: Sequence[str],
    edits: Sequence[Intervention] = (),
    *,
    progress: Progress = lambda done: None,
) -> list[TextShift]:
    """The original model's figures (KL 0), then each edit's.

    A decoder-only model predicts each token of a passage from those before it; an encoder-decoder
    reads a passage's first half and predicts its second.
    """
    found: dict[int, list[Passage]] = {}
    with lm.frozen(), torch.inference_mode():
        run_batches(
            lm,
            texts,
            lambda text: _passages(lm, text[0], edits),
            lambda numbers, measured: found.update({numbers[0]: measured}),
            size=lambda text: (len(text), 0),
            kind="answers",
            batch_size=1,  # each token's whole distribution is kept, and compared with the edits'
            progress=lambda done: progress(done * (1 + len(edits))),
        )
    every = workers().gather(found)
    measured = [every[number] for number in range(len(texts))]
    sums = [[one[method] for one in measured if one] for method in range(1 + len(edits))]
    if not sums[0]:
        raise SnipbiasError("no passage of the text is long enough to predict: give longer ones.")
    return [TextShift.of(passages) for passages in sums]


def _passages(lm: LanguageModel, text: str, edits: Sequence[Intervention]) -> list[Passage]:
    """The sums of one passage for the original and each edit; empty if it is too short."""
    original, targets = lm.text_logprobs(text)
    found = []
    for edit in (None, *edits) if len(targets) else ():
        with nullcontext() if edit is None else edit.applied(lm):
            edited = original if edit is None else lm.text_logprobs(text)[0]
        nll = -float(edited.gather(1, targets[:, None]).double().sum())
        found.append(Passage(len(targets), nll, float(divergence(original, edited).sum())))
    return found


def perplexity_ratio(
    edited: TextShift,
    original: TextShift,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval | None:
    """Perplexity divided by the original's on the same passages, which are the clusters drawn.

    None with a single passage, or where a perplexity is not finite.
    """
    if [p.tokens for p in edited.passages] != [p.tokens for p in original.passages]:
        raise SnipbiasError("the perplexities are of different texts: measure both on one text.")
    more = [p.nll - q.nll for p, q in zip(edited.passages, original.passages, strict=True)]
    log = _per_token(more, edited, level, resamples, seed)
    if log is None:
        return None
    return replace(log, estimate=_exp(log.estimate), low=_exp(log.low), high=_exp(log.high))


def kl_interval(
    shift: TextShift, *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> Interval | None:
    """Mean KL from the original of a token, in nats; clusters and None as `perplexity_ratio`."""
    kl = _per_token([p.kl for p in shift.passages], shift, level, resamples, seed)
    return kl and replace(kl, low=max(kl.low, 0.0))


def perplexity_kept(ratio: Interval | None, margin: float) -> str:
    """Whether perplexity is, with confidence, not up by more than a share of it, in words."""
    kept = stays_below(ratio, 1 + margin)
    shown = ratio and f"x {ratio.estimate:.4g} [{ratio.low:.4g}, {ratio.high:.4g}]"
    return in_words(f"raised by more than {100 * margin:.1f} %", kept, shown)


def kl_kept(kl: Interval | None, margin: float) -> str:
    """Whether the model is, with confidence, off by less than so many nats a token, in words."""
    kept = stays_below(kl, margin)
    shown = kl and str(kl)
    return in_words(f"off by more than {margin:.3g} nats a token", kept, shown)


def _per_token(
    sums: Sequence[float], shift: TextShift, level: float, resamples: int, seed: int
) -> Interval | None:
    """Interval of the sums of the passages, divided by the passages' tokens."""
    if len(sums) < 2 or not np.isfinite(sums).all():
        return None
    number = np.arange(len(sums))
    draws = Draws.of(number, np.zeros_like(number), resamples=resamples, seed=seed)
    tokens = np.array([[float(p.tokens)] for p in shift.passages])
    figures = draws.totals(np.array(sums)[:, None]) / draws.totals(tokens)
    return from_figures(figures, draws, level)


def divergence(original: Float[Tensor, "t v"], edited: Float[Tensor, "t v"]) -> Float[Tensor, " t"]:
    """KL(original || edited) of each position's next-token distribution, in nats."""
    each = original.exp() * (original - edited)
    return each.masked_fill(original.isneginf(), 0.0).double().sum(1)  # 0 log 0 is 0


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf
