"""Helpers for batches of token sequences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, TypeVar

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from snipbias.base.errors import SnipbiasError

T = TypeVar("T")


def in_batches(jobs: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Split jobs into batches of at most `size`, in order.

    Raises:
        SnipbiasError: `size` is below 1.
    """
    if size < 1:
        raise SnipbiasError(f"the batch size is {size}: give at least 1.")
    for start in range(0, len(jobs), size):
        yield jobs[start : start + size]


def common_start(sequences: Sequence[tuple[int, ...]]) -> int:
    """Number of tokens that all sequences start with."""
    first, last = min(sequences), max(sequences)  # in sorted order, all sequences lie between these
    pairs = enumerate(zip(first, last, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(first), len(last)))


def pad(
    sequences: Sequence[Sequence[int]], device: torch.device, side: Literal["left", "right"]
) -> tuple[Int[Tensor, "n l"], Bool[Tensor, "n l"]]:
    """Pad token sequences to rows of equal length.

    A row is filled with its own first token: the padding token's embedding may be 0, and Gemma 3n
    takes a standard deviation of it, whose gradient is not a number.

    Args:
        sequences: token ids.
        device: where the result goes.
        side: the side of the padding.

    Returns:
        Token ids, and the mask of real tokens.
    """
    rows = [torch.tensor(sequence) for sequence in sequences]
    ids = pad_sequence(rows, batch_first=True, padding_value=-1, padding_side=side)
    mask = ids >= 0
    ids = ids.where(mask, torch.stack([row[0] for row in rows])[:, None])
    return ids.to(device), mask.to(device)


def per_query(values: Tensor, counts: Sequence[int], filler: float | int) -> Shaped[Tensor, "b c"]:
    """Values of all queries' options as one row per query, filled on the right.

    Args:
        values: one per option, query after query.
        counts: options per query.
        filler: where a query has fewer options than others.
    """
    if len(set(counts)) == 1:  # as nearly always, and a copy per query takes a GPU's time
        return values.reshape(len(counts), counts[0])
    return pad_sequence(list(values.split(list(counts))), batch_first=True, padding_value=filler)


def positions(mask: Bool[Tensor, "b s"]) -> Int[Tensor, "b s"]:
    return (mask.long().cumsum(1) - 1).clamp(min=0)


def token_logprobs(
    logits: Float[Tensor, "r t v"], targets: Int[Tensor, "r t"]
) -> Float[Tensor, "r t"]:
    """log P of each target token, in float32 whatever the model computes in."""
    logits = logits.float()
    picked = logits.gather(-1, targets[..., None]).squeeze(-1)
    return picked - logits.logsumexp(-1)
