"""Turn activations of one forward pass into a score per neuron, in hooks of backward passes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache, partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from snipbias.method import equations as crispr
from snipbias.method import staged_backward as stages
from snipbias.method.plan import BackwardPlan, Objective, Track, behind_each_other
from snipbias.models.language_model import LanguageModel, Query
from snipbias.models.scoring import GraphCut, Scored
from snipbias.models.sharded import whole
from snipbias.models.sites import Site

# Bytes of a layer's output that are processed at once: on a CPU, what fits into its caches, since
# fetching a product from memory again takes as long as computing it.
AT_ONCE = {"cpu": 1 << 20}
PREFIX, OPTIONS = 0, 1  # the segments of a pass, in the order a site sees them


class SiteGradients:
    """Hooks on every site during one forward pass and the backward passes from it.

    Each site runs at most twice: over the prompt and over the answer tokens (its two segments).
    Backward passes go through the answers first (all objectives at once if each reads its own
    rows), then through the prompt, once per objective. Attributions of answers are short, and are
    held until those of the prompt arrive. An activation is freed with its last gradient.

    Args:
        gate: factor on every site's output; gradients are taken after it.
        attention: factor on the gradients that flow back through queries and keys. The gradients
            of these units themselves are taken before it.
    """

    def __init__(self, lm: LanguageModel, gate: float = 1.0, attention: float = 1.0) -> None:
        self._lm = lm
        self._gate = gate
        self._attention = attention
        self._entries: dict[str, object] = {}
        self._outputs: dict[tuple[str, int], Tensor] = {}
        self._scored: Scored | None = None
        self._plan: BackwardPlan | None = None
        self._walking: Sequence[Objective] = ()
        self._earlier: dict[tuple[str, int], list[Tensor]] = {}
        self._held: dict[str, list[Track]] = {}
        self._totals: dict[str, Tensor] = {}

    @contextmanager
    def recording(self) -> Iterator[SiteGradients]:
        """Register hooks on every site; they are removed on exit, also after an exception."""
        hooks = ((site.name, partial(self._on_forward, site)) for site in self._lm.sites)
        side = "encoder" if self._lm.is_encoder_decoder else "decoder"
        try:
            with ExitStack() as stack:
                stack.enter_context(self._lm.hooked(hooks))
                for name, block in self._lm.blocks(side):
                    enter = partial(self._on_block, name)
                    handle = block.register_forward_pre_hook(enter, with_kwargs=True)
                    stack.callback(handle.remove)
                yield self
        finally:  # the graph's hooks refer to this object: without these, both are freed
            self._outputs, self._entries = {}, {}
            self._plan, self._scored, self._walking = None, None, ()

    def score(self, queries: Sequence[Query]) -> Scored:
        """Run the forward pass that `read` needs."""
        return self._lm.score(queries, cut=True)

    def read(self, scored: Scored, plan: BackwardPlan) -> dict[str, Float[Tensor, "b d"]]:
        """Run the plan's backward passes; return site -> scores [B, D] in float64."""
        assert scored.graph_cut is not None  # as score() leaves it
        assert scored.graph_cut.is_cut
        self._scored, self._plan = scored, plan
        self._lm.passes["backward"] += len(scored.logprobs) * len(plan.objectives)
        given_back = self._through_options(scored.graph_cut, plan.objectives)
        self._through_prefix(scored.graph_cut, plan.objectives, given_back)
        for site, answer in self._held.items():  # sites whose outputs at the prompt are not used
            if not self._lm.reads_whole:  # a prompt token of zeros, on which nothing depends
                first = ((values[:, :1], real) for values, real in answer)
                nothing = [(torch.zeros_like(h), real.new_ones(len(real), 1)) for h, real in first]
                answer = behind_each_other(nothing, answer)
            self._totals[site] = plan.score(answer)
        factor = plan.factor.double()
        return {
            site.name: whole(total.double() * factor.to(total.device)[:, None], site.width)
            for site in self._lm.sites
            if (total := self._totals.get(site.name)) is not None
        }

    def _through_options(
        self, graph_cut: GraphCut, objectives: Sequence[Objective]
    ) -> list[Sequence[Tensor | None]]:
        """Per objective, the gradients of the prefix's outputs, one row per prompt."""
        given_back: list[Sequence[Tensor | None]] = []
        leaves = [*graph_cut.options, *stages.leaves([objective.value for objective in objectives])]
        has_copies = graph_cut.owner is not None  # of the prompt, one per option
        rows = torch.cat([objective.rows for objective in objectives], 1)
        read = rows[rows >= 0]
        together = has_copies and len(read.unique()) == len(read)  # no two read the same row
        passes = [objectives] if together else [[objective] for objective in objectives]
        for walking in passes:
            self._walking = walking
            grads = torch.autograd.grad(
                [objective.value.sum() for objective in walking],
                leaves,
                retain_graph=walking is not passes[-1],
                allow_unused=True,
            )[: len(graph_cut.options)]
            for objective in walking:
                of_prompts = grads
                if has_copies:
                    of_prompts = [g if g is None else _summed(g, objective.rows) for g in grads]
                given_back.append(of_prompts)
        graph_cut.options.clear()
        return given_back

    def _through_prefix(
        self,
        graph_cut: GraphCut,
        objectives: Sequence[Objective],
        grads: list[Sequence[Tensor | None]],
    ) -> None:
        """Run the backward passes through the prefix, one transformer block at a time.

        The leaves are the outputs of the first sites, or earlier tensors that a user's hook made
        require gradients. Their gradients pass through every site, and need no weight's gradient.
        """
        entries = [t for t in self._entries.values() if isinstance(t, Tensor) and t.requires_grad]
        above: list[tuple[Tensor, Tensor | None] | None] = [None] * len(objectives)
        for stage in stages.segments(entries, stages.leaves(graph_cut.prefix), graph_cut.prefix):
            to = [*([] if stage.entry is None else [stage.entry]), *stage.leaves]
            for number, objective in enumerate(objectives):
                given = [(graph_cut.prefix[end], grads[number][end]) for end in stage.ends]
                given = [pair for pair in (above[number], *given) if pair and pair[1] is not None]
                if not given:
                    continue
                self._walking = [objective]
                ends, gradients = zip(*given, strict=True)
                more = number + 1 < len(objectives)
                found = torch.autograd.grad(
                    ends, to, gradients, retain_graph=more, allow_unused=True
                )
                above[number] = None if stage.entry is None else (stage.entry, found[0])

    def _on_block(
        self, name: str, module: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> None:
        """Keep the input of a block in its first pass, which is over the prompt."""
        self._entries.setdefault(name, args[0] if args else kwargs.get("hidden_states"))

    def _on_forward(
        self, site: Site, module: nn.Module, args: object, output: Tensor
    ) -> Tensor | None:
        is_later = self._lm.reads_whole or (site.name, PREFIX) in self._outputs
        segment = OPTIONS if is_later else PREFIX
        self._outputs[site.name, segment] = output.detach()
        gated = output if self._gate == 1 else output * self._gate
        is_first = not gated.requires_grad
        if is_first:
            gated.requires_grad_(True)
        gated.register_hook(partial(self._on_gradient, site, segment))
        if self._attention != 1 and (makes := _makes_attention(site)).any():
            damping = torch.where(makes, self._attention, 1.0).to(output)
            gated.register_hook(damping.mul)  # after the hook above, which sees all of it
        if is_first:  # a copy, since no operation may write into a leaf (OLMo clamps in place)
            return gated.clone()
        return None if gated is output else gated

    def _on_gradient(self, site: Site, segment: int, grad: Tensor) -> None:
        scored, plan = self._scored, self._plan
        assert scored is not None  # read() comes before any gradient
        assert plan is not None
        place = site.name, segment
        h, earlier = self._outputs[place], self._earlier.setdefault(place, [])
        is_last = len(earlier) + len(self._walking) == len(plan.objectives)
        if segment == OPTIONS:
            h, grad = scored.by_row(h), scored.by_row(grad)
            found = crispr.attribution(h, grad)
            earlier += [_summed(found, objective.rows) for objective in self._walking]
            if is_last:
                real = plan.real_answer(scored, self._lm.reads_whole)
                masks = (mask.to(h.device) for mask in real)
                self._held[site.name] = list(zip(plan.tracks(earlier), masks, strict=True))
        else:
            shape = (len(scored.prefix_mask), -1, h.shape[-1])  # OPT flattens [b, k]
            h, grad = h.reshape(shape), grad.reshape(shape)
            if is_last:
                real = self._real_prefix(site, scored, plan).to(h.device)
                self._totals[site.name] = self._reduced(site, plan, h, grad, earlier, real)
            else:
                earlier.append(crispr.attribution(h, grad))
        if is_last:
            del self._outputs[place], self._earlier[place]

    def _reduced(
        self,
        site: Site,
        plan: BackwardPlan,
        h: Tensor,
        grad: Tensor,
        earlier: Sequence[Tensor],
        real: Bool[Tensor, "b k"],
    ) -> Float[Tensor, "b d"]:
        """Reduce attributions of prompt and answer to a score per instance, in small chunks."""
        answer = self._held.pop(site.name, None)
        most = AT_ONCE.get(h.device.type, math.inf)
        step = int(max(1, min(len(h), most // max(1, 4 * h[0].numel()))))
        found = []
        for start in range(0, len(h), step):
            part = slice(start, start + step)
            last = crispr.attribution(h[part], grad[part])
            values = plan.tracks([*(kept[part] for kept in earlier), last])
            tracks = [(each, real[part]) for each in values]
            if answer is not None:
                more = [(each[part], mask[part]) for each, mask in answer]
                tracks = behind_each_other(tracks, more)
            found.append(plan.score(tracks))
        return torch.cat(found)

    def _real_prefix(self, site: Site, scored: Scored, plan: BackwardPlan) -> Bool[Tensor, "b k"]:
        """Mask of the prompt positions that count; for an encoder-decoder's decoder, its start."""
        if site.sees_prompt or not self._lm.is_encoder_decoder:
            mask = scored.prefix_mask
            return crispr.last_token(mask) if plan.tokens == "last" else mask
        return torch.ones((len(scored.prefix_mask), 1), dtype=torch.bool)


@cache
def _makes_attention(site: Site) -> Bool[Tensor, " d"]:
    """Mask of the units that are queries or keys, which attention probabilities are made from.

    Linear attention (Qwen3.5) has no probabilities. If queries take two layers (DeepSeek), the
    first counts.
    """
    if site.name.endswith(("in_proj_qkv", "q_b_proj")):
        return torch.zeros(site.width, dtype=torch.bool)
    return torch.tensor([site.role(unit) in ("q", "k") for unit in range(site.width)])


def _summed(by_row: Float[Tensor, "r ..."], rows: Int[Tensor, "b m"]) -> Float[Tensor, "b ..."]:
    """Sum the rows that each instance reads; -1 is no row."""
    rows = rows.to(by_row.device)
    absent = (rows < 0).view(*rows.shape, *[1] * (by_row.ndim - 1))
    found = by_row[rows].masked_fill_(absent, 0)
    return found[:, 0] if rows.shape[1] == 1 else found.sum(1)
