"""Trees of tokens, read in a single pass: of whole prompts, or of the options after a prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from snipbias.models.backbone import Backbone, Query
from snipbias.models.padding import per_query

# Enough tokens to tell instructions apart, but not what comes after them.
SORTED_BY = 32


@dataclass(frozen=True)
class TokenTree:
    """Prompts with their options, in which equal beginnings are stored once."""

    tokens: Int[Tensor, " nodes"]  # one per node
    depth: Int[Tensor, " nodes"]  # a node's position in its own sequence
    sees: Bool[Tensor, "nodes nodes"]  # which nodes a node attends to: its ancestors and itself
    ends: Int[Tensor, " rows"]  # each query's last prompt token, which predicts the options' first
    reads: Int[Tensor, " reads"]  # nodes whose next-token distribution is needed
    at: Int[Tensor, " t"]  # per option token, its index in `reads`
    targets: Int[Tensor, " t"]  # the option tokens
    option: Int[Tensor, " t"]  # per option token, the option it belongs to, counted over all rows
    counts: tuple[int, ...]  # options per row

    @classmethod
    def of(cls, queries: Sequence[Query], device: torch.device) -> TokenTree:
        """The tree of some queries."""
        children: dict[tuple[int, int], int] = {}
        tokens, parents, depth = [], [], []  # of each node
        read, targets, owner = [], [], []  # of each option token
        ends = [0] * len(queries)
        options = [(row, option) for row, query in enumerate(queries) for option in query.options]
        for number, (row, option) in enumerate(options):
            prompt = queries[row].prompt
            path, node = [], -1
            for token in (*prompt, *option[:-1]):  # the last token is predicted but never read
                if (node, token) not in children:
                    children[node, token] = len(tokens)
                    tokens.append(token)
                    parents.append(node)
                    depth.append(depth[node] + 1 if node >= 0 else 0)
                node = children[node, token]
                path.append(node)
            ends[row] = path[len(prompt) - 1]
            read += path[len(prompt) - 1 :]
            targets += option
            owner += [number] * len(option)
        sees = torch.eye(len(tokens), dtype=torch.bool)
        for node, parent in enumerate(parents):
            if parent >= 0:
                sees[node] |= sees[parent]
        reads, at = torch.tensor(read).unique(return_inverse=True)
        return cls(
            torch.tensor(tokens, device=device),
            torch.tensor(depth, device=device),
            sees.to(device),
            torch.tensor(ends, device=device),
            reads.to(device),
            at.to(device),
            torch.tensor(targets, device=device),
            torch.tensor(owner, device=device),
            tuple(len(query.options) for query in queries),
        )

    def score(self, lm: Backbone) -> Float[Tensor, "rows options"]:
        """Log-probability of every option; -inf if a row has fewer options."""
        picks = bool(lm.last_logits_only)
        logits = lm.model(
            input_ids=self.tokens[None],
            attention_mask=attention_bias(self.sees, lm.model.dtype)[None, None],
            position_ids=self.depth[None],
            use_cache=False,
            **({"logits_to_keep": self.reads} if picks else {}),
        ).logits[0]
        logprobs = (logits if picks else logits[self.reads]).float().log_softmax(-1)
        chosen = logprobs[self.at, self.targets]
        summed = chosen.new_zeros(sum(self.counts)).index_add(0, self.option, chosen)
        return per_query(summed, self.counts, -torch.inf)


@dataclass(frozen=True)
class Packed:
    """R options of B prompts, concatenated per prompt into sequences of Q tokens."""

    owner: Int[Tensor, " r"]  # the prompt that each option belongs to
    place: Int[Tensor, "r t"]  # positions of each option's tokens in its sequence, 0 for padding
    real: Bool[Tensor, "r t"]  # which of them are tokens
    shape: tuple[int, int]  # B and Q

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


def attention_bias(sees: Bool[Tensor, ...], kind: torch.dtype) -> Float[Tensor, ...]:
    """0 where attention is allowed, and the lowest number of the type elsewhere."""
    bias = torch.zeros(sees.shape, dtype=kind, device=sees.device)
    return bias.masked_fill_(~sees, torch.finfo(kind).min)


def reads_trees(lm: Backbone) -> bool:
    """Whether similar prompts are read as one tree: on a CPU, where every token takes time.

    A GPU computes padded rows in parallel, and for batches of its size the tree's mask would be
    larger than the padding.
    """
    alone = not (lm.rows_differ or lm.reads_whole)
    return alone and lm.device.type == "cpu" and takes_trees(lm)


def takes_trees(lm: Backbone) -> bool:
    """Whether options can be packed: transformers' own models accept masks of four dimensions."""
    own = type(lm.model).__module__.startswith("transformers.")
    kernel = lm.model.config._attn_implementation
    return own and kernel in ("sdpa", "eager") and is_told_positions(lm)


def is_told_positions(lm: Backbone) -> bool:
    """Whether the model uses the positions it is given, and not those in the batch.

    This holds for rotary positions with full attention and no position bias (Falcon may have one).
    Then padding may be in the middle, and options may follow each other.
    """
    config = lm.model.config.get_text_config()
    is_rotary = getattr(config, "rope_parameters", None) is not None
    has_window = getattr(config, "sliding_window", None) or any(
        kind != "full_attention" for kind in getattr(config, "layer_types", None) or ()
    )
    has_bias = getattr(config, "alibi", False)
    return is_rotary and not (has_window or has_bias or lm.is_encoder_decoder)


def alike(lm: Backbone) -> Callable[[Query], tuple[Any, ...]]:
    """The sort key that puts prompts with the same start and length next to each other."""
    if reads_trees(lm):
        return lambda query: query.prompt
    begin = SORTED_BY if is_told_positions(lm) else 0
    return lambda query: (query.prompt[:begin], len(query.prompt))
