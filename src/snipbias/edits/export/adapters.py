"""Adapters for PEFT: LoRA and (IA)3.

LoRA: scaling r rows of a weight is an update of rank r. Row u of W becomes f W_u, that is
W + (f - 1) e_u W_u: one row of A, (f - 1) W_u, and one column of B that picks unit u. A bias term b
becomes b + (f - 1) b_u, which PEFT keeps next to B. The scaling (alpha over rank) is 1.

(IA)3: a vector of ones per layer, with the factors at the edited units. PEFT multiplies a layer's
output by it, bias term included, which is what an edit does.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from snipbias.base.errors import SnipbiasError
from snipbias.edits.baking import plain_tensors
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.export.base import Base
from snipbias.edits.pruning import tensors
from snipbias.models.language_model import LanguageModel
from snipbias.models.sites import Linear, unit_dim, width

if TYPE_CHECKING:
    from peft import IA3Config, LoraConfig


def write_adapter(
    lm: LanguageModel, edit: NeuronEdit, folder: Path, kind: str, base: Base, *, one_rank: bool
) -> None:
    """Write an adapter as PEFT loads it, in float32.

    Args:
        folder: an existing folder.
        kind: lora or ia3.
        base: the model that the adapter names.
        one_rank: give all layers of a LoRA the largest rank, padded with zeros.

    Raises:
        SnipbiasError: a weight is quantised or not in memory, or the edit is too dense for a LoRA.
    """
    config, parts = _lora(lm, edit, one_rank=one_rank) if kind == "lora" else _ia3(lm, edit)
    sites = list(edit.factors)
    config.fan_in_fan_out = any(isinstance(lm.module(site), Conv1D) for site in sites)
    # Full names, since a last part would match other layers; a list, since PEFT makes a set of
    # those it is given, in random order.
    config.target_modules = sites
    config.task_type = "SEQ_2_SEQ_LM" if base.is_encoder_decoder else "CAUSAL_LM"  # type: ignore[assignment]
    config.base_model_name_or_path = base.name
    config.revision = base.revision
    config.inference_mode = True
    config.save_pretrained(str(folder))
    tensors = {f"base_model.model.{name}": tensor for name, tensor in parts.items()}
    (folder / "adapter_model.safetensors").write_bytes(save(tensors, {"format": "pt"}))


def has_bias(lm: LanguageModel, edit: NeuronEdit) -> bool:
    """Whether any edited layer has a bias term; PEFT has one switch for all layers."""
    return any(lm.module(site).bias is not None for site in edit.factors)


def _lora(
    lm: LanguageModel, edit: NeuronEdit, *, one_rank: bool
) -> tuple[LoraConfig, dict[str, Tensor]]:
    from peft import LoraConfig

    ranks = {site: len(units) for site, units in edit.factors.items()}
    largest, with_bias = max(ranks.values()), has_bias(lm, edit)
    smaller = {} if one_rank else {site: rank for site, rank in ranks.items() if rank < largest}
    config = LoraConfig(
        r=largest,  # servers that ignore patterns use this rank, and a scaling of 1
        lora_alpha=largest,
        rank_pattern=dict(smaller),
        alpha_pattern=dict(smaller),
        lora_bias=with_bias,
    )
    tensors: dict[str, Tensor] = {}
    for site, units in edit.factors.items():
        module, rank = lm.module(site), largest if one_rank else len(units)
        most = module.weight.shape[1 - unit_dim(module)]
        if len(units) > most:
            raise SnipbiasError(
                f"a LoRA of {edit.label} would have rank {len(units)} at {site}, more than its "
                f"weight ({most}): export a dense edit as ia3, which is exact and small, or as a "
                "checkpoint."
            )
        update = _update(module, units, site, rank, with_bias=with_bias)
        tensors |= {f"{site}.{part}": tensor for part, tensor in update.items()}
    return config, tensors


def _update(
    module: Linear, units: Mapping[int, float], site: str, rank: int, *, with_bias: bool
) -> dict[str, Tensor]:
    """A [r, in], B [out, r] and, with a bias, what is added to the bias term [out]."""
    index, factors = tensors(units)
    change = factors.float() - 1
    rows = {
        name: tensor.detach().index_select(dim, index.to(tensor.device)).float().cpu()
        for name, tensor, dim in plain_tensors(module, site)
    }
    weight = rows["weight"].T if unit_dim(module) else rows["weight"]
    a = torch.zeros(rank, weight.shape[1])
    a[: len(units)] = change[:, None] * weight
    b = torch.zeros(width(module), rank)
    b[index, torch.arange(len(units))] = 1.0
    update = {"lora_A.weight": a, "lora_B.weight": b}
    if with_bias:
        update["lora_B.bias"] = bias = torch.zeros(width(module))
        if "bias" in rows:
            bias[index] = change * rows["bias"]
    return update


def _ia3(lm: LanguageModel, edit: NeuronEdit) -> tuple[IA3Config, dict[str, Tensor]]:
    from peft import IA3Config

    tensors: dict[str, Tensor] = {}
    for site, units in edit.factors.items():
        vector = tensors[f"{site}.ia3_l"] = torch.ones(width(lm.module(site)), 1)
        vector[list(units), 0] = torch.tensor(list(units.values()))
    # PEFT would scale the inputs of feed-forward modules. `target_modules` is set later.
    return IA3Config(target_modules=list(edit.factors), feedforward_modules=[]), tensors
