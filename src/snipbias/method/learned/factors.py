"""The trained parameters inside the model: factors, a mask, or a LoRA."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from snipbias.base.errors import SnipbiasError
from snipbias.models.language_model import LanguageModel
from snipbias.models.sharded import refuse_split
from snipbias.models.sites import Site


class Factors:
    """The difference of each factor from 1, as one vector over the neurons of some sites.

    Attributes:
        sites: the sites in order; each has its part of the vector.
        change: factor - 1, the leaf whose gradients are computed.
        free: which neurons are trained.
    """

    def __init__(self, lm: LanguageModel, sites: Sequence[Site]) -> None:
        self.sites = tuple(sites)
        widths = [site.width for site in sites]
        self.change: Float[Tensor, " neurons"] = torch.zeros(
            sum(widths), device=lm.device, requires_grad=True
        )
        self.free: Bool[Tensor, " neurons"] = torch.ones_like(self.change, dtype=torch.bool)
        self._lm = lm
        self._starts = torch.tensor([0, *widths]).cumsum(0).tolist()

    def current(self) -> Float[Tensor, " neurons"]:
        """The difference of every neuron's factor from 1."""
        return self.change

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Multiply every site's output by its factors while inside; gradients reach `change`."""
        current = self.current()
        refuse_split()
        parts = zip(self.sites, current.split([s.width for s in self.sites]), strict=True)
        hooks = ((site.name, partial(_scale, part)) for site, part in parts)
        with self._lm.hooked(hooks, first=True):
            yield

    def bound(self, most: float) -> None:
        """Reset the factors of frozen neurons to 1, and clamp the others to their range."""
        with torch.no_grad():
            self.change.clamp_(-most, most)
            self.change.mul_(self.free)

    def set(self, values: Float[Tensor, " neurons"]) -> None:
        """Set the difference of every factor from 1."""
        with torch.no_grad():
            self.change.copy_(values)

    def keep(self, chosen: Bool[Tensor, " neurons"]) -> None:
        """Train only these neurons from now on; the factors of all others go back to 1."""
        self.free = chosen
        with torch.no_grad():
            self.change.mul_(chosen)

    def by_site(self) -> dict[str, dict[int, float]]:
        """Site -> unit -> factor of every neuron whose factor is not 1."""
        changes = self.current().detach().double().cpu()
        found = {}
        for site, start in zip(self.sites, self._starts[:-1], strict=True):
            stretch = changes[start : start + site.width]
            units = stretch.nonzero()[:, 0].tolist()
            if units:
                values = (1 + stretch[units]).tolist()
                found[site.name] = dict(zip(units, values, strict=True))
        return found


class Mask(Factors):
    """A trained mask that prunes the n neurons with the highest scores.

    The forward pass prunes exactly n; in the backward pass, each score gets the gradient of its
    neuron's change (straight through).

    Source: Panigrahi et al. 2023, Task-Specific Skill Localization (grafting), with a budget of n.
    """

    def __init__(self, lm: LanguageModel, sites: Sequence[Site], n: int, seed: int) -> None:
        super().__init__(lm, sites)
        self.n = n
        noise = torch.randn(len(self.change), generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():  # makes the first pick random
            self.change.add_(1e-3 * noise.to(self.change.device))

    def current(self) -> Float[Tensor, " neurons"]:
        hard = torch.zeros_like(self.change)
        hard[self.change.topk(self.n).indices] = -1.0
        return hard - (self.change - self.change.detach())

    def bound(self, most: float) -> None:
        """Scores have no range."""


class LowRank(Factors):
    """A LoRA on the same sites, trained with the same loss: an upper bound for weight changes.

    Source: Hu et al. 2021, LoRA.
    """

    def __init__(self, lm: LanguageModel, sites: Sequence[Site], rank: int, seed: int) -> None:
        super().__init__(lm, sites)
        inputs = [_inputs(lm.module(site.name)) for site in sites]
        sizes = [rank * (i + site.width) for i, site in zip(inputs, sites, strict=True)]
        self.rank = rank
        self._inputs = inputs
        self._parts = torch.tensor([0, *sizes]).cumsum(0).tolist()
        start = torch.zeros(sum(sizes))
        source = torch.Generator().manual_seed(seed)
        for place, i in zip(self._parts[:-1], inputs, strict=True):  # the other half starts at 0
            start[place : place + rank * i] = torch.randn(rank * i, generator=source) / i**0.5
        self.change = start.to(lm.device).requires_grad_()
        self.free = torch.ones_like(self.change, dtype=torch.bool)

    @contextmanager
    def applied(self) -> Iterator[None]:
        refuse_split()
        hooks = []
        for site, place, i in zip(self.sites, self._parts[:-1], self._inputs, strict=True):
            middle = place + self.rank * i
            down = self.change[place:middle].view(self.rank, i)
            up = self.change[middle : middle + self.rank * site.width].view(-1, self.rank)
            hooks.append((site.name, partial(_add_low_rank, down, up)))
        with self._lm.hooked(hooks, first=True):
            yield

    def bound(self, most: float) -> None:
        """Weights have no range."""


def _inputs(module: nn.Module) -> int:
    return module.nx if hasattr(module, "nx") else module.in_features  # type: ignore[return-value]


def _scale(change: Tensor, module: nn.Module, args: object, output: Tensor) -> Tensor:
    return output * (1 + change).to(output.device, output.dtype)


def _add_low_rank(
    down: Tensor, up: Tensor, module: nn.Module, args: tuple[Tensor, ...], output: Tensor
) -> Tensor:
    given = args[0].to(down.dtype)
    return output + (given @ down.T @ up.T).to(output.dtype)


def upper_sites(lm: LanguageModel, share: float, roles: Sequence[str] = ()) -> list[Site]:
    """The sites of the upper blocks of every stack.

    Nothing below the lowest of them is trained, so the backward pass ends there.

    Args:
        lm: the model.
        share: share of a stack's blocks, counted from the top; 1 takes all.
        roles: only sites of these roles (q, k, v, o, gate, up, down); by default all.

    Raises:
        SnipbiasError: the share is out of range, or the model has no site of such a role.
    """
    if not 0 < share <= 1:
        raise SnipbiasError(f"the share of layers is {share:g}: give more than 0 and at most 1.")
    chosen = []
    for side in dict.fromkeys(site.side for site in lm.sites):
        layers = sorted({site.layer for site in lm.sites if site.side == side})
        upper = set(layers[len(layers) - max(1, round(share * len(layers))) :])
        chosen += [site for site in lm.sites if site.side == side and site.layer in upper]
    there = sorted({role for site in lm.sites for role, _ in site.layout})
    if unknown := set(roles) - set(there):
        raise SnipbiasError(f"{lm.name} has no role {min(unknown)!r}: it has {', '.join(there)}.")
    return [site for site in chosen if not roles or {r for r, _ in site.layout} & set(roles)]
