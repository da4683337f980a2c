"""Pack a prompt's options into one sequence under a tree attention mask."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True)
class Packed:
    """R options of B prompts, concatenated per prompt into sequences of Q tokens.

    Attributes:
        owner: the prompt that each option belongs to.
        place: positions of each option's tokens in its sequence, 0 for padding.
        real: which of them are tokens.
        shape: B and Q.
    """

    owner: Int[Tensor, " r"]
    place: Int[Tensor, "r t"]
    real: Bool[Tensor, "r t"]
    shape: tuple[int, int]

    @classmethod
    def of(cls, owner: Int[Tensor, " r"], real: Bool[Tensor, "r t"]) -> Packed:
        """Place each option right after the previous one of its prompt."""
        used = [0] * (int(owner.max()) + 1)
        starts = []
        for prompt, length in zip(owner.tolist(), real.sum(1).tolist(), strict=True):
            starts.append(used[prompt])
            used[prompt] += length
        place = torch.tensor(starts, device=real.device)[:, None]
        place = (place + torch.arange(real.shape[1], device=real.device)) * real
        return cls(owner.to(real.device), place, real, (len(used), max(used)))

    def spread(self, values: Tensor, filler: int) -> Int[Tensor, "b q"]:
        """Scatter values of the options' tokens [R, T] to their places in the sequences."""
        sequences = torch.full(self.shape, filler, device=self.place.device)
        owner = self.owner[:, None].expand_as(self.place)
        sequences[owner[self.real], self.place[self.real]] = values.expand_as(self.place)[self.real]
        return sequences

    def by_row(self, values: Tensor) -> Tensor:
        """Gather values of the sequences [B, Q, ...] back to options [R, T, ...]; 0 at padding."""
        found = values[self.owner.to(values.device)[:, None], self.place.to(values.device)]
        real = self.real.to(values.device)
        return found.masked_fill(~real.view(*real.shape, *[1] * (found.ndim - 2)), 0)

    def tree(self) -> Bool[Tensor, "b q q"]:
        """Attention mask within the sequences: a token sees its own option up to itself."""
        rows = torch.arange(len(self.owner), device=self.place.device)[:, None]
        option = self.spread(rows, -1)
        same = option[:, :, None] == option[:, None, :]
        return same & torch.ones_like(same).tril()
