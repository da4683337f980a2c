"""A LoRA adapter: scaling r rows of a weight is an update of rank r.

Row u of W becomes f W_u, that is W + (f - 1) e_u W_u: one row of A, (f - 1) W_u, and one column of
B that picks unit u. A bias term b becomes b + (f - 1) b_u, which PEFT keeps next to B. The scaling
(alpha over rank) is 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from snipbias.base.errors import SnipbiasError
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.pruning import plain_tensors
from snipbias.models.language_model import LanguageModel
from snipbias.models.sites import Linear, unit_dim, width

if TYPE_CHECKING:
    from peft import LoraConfig


def lora_tensors(lm: LanguageModel, edit: NeuronEdit, *, one_rank: bool) -> dict[str, Tensor]:
    """PEFT's names -> A and B of every edited site, in float32.

    Args:
        lm: the model.
        edit: the edit.
        one_rank: give all sites the largest rank, padded with zeros.

    Raises:
        SnipbiasError: a weight is quantised or not in memory, or the edit is dense.
    """
    modules = {site: lm.module(site) for site in edit.factors}
    for site, module in modules.items():
        most = module.weight.shape[1 - unit_dim(module)]
        if len(edit.factors[site]) > most:
            raise SnipbiasError(
                f"a LoRA of {edit.label} would have rank {len(edit.factors[site])} at {site}, more "
                f"than its weight ({most}): export a dense edit as ia3, which is exact and small, "
                "or as a checkpoint."
            )
    with_bias = has_bias(lm, edit)
    largest = max(map(len, edit.factors.values()))
    tensors: dict[str, Tensor] = {}
    for site, module in modules.items():
        units = edit.factors[site]
        rank = largest if one_rank else len(units)
        for part, tensor in _update(module, units, site, rank, with_bias=with_bias).items():
            tensors[f"base_model.model.{site}.{part}"] = tensor
    return tensors


def lora_config(lm: LanguageModel, edit: NeuronEdit, *, one_rank: bool) -> LoraConfig:
    """The configuration that goes with `lora_tensors`.

    Args:
        lm: the model.
        edit: the edit.
        one_rank: give every layer the largest rank.
    """
    from peft import LoraConfig

    modules = {site: lm.module(site) for site in edit.factors}
    ranks = {site: len(units) for site, units in edit.factors.items()}
    largest = max(ranks.values())
    smaller = {} if one_rank else {site: r for site, r in ranks.items() if r < largest}
    config = LoraConfig(
        r=largest,  # servers that ignore patterns use this rank, and a scaling of 1
        lora_alpha=largest,
        rank_pattern=dict(smaller),
        alpha_pattern=dict(smaller),
        target_modules=list(modules),  # full names, since a last part would match other layers
        lora_bias=has_bias(lm, edit),
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in modules.values()),
    )
    config.target_modules = list(modules)  # PEFT makes a set of them, in random order
    return config


def has_bias(lm: LanguageModel, edit: NeuronEdit) -> bool:
    """Whether any edited layer has a bias term; PEFT has one switch for all layers."""
    return any(lm.module(site).bias is not None for site in edit.factors)


def _update(
    module: Linear, units: Mapping[int, float], site: str, rank: int, *, with_bias: bool
) -> dict[str, Tensor]:
    """A [r, in], B [out, r] and, with a bias, what is added to the bias term [out]."""
    index = torch.tensor(list(units))
    change = torch.tensor(list(units.values())) - 1
    columns = torch.arange(len(units))
    b = torch.zeros(width(module), rank)
    b[index, columns] = 1.0
    bias = torch.zeros(width(module))
    a = torch.zeros(0)
    for name, tensor, dim in plain_tensors(module, site):
        rows = tensor.detach().index_select(dim, index.to(tensor.device)).float().cpu()
        if name == "bias":
            bias[index] = change * rows
        else:
            rows = rows.T if dim else rows
            a = torch.zeros(rank, rows.shape[1])
            a[columns] = change[:, None] * rows
    update = {"lora_A.weight": a, "lora_B.weight": b}
    return {**update, "lora_B.bias": bias} if with_bias else update
