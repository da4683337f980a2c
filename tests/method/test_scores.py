"""Ranking, adding, and selecting scores."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import toys
from families import tiny
from snipbias.base.errors import SnipbiasError
from snipbias.edits.provenance import ModelId, Provenance
from snipbias.method.attribute import attribute
from snipbias.method.equations import Method
from snipbias.method.margins import gap
from snipbias.method.scores import Scores
from snipbias.models.sites import Neuron, Site, neuron_at

SITES = (
    Site("a", 3, "decoder", 0, "self-attention", (("q", 3),)),
    Site("b", 2, "decoder", 0, "ffn", (("up", 2),)),
)
MODEL = ModelId("toy", "Toy", 5, "f00")
FOUND_ON = Provenance("toy", ("t",), ("i",), 2, "f00")


def scores(a: list[list[float]], b: list[list[float]], counts=(1, 1), **changes) -> Scores:
    """Scores of two sites, one row of sums an instruction."""
    sums = {"a": torch.tensor(a).double(), "b": torch.tensor(b).double()}
    made = Scores(SITES, sums, torch.tensor(counts), Method.v1(), FOUND_ON, MODEL)
    return replace(made, **changes)


def test_scores_are_means_over_instances_then_instructions():
    made = scores([[2, 4, 6], [1, 1, 1]], [[8, 0], [0, -1]], counts=(2, 1))
    assert made["a"].tolist() == [1.0, 1.5, 2.0]
    assert made[SITES[1]].tolist() == [2.0, -0.5]
    assert made.flat.tolist() == [1.0, 1.5, 2.0, 2.0, -0.5]
    assert len(made) == 5


def test_ties_go_to_the_earlier_neuron():
    made = scores([[1, 5, 1], [1, 5, 1]], [[5, 1], [5, 1]])
    expected = [("a", 1), ("b", 0), ("a", 0), ("a", 2), ("b", 1)]
    assert made.ranking(5) == [Neuron(*pair) for pair in expected]


def test_stable_ties_in_a_large_model():
    """torch's sort is unstable from some size on unless it is asked to be stable."""
    site = replace(SITES[0], width=100_000)
    made = Scores(
        (site,),
        {"a": torch.zeros(1, 100_000, dtype=torch.float64)},
        torch.tensor([1]),
        Method.v1(),
        FOUND_ON,
        MODEL,
    )
    assert [neuron.unit for neuron in made.ranking(1000)] == list(range(1000))


@given(st.lists(st.integers(-2, 2), min_size=5, max_size=5), st.integers(1, 4))
def test_a_shorter_ranking_is_the_longer_ones_beginning(values, n):
    made = scores([values[:3], values[:3]], [values[3:], values[3:]])
    ranking = made.ranking(5)
    assert made.ranking(n) == ranking[:n]
    assert len(set(ranking)) == 5
    by_score = [made[neuron.site][neuron.unit].item() for neuron in ranking]
    assert by_score == sorted(by_score, reverse=True)


@pytest.mark.parametrize("n", [0, -1, 6])
def test_as_many_neurons_as_there_are(n):
    made = scores([[1, 2, 3], [1, 2, 3]], [[4, 5], [4, 5]])
    with pytest.raises(SnipbiasError, match="ask for 1 to 5"):
        made.top(n)
    assert len(made.top(5)) == 5


def test_top_prunes_and_says_what_it_was_found_on():
    edit = scores([[1, 2, 3], [1, 2, 3]], [[4, 5], [4, 5]]).top(3)
    assert edit.factors == {"b": {1: 0.0, 0: 0.0}, "a": {2: 0.0}}
    assert (edit.model, edit.found_on) == (MODEL, FOUND_ON)
    halved = scores([[1, 2, 3], [1, 2, 3]], [[4, 5], [4, 5]]).top(1, factor=0.5)
    assert halved.factors == {"b": {1: 0.5}}


def test_batches_add_up_under_their_instructions():
    made = scores([[0, 0, 0], [0, 0, 0]], [[0, 0], [0, 0]], counts=(0, 0))
    bias = {"a": torch.arange(9.0).double().view(3, 3), "b": torch.ones(3, 2).double()}
    made.add(bias, torch.tensor([1, 0, 1]))
    assert made.sums["a"].tolist() == [[3, 4, 5], [6, 8, 10]]
    assert made.sums["b"].tolist() == [[1, 1], [2, 2]]
    assert made.counts.tolist() == [1, 2]


def test_sums_of_parts_weigh_parts_by_their_instances():
    one = scores([[3, 0, 0], [3, 0, 0]], [[0, 0], [0, 0]], counts=(3, 3))
    other = scores([[5, 0, 0], [5, 0, 0]], [[0, 0], [0, 0]], counts=(1, 1))
    total = one + other
    assert total["a"].tolist() == [2.0, 0.0, 0.0]
    assert total.found_on.items == ("i", "i")
    assert (one["a"][0], other["a"][0]) == (1.0, 5.0)  # left as they were


@pytest.mark.parametrize(
    "changes",
    [
        {"method": Method.v2()},
        {"sites": SITES[::-1]},
        {"model": replace(MODEL, weights="another fine-tuning")},
        {"counts": torch.tensor([1])},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_scores_of_different_things_do_not_add(changes):
    one = scores([[1, 2, 3], [1, 2, 3]], [[4, 5], [4, 5]])
    with pytest.raises(SnipbiasError, match="cannot be added"):
        one + replace(one, **changes)


def test_the_same_model_under_two_names_adds():
    one = scores([[1, 2, 3], [1, 2, 3]], [[4, 5], [4, 5]])
    total = one + replace(one, model=replace(MODEL, name="./the-same", revision="main"))
    assert total.flat.tolist() == one.flat.tolist()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scores_that_are_no_numbers_are_refused_with_their_site(value):
    with pytest.raises(SnipbiasError, match="scores of b are not finite"):
        scores([[1, 2, 3], [1, 2, 3]], [[4, value], [4, 5]]).check()


def test_an_unknown_site_is_refused():
    with pytest.raises(SnipbiasError, match="no site 'c'"):
        scores([[1, 2, 3], [1, 2, 3]], [[4, 5], [4, 5]])["c"]


def test_neurons_are_numbered_site_after_site():
    numbered = [neuron_at(SITES, index) for index in range(5)]
    assert numbered == [Neuron("a", 0), Neuron("a", 1), Neuron("a", 2), Neuron("b", 0), ("b", 1)]
    with pytest.raises(IndexError):
        neuron_at(SITES, 5)


def test_scores_come_back_from_a_file(tmp_path):
    lm = tiny("flan-t5")
    for method in (Method.v2(), None):
        found = attribute(lm, toys.task(3), method) if method else gap(lm, toys.task(3))
        found.save(tmp_path / "scores.safetensors")
        again = Scores.load(tmp_path / "scores.safetensors", lm.sites)
        assert torch.equal(again.flat, found.flat)
        assert (again.method, again.found_on, again.model) == (
            found.method,
            found.found_on,
            found.model,
        )
        assert again.top(5).to_dict() == found.top(5).to_dict()
        torch.testing.assert_close((again + found).flat, found.flat)


def test_scores_of_another_model_or_none_are_refused(tmp_path):
    attribute(tiny("flan-t5"), toys.task(3)).save(tmp_path / "scores.safetensors")
    with pytest.raises(SnipbiasError, match="attribute again"):
        Scores.load(tmp_path / "scores.safetensors", tiny("gpt2").sites)
    narrow = [replace(site, width=site.width - 1) for site in tiny("flan-t5").sites]
    with pytest.raises(SnipbiasError, match="holds scores of another model"):
        Scores.load(tmp_path / "scores.safetensors", tuple(narrow))
    (tmp_path / "broken.safetensors").write_bytes(b"no")
    for name in ("broken", "nothing"):
        with pytest.raises(SnipbiasError, match="attribute again"):
            Scores.load(tmp_path / f"{name}.safetensors", tiny("flan-t5").sites)
