"""Refuse at once a model that would give wrong numbers: by its layers, and by a first pass."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import zip_longest

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from snipbias.base.errors import SnipbiasError
from snipbias.models.backbone import BLOCK
from snipbias.models.language_model import LanguageModel, Query
from snipbias.models.scoring import Scored
from snipbias.models.sites import ATTENTION_OUTPUTS, FUSED_QKV, ROLES, Site

# Two prompts of different lengths, so that one is padded; their options are read in a second pass.
QUERIES = (Query((5, 6, 7), ((8, 9), (9, 8, 7))), Query((9, 8, 7, 6) * 4, ((5, 6), (6, 7))))
# How far scores may be from the plain model's (rtol, atol): float32 or wider, and half types.
FINE, COARSE = (1e-3, 5e-3), (5e-2, 0.5)
_ROLE_NAMES = {*ATTENTION_OUTPUTS, *FUSED_QKV, "gate_up_proj"}.union(*ROLES.values())


def refuse(model: PreTrainedModel, sites: Sequence[Site]) -> None:
    """Refuse a model whose answers or neurons would be wrong.

    Raises:
        SnipbiasError: it has no language-model head, checkpoints its activations in every mode, has
            parts compiled by themselves, or has projections that are not plain linear layers.
    """
    kind = type(model).__name__
    if not model.can_generate():
        raise SnipbiasError(
            f"{kind} has no language-model head to answer with: load it with AutoModelForCausalLM "
            "or AutoModelForSeq2SeqLM."
        )
    blocks = {found[0] for site in sites if (found := BLOCK.match(site.name))}
    for name, module in model.named_modules():
        if type(module).__name__ == "CheckpointWrapper":
            raise SnipbiasError(
                f"{name} of {kind} is wrapped for activation checkpointing, which runs layers "
                "twice: give the model as it was before apply_activation_checkpointing."
            )
        if type(module).__name__ == "OptimizedModule":
            raise SnipbiasError(
                f"{name} of {kind} is compiled by itself, which renames its layers: compile it in "
                f"place instead ({name}.compile()), or give the model as it was before."
            )
        block = BLOCK.match(name)
        if block and block[0] in blocks and _is_other_projection(name, module):
            raise SnipbiasError(
                f"{kind} has a layer {name} of class {type(module).__name__}, which is not a plain "
                "linear layer, so its neurons would be left out: load the model unquantised and "
                "without replaced layers."
            )


def _is_other_projection(name: str, module: nn.Module) -> bool:
    """Whether a module is a projection but not a linear layer."""
    is_norm = type(module).__name__.endswith("Norm")  # Cohere's has a row of weights per head
    if is_norm or isinstance(module, nn.Linear | Conv1D | nn.Embedding):
        return False
    is_named_so = name.rsplit(".", 1)[-1] in _ROLE_NAMES and any(True for _ in module.parameters())
    if isinstance(module, nn.Conv1d):  # linear attention's short convolutions mix tokens
        return is_named_so
    # Quantised weights are integers, and buffers; so are masks, which are bool.
    tables = [b for b in module.buffers(recurse=False) if b.ndim > 1 and b.dtype != torch.bool]
    packed = any(not table.is_floating_point() for table in tables)
    matrix = any(p.ndim > 1 for p in module.parameters(recurse=False))
    return is_named_so or packed or matrix or hasattr(module, "out_features")


def check_runs(lm: LanguageModel) -> None:
    """Score two short prompts and check what every site did.

    A decoder that does not continue correctly from a cache is made to read whole sequences.

    Raises:
        SnipbiasError: a site does not run once per token, or the scores differ from those without
            padding and cache.
    """
    weight = next(lm.model.get_input_embeddings().parameters())
    if not lm.sites or (weight.is_meta and not hasattr(lm.model, "hf_device_map")):
        return  # no weights to run
    try:
        _check(lm)
    except SnipbiasError:
        if lm.is_encoder_decoder:
            raise
        lm.reads_whole = True
        _check(lm)


def _check(lm: LanguageModel) -> None:
    kind = type(lm.model).__name__
    try:
        # Code that was compiled in place ignores hooks.
        with torch.no_grad(), lm.frozen(), torch.compiler.set_stance("force_eager"):
            with _noted(lm) as runs:
                plain = _plain(lm, QUERIES[0])
            for site, seen in runs.items():
                if len(seen) != 1:
                    raise SnipbiasError(
                        f"{kind} is not supported: it runs its layer {site} {len(seen)} times per "
                        "pass, so a neuron's output at a token is not defined."
                    )
            with _noted(lm) as runs:
                scored = lm.score(QUERIES)
            _refuse_other_positions(lm, runs, scored)
    except (SnipbiasError, torch.cuda.OutOfMemoryError):
        raise
    except (TypeError, ValueError, LookupError, AttributeError, RuntimeError) as error:
        why = str(error).strip().split("\n")[0][:120]
        raise SnipbiasError(
            f"{kind} is not supported: it cannot read a prompt of plain tokens and then its "
            f"options ({type(error).__name__}: {why})."
        ) from error
    is_fine = all(p.dtype in (torch.float32, torch.float64) for p in lm.model.parameters())
    rtol, atol = FINE if is_fine else COARSE
    found = scored.logprobs[0, 0]
    if torch.isfinite(plain) and (found - plain).abs() > atol + rtol * plain.abs():
        raise SnipbiasError(
            f"{kind} is not supported: it gives an option another score in a padded batch "
            f"({found:.3f}) than by itself ({plain:.3f})."
        )


@contextmanager
def _noted(lm: LanguageModel) -> Iterator[dict[str, list[torch.Size]]]:
    """Record the shape of positions of every output of every site."""
    runs: dict[str, list[torch.Size]] = {site.name: [] for site in lm.sites}

    def see(site: str, module: nn.Module, args: object, output: torch.Tensor) -> None:
        runs[site].append(output.shape[:-1])

    with lm.hooked((site, partial(see, site)) for site in runs):
        yield runs


def _refuse_other_positions(
    lm: LanguageModel, runs: dict[str, list[torch.Size]], scored: Scored
) -> None:
    """A site must see the prompts' tokens, and the options' after them or in the same pass."""
    prompts = [*scored.prefix_mask.shape]
    options = [*(scored.options_mask.shape if scored.packed is None else scored.packed.shape)]
    for site in lm.sites:
        if lm.reads_whole:
            expected = [options]
        elif not lm.is_encoder_decoder:
            expected = [prompts, options]
        else:
            expected = [prompts] if site.sees_prompt else [[len(QUERIES), 1], options]
        for there, rows in zip_longest(runs[site.name], expected, fillvalue=()):
            # OPT merges batch and tokens in some layers; DeepSeek adds a dimension.
            given, wanted = ([n for n in shape if n > 1] for shape in (there, rows))
            if given not in (wanted, [math.prod(wanted)]):
                raise SnipbiasError(
                    f"{type(lm.model).__name__} is not supported: it runs its layer {site.name} "
                    f"over {tuple(there)} positions while it reads {tuple(rows)} tokens, so no "
                    "position can be matched to a token."
                )


def _plain(lm: LanguageModel, query: Query) -> torch.Tensor:
    """Log-probability of the first option from the plain model: no padding, no cache."""
    prompt, option = query.prompt, query.options[0]
    if lm.is_encoder_decoder:
        inputs = {"input_ids": prompt, "decoder_input_ids": (lm.start_token, *option[:-1])}
    else:
        inputs = {"input_ids": (*prompt, *option[:-1])}
    given = {name: torch.tensor([ids], device=lm.device) for name, ids in inputs.items()}
    with lm.rows_of(torch.zeros(1, dtype=torch.long)):
        logits = lm.model(**given, use_cache=False).logits
    found = logits[0, -len(option) :].float().log_softmax(-1)
    return found.gather(1, torch.tensor(option, device=found.device)[:, None]).sum()
