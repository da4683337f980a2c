"""Score options without a cache, each after its own copy of the prompt: slow, for any decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from snipbias.models.backbone import Backbone, Query
from snipbias.models.padding import pad, token_logprobs


def read_whole(
    lm: Backbone, queries: Sequence[Query], owner: Int[Tensor, " r"]
) -> tuple[Float[Tensor, "r t"], Bool[Tensor, "b l"], Bool[Tensor, "r l"]]:
    """Score each option after its own copy of the prompt.

    Padding is on the right, where neither attention nor a recurrent state sees it.

    Args:
        lm: the model.
        queries: prompts and options.
        owner: index of each option's query.

    Returns:
        Log P per token of the options, the mask of the prompts, and the mask of all real tokens.
    """
    prompts = [query.prompt for query in queries]
    pairs = [(query.prompt, option) for query in queries for option in query.options]
    ids, read = pad([(*prompt, *option[:-1]) for prompt, option in pairs], lm.device, "right")
    with lm.rows_of(owner):
        logits = lm.model(input_ids=ids, attention_mask=read.long(), use_cache=False).logits
    targets, real = pad([option for _, option in pairs], lm.device, "right")
    starts = torch.tensor([len(prompt) - 1 for prompt, _ in pairs], device=lm.device)
    places = starts[:, None] + torch.arange(targets.shape[1], device=lm.device)
    places = places.clamp(max=ids.shape[1] - 1)[..., None].expand(-1, -1, logits.shape[-1])
    logprobs = token_logprobs(logits.gather(1, places), targets).masked_fill(~real, 0.0)
    columns = torch.arange(ids.shape[1], device=lm.device)
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=lm.device)
    return logprobs, columns < lengths[:, None], read
