"""Queries of unequal length, for every family."""

from __future__ import annotations

import random

import torch

import reference
from snipbias.models.language_model import LanguageModel, Query


def plain(lm: LanguageModel, queries: list[Query]) -> torch.Tensor:
    """The plain model's log-probabilities, one option at a time; -inf where there is none."""
    most = max(len(query.options) for query in queries)
    rows = torch.full((len(queries), most), -torch.inf)
    for b, query in enumerate(queries):
        for c, option in enumerate(query.options):
            rows[b, c] = reference.option_logprob(lm, query, option)
    return rows


def make_queries(seed: int = 0) -> list[Query]:
    """Prompts of 1 to 60 tokens with 2 to 5 options of 1 to 6 tokens, ids other than special."""
    rng = random.Random(seed)

    def ids(length: int) -> tuple[int, ...]:
        return tuple(rng.randrange(4, 64) for _ in range(length))

    lengths = [(60, [1, 6]), (3, [6, 1, 2]), (17, [1, 1, 1, 1, 1]), (1, [4, 5]), (30, [1, 6, 2, 3])]
    return [Query(ids(n), tuple(ids(k) for k in options)) for n, options in lengths]


STARTS_SHARED = ["gpt-neox", "llama", "llama-bias", "qwen2", "qwen3", "phi3"]
