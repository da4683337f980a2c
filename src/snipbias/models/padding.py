"""Helpers for batches of token sequences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

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
    longest = max(map(len, sequences))
    ids = torch.zeros((len(sequences), longest), dtype=torch.long)
    mask = torch.zeros((len(sequences), longest), dtype=torch.bool)
    for row, sequence in enumerate(sequences):
        place = slice(longest - len(sequence), None) if side == "left" else slice(len(sequence))
        ids[row] = sequence[0]
        ids[row, place] = torch.tensor(sequence)
        mask[row, place] = True
    return ids.to(device), mask.to(device)


def positions(mask: Bool[Tensor, "b s"]) -> Int[Tensor, "b s"]:
    return (mask.long().cumsum(1) - 1).clamp(min=0)


def token_logprobs(
    logits: Float[Tensor, "r t v"], targets: Int[Tensor, "r t"]
) -> Float[Tensor, "r t"]:
    """log P of each target token, in float32 whatever the model computes in."""
    logits = logits.float()
    picked = logits.gather(-1, targets[..., None]).squeeze(-1)
    return picked - logits.logsumexp(-1)
