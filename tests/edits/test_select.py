"""Random and layer-matched controls."""

from __future__ import annotations

from collections import Counter

import pytest

from families import tiny
from snipbias.base.errors import SnipbiasError
from snipbias.edits.controls import layer_matched_edit, random_edit
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.provenance import ModelId
from snipbias.models.sites import Neuron


def of_site(lm, index: int, units) -> NeuronEdit:
    site = lm.sites[index]
    return NeuronEdit.of([Neuron(site.name, u) for u in units], ModelId.of(lm), label="own")


def test_random_edits_hold_so_many_distinct_neurons_of_the_model() -> None:
    lm = tiny("flan-t5")
    total = sum(site.width for site in lm.sites)
    widths = {site.name: site.width for site in lm.sites}
    for n in (1, 7, total):
        edit = random_edit(lm, n, seed=3)
        assert len(edit) == len(set(edit.neurons)) == n
        assert all(0 <= unit < widths[site] for site, unit in edit.neurons)
        assert all(factor == 0 for units in edit.factors.values() for factor in units.values())
        assert edit.found_on is None
    for n in (0, -1, total + 1):
        with pytest.raises(SnipbiasError, match=str(total)):
            random_edit(lm, n)


def test_seeds_tell_random_edits_apart_and_fix_them() -> None:
    lm = tiny("llama")
    edits = [random_edit(lm, 10, seed) for seed in range(5)]
    assert edits[2] == random_edit(lm, 10, 2)
    assert len({tuple(edit.neurons) for edit in edits}) == len({e.label for e in edits}) == 5


def test_random_neurons_are_spread_evenly_over_the_model() -> None:
    lm = tiny("flan-t5")
    total = sum(site.width for site in lm.sites)
    draws = [random_edit(lm, 20, seed).neurons for seed in range(100)]
    counts = Counter(neuron.site for neurons in draws for neuron in neurons)
    expected = {site.name: 2000 * site.width / total for site in lm.sites}
    chi_square = sum((counts[s] - e) ** 2 / e for s, e in expected.items())
    free = len(expected) - 1
    assert chi_square < free + 5 * (2 * free) ** 0.5  # mean and five standard deviations
    units = Counter(neuron.unit for neurons in draws for neuron in neurons if neuron.unit < 16)
    expected_unit = sum(units.values()) / 16
    assert sum((units[u] - expected_unit) ** 2 / expected_unit for u in range(16)) < 15 + 27


@pytest.mark.parametrize("family", ["flan-t5", "llama", "gpt2"])
def test_layer_matched_edits_take_the_same_sites_and_no_neuron_of_the_edit(family: str) -> None:
    lm = tiny(family)
    edit = random_edit(lm, 40, seed=1)
    counts = {site: len(units) for site, units in edit.factors.items()}
    drawn = [layer_matched_edit(lm, edit, seed) for seed in range(5)]
    for other in drawn:
        assert {site: len(units) for site, units in other.factors.items()} == counts
    small = {site for site, n in counts.items() if 2 * n <= lm.module(site).weight.shape[0]}
    assert small
    for other in drawn:
        shared = set(other.neurons) & set(edit.neurons)
        assert not {site for site, _ in shared} & small
    assert len({tuple(other.neurons) for other in drawn}) == 5


def test_layer_matched_edits_of_another_model_are_refused() -> None:
    with pytest.raises(SnipbiasError, match="does not fit"):
        layer_matched_edit(tiny("llama"), random_edit(tiny("flan-t5"), 3))


def test_layer_matched_edits_overlap_no_more_than_they_must() -> None:
    lm = tiny("llama")
    width = lm.sites[0].width
    edit = of_site(lm, 0, range(width - 3))
    other = layer_matched_edit(lm, edit)
    assert len(set(other.neurons)) == len(edit)
    assert len(set(other.neurons) & set(edit.neurons)) == width - 6
    everything = of_site(lm, 0, range(width))
    assert set(layer_matched_edit(lm, everything).neurons) == set(everything.neurons)


def test_a_control_of_an_edit_with_many_factors_deals_them_out():
    lm = tiny("llama")
    factors = [0.5, 1.25, 2.0]
    drawn = random_edit(lm, 3, seed=1, factor=factors)
    assert sorted(f for units in drawn.factors.values() for f in units.values()) == factors
    assert drawn.neurons == random_edit(lm, 3, seed=1).neurons
