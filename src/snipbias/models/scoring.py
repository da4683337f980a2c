"""Passes over prompts and their options; each prompt is encoded once for all its options.

Only this module knows how encoder-decoders and decoder-only models are run. Both have a *prefix*
that all options of a prompt share (encoder and decoder start, or the prompt), and *options* that
continue it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from snipbias.base.errors import SnipbiasError
from snipbias.models.backbone import Backbone, Query
from snipbias.models.padding import common_start, pad, per_query, positions, token_logprobs
from snipbias.models.token_tree import (
    Packed,
    TokenTree,
    attention_bias,
    is_told_positions,
    reads_trees,
    takes_trees,
)

# A shorter common start is not worth a pass of its own.
WORTH_SHARING = 8


@dataclass(frozen=True)
class GraphCut:
    """The boundary between prompt and options: the tensors that cross it, detached if it is cut.

    If each option reads its own copy, one backward pass through the options gives the gradients of
    several objectives, as long as these read different options. The prefix is shared, and takes one
    backward pass per objective.
    """

    owner: Int[Tensor, " r"] | None  # each option's prompt; None if a prompt's options share a row
    is_cut: bool  # whether the graph of the options ends here
    # Outputs of the prefix, one row per prompt: the ends of its graph.
    prefix: list[Tensor] = field(default_factory=list)
    # Inputs of the options, one row per option or per prompt: the leaves of their graph.
    options: list[Tensor] = field(default_factory=list)

    def cross(self, given: Tensor) -> Tensor:
        """Pass a tensor of the prefix (a row per prompt) on to the options (a row per option)."""
        read = given if self.owner is None else given[self.owner]
        if self.is_cut and given.requires_grad:
            read = read.detach().requires_grad_()
            self.prefix.append(given)
            self.options.append(read)
        return read


@dataclass(frozen=True)
class Scored:
    """Log-probabilities of the options of a batch of B queries with up to C options."""

    logprobs: Float[Tensor, "b c"]  # sum over an option's tokens; -inf if a query has fewer options
    rows: Int[Tensor, "b c"]  # index of each option's row in the options pass; -1 if there is none
    prefix_mask: Bool[Tensor, "b s"]  # real tokens of the prompts
    # Real tokens that the options pass reads, a row per option; also the prompt's if that is read
    # again with each option.
    options_mask: Bool[Tensor, "r t"]
    packed: Packed | None = None  # how that pass concatenates a prompt's options, if it does
    graph_cut: GraphCut | None = None  # what that pass took from the one over the prompts

    def by_row(self, output: Tensor) -> Float[Tensor, "r t d"]:
        """Reshape a layer's output in the options pass to one row per option.

        Values at padding are arbitrary; gradients there are 0.
        """
        # OPT merges batch and tokens in some layers, and DeepSeek adds a dimension.
        units = output.shape[-1]
        if self.packed is not None:
            return self.packed.by_row(output.reshape(*self.packed.shape, units))
        return output.reshape(*self.options_mask.shape, units)


def score(
    lm: Backbone, queries: Sequence[Query], *, share_start: bool = False, cut: bool = False
) -> Scored:
    """Log-probability of every option of every query.

    Args:
        queries, share_start, cut: as in `LanguageModel.score`.
    """
    options = [option for query in queries for option in query.options]
    # The query of each option; on the CPU, since it indexes caches on any device.
    owner = torch.tensor([b for b, query in enumerate(queries) for _ in query.options])
    if share_start and not cut and reads_trees(lm):
        logprobs = TokenTree.of(queries, lm.device).score(lm)
        rows = torch.full(logprobs.shape, -1, device=lm.device)
        nowhere = torch.zeros(len(owner), 0, dtype=torch.bool, device=lm.device)
        return Scored(logprobs, rows, nowhere[: len(queries)], nowhere)
    prompts = [query.prompt for query in queries]
    if lm.reads_whole:
        with lm.rows_of(owner):
            logprobs, prompt_mask, read = _read_whole(lm, queries)
        found = _by_query(queries, logprobs)
        return Scored(*found, prompt_mask, read, graph_cut=GraphCut(owner, cut))
    with lm.rows_of(torch.arange(len(queries))):
        if lm.is_encoder_decoder:
            first_logits, prompt_mask, state = _encode_prompts(lm, prompts)
        else:
            shared = _shared_start(lm, prompts) if share_start and not lm.rows_differ else 0
            first_logits, prompt_mask, state = _read_prompts(lm, prompts, shared)
    targets, target_mask = pad(options, lm.device, "right")
    options_mask = target_mask[:, 1:]
    packed = Packed.of(owner, options_mask) if takes_trees(lm) else None
    graph_cut = GraphCut(None if packed else owner, cut)
    first = graph_cut.cross(first_logits)
    logprobs = token_logprobs((first[owner] if packed else first)[:, None], targets[:, :1])
    if targets.shape[1] > 1:
        for layer in _layers(state[0]):
            layer.keys, layer.values = map(graph_cut.cross, (layer.keys, layer.values))
        if packed is not None:
            with lm.rows_of(torch.arange(len(queries))):
                rest = _continue_packed(lm, targets, prompt_mask, packed, state)
        else:
            follow = _decode_options if lm.is_encoder_decoder else _continue_options
            with lm.rows_of(owner):
                logits = follow(lm, targets[:, :-1], options_mask, prompt_mask, owner, state)
            rest = token_logprobs(logits, targets[:, 1:])
        logprobs = torch.cat([logprobs, rest.masked_fill(~options_mask, 0.0)], dim=1)
    found = _by_query(queries, logprobs)
    return Scored(*found, prompt_mask, options_mask, packed, graph_cut)


def _by_query(
    queries: Sequence[Query], logprobs: Float[Tensor, "r t"]
) -> tuple[Float[Tensor, "b c"], Int[Tensor, "b c"]]:
    """The log-probability of each query's options, and their rows."""
    counts = [len(query.options) for query in queries]
    rows = torch.arange(len(logprobs), device=logprobs.device)
    return per_query(logprobs.sum(1), counts, -torch.inf), per_query(rows, counts, -1)


# Each kind of model has two functions. The first reads the prompts and returns the logits of the
# first answer token [B, V], the mask of the prompts' real tokens [B, S], and the cache with other
# state. The second continues with the options, row r from prompt owner[r], and returns the logits
# after each of their tokens [R, T, V].


def _encode_prompts(lm: Backbone, prompts: Sequence[tuple[int, ...]]) -> tuple[Tensor, Tensor, Any]:
    # An encoder with absolute positions (BART) counts from the first token, so pad on the right.
    ids, mask = pad(prompts, lm.device, "right")
    states = lm.model.get_encoder()(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    out = lm.model(
        encoder_outputs=BaseModelOutput(last_hidden_state=states),
        attention_mask=mask.long(),
        decoder_input_ids=torch.full((len(ids), 1), lm.start_token, device=lm.device),
        use_cache=True,
    )
    return out.logits[:, -1], mask, (out.past_key_values, states)


def _decode_options(
    lm: Backbone, ids: Tensor, mask: Tensor, prompt_mask: Tensor, owner: Tensor, state: Any
) -> Tensor:
    cache, states = state
    return lm.model(
        # The cache holds this input's keys and values; only its shape is used.
        encoder_outputs=BaseModelOutput(last_hidden_state=states.detach()[owner]),
        attention_mask=prompt_mask[owner].long(),
        decoder_input_ids=ids,
        past_key_values=cache,
        use_cache=True,
    ).logits


def _read_prompts(
    lm: Backbone, prompts: Sequence[tuple[int, ...]], shared: int
) -> tuple[Tensor, Tensor, Any]:
    # A decoder continues from the last column, so pad on the left.
    ids, mask = pad([prompt[shared:] for prompt in prompts], lm.device, "left")
    cache = None
    if shared:
        start = torch.tensor([prompts[0][:shared]], device=lm.device)
        cache = lm.model(input_ids=start, use_cache=True, **lm.last_logits_only).past_key_values
        cache.batch_repeat_interleave(len(prompts))
        mask = torch.cat([mask.new_ones(len(prompts), shared), mask], dim=1)
    out = lm.model(
        input_ids=ids,
        attention_mask=mask.long(),
        position_ids=positions(mask)[:, shared:],
        past_key_values=cache,
        use_cache=True,
        **lm.last_logits_only,
    )
    if getattr(out, "past_key_values", None) is None:
        raise SnipbiasError(
            f"{type(lm.model).__name__} is not supported: it has no key-value cache, so options "
            "cannot share a prompt."
        )
    return out.logits[:, -1], mask, (out.past_key_values,)


def _continue_options(
    lm: Backbone, ids: Tensor, mask: Tensor, prompt_mask: Tensor, owner: Tensor, state: Any
) -> Tensor:
    start = prompt_mask.sum(1)[owner, None]
    return lm.model(
        input_ids=ids,
        attention_mask=torch.cat([prompt_mask[owner], mask], dim=1).long(),
        position_ids=start + torch.arange(ids.shape[1], device=lm.device),
        past_key_values=state[0],
        use_cache=True,
    ).logits


def _layers(cache: Any) -> list[Any]:
    """The layers of a cache that hold keys and values; in Gemma 3n and 4, some use others'."""
    both = isinstance(cache, EncoderDecoderCache)
    parts = (cache.self_attention_cache, cache.cross_attention_cache) if both else (cache,)
    layers = (layer for part in parts for layer in part.layers)
    return [layer for layer in layers if getattr(layer, "keys", None) is not None]


def _continue_packed(
    lm: Backbone, targets: Tensor, prompt_mask: Tensor, packed: Packed, state: Any
) -> Tensor:
    """Log P of each token after the first [R, T], with a prompt's options in one sequence.

    No cache is copied, and short options are not padded to the longest.
    """
    sees = torch.cat([prompt_mask[:, None].expand(-1, packed.shape[1], -1), packed.tree()], dim=2)
    steps = torch.arange(packed.place.shape[1], device=lm.device)
    logits = lm.model(
        input_ids=packed.spread(targets[:, :-1], 0),
        attention_mask=attention_bias(sees, lm.model.dtype)[:, None],
        position_ids=packed.spread(prompt_mask.sum(1)[packed.owner, None] + steps, 0),
        past_key_values=state[0],
        use_cache=True,
    ).logits
    return packed.by_row(token_logprobs(logits, packed.spread(targets[:, 1:], 0)))


def _shared_start(lm: Backbone, prompts: Sequence[tuple[int, ...]]) -> int:
    """Number of initial tokens to encode once for all prompts; each keeps at least one."""
    if len(prompts) == 1 or not is_told_positions(lm):
        return 0
    shared = min(common_start(prompts), min(map(len, prompts)) - 1)
    return shared if shared >= WORTH_SHARING else 0


def _read_whole(lm: Backbone, queries: Sequence[Query]) -> tuple[Tensor, Tensor, Tensor]:
    """Read each option after its own copy of the prompt, without a cache: slow, for any decoder.

    Padding is on the right, where neither attention nor a recurrent state sees it.

    Returns:
        Log P per token of the options [R, T], the mask of the prompts' tokens [B, L], and the mask
        of all tokens that are read [R, L].
    """
    pairs = [(query.prompt, option) for query in queries for option in query.options]
    ids, read = pad([(*prompt, *option[:-1]) for prompt, option in pairs], lm.device, "right")
    logits = lm.model(input_ids=ids, attention_mask=read.long(), use_cache=False).logits
    targets, real = pad([option for _, option in pairs], lm.device, "right")
    starts = torch.tensor([len(prompt) - 1 for prompt, _ in pairs], device=lm.device)
    places = starts[:, None] + torch.arange(targets.shape[1], device=lm.device)
    places = places.clamp(max=ids.shape[1] - 1)[..., None].expand(-1, -1, logits.shape[-1])
    logprobs = token_logprobs(logits.gather(1, places), targets).masked_fill(~real, 0.0)
    columns = torch.arange(ids.shape[1], device=lm.device)
    lengths = torch.tensor([len(query.prompt) for query in queries], device=lm.device)
    return logprobs, columns < lengths[:, None], read
