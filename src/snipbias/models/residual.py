"""The residual stream at the start of the answer, after each transformer block."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from snipbias.base.parallel import workers
from snipbias.models.backbone import Query
from snipbias.models.batching import BatchSize, Progress, run_batches, size_of
from snipbias.models.language_model import LanguageModel
from snipbias.models.token_tree import TokenTree, reads_trees

Logprobs = list[list[float]]


class _EnoughError(Exception):
    """The pass has read what is asked of it."""


def states(
    lm: LanguageModel,
    queries: Sequence[Query],
    *,
    blocks: int | None = None,
    batch_size: BatchSize = "auto",
    progress: Progress = lambda done: None,
) -> tuple[Float[np.ndarray, "layers queries d"], Logprobs]:
    """The residual stream after each block, at the prompt's last token (or the start token).

    Args:
        lm: the model.
        queries: the prompts; an option of one token costs no more than none.
        blocks: read the first so many blocks only, and no option.
        batch_size, progress: see `run_batches`.

    Returns:
        The stream, and from the same passes the log-probabilities of each query's options.
    """
    found: dict[int, tuple[Tensor, list[float]]] = {}
    names = [name for name, _ in lm.blocks("decoder")][:blocks]
    is_tree = reads_trees(lm)

    def do(batch: Sequence[Query]) -> tuple[Float[Tensor, "b layers d"], Logprobs]:
        tree = TokenTree.of(batch, lm.device) if is_tree else None
        at = _before_answers(lm, batch) if tree is None else (0, tree.ends)
        read: dict[str, Tensor] = {}
        last = None if blocks is None else names[-1]
        hooks = [(name, partial(_keep_first, read, at, name, name == last)) for name in names]
        logprobs: Logprobs = [[] for _ in batch]
        with lm.hooked(hooks), suppress(_EnoughError):
            scored = lm.score(batch).logprobs if tree is None else tree.score(lm)
            logprobs = scored.tolist()
        if tree is not None:
            lm.passes["forward"] += len(batch)
        given = zip(logprobs, batch, strict=True)
        streams = torch.stack([read[name] for name in names], 1)
        return streams, [row[: len(query.options)] for row, query in given]

    def keep(numbers: Sequence[int], values: tuple[Tensor, Logprobs]) -> None:
        found.update(zip(numbers, zip(*values, strict=True), strict=True))

    with torch.inference_mode(), lm.frozen():
        run_batches(
            lm,
            queries,
            do,
            keep,
            size=size_of,
            alike=lm.alike() if is_tree else None,
            kind="activations",
            batch_size=batch_size,
            progress=progress,
        )
    every = workers().gather(found)
    streams, logprobs = zip(*(every[number] for number in range(len(queries))), strict=True)
    return torch.stack(streams, 1).numpy(), list(logprobs)


def _before_answers(
    lm: LanguageModel, batch: Sequence[Query]
) -> tuple[Int[Tensor, " b"], Int[Tensor, " b"]]:
    """Row and column, in the first pass over a batch, of the token before each answer."""
    rows = torch.arange(len(batch))
    if lm.reads_whole:  # a row per option, padded on the right
        options = torch.tensor([len(query.options) for query in batch])
        return options.cumsum(0) - options, torch.tensor([len(q.prompt) - 1 for q in batch])
    return rows, torch.full_like(rows, 0 if lm.is_encoder_decoder else -1)


def _keep_first(
    into: dict[str, Tensor],
    at: tuple[Any, Tensor],
    name: str,
    is_last: bool,
    module: nn.Module,
    args: object,
    output: Any,
) -> None:
    hidden = output[0] if isinstance(output, (tuple, list)) else output
    if hidden.ndim == 4:  # Gemma 3n has several streams, of which the first is the main one
        hidden = hidden[0]
    if name not in into:  # options may follow in a pass of their own
        into[name] = hidden[at].float().cpu()
    if is_last:
        raise _EnoughError
