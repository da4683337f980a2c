"""An (IA)3 adapter: a vector of ones per layer, with the factors at the edited units.

PEFT multiplies a layer's output by it, bias term included, which is what an edit does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from snipbias.edits.edit import NeuronEdit
from snipbias.models.language_model import LanguageModel
from snipbias.models.sites import width

if TYPE_CHECKING:
    from peft import IA3Config


def ia3_tensors(lm: LanguageModel, edit: NeuronEdit) -> dict[str, Tensor]:
    """PEFT's name -> the vector [out, 1] of every edited site, in float32."""
    tensors: dict[str, Tensor] = {}
    for site, units in edit.factors.items():
        vector = torch.ones(width(lm.module(site)), 1)
        vector[list(units), 0] = torch.tensor(list(units.values()))
        tensors[f"base_model.model.{site}.ia3_l"] = vector
    return tensors


def ia3_config(lm: LanguageModel, edit: NeuronEdit) -> IA3Config:
    """The configuration that goes with `ia3_tensors`."""
    from peft import IA3Config

    sites = list(edit.factors)
    config = IA3Config(
        target_modules=sites,  # full names, since a last part would match other layers
        feedforward_modules=[],  # PEFT would scale their inputs
        fan_in_fan_out=any(isinstance(lm.module(site), Conv1D) for site in sites),
    )
    config.target_modules = sites  # PEFT makes a set of them, in random order
    return config
