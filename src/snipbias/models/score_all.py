"""Options of many queries scored, in batches and by all processes."""

from __future__ import annotations

from collections.abc import Sequence

from snipbias.base.parallel import workers
from snipbias.models.batching import FASTEST_TREE, BatchSize, Progress, run_batches, size_of
from snipbias.models.language_model import LanguageModel, Query
from snipbias.models.token_tree import reads_trees


def score_queries(
    lm: LanguageModel, queries: Sequence[Query], batch_size: BatchSize, progress: Progress
) -> list[list[float]]:
    """Log-probabilities of each query's options, in its order; alike prompts run together.

    Args:
        batch_size: prompts per pass, or `auto`; no result depends on it.
        progress: called with the number of prompts just done.
    """
    scores: dict[int, list[float]] = {}

    def keep(numbers: Sequence[int], logprobs: list[list[float]]) -> None:
        for number, row in zip(numbers, logprobs, strict=True):
            scores[number] = row[: len(queries[number].options)]

    run_batches(
        lm,
        queries,
        lambda batch: lm.score(batch, share_start=True).logprobs.tolist(),
        keep,
        size=size_of,
        alike=lm.alike,
        kind="answers",
        batch_size=batch_size,
        progress=progress,
        fastest=FASTEST_TREE if reads_trees(lm) else None,
    )
    every = workers().gather(scores)
    return [every[number] for number in range(len(queries))]
