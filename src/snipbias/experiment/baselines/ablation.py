"""Mean ablation: an edit's neurons held at their mean activation instead of scaled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from snipbias.edits.edit import NeuronEdit
from snipbias.models.language_model import LanguageModel
from snipbias.models.sharded import refuse_split


@dataclass(frozen=True, eq=False)
class MeanAblation:
    """The neurons of an edit, each held at a constant.

    Attributes:
        edit: which neurons; its factors are not used.
        means: what every neuron is held at, per site.
    """

    edit: NeuronEdit
    means: Mapping[str, Float[Tensor, " d"]]

    @property
    def label(self) -> str:
        """The edit's, marked."""
        return f"{self.edit.label} at its mean"

    def check(self, lm: LanguageModel) -> None:
        """Refuse a model that the edit does not fit."""
        self.edit.check(lm)

    @contextmanager
    def applied(self, lm: LanguageModel) -> Iterator[None]:
        """While inside, the neurons' outputs are constant; no weight is touched."""
        self.check(lm)
        refuse_split()
        hooks = []
        for site, units in self.edit.factors.items():
            index = torch.tensor(list(units))
            hooks.append((site, partial(_hold, index, self.means[site][index].float())))
        with lm.hooked(hooks, first=True):
            yield


def _hold(index: Tensor, values: Tensor, module: nn.Module, args: object, output: Tensor) -> Tensor:
    values = values.to(output.device, output.dtype).expand(*output.shape[:-1], -1)
    return output.index_copy(-1, index.to(output.device), values)
