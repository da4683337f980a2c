"""A baked edit is undone to the bit, in order, in whatever type the model has by then."""

from __future__ import annotations

import gc
from weakref import ref

import pytest
import torch

from edits_by_hand import edit_of
from families import tiny
from snipbias.base.errors import SnipbiasError
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.provenance import ModelId
from snipbias.models.sites import Neuron


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_undo_is_exact_to_the_bit_in_every_type(dtype, unchanged):
    lm = tiny("llama-bias")
    lm.model.to(dtype)
    edit = edit_of(lm, factor=0.3)  # which no division could take back
    with unchanged(lm.model):
        edit.bake(lm).undo()
    with unchanged(lm.model):
        first, second = edit.bake(lm), edit_of(lm, 0.0, every=3)
        again = second.bake(lm)
        again.undo()
        first.undo()
        first.undo()  # the second time changes nothing
    with unchanged(lm.model):
        first, again = edit.bake(lm), second.bake(lm)
        with pytest.raises(SnipbiasError, match="undo later edits first"):
            first.undo()  # the second would put half of it back
        again.undo()
        first.undo()


def test_prunings_of_the_same_units_are_undone_in_order(unchanged):
    """Both leave the same zeros, which do not show that another edit lies above."""
    lm = tiny("llama-bias")
    with unchanged(lm.model):
        first, apart = edit_of(lm, every=5).bake(lm), edit_of(lm, every=3).bake(lm)
        with pytest.raises(SnipbiasError, match="undo later edits first"):
            first.undo()
        apart.undo()
        apart = NeuronEdit.of([Neuron(lm.sites[0].name, 4)], ModelId.of(lm)).bake(lm)
        first.undo()  # of other units than the later one
        apart.undo()


@torch.no_grad()
def test_autocast_sees_what_is_baked_and_undone():
    lm, ids = tiny("llama"), torch.tensor([[5, 6, 7]])
    edit = edit_of(lm)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        original = lm.model(ids).logits
        with edit.applied(lm):
            edited = lm.model(ids).logits
        baked = edit.bake(lm)
        written = lm.model(ids).logits
        baked.undo()
        assert torch.equal(lm.model(ids).logits, original)
    assert (written - edited).abs().max() < (edited - original).abs().max() / 4


@pytest.mark.parametrize("factor", [0.0, 0.3])
def test_undone_in_another_type_it_is_the_original_in_that_type(factor):
    lm, expected = tiny("llama-bias"), tiny("llama-bias")
    baked = edit_of(lm, factor).bake(lm)
    lm.model.to(torch.bfloat16)
    baked.undo()
    for now, original in zip(lm.model.parameters(), expected.model.parameters(), strict=True):
        assert torch.equal(now, original.to(torch.bfloat16))


def test_originals_that_nobody_can_undo_are_freed():
    lm = tiny("llama")
    first, second = edit_of(lm, every=5).bake(lm), edit_of(lm, every=5).bake(lm)
    rows = ref(second.originals[0][3])
    del second
    gc.collect()
    assert rows() is None
    with pytest.raises(SnipbiasError, match="undo later edits first"):
        first.undo()  # the second is still in the weights
