"""Keep weights in bfloat16 and all else in float32: faster on processors that support it."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from snipbias.models.backbone import Backbone


def multiply_in_bfloat16(lm: Backbone) -> None:
    """Convert the sites' weights of a float32 model to bfloat16, and multiply in that type.

    Inputs and outputs stay float32, and so do norms, attention, residual sums and logits, which a
    model entirely in bfloat16 would round too.
    """
    for site in lm.sites:
        module = lm.module(site.name)
        if type(module) is nn.Linear and module.weight.dtype == torch.float32:
            module.weight.data = module.weight.data.bfloat16()
            module.forward = partial(_product, module)  # type: ignore[method-assign]


def _product(module: nn.Linear, given: Tensor) -> Tensor:
    product = F.linear(given.bfloat16(), module.weight).float()
    return product if module.bias is None else product + module.bias
