"""Edits to export, and what a model answers with and without them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from snipbias.edits.edit import NeuronEdit
from snipbias.edits.provenance import ModelId
from snipbias.models.language_model import LanguageModel
from snipbias.models.loading import load
from snipbias.models.source import quiet_transformers

peft = pytest.importorskip("peft")


FORMATS = ("lora", "ia3", "checkpoint")
IDS = torch.tensor([[5, 6, 7, 8, 9, 20], [21, 22, 23, 24, 25, 26], [9, 8, 7, 6, 5, 4]])
FACTORS = (0.0, 0.3, 1.7)


def edit_of(lm: LanguageModel, every: int = 1, first: int = 0) -> NeuronEdit:
    """Units 1, 6, 11, ... of every so-many-th site, pruned, damped and amplified in turn."""
    factors = {
        site.name: {u: FACTORS[(u + first) % 3] for u in range(1 + first, site.width, 5)}
        for site in lm.sites[first::every]
    }
    return NeuronEdit(factors, ModelId.of(lm), label=f"from {first}, every {every}")


def inputs(lm: LanguageModel, ids: torch.Tensor = IDS) -> dict[str, torch.Tensor]:
    """What a forward pass takes."""
    second = {"decoder_input_ids": ids.flip(1)} if lm.is_encoder_decoder else {}
    return {"input_ids": ids, **second}


@torch.no_grad()
def hooked(lm: LanguageModel, edit: NeuronEdit | None, ids: torch.Tensor = IDS) -> torch.Tensor:
    """The edited model's logits."""
    if edit is None:
        return lm.model(**inputs(lm, ids)).logits
    with edit.applied(lm):
        return lm.model(**inputs(lm, ids)).logits


def saved(lm: LanguageModel, place: Path) -> LanguageModel:
    """The same model, loaded from a folder."""
    with quiet_transformers():
        lm.model.save_pretrained(place)
        lm.tokenizer.save_pretrained(place)
    return load(place)
