"""Ask a model questions, and read answers from the cache if they were asked before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from snipbias.base import answers
from snipbias.base.parallel import workers
from snipbias.models.batching import BatchSize, Kind, Progress, run_batches
from snipbias.models.fingerprint import Weights, fingerprint
from snipbias.models.language_model import LanguageModel, Query


def score_queries(
    lm: LanguageModel,
    queries: Sequence[Query],
    batch_size: BatchSize,
    progress: Progress,
    weights: Weights | None = None,
) -> list[list[float]]:
    """Log-probabilities of each query's options, in order; similar prompts run together.

    Args:
        queries: prompts and options.
        batch_size, progress, weights: see `ask`.
    """

    def score(batch: Sequence[Query]) -> list[list[float]]:
        logprobs = lm.score(batch, share_start=True).logprobs.tolist()
        return [row[: len(query.options)] for query, row in zip(batch, logprobs, strict=True)]

    return ask(lm, queries, score, "answers", batch_size, progress, weights, alike=lm.alike())


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
    batch_size: BatchSize,
    progress: Progress,
    weights: Weights | None = None,
    *,
    alike: Callable[[Query], Any] | None = None,
    size: Callable[[Query], tuple[int, int]] = attrgetter("size"),
    how: Any = None,
) -> list[Any]:
    """An answer for each query; new ones are cached after each batch, so a crash loses one batch.

    Args:
        queries: prompts and options.
        answer: returns a batch's answers as plain values, which must depend only on the model,
            `kind`, `how` and the query.
        kind: kind of pass; see `run_batches`.
        batch_size: prompts per pass, or `auto`; results do not depend on it.
        progress: called with the number of prompts just done.
        weights: see `fingerprint`.
        alike, size: see `run_batches`.
        how: anything else that answers depend on.
    """
    keys = keys_of(state_of(lm, weights), ((kind, how, query) for query in queries))
    found = known(keys)
    open_ = [number for number in range(len(queries)) if number not in found]
    if found:
        progress(len(found))
        if kind == "answers" and workers().rank == 0:
            lm.passes["forward"] += len(found)  # a cost does not depend on what was cached
    new: dict[int, Any] = {}

    how_run: Any = {"kind": kind, "batch_size": batch_size, "progress": progress}
    asked = [queries[number] for number in open_]
    for numbers, given in run_batches(lm, asked, answer, size=size, alike=alike, **how_run):
        batch = {open_[n]: one for n, one in zip(numbers, given, strict=True)}
        new.update(batch)
        keep({keys[n]: one for n, one in batch.items()})
    every = {**found, **workers().gather(new)}
    return [every[number] for number in range(len(queries))]
