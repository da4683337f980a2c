"""What the page is asked in tests."""

from __future__ import annotations

from snipbias.edits.edit import NeuronEdit
from snipbias.edits.provenance import ModelId
from snipbias.models.language_model import LanguageModel
from toys import RAGGED

SAY = "say it."
ITEM = RAGGED.items[0]


def edit_of(lm: LanguageModel, factors: dict[str, dict[int, float]]) -> NeuronEdit:
    return NeuronEdit(factors, ModelId.of(lm))
