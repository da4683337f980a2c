"""Texts and replies on which the edited model must predict what it predicted before."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from snipbias.method.learned.below import Below
from snipbias.models.language_model import LanguageModel, Query

LONGEST = 96  # tokens of a text


@dataclass(frozen=True)
class Anchor:
    """A text, and what the original model predicts at some of its tokens."""

    query: Query  # its beginning as the prompt, and the rest as the only option
    places: Int[Tensor, " places"]  # tokens of the rest whose predictions are compared
    before: Float[Tensor, "places vocabulary"]  # log-probabilities there, in half precision

    def moved(self, below: Below) -> Float[Tensor, ""]:
        """Mean KL(original || as it is now) in nats per token; differentiable."""
        with below.of(id(self)):
            after = predictions(below.lm, self.query, self.places)
        before = self.before.to(after.device, torch.float32)
        each = before.exp() * (before - after)
        return each.masked_fill(before.isneginf(), 0.0).sum(-1).mean()  # 0 log 0 is 0

    def surprise(self, below: Below) -> Float[Tensor, ""]:
        """Sum of -log P of the text's own tokens at those places; differentiable."""
        with below.of(id(self)):
            after = predictions(below.lm, self.query, self.places)
        tokens = torch.tensor(self.query.options[0], device=after.device)[self.places]
        return -after.gather(1, tokens[:, None]).sum()


def anchors(lm: LanguageModel, queries: Sequence[Query], positions: int, seed: int) -> list[Anchor]:
    """Record what the model, without factors, predicts on some texts.

    Args:
        queries: texts; their prompts and options are cut to `LONGEST` tokens each.
        positions: tokens of each option whose predictions are recorded, at most.
        seed: seed of their choice.
    """
    rng = random.Random(f"anchors {seed}")
    found = []
    with torch.no_grad():
        for query in queries:
            prompt, (text,) = query.prompt[-LONGEST:], query.options
            kept = Query(prompt, (text[:LONGEST],))
            length = len(kept.options[0])
            places = torch.tensor(sorted(rng.sample(range(length), min(positions, length))))
            found.append(Anchor(kept, places, predictions(lm, kept, places).half()))
    return found


def chat_queries(lm: LanguageModel, prompts: Sequence[str], tokens: int = 16) -> list[Query]:
    """Requests, each with the start of the model's own greedy reply.

    Args:
        prompts: the requests; those with an empty reply are left out.
        tokens: length of a reply, at most.
    """
    # `generate` writes slightly more tokens than the longest option has.
    asked = [lm.query(prompt, [prompt]) for prompt in prompts]
    room = [Query(query.prompt, (tuple([0] * tokens),)) for query in asked]
    replies = lm.generate(room)
    return [
        lm.query(prompt, [reply]) for prompt, reply in zip(prompts, replies, strict=True) if reply
    ]


def predictions(
    lm: LanguageModel, query: Query, places: Int[Tensor, " places"]
) -> Float[Tensor, "places vocabulary"]:
    """Next-token log-probabilities at some tokens of a query's only option, in float32.

    Args:
        query: a prompt with one option.
        places: indices of the option's tokens that are predicted.
    """
    (text,) = query.options
    lm.passes["forward"] += 1
    if lm.is_encoder_decoder:
        logits = lm.model(
            input_ids=torch.tensor([query.prompt], device=lm.device),
            decoder_input_ids=torch.tensor([[lm.start_token, *text[:-1]]], device=lm.device),
        ).logits[0, places]
        return logits.float().log_softmax(-1)
    ids = torch.tensor([[*query.prompt, *text[:-1]]], device=lm.device)
    at = (places + len(query.prompt) - 1).to(lm.device)
    picks = bool(lm.last_logits_only)
    more = {"logits_to_keep": at} if picks else {}
    logits = lm.model(input_ids=ids, use_cache=False, **more).logits[0]
    return (logits if picks else logits[at]).float().log_softmax(-1)
