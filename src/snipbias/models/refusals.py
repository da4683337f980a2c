"""Refuse models in memory that would silently give wrong numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from snipbias.base.errors import SnipbiasError
from snipbias.models.sites import ATTENTION_OUTPUTS, FUSED_QKV, ROLES, Site

_ROLE_NAMES = {*ATTENTION_OUTPUTS, *FUSED_QKV, "gate_up_proj"}.union(*ROLES.values())


def refuse(model: PreTrainedModel, sites: Sequence[Site]) -> None:
    """Refuse a model whose answers or neurons would be wrong.

    Raises:
        SnipbiasError: it has no language-model head, checkpoints its activations in every mode, or
            has projections that are not plain linear layers.
    """
    kind = type(model).__name__
    if not model.can_generate():
        raise SnipbiasError(
            f"{kind} has no language-model head to answer with: load it with AutoModelForCausalLM "
            "or AutoModelForSeq2SeqLM."
        )
    blocks = {prefix for site in sites for prefix in re.findall(r"^.*?\.\d+(?=\.)", site.name)}
    for name, module in model.named_modules():
        if type(module).__name__ == "CheckpointWrapper":
            raise SnipbiasError(
                f"{name} of {kind} is wrapped for activation checkpointing, which runs layers "
                "twice: give the model as it was before apply_activation_checkpointing."
            )
        block = re.match(r"^.*?\.\d+(?=\.)", name)
        if block and block[0] in blocks and _is_other_projection(name, module):
            raise SnipbiasError(
                f"{kind} has a layer {name} of class {type(module).__name__}, which is not a plain "
                "linear layer, so its neurons would be left out: load the model unquantised and "
                "without replaced layers."
            )


def _is_other_projection(name: str, module: nn.Module) -> bool:
    """Whether a module is a projection but not a linear layer."""
    if isinstance(module, nn.Linear | Conv1D | nn.Embedding):
        return False
    is_named_so = name.rsplit(".", 1)[-1] in _ROLE_NAMES and any(True for _ in module.parameters())
    if isinstance(module, nn.Conv1d):  # linear attention's short convolutions mix tokens
        return is_named_so
    packed = any(b.ndim > 1 and _is_whole(b) for b in module.buffers(recurse=False))
    matrix = any(p.ndim > 1 for p in module.parameters(recurse=False))
    return is_named_so or packed or matrix or hasattr(module, "out_features")


def _is_whole(tensor: torch.Tensor) -> bool:
    """Whether it holds integers, as quantised weights do, and is not a mask."""
    return not tensor.is_floating_point() and tensor.dtype != torch.bool
