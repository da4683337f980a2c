"""The laws of putting edits together, and what becomes of where they come from."""

from __future__ import annotations

import json
from dataclasses import replace
from operator import attrgetter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from families import tiny
from snipbias.base.errors import SnipbiasError
from snipbias.edits import algebra
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.provenance import MadeOf, ModelId, Provenance
from snipbias.edits.record import by_site
from snipbias.models.language_model import Query
from snipbias.models.sites import Neuron

flat = attrgetter("by_neuron")
MODEL = ModelId("toy", "Toy", 12, "f00")
SITES = ("block.2.a", "block.10.b")
# Halves: no rounding, and several as far from 1 as each other.
FACTORS = st.sampled_from([-1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0])
STRENGTHS = st.sampled_from([0.0, 0.5, 1.0, 2.0, 4.0])
NEURONS = st.tuples(st.sampled_from(SITES), st.integers(0, 5)).map(lambda pair: Neuron(*pair))
EDITS = st.dictionaries(NEURONS, FACTORS, max_size=8).map(lambda factors: of(factors))


def of(factors: dict, **fields) -> NeuronEdit:
    return NeuronEdit(by_site(factors.items()), MODEL, **fields)


@given(EDITS, EDITS, EDITS)
def test_they_form_a_distributive_lattice(a, b, c):
    assert flat(a | a) == flat(a) == flat(a & a)
    assert flat(a | b) == flat(b | a)
    assert flat(a & b) == flat(b & a)
    assert flat((a | b) | c) == flat(a | (b | c)) == flat(algebra.combined("union", a, b, c))
    assert flat((a & b) & c) == flat(a & (b & c)) == flat(algebra.combined("intersection", a, b, c))
    assert flat(a | (a & b)) == flat(a) == flat(a & (a | b))
    assert flat(a & (b | c)) == flat((a & b) | (a & c))
    assert flat(a | (b & c)) == flat((a | b) & (a | c))
    assert (a | b).fingerprint == (b | a).fingerprint


@given(EDITS, EDITS, EDITS)
def test_difference_and_intersection_part_an_edit(a, b, c):
    left, shared = flat(a - b), flat(a & b)
    assert left.keys() | shared.keys() == flat(a).keys()
    assert not left.keys() & shared.keys()
    assert left == {n: f for n, f in flat(a).items() if n not in flat(b)}
    assert flat(a - a) == {}
    assert flat(a - b - c) == flat(a - (b | c)) == flat(algebra.combined("difference", a, b, c))
    same = of({n: f for n, f in flat(a).items() if n.unit % 2})
    assert flat((a - same) | (a & same)) == flat(a)


@given(EDITS, EDITS, STRENGTHS, STRENGTHS)
def test_strength(a, b, s, t):
    assert flat(a.scaled(1.0)) == flat(a)
    assert set(flat(a.scaled(0.0)).values()) <= {1.0}
    assert flat(a.scaled(s)) == {n: 1 + s * (f - 1) for n, f in flat(a).items()}
    assert flat(a.scaled(s).scaled(t)) == flat(a.scaled(s * t))
    if s > 0:  # at 0 nothing tells the sides of a tie apart, but the factors are all 1
        assert flat((a | b).scaled(s)) == flat(a.scaled(s) | b.scaled(s))
        assert flat((a & b).scaled(s)) == flat(a.scaled(s) & b.scaled(s))
    assert flat((a - b).scaled(s)) == flat(a.scaled(s) - b)


@given(st.floats(-1e6, 1e6))
def test_strength_one_is_exact(factor):
    edit = of({Neuron("block.2.a", 0): factor})
    assert edit.scaled(1.0).factors == edit.factors
    assert edit.scaled(0.0).factors["block.2.a"][0] == 1.0


def test_which_factor_is_the_stronger():
    """By hand: distances from 1 are 1, 0.5 and 0.5; of two as far the smaller is the stronger."""
    neuron = Neuron("block.2.a", 3)
    cut, half, more = (of({neuron: factor}) for factor in (0.0, 0.5, 1.5))
    assert (cut | half).factors == {"block.2.a": {3: 0.0}}
    assert (cut & half).factors == {"block.2.a": {3: 0.5}}
    assert (half | more).factors == {"block.2.a": {3: 0.5}}
    assert (half & more).factors == {"block.2.a": {3: 1.5}}


def test_neurons_stand_in_the_models_order():
    a = of({Neuron("block.10.b", 2): 0.0, Neuron("block.2.a", 4): 0.0})
    b = of({Neuron("block.10.b", 1): 0.0})
    assert [*map(tuple, (a | b).neurons)] == [
        ("block.2.a", 4),
        ("block.10.b", 1),
        ("block.10.b", 2),
    ]


def found_on(task: str, *items: str, method: str = "v1") -> Provenance:
    return Provenance(task, (f"{task}-t",), items, 10, f"hash of {task}", {"name": method})


def test_where_both_come_from_is_kept():
    """Also of what was taken away: its templates had their say, and are not held out."""
    a = of({Neuron("block.2.a", 1): 0.0, Neuron("block.2.a", 2): 0.0}, label="A")
    b = of({Neuron("block.2.a", 1): 0.0}, label="B")
    a = replace(a, found_on=found_on("age", "x", "y"))
    b = replace(b, found_on=found_on("ses", "y", "z"))
    for combined, operation in ((a | b, "union"), (a - b, "difference"), (a & b, "intersection")):
        assert combined.found_on is not None
        assert combined.found_on.task == "age + ses"
        assert combined.found_on.templates == ("age-t", "ses-t")
        assert combined.found_on.items == ("x", "y", "z")
        assert combined.found_on.method == {"name": "v1"}
        assert combined.made_of == (
            MadeOf("A", a.fingerprint, operation),
            MadeOf("B", b.fingerprint, operation),
        )
    assert (a | a).found_on == a.found_on
    assert (a | replace(b, found_on=None)).found_on == a.found_on
    other = replace(b, found_on=found_on("ses", method="v2"))
    last = replace(b, found_on=found_on("dis", method="v1"))
    methods = (a | other | last).found_on.method  # type: ignore[union-attr]
    assert methods == {"combined": [{"name": "v1"}, {"name": "v2"}]}
    assert (a | b).label == "A | B"
    assert ((a | b) - b).label == "(A | B) - B"
    assert (a | b).scaled(0.5).label == "0.5 x (A | B)"
    assert a.scaled(0.5).made_of == (MadeOf("A", a.fingerprint, "scaled by 0.5"),)
    assert a.scaled(0.5).found_on == a.found_on


def test_a_combined_edit_is_saved_and_read(tmp_path):
    a = of({Neuron("block.2.a", 1): 0.0}, label="A", found_on=found_on("age", "x"))
    b = of({Neuron("block.10.b", 1): 0.5}, label="B", found_on=found_on("ses", "y", method="v2"))
    combined = (a | b).scaled(0.5)
    assert NeuronEdit.load(combined.save(tmp_path / "edit")) == combined
    assert "made_of" not in a.to_dict()
    whole = json.loads((tmp_path / "edit" / "edit.json").read_text())
    for damaged in ("text", [1], [{"label": "x"}], [{**whole["made_of"][0], "label": 3}], None):
        with pytest.raises(SnipbiasError, match="is not a complete edit"):
            NeuronEdit.from_dict({**whole, "made_of": damaged})


def test_edits_of_different_models_are_refused():
    a = of({Neuron("block.2.a", 1): 0.0}, label="A")
    same_by_another_name = replace(a, model=replace(MODEL, name="a copy"))
    assert flat(a | same_by_another_name) == flat(a)
    for change in ({"weights": "f01"}, {"architecture": "Other"}, {"neurons": 13}):
        other = replace(a, model=replace(MODEL, **change), label="B")
        for combine in (lambda x, y: x | y, lambda x, y: x & y, lambda x, y: x - y):
            with pytest.raises(
                SnipbiasError, match=r"'A' was found on toy .* and 'B' on"
            ) as refusal:
                combine(a, other)
            assert "\n" not in str(refusal.value)


def test_no_edits_make_no_edit():
    with pytest.raises(SnipbiasError, match="a union needs edits"):
        algebra.combined("union")


@pytest.mark.parametrize("strength", [float("nan"), float("inf")])
def test_a_strength_that_is_no_number_is_refused(strength):
    with pytest.raises(SnipbiasError, match="not a finite number"):
        of({Neuron("block.2.a", 1): 0.0}).scaled(strength)


@torch.no_grad()
def test_on_a_model_the_union_of_prunings_is_one_after_the_other():
    lm = tiny("t5")
    queries = [Query((5, 6, 7, 8), ((9, 10, 11), (12,)))]

    def every(step: int, factor: float = 0.0) -> NeuronEdit:
        neurons = [Neuron(s.name, unit) for s in lm.sites for unit in range(1, s.width, step)]
        return NeuronEdit.of(neurons, ModelId.of(lm), factor)

    def under(*edits: NeuronEdit) -> torch.Tensor:
        if not edits:
            return lm.score(queries).logprobs
        with edits[0].applied(lm):
            return under(*edits[1:])

    a, b = every(3), every(5)
    assert torch.equal(under(a | b), under(a, b))
    assert torch.equal(under(a - b, a & b), under(a))
    assert torch.equal(under(a.scaled(0.0)), under())
    assert torch.equal(under(a.scaled(0.25)), under(every(3, 0.75)))
    assert not torch.allclose(under(a | b), under(a), atol=1e-3)
