"""Which model an edit was found on: fingerprints of weights, files and edits."""

from __future__ import annotations

import itertools

import pytest
import torch

from edits_by_hand import edit_of
from families import tiny
from snipbias.edits import provenance
from snipbias.edits.controls import random_edit
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.provenance import ModelId, same_weights
from snipbias.models.sites import Neuron


@pytest.mark.parametrize("family", ["flan-t5", "gpt2"])
def test_a_pruned_model_has_other_weights_whichever_neuron_it_was(family):
    lm = tiny(family)
    original = ModelId.of(lm)
    for site in (lm.sites[0], lm.sites[-1]):
        for unit in range(site.width):
            baked = NeuronEdit.of([Neuron(site.name, unit)], original).bake(lm)
            assert ModelId.of(lm).weights != original.weights, (site.name, unit)
            baked.undo()
    assert ModelId.of(lm) == original


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("family", ["flan-t5", "gpt2"])
def test_the_number_type_is_not_another_model(family):
    lm = tiny(family)
    edit = edit_of(lm)
    lm.model.to(torch.bfloat16)
    with edit.applied(lm):
        pass


def test_a_file_is_one_model_in_each_type_and_another_with_one_neuron_pruned():
    here = {}
    for kind in (torch.float32, torch.bfloat16, torch.float16):
        lm = tiny("llama")
        lm.model.to(kind)
        here[kind] = ModelId.of(lm).weights
        with torch.no_grad():
            lm.module(lm.sites[3].name).weight[5] = 0
        pruned = ModelId.of(lm).weights
        assert not any(same_weights(found, pruned) for found in here.values()), kind
    for a, b in itertools.combinations(here.values(), 2):
        assert a != b
        assert same_weights(a, b)
    first = here[torch.float32].split(".")[0]  # all that earlier versions wrote
    assert same_weights(first, here[torch.bfloat16])
    assert not same_weights("0" * 16, here[torch.bfloat16])


def test_a_loop_over_edits_hashes_the_weights_once(monkeypatch) -> None:
    lm = tiny("llama")
    edit = random_edit(lm, 2)
    hashed: list[int] = []
    once = provenance._weights_hash
    monkeypatch.setattr(provenance, "_weights_hash", lambda lm: hashed.append(1) or once(lm))
    with provenance.weights_unchanged(lm):
        for _ in range(3):
            with edit.applied(lm):
                pass
    assert len(hashed) == 1
    edit.check(lm)
    assert len(hashed) == 2
