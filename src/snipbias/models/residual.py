"""The residual stream at the start of the answer, after each transformer block."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from snipbias.base.parallel import workers
from snipbias.models.backbone import Query
from snipbias.models.batching import FASTEST_TREE, BatchSize, Progress, run_batches, size_of
from snipbias.models.language_model import LanguageModel
from snipbias.models.token_tree import TokenTree, reads_trees

Logprobs = list[list[float]]


def states(
    lm: LanguageModel,
    queries: Sequence[Query],
    *,
    batch_size: BatchSize = "auto",
    progress: Progress = lambda done: None,
) -> tuple[Float[np.ndarray, "layers queries d"], Logprobs]:
    """The residual stream after each block, at the prompt's last token (or the start token).

    Args:
        lm: the model.
        queries: the prompts; an option of one token costs no more than none.
        batch_size: prompts per pass, or `auto`; results do not depend on it.
        progress: called with the number of prompts just done.

    Returns:
        The stream, and from the same passes the log-probabilities of each query's options.
    """
    found: dict[int, tuple[Tensor, list[float]]] = {}
    is_tree = reads_trees(lm)

    def do(batch: Sequence[Query]) -> tuple[Float[Tensor, "b layers d"], Logprobs]:
        first: dict[int, Tensor] = {}
        blocks = (name for name, _ in lm.blocks("decoder"))
        hooks = [(name, partial(_keep_first, first, n)) for n, name in enumerate(blocks)]
        with lm.hooked(hooks):
            if is_tree:
                lm.passes["forward"] += len(batch)
                tree = TokenTree.of(batch, lm.device)
                logprobs, last = tree.score(lm), tree.ends
                rows = torch.zeros_like(last)
            else:
                scored = lm.score(batch)
                logprobs, last = scored.logprobs, _last(scored.prefix_mask)
                last = torch.zeros_like(last) if lm.is_encoder_decoder else last
                rows = torch.arange(len(batch))
        kept = [first[number] for number in sorted(first)]
        streams = torch.stack([h[rows, last.to(h.device)].float().cpu() for h in kept], 1)
        given = zip(logprobs.tolist(), batch, strict=True)
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
            fastest=FASTEST_TREE if is_tree else None,
        )
    every = workers().gather(found)
    streams, logprobs = zip(*(every[number] for number in range(len(queries))), strict=True)
    return torch.stack(streams, 1).numpy(), list(logprobs)


def _last(mask: Float[Tensor, "b s"]) -> Int[Tensor, " b"]:
    """The last real token of each row, whichever side is padded."""
    return (mask * torch.arange(mask.shape[1], device=mask.device)).argmax(1)


def _keep_first(
    into: dict[int, Tensor], number: int, module: nn.Module, args: object, output: Any
) -> None:
    hidden = output[0] if isinstance(output, (tuple, list)) else output
    if hidden.ndim == 4:  # Gemma 3n has several streams, of which the first is the main one
        hidden = hidden[0]
    into.setdefault(number, hidden)
