"""Scale outputs of a layer in its weights, and undo it to the bit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from snipbias.base.errors import SnipbiasError
from snipbias.edits.pruning import tensors, times
from snipbias.models.language_model import LanguageModel
from snipbias.models.sites import Linear, unit_dim, width

Changed = list[tuple[Tensor, Tensor]]  # weights, and the units of each


@dataclass(frozen=True)
class Baked:
    """Weights as they were before `bake`; restoring them is exact, since nothing is divided.

    `stack` lists what every edit baked into the model changed, in order, and `changed` is this
    one's. It holds no rows, so that the originals of an edit that nobody can undo are freed.
    """

    # Weight, units, their dimension, their rows as they were, and the factors of these.
    originals: list[tuple[Tensor, Tensor, int, Tensor, Tensor]]
    changed: Changed
    stack: list[Changed]

    def undo(self) -> None:
        """Put the original rows back, in the type that the weights have now.

        Raises:
            SnipbiasError: an edit that was baked later is still there; nothing is changed then.
        """
        with torch.no_grad():
            later = takewhile(lambda each: each is not self.changed, reversed(self.stack))
            above = [part for changed in later for part in changed]
            for weight, units, dim, rows, factors in self.originals:
                now = weight.index_select(dim, units.to(weight.device))
                then = times(rows, factors).to(now)
                # Two edits that prune the same unit leave the same zeros.
                is_below = any(
                    weight is other and bool(torch.isin(units, theirs).any())
                    for other, theirs in above
                )
                if is_below or not torch.allclose(then, now, rtol=0, atol=0, equal_nan=True):
                    raise SnipbiasError(
                        "the weights changed after this edit was baked: undo later edits first, or "
                        "load the model again."
                    )
            while self.originals:
                weight, units, dim, rows, _ = self.originals.pop()
                weight.index_copy_(dim, units.to(weight.device), rows.to(weight))
        torch.clear_autocast_cache()
        self.stack[:] = (each for each in self.stack if each is not self.changed)


# What is baked into each model.
_STACKS: WeakKeyDictionary[nn.Module, list[Changed]] = WeakKeyDictionary()


def plain_tensors(module: Linear, site: str) -> Iterator[tuple[str, Tensor, int]]:
    """A site's weight and bias term, if it has one, each with the dimension of its units.

    Raises:
        SnipbiasError: one of them is quantised or not in memory.
    """
    for name, dim in (("weight", unit_dim(module)), ("bias", 0)):
        tensor = getattr(module, name, None)
        if tensor is None:
            continue
        own = module._parameters.get(name)  # None if a mask or parametrization computes it
        forward = getattr(module.forward, "func", module.forward)  # a partial function's
        known = ("torch.nn.", "transformers.models.", "transformers.pytorch_utils")  # Falcon's own
        known += ("accelerate.", "snipbias.")  # not transformers.integrations, which quantise
        if own is None or not str(forward.__module__).startswith(known):
            raise SnipbiasError(
                f"cannot bake or export {site}: its {name} is masked, re-parametrised or used by "
                "custom code; make it plain first (torch.nn.utils.prune.remove, "
                "parametrize.remove_parametrizations), or apply the edit with hooks."
            )
        is_plain = type(own) is nn.Parameter and tensor.is_floating_point() and not tensor.is_meta
        # Quantised numbers take a byte each, or are packed into other shapes.
        if not is_plain or tensor.element_size() == 1 or tensor.shape[dim] != width(module):
            raise SnipbiasError(
                f"cannot bake or export {site}: its {name} is quantised or not in memory; load the "
                "model unquantised and without offloading."
            )
        yield name, tensor, dim


def bake(lm: LanguageModel, factors: Mapping[str, Mapping[int, float]]) -> Baked:
    """Scale units (site -> unit -> factor) in the weights and bias terms of a model.

    Raises:
        SnipbiasError: a weight is quantised, not in memory, or another layer's too; nothing is
            changed then.
    """
    stack = _STACKS.setdefault(lm.model, [])
    stack.append(changed := [])
    baked = Baked([], changed, stack)
    uses = Counter(id(tensor) for _, tensor in lm.model.named_parameters(remove_duplicate=False))
    try:
        with torch.no_grad():
            for site, units in factors.items():
                for name, weight, dim in plain_tensors(lm.module(site), site):
                    if uses[id(weight)] > 1:
                        raise SnipbiasError(
                            f"cannot bake {site}: another layer has the same {name}, which would "
                            "change too; apply the edit with hooks, or export an adapter."
                        )
                    index, values = tensors(units)
                    index = index.to(weight.device)
                    values = values.view(-1, *[1] * (weight.ndim - 1 - dim))
                    rows = weight.index_select(dim, index)
                    weight.index_copy_(dim, index, times(rows, values))
                    baked.originals.append((weight, index, dim, rows, values))
                    changed.append((weight, index))
    except BaseException:
        baked.undo()
        raise
    torch.clear_autocast_cache()  # which keeps the weights as they were before
    return baked
