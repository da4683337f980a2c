"""Models whose layers are split among processes (tensor parallel) by transformers' own plan.

A layer split by columns gives each process some of the units; a layer split by rows gives all
processes every unit. So a neuron's output and gradient are where its row of the weight is.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import PretrainedConfig

from snipbias.base.errors import SnipbiasError
from snipbias.base.parallel import hold_one_model, workers
from snipbias.models.sites import Linear, width


def plan_for(config: PretrainedConfig, name: str) -> Any:
    """The argument of `from_pretrained` that splits the model.

    Raises:
        SnipbiasError: there is only one process, or transformers is too old or has no plan for it.
    """
    if workers().count == 1:
        raise SnipbiasError(
            "tensor parallel needs several processes: start it with torchrun --nproc-per-node 2 -m "
            "snipbias ... (in Python, load inside sb.data_parallel())."
        )
    try:
        from transformers.distributed.configuration_utils import DistributedConfig
    except ImportError:
        raise SnipbiasError(
            "tensor parallel needs transformers.distributed: pip install -U transformers."
        ) from None
    if not getattr(config.get_text_config(), "base_model_tp_plan", None):
        raise SnipbiasError(
            f"transformers has no plan for splitting {name} ({config.model_type}): use "
            "--device-map auto in one process."
        )
    hold_one_model()
    return DistributedConfig(tp_plan="auto", tp_size=workers().count)


def refuse_split() -> None:
    """Refuse work that does not support layers split among processes.

    Raises:
        SnipbiasError: layers are split.
    """
    if workers().one_model:
        raise SnipbiasError(
            "this does not work on layers that are split among processes: leave out "
            "--tensor-parallel; --device-map auto spreads a large model in one process."
        )


def units_here(module: Linear, output: Tensor) -> slice:
    """The units of a layer that its output in this process holds."""
    units, here = width(module), output.shape[-1]
    if here == units:
        return slice(0, units)
    start = -(-units // workers().count) * workers().rank  # as torch.chunk splits
    return slice(start, start + here)


def whole(here: Tensor, units: int) -> Tensor:
    """Gather all units of a layer, along the last dimension, in every process.

    Args:
        here: values of the units that this process holds; the result is on the CPU unless these
            are all.
        units: number of units of the layer.
    """
    if here.shape[-1] == units:
        return here
    import torch.distributed as dist

    most = -(-units // workers().count)
    padded = torch.nn.functional.pad(here.cpu(), (0, most - here.shape[-1])).contiguous()
    parts = [torch.empty_like(padded) for _ in range(workers().count)]
    dist.all_gather(parts, padded, group=workers().group)
    return torch.cat(parts, -1)[..., :units]


def plain(tensor: Tensor) -> Tensor:
    """A weight, or a part of one, as a whole tensor in this process."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor  # type: ignore[operator]
