"""Weights of the sites in bfloat16, the rest in float32: faster where the processor has it."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from snipbias.models.backbone import Backbone


def multiply_in_bfloat16(lm: Backbone) -> None:
    """Keep the sites' weights of a float32 model in bfloat16, and multiply in that from now on.

    What goes in and comes out stays float32, and so do norms, attention, residual sums and logits,
    which a model in bfloat16 throughout rounds too.
    """
    for site in lm.sites:
        module = lm.module(site.name)
        if type(module) is nn.Linear and module.weight.dtype == torch.float32:
            module.weight.data = module.weight.data.bfloat16()
            module.forward = partial(_product, module)  # type: ignore[method-assign]


def _product(module: nn.Linear, given: Tensor) -> Tensor:
    product = F.linear(given.bfloat16(), module.weight).float()
    return product if module.bias is None else product + module.bias
