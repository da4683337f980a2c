"""Pruning (paper, section 3.5): scale outputs of a layer in a hook; `baking` does so in weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from snipbias.models.sharded import units_here
from snipbias.models.sites import Linear, width


def scale_outputs(
    index: Tensor, factors: Tensor, module: Linear, args: object, output: Tensor
) -> Tensor:
    """Forward hook: the layer's output with its edited units scaled.

    Args:
        index, factors: edited units and their factors, [edited].
        module, args: the layer and its inputs, which are not used.
        output: its output, [..., width], or this process's share of the width.
    """
    here = units_here(module, output)
    if here.stop - here.start < width(module):
        mine = (index >= here.start) & (index < here.stop)
        index, factors = index[mine] - here.start, factors[mine]
    index = index.to(output.device)
    return output.index_copy(-1, index, times(output.index_select(-1, index), factors))


def times(values: Tensor, factors: Tensor) -> Tensor:
    """Multiply with broadcasting; write 0 for a factor of 0, since 0 * inf is not 0."""
    factors = factors.to(values.device, values.dtype)
    return torch.where(factors == 0, torch.zeros_like(values), values * factors)


def tensors(units: Mapping[int, float]) -> tuple[Tensor, Tensor]:
    """The units' indices and their factors as tensors."""
    return torch.tensor(list(units)), torch.tensor(list(units.values()), dtype=torch.float64)
