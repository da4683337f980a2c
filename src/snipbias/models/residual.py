"""The residual stream at the start of the answer, after each transformer block."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from snipbias.base.parallel import workers
from snipbias.models.backbone import Query
from snipbias.models.batching import BatchSize, Progress, run_batches, size_of
from snipbias.models.language_model import LanguageModel


def states(
    lm: LanguageModel,
    queries: Sequence[Query],
    *,
    batch_size: BatchSize = "auto",
    progress: Progress = lambda done: None,
) -> Float[np.ndarray, "layers queries d"]:
    """The residual stream after each block, at the prompt's last token (or the start token).

    Args:
        lm: the model.
        queries: the prompts.
        batch_size: prompts per pass, or `auto`; results do not depend on it.
        progress: called with the number of prompts just done.
    """
    prompts = [Query(query.prompt, (query.options[0][:1],)) for query in queries]
    found: dict[int, Tensor] = {}

    def do(batch: Sequence[Query]) -> Float[Tensor, "b layers d"]:
        first: dict[int, Tensor] = {}
        handles = [
            block.register_forward_hook(partial(_keep_first, first, number))
            for number, (_, block) in enumerate(lm.blocks("decoder"))
        ]
        try:
            mask = lm.score(batch).prefix_mask
        finally:
            for handle in handles:
                handle.remove()
        last = (mask * torch.arange(mask.shape[1], device=mask.device)).argmax(1)
        if lm.is_encoder_decoder:
            last = torch.zeros_like(last)
        rows = torch.arange(len(batch))
        kept = [first[number] for number in sorted(first)]
        return torch.stack([h[rows, last.to(h.device)].float().cpu() for h in kept], 1)

    def keep(numbers: Sequence[int], values: Float[Tensor, "b layers d"]) -> None:
        found.update(zip(numbers, values.unbind(), strict=True))

    with torch.inference_mode(), lm.frozen():
        run_batches(
            lm,
            prompts,
            do,
            keep,
            size=size_of,
            kind="activations",
            batch_size=batch_size,
            progress=progress,
        )
    every = workers().gather(found)
    return torch.stack([every[number] for number in range(len(queries))], 1).numpy()


def _keep_first(
    into: dict[int, Tensor], number: int, module: nn.Module, args: object, output: Any
) -> None:
    hidden = output[0] if isinstance(output, (tuple, list)) else output
    if hidden.ndim == 4:  # Gemma 3n has several streams, of which the first is the main one
        hidden = hidden[0]
    into.setdefault(number, hidden)
