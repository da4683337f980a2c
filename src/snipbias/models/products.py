"""Products of weights in bfloat16, the rest in float32: faster where the processor has it."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from snipbias.models.backbone import Backbone


def multiply_in_bfloat16(lm: Backbone) -> None:
    """Let the sites of a float32 model multiply in bfloat16 from now on, and give float32.

    Norms, attention, residual sums and logits keep their precision, where a model in bfloat16
    throughout rounds them too. Costs half of the sites' memory once more.
    """
    for site in lm.sites:
        module = lm.module(site.name)
        plain = type(module) is nn.Linear and "forward" not in module.__dict__
        if plain and module.weight.dtype == torch.float32:
            module.forward = _Product(module)  # type: ignore[method-assign]


class _Product:
    """The forward of a linear layer, with a copy of its weight that follows every change of it."""

    def __init__(self, module: nn.Linear) -> None:
        self._module = module
        self._copy: Tensor | None = None
        self._version = -1

    def __call__(self, given: Tensor) -> Tensor:
        weight, bias = self._module.weight, self._module.bias
        if self._copy is None or self._version != weight._version:
            with torch.inference_mode(False):  # a later backward pass may need it
                self._copy, self._version = weight.detach().bfloat16(), weight._version
        product = F.linear(given.bfloat16(), self._copy).float()
        return product if bias is None else product + bias
