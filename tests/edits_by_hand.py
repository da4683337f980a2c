"""An edit of every site, and where it was found."""

from __future__ import annotations

from snipbias.edits.edit import NeuronEdit
from snipbias.edits.provenance import ModelId, Provenance
from snipbias.models.sites import Neuron

FOUND_ON = Provenance("toy", ("t1", "t2"), ("a", "b"), 10, "f00", {"target": "prob"})


def edit_of(lm, factor: float = 0.0, every: int = 5) -> NeuronEdit:
    """An edit with units in every site."""
    neurons = [Neuron(s.name, unit) for s in lm.sites for unit in range(1, s.width, every)]
    return NeuronEdit.of(neurons, ModelId.of(lm), factor, FOUND_ON, "a label")
