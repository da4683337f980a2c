"""Ask a model questions, and read answers from the cache if they were asked before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from snipbias.base import answers
from snipbias.base.parallel import workers
from snipbias.models.batching import Kind, Progress, run_batches
from snipbias.models.fingerprint import Weights, fingerprint
from snipbias.models.language_model import LanguageModel, Query


def score_queries(
    lm: LanguageModel, queries: Sequence[Query], *, weights: Weights | None = None, **run: Any
) -> list[list[float]]:
    """Log-probabilities of each query's options, in order; similar prompts run together.

    Args:
        queries: prompts and options.
        weights, run: as in `ask`.
    """

    def score(batch: Sequence[Query]) -> list[list[float]]:
        logprobs = lm.score(batch, share_start=True).logprobs.tolist()
        return [row[: len(query.options)] for query, row in zip(batch, logprobs, strict=True)]

    return ask(lm, queries, score, "answers", weights=weights, alike=lm.alike(), **run)


def keys_of(state: str | None, questions: Iterable[Any]) -> list[str | None]:
    """Cache keys: a hash of the model's fingerprint and the whole question."""
    if state is None or not answers.on():
        return [None for _ in questions]
    return [hashlib.sha256(f"{state} {asked!r}".encode()).hexdigest() for asked in questions]


def state_of(lm: LanguageModel, weights: Weights | None = None) -> str | None:
    """The main process's `fingerprint` of the model; None if answers are not cached."""
    return workers().from_main(lambda: fingerprint(lm, weights) if answers.on() else None)


def known(keys: Sequence[str | None]) -> dict[int, Any]:
    """Cached answers by question number; the same in every process."""

    def read() -> dict[int, Any]:
        found = answers.known(key for key in keys if key)
        return {n: json.loads(found[key]) for n, key in enumerate(keys) if key in found}

    return workers().from_main(read)


def keep(new: Mapping[str | None, Any]) -> None:
    """Cache answers by key; those without a key are not cached."""
    answers.keep({key: json.dumps(answer) for key, answer in new.items() if key})


def ask(
    lm: LanguageModel,
    queries: Sequence[Query],
    answer: Callable[[Sequence[Query]], list[Any]],
    kind: Kind,
    *,
    weights: Weights | None = None,
    how: Any = None,
    progress: Progress = lambda done: None,
    **run: Any,
) -> list[Any]:
    """An answer for each query; new ones are cached after each batch, so a crash loses one batch.

    Args:
        queries: prompts and options.
        answer: returns a batch's answers as plain values, which must depend only on the model,
            `kind`, `how` and the query.
        kind: kind of pass; see `run_batches`.
        weights: see `fingerprint`.
        how: anything else that answers depend on.
        progress: called with the number of prompts just done.
        run: other keywords of `run_batches`.
    """
    keys = keys_of(state_of(lm, weights), ((kind, how, query) for query in queries))
    found = known(keys)
    left = [number for number in range(len(queries)) if number not in found]
    if found:
        progress(len(found))
        if kind == "answers" and workers().rank == 0:
            lm.passes["forward"] += len(found)  # a cost does not depend on what was cached
    new: dict[int, Any] = {}
    asked = [queries[number] for number in left]
    for numbers, given in run_batches(lm, asked, answer, kind=kind, progress=progress, **run):
        batch = {left[n]: one for n, one in zip(numbers, given, strict=True)}
        new.update(batch)
        keep({keys[n]: one for n, one in batch.items()})
    every = {**found, **workers().gather(new)}
    return [every[number] for number in range(len(queries))]
