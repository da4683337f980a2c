"""The residual stream at the start of the answer, after each transformer block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from snipbias.models.backbone import Query
from snipbias.models.batching import one_each
from snipbias.models.language_model import LanguageModel
from snipbias.models.token_tree import TokenTree, reads_trees

Logprobs = list[list[float]]


class _EnoughError(Exception):
    """The pass has read what is asked of it."""


def _enough(*_: object) -> None:
    raise _EnoughError


def states(
    lm: LanguageModel, queries: Sequence[Query], *, blocks: int | None = None, **run: Any
) -> tuple[Float[np.ndarray, "layers queries d"], Logprobs]:
    """The residual stream after each block, at the prompt's last token (or the start token).

    Args:
        queries: the prompts; an option of one token costs no more than none.
        blocks: read the first so many blocks only, and no option.
        run: `batch_size` and `progress`; see `run_batches`.

    Returns:
        The stream, and from the same passes the log-probabilities of each query's options.
    """
    names = [name for name, _ in lm.blocks("decoder")][:blocks]
    is_tree = reads_trees(lm)

    def do(batch: Sequence[Query]) -> Iterator[tuple[Float[Tensor, "layers d"], list[float]]]:
        tree = TokenTree.of(batch, lm.device) if is_tree else None
        # Row and column, in the first pass, of the token before each answer.
        if tree is not None:
            at = 0, tree.ends
        elif lm.reads_whole:  # a row per option, padded on the right
            counts = torch.tensor([len(query.options) for query in batch])
            at = counts.cumsum(0) - counts, torch.tensor([len(q.prompt) - 1 for q in batch])
        else:
            at = torch.arange(len(batch)), 0 if lm.is_encoder_decoder else -1
        read: dict[str, Tensor] = {}

        def keep_first(name: str, module: nn.Module, args: object, output: Any) -> None:
            hidden = output[0] if isinstance(output, (tuple, list)) else output
            if hidden.ndim == 4:  # Gemma 3n has several streams, of which the first is the main one
                hidden = hidden[0]
            if name not in read:  # options may follow in a pass of their own
                read[name] = hidden[at].float().cpu()

        hooks: list[tuple[str, Any]] = [(name, partial(keep_first, name)) for name in names]
        if blocks is not None:
            hooks.append((names[-1], _enough))
        logprobs: Logprobs = [[] for _ in batch]
        with lm.hooked(hooks), suppress(_EnoughError):
            scored = lm.score(batch).logprobs if tree is None else tree.score(lm)
            logprobs = scored.tolist()
        if tree is not None:
            lm.passes["forward"] += len(batch)
        streams = torch.stack([read[name] for name in names], 1)
        given = [row[: len(query.options)] for row, query in zip(logprobs, batch, strict=True)]
        return zip(streams, given, strict=True)

    alike = lm.alike() if is_tree else None
    with torch.inference_mode(), lm.frozen():
        found = one_each(lm, queries, do, alike=alike, kind="activations", **run)
    streams, logprobs = zip(*found, strict=True)
    return torch.stack(streams, 1).numpy(), list(logprobs)
