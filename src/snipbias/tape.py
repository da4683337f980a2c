"""Activations of one forward pass, made a score per neuron inside the hooks of backward passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from snipbias import method as crispr
from snipbias.method import TokenReduction
from snipbias.models import LanguageModel
from snipbias.neurons import Site
from snipbias.passes import Scored

Combine = Callable[..., Tensor]


@dataclass(frozen=True)
class Term:
    """One backward pass.

    Attributes:
        objective: what is differentiated, one number an instance.
        rows: rows of the options pass that each instance's objective reads, -1 for none: [B, M].
        share: what the attributions are multiplied by; at most 1, so that float32 holds them.
    """

    objective: Float[Tensor, " b"]
    rows: Int[Tensor, "b m"]
    share: Float[Tensor, " b"]


@dataclass(frozen=True)
class Plan:
    """What to do with a scored batch of B instances.

    Attributes:
        terms: the backward passes, in order.
        combine: the attributions of all terms at each token -> the token's score [B, K, D].
        tokens: how an instance's token scores become one.
        factor: what each instance's score is multiplied by, in float64.
    """

    terms: tuple[Term, ...]
    combine: Combine
    tokens: TokenReduction
    factor: Float[Tensor, " b"]


class Tape:
    """Hooks on every site during one forward pass and the backward passes from it.

    A site fires once for the prefix and, where it sees the answer's tokens, once for the options;
    these are its stretches. The options' one is reached first on the way back; it is short, and is
    held until the prefix's arrives. No activation is kept after the recording.

    Args:
        gate: what every site's output is multiplied by; gradients are taken behind it.
    """

    def __init__(self, lm: LanguageModel, gate: float = 1.0) -> None:
        self._lm = lm
        self._gate = gate
        self._firings: dict[str, int] = {}
        self._leaves: list[Tensor] = []
        self._scored: Scored | None = None
        self._plan: Plan | None = None
        self._term = 0
        self._earlier: dict[tuple[str, int], list[Tensor]] = {}
        self._held: dict[str, tuple[Tensor, Tensor]] = {}
        self._totals: dict[str, Tensor] = {}

    @contextmanager
    def recording(self) -> Iterator[Tape]:
        """Hooks on every site, gone afterwards whatever happens."""
        handles = [
            self._lm.module(site.name).register_forward_hook(partial(self._on_forward, site))
            for site in self._lm.sites
        ]
        try:
            yield self
        finally:
            for handle in handles:
                handle.remove()
            # The graph's hooks refer to this tape; without these it does not refer back, so that
            # the graph goes with the batch instead of waiting for the garbage collector.
            self._leaves.clear()
            self._plan = self._scored = None

    def read(self, scored: Scored, plan: Plan) -> dict[str, Float[Tensor, "b d"]]:
        """Run the plan's backward passes; each site's scores per instance, in float64."""
        self._scored, self._plan = scored, plan
        for number, term in enumerate(plan.terms):
            self._term = number
            # The first sites of each stack are leaves: asking for their gradients reaches all
            # others and computes none for weights.
            torch.autograd.grad(
                term.objective.sum(),
                self._leaves,
                retain_graph=number + 1 < len(plan.terms),
                allow_unused=True,
            )
        for site, (bias, real) in self._held.items():  # sites that only the answer goes through
            self._totals[site] = crispr.reduce_tokens(bias, real, plan.tokens)
        factor = plan.factor.double()
        return {
            site: total.double() * factor.to(total.device)[:, None]
            for site, total in self._totals.items()
        }

    def _on_forward(
        self, site: Site, module: nn.Module, args: object, output: Tensor
    ) -> Tensor | None:
        h = output.detach()
        gated = output if self._gate == 1 else output * self._gate
        if not gated.requires_grad:
            gated.requires_grad_(True)
            self._leaves.append(gated)
        stretch = self._firings.get(site.name, 0)
        self._firings[site.name] = stretch + 1
        gated.register_hook(partial(self._on_gradient, site, stretch, h))
        return None if gated is output else gated

    def _on_gradient(self, site: Site, stretch: int, h: Tensor, grad: Tensor) -> None:
        scored, plan = self._scored, self._plan
        assert scored is not None  # read() comes before any gradient
        assert plan is not None
        term = plan.terms[self._term]
        if stretch:
            rows = term.rows.to(h.device)
            found = _of_rows(scored.by_row(h), scored.by_row(grad), rows)
        else:
            shape = (len(scored.prefix_mask), -1, site.width)  # OPT flattens [b, k]
            found = crispr.attribution(h.reshape(shape), grad.reshape(shape))
        # In place, as far as can be: fresh memory for every product costs as much as the product.
        found.mul_(term.share.to(h.device, torch.float32)[:, None, None])
        earlier = self._earlier.setdefault((site.name, stretch), [])
        earlier.append(found)
        if self._term + 1 < len(plan.terms):
            return
        bias = plan.combine(*earlier)
        earlier.clear()
        real = self._real(site, stretch).to(h.device)
        if stretch:
            self._held[site.name] = bias, real
            return
        if site.name in self._held:
            answer, answer_real = self._held.pop(site.name)
            bias, real = torch.cat([bias, answer], 1), torch.cat([real, answer_real], 1)
        self._totals[site.name] = crispr.reduce_tokens(bias, real, plan.tokens)

    def _real(self, site: Site, stretch: int) -> Bool[Tensor, "b k"]:
        """Which of a stretch's positions are tokens that take part."""
        scored, plan = self._scored, self._plan
        assert scored is not None
        assert plan is not None
        last_only = plan.tokens == "last"
        if stretch:
            # Positions align from the first answer token; where only one option has one it counts.
            rows = torch.cat([term.rows for term in plan.terms], 1)
            there = (rows >= 0)[..., None] & scored.options_mask[rows]
            return there.any(1) & (not last_only)
        if site.sees_prompt or not self._lm.is_encoder_decoder:
            return crispr.last_token(scored.prefix_mask) if last_only else scored.prefix_mask
        start_token = (len(scored.prefix_mask), 1)
        return torch.ones(start_token, dtype=torch.bool)


def _of_rows(
    h: Float[Tensor, "r t d"], grad: Float[Tensor, "r t d"], rows: Int[Tensor, "b m"]
) -> Float[Tensor, "b t d"]:
    """Attributions at the answer's positions, summed over the options that each instance reads."""
    total = torch.zeros(len(rows), *h.shape[1:], device=h.device)
    for column in rows.unbind(1):
        there = (column >= 0)[:, None, None]
        total = total + crispr.attribution(h[column], grad[column]) * there
    return total
