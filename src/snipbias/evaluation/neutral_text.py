"""Neutral text and chat answers: how well a model predicts them and how far an edit moves it."""

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
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.given import Intervention
from snipbias.edits.provenance import weights_unchanged
from snipbias.evaluation.bootstrap import Draws
from snipbias.evaluation.interval import Ends, Interval
from snipbias.models.batching import Progress, run_batches
from snipbias.models.fingerprint import Weights
from snipbias.models.language_model import LanguageModel, Query
from snipbias.models.score_all import ask, keep, keys_of, known, state_of

# In docs/results.md, edits up to here left a model that still answers; those beyond wrecked it.
PERPLEXITY_RATIO = 2.0
# A guess among all tokens of a vocabulary has about this perplexity: an original that is worse was
# never taught such text, and how much worse an edit makes it says nothing. KL still does.
GUESSING = 50_000
# So many tokens of the original's own answer to a request are read again under each edit.
ANSWER_TOKENS = 32
# So many times the original's perplexity, a figure says no more than that.
WRECKED = 1000
# On text drawn from the original, log perplexity rises by KL(original || edited): it has the same
# bound. It also serves where the original's own perplexity is so high that a ratio says little.
KL_PER_TOKEN = math.log(PERPLEXITY_RATIO)
Text = str | Query


class Passage(NamedTuple):
    """One passage's sums over its predicted tokens: what an interval over passages is made of."""

    tokens: int
    nll: float
    kl: float


@dataclass(frozen=True)
class TextShift:
    """Figures on neutral text, or on the original's own answers to requests.

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
    texts: Sequence[Text],
    edits: Sequence[Intervention] = (),
    *,
    progress: Progress = lambda done: None,
) -> list[TextShift]:
    """How far each edit moves the predictions along texts.

    A decoder-only model predicts each token of a passage from those before it; an encoder-decoder
    reads a passage's first half and predicts its second. Of a request, the answer is predicted.

    Args:
        lm: the model.
        texts: passages, or requests with the answers that `chat_answers` returns.
        edits: each is applied alone.
        progress: called with the number of texts just done, each counted per model.

    Returns:
        The original model's figures (KL 0), then each edit's.

    Raises:
        SnipbiasError: all texts are too short to predict anything.
    """
    with lm.frozen(), weights_unchanged(lm), torch.inference_mode():
        weights: Weights = {}
        states = []
        for edit in (None, *edits):
            same = edit is None or isinstance(edit, NeuronEdit)  # others may write to the weights
            with nullcontext() if edit is None else edit.applied(lm):
                states.append(state_of(lm, weights if same else None))
        keys = [keys_of(state and states[0] and states[0] + state, texts) for state in states]
        kept = [{n: Passage(*sums) for n, sums in known(some).items()} for some in keys]
        done = [n for n in range(len(texts)) if all(n in sums for sums in kept)]
        left = [n for n in range(len(texts)) if n not in done]
        found: dict[int, list[Passage]] = {}
        if done:
            progress(len(done) * len(states))
        for numbers, measured in run_batches(
            lm,
            left,
            lambda n: _passages(lm, texts[n[0]], edits, [sums.get(n[0]) for sums in kept]),
            size=lambda n: job.size if isinstance(job := texts[n], Query) else (len(job), 0),
            kind="answers",
            batch_size=1,  # each token's whole distribution is kept, and compared with the edits'
            progress=lambda done: progress(done * len(states)),
        ):
            number = left[numbers[0]]
            found[number] = measured
            new = zip(keys, measured, strict=False)  # nothing is measured of too short a text
            keep({of_method[number]: sums for of_method, sums in new})
    every = {n: [sums[n] for sums in kept] for n in done} | workers().gather(found)
    measured = [every[number] for number in range(len(texts))]
    if not any(measured):
        raise SnipbiasError("no passage of the text is long enough to predict: give longer ones.")
    return [TextShift.of([p[n] for p in measured if p]) for n in range(1 + len(edits))]


def chat_answers(
    lm: LanguageModel, requests: Sequence[str], *, progress: Progress = lambda done: None
) -> list[Query]:
    """Let the original model answer requests.

    Args:
        lm: the model.
        requests: the requests, without a chat template.
        progress: called with the number of requests just answered.

    Returns:
        The requests, each with the first `ANSWER_TOKENS` tokens of its greedy answer as an option.
    """
    asked = [lm.request(text, ANSWER_TOKENS) for text in requests]
    with lm.frozen(), torch.inference_mode():
        written = ask(
            lm,
            asked,
            lambda batch: lm.written(batch, [ANSWER_TOKENS] * len(batch)),
            "writing",
            progress=progress,
            size=lambda query: (len(query.prompt), ANSWER_TOKENS),
            how=ANSWER_TOKENS,
        )
    return [Query(query.prompt, (tuple(written[i]),)) for i, query in enumerate(asked)]


def _passages(
    lm: LanguageModel, job: Text, edits: Sequence[Intervention], kept: Sequence[Passage | None]
) -> list[Passage]:
    """The sums of one passage for the original and each edit; empty if it is too short."""

    def read() -> tuple[Tensor, Tensor]:
        return lm.text_logprobs(job) if isinstance(job, str) else lm.answer_logprobs(job)

    original, targets = read()
    found = []
    for edit, sums in zip((None, *edits), kept, strict=True) if len(targets) else ():
        if sums is None:
            with nullcontext() if edit is None else edit.applied(lm):
                edited = original if edit is None else read()[0]
            nll = -float(edited.gather(1, targets[:, None]).double().sum())
            sums = Passage(len(targets), nll, float(divergence(original, edited).sum()))
        found.append(sums)
    return found


def guesses(perplexity: float) -> bool:
    """Whether a model guesses at neutral text, so that a change of its perplexity says nothing."""
    return perplexity > GUESSING


def perplexity_cell(now: float | None, before: float | None) -> str:
    """A perplexity in a table; a dash where the original guesses, and no figure beyond `WRECKED`.

    Above that it tells one wreck from another by chance.
    """
    if now is None or before is None or guesses(before):
        return "-"
    return f"{now:.4g}" if now < WRECKED * before else f"> {WRECKED:,} x"


def ratio_in_words(now: float | None, before: float | None) -> str:
    """A perplexity relative to the original's, as far as it means something."""
    if now is None or before is None or guesses(before):
        return "-"
    return f"perplexity x {now / before:.3g}" if now < WRECKED * before else "wrecked"


def perplexity_ratio(edited: TextShift, original: TextShift) -> Interval | None:
    """Perplexity divided by the original's on the same passages, which are the clusters drawn.

    None with a single passage, or where a perplexity is not finite.

    Raises:
        SnipbiasError: the passages differ.
    """
    if [p.tokens for p in edited.passages] != [p.tokens for p in original.passages]:
        raise SnipbiasError("the perplexities are of different texts: measure both on one text.")
    more = [p.nll - q.nll for p, q in zip(edited.passages, original.passages, strict=True)]
    log = _per_token(more, edited, (-KL_PER_TOKEN, KL_PER_TOKEN))
    if log is None:
        return None
    estimate, low, high = map(_exp, (log.estimate, log.low, log.high))
    exact, ends = (pair and (_exp(pair[0]), _exp(pair[1])) for pair in (log.exact, log.ends))
    return replace(log, estimate=estimate, low=low, high=high, exact=exact, ends=ends)


def kl_interval(shift: TextShift) -> Interval | None:
    """Mean KL per token from the original, in nats; clusters and None as in `perplexity_ratio`."""
    kl = _per_token([p.kl for p in shift.passages], shift, (0.0, KL_PER_TOKEN))
    return kl and replace(kl, low=max(kl.low, 0.0))


def _per_token(sums: Sequence[float], shift: TextShift, ends: Ends) -> Interval | None:
    """Interval of the sums of the passages, divided by the passages' tokens.

    No passage is so bad that none is worse, so the exact bounds are of figures cut off at `ends`.
    """
    if len(sums) < 2 or not np.isfinite(sums).all():
        return None
    number = np.arange(len(sums))
    draws = Draws.of(number, np.zeros_like(number))
    tokens = np.array([[float(p.tokens)] for p in shift.passages])
    found = draws.interval(draws.totals(np.array(sums)[:, None]) / draws.totals(tokens))
    if found is None:
        return None
    each = np.clip(np.array(sums) / tokens[:, 0], *ends)
    return replace(found.with_exact(each, tokens[:, 0], ends), unit="passage")


def divergence(original: Float[Tensor, "t v"], edited: Float[Tensor, "t v"]) -> Float[Tensor, " t"]:
    """KL(original || edited) of each position's next-token distribution, in nats."""
    each = original.exp() * (original - edited)
    return each.masked_fill(original.isneginf(), 0.0).double().sum(1)  # 0 log 0 is 0


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf
