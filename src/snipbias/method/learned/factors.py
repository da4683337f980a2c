"""The trained parameters inside the model: factors, a mask, or a LoRA."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

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
        self._widths = widths

    def current(self) -> Float[Tensor, " neurons"]:
        """The difference of every neuron's factor from 1."""
        return self.change

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Change every site's output while inside; gradients reach `change`."""
        refuse_split()
        hooks = zip((site.name for site in self.sites), self._hooks(), strict=True)
        with self._lm.hooked(hooks, first=True):
            yield

    def _hooks(self) -> list[Callable[..., Tensor]]:
        """A forward hook per site: multiply its output by its factors."""
        return [partial(_scale, part) for part in self.current().split(self._widths)]

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
        parts = self.current().detach().double().cpu().split(self._widths)
        found = {}
        for site, part in zip(self.sites, parts, strict=True):
            if units := part.nonzero()[:, 0].tolist():
                found[site.name] = dict(zip(units, (1 + part[units]).tolist(), strict=True))
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
        hard = highest(self.change.detach(), self.n).to(self.change.dtype)
        return -hard - (self.change - self.change.detach())

    def bound(self, most: float) -> None:
        """Scores have no range."""


class LowRank(Factors):
    """A LoRA on the same sites, trained with the same loss: an upper bound for weight changes.

    Source: Hu et al. 2021, LoRA.
    """

    def __init__(self, lm: LanguageModel, sites: Sequence[Site], rank: int, seed: int) -> None:
        super().__init__(lm, sites)
        self.rank = rank
        source = torch.Generator().manual_seed(seed)
        parts = []  # of each site the way down, then the way up, which starts at 0
        for site in sites:
            module = lm.module(site.name)
            inputs = module.nx if isinstance(module, Conv1D) else module.in_features
            parts.append(torch.randn(rank * inputs, generator=source) / inputs**0.5)
            parts.append(torch.zeros(rank * site.width))
        self._sizes = list(map(len, parts))
        self.change = torch.cat(parts).to(lm.device).requires_grad_()
        self.free = torch.ones_like(self.change, dtype=torch.bool)

    def _hooks(self) -> list[Callable[..., Tensor]]:
        parts = self.change.split(self._sizes)
        return [
            partial(_add_low_rank, down.view(self.rank, -1), up.view(-1, self.rank))
            for down, up in zip(parts[::2], parts[1::2], strict=True)
        ]

    def bound(self, most: float) -> None:
        """Weights have no range."""


def _scale(change: Tensor, module: nn.Module, args: object, output: Tensor) -> Tensor:
    return output * (1 + change).to(output.device, output.dtype)


def _add_low_rank(
    down: Tensor, up: Tensor, module: nn.Module, args: tuple[Tensor, ...], output: Tensor
) -> Tensor:
    given = args[0].to(down.dtype)
    return output + (given @ down.T @ up.T).to(output.dtype)


def highest(values: Tensor, n: int) -> Bool[Tensor, " neurons"]:
    """A mask of the n highest values.

    Raises:
        SnipbiasError: a value is not a number.
    """
    if values.isnan().any():  # which `topk` would take for the largest
        raise SnipbiasError("the training diverged: give a lower --rate, or --dtype float32.")
    chosen = torch.zeros_like(values, dtype=torch.bool)
    chosen[values.topk(n).indices] = True
    return chosen


def upper_sites(
    lm: LanguageModel, share: float | None = None, roles: Sequence[str] = ()
) -> list[Site]:
    """The sites of the upper blocks of every stack.

    Nothing below the lowest of them is trained, so the backward pass ends there.

    Args:
        share: share of a stack's blocks, counted from the top; 1 takes all. By default all of an
            encoder-decoder, and the upper half of a decoder-only model.
        roles: only sites of these roles (q, k, v, o, gate, up, down); by default all.

    Raises:
        SnipbiasError: the share is out of range, or the model has no site of such a role.
    """
    if share is None:
        share = 1.0 if lm.is_encoder_decoder else 0.5
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
