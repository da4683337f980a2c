"""Options of a prompt behind each other in one sequence, each seeing the prompt and itself."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True)
class Packed:
    """R options of B prompts, those of a prompt behind each other in one sequence of Q tokens.

    Attributes:
        owner: which prompt an option belongs to.
        place: where in the sequence an option's tokens stand, 0 for padding.
        real: which of them are tokens.
        shape: B and Q.
    """

    owner: Int[Tensor, " r"]
    place: Int[Tensor, "r t"]
    real: Bool[Tensor, "r t"]
    shape: tuple[int, int]

    @classmethod
    def of(cls, owner: Int[Tensor, " r"], real: Bool[Tensor, "r t"]) -> Packed:
        """Each option right behind those of its prompt that come before it."""
        used = [0] * (int(owner.max()) + 1)
        starts = []
        for prompt, length in zip(owner.tolist(), real.sum(1).tolist(), strict=True):
            starts.append(used[prompt])
            used[prompt] += length
        place = torch.tensor(starts, device=real.device)[:, None]
        place = (place + torch.arange(real.shape[1], device=real.device)) * real
        return cls(owner.to(real.device), place, real, (len(used), max(used)))

    def spread(self, values: Tensor, filler: int) -> Int[Tensor, "b q"]:
        """Values of the options' tokens [R, T], each at its place in its prompt's sequence."""
        sequences = torch.full(self.shape, filler, device=self.place.device)
        owner = self.owner[:, None].expand_as(self.place)
        sequences[owner[self.real], self.place[self.real]] = values.expand_as(self.place)[self.real]
        return sequences

    def by_row(self, values: Tensor) -> Tensor:
        """Of values in the sequences [B, Q, ...] those of an option's tokens [R, T, ...], or 0."""
        found = values[self.owner.to(values.device)[:, None], self.place.to(values.device)]
        real = self.real.to(values.device)
        return found.masked_fill(~real.view(*real.shape, *[1] * (found.ndim - 2)), 0)

    def tree(self) -> Bool[Tensor, "b q q"]:
        """Which tokens of its sequence a token may see: those of its option up to itself."""
        rows = torch.arange(len(self.owner), device=self.place.device)[:, None]
        option = self.spread(rows, -1)
        same = option[:, :, None] == option[:, None, :]
        return same & torch.ones_like(same).tril()
