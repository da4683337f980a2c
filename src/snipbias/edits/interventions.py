"""The interface of anything that changes a model temporarily, for evaluation."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from snipbias.models.language_model import LanguageModel


@runtime_checkable
class Intervention(Protocol):
    """A `NeuronEdit`, a steering vector, a mean ablation: anything that can be switched on."""

    @property
    def label(self) -> str:
        """Its name in tables."""
        ...

    def check(self, lm: LanguageModel, /) -> object:
        """Refuse a model that it does not fit."""
        ...

    def applied(self, lm: LanguageModel, /) -> AbstractContextManager[None]:
        """Change the model while inside; restore it afterwards."""
        ...
