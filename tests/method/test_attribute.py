"""Attribution against slow plain autograd, on every family; and what it must not depend on."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

import reference
from families import FAMILIES, VOCABULARY, one_neuron, tiny
from ragged import ITEMS, TASK, assert_same, by_site
from snipbias.base.errors import SnipbiasError
from snipbias.edits.edit import NeuronEdit
from snipbias.method.attribute import attribute, batch_bias
from snipbias.method.equations import Method
from snipbias.models.language_model import Query
from snipbias.models.sites import Neuron
from snipbias.tasks.items import Item, Task
from snipbias.tasks.prompts import DEFAULT

DEVIATIONS = [
    Method.v1(),
    Method.v2(),
    Method.v1(target="logprob"),
    Method.v1(target="share"),
    Method.v1(tokens="mean"),
    Method.v1(tokens="sum"),
    Method.v1(skill=0.0),
    Method.v1(skill=0.5, clamp=False),
    Method.v1(instructions="max"),
    Method.v2(tokens="mean", target="logprob"),
    Method.v1(tokens="prompt"),
    Method.v1(tokens="last"),
    Method.v1(terms="apart"),
    Method.v1(terms="apart", target="share", tokens="prompt"),
    Method.v1(biased="manual"),
    Method.v2(biased="manual", terms="apart", skill=0.0),
    Method.v2_as_coded(),
]


@pytest.mark.parametrize("family", FAMILIES)
def test_equals_plain_autograd_on_every_family(family):
    lm = tiny(family)
    assert_same(by_site(attribute(lm, TASK)), reference.scores(lm, TASK, Method.v1()))


@pytest.mark.parametrize("method", DEVIATIONS, ids=str)
@pytest.mark.parametrize("family", ["flan-t5", "llama"])
def test_equals_plain_autograd_for_every_deviation(family, method):
    lm = tiny(family)
    assert_same(by_site(attribute(lm, TASK, method)), reference.scores(lm, TASK, method))


def test_a_biased_option_that_is_not_named_is_refused_before_any_work():
    silent = replace(TASK, items=(*ITEMS[:2], replace(ITEMS[2], biased=None)))
    with pytest.raises(SnipbiasError, match=r"item 'c' does not name its biased option"):
        attribute(tiny("llama"), silent, Method.v1(biased="manual"))


@pytest.mark.parametrize("method", [Method.v2(), Method.v1(tokens="mean", instructions="max")])
def test_two_halves_add_to_the_whole(method):
    lm = tiny("flan-t5")
    halves = [attribute(lm, replace(TASK, items=part), method) for part in (ITEMS[:1], ITEMS[1:])]
    total, whole = halves[0] + halves[1], attribute(lm, TASK, method)
    assert_same(by_site(total), by_site(whole))
    assert total.counts.tolist() == whole.counts.tolist() == [3, 3]
    assert total.ranking(5) == whole.ranking(5)
    assert set(total.found_on.items) == {"a", "b", "c"}


@pytest.mark.parametrize("family", ["flan-t5", "llama"])
def test_options_of_one_token_beside_longer_ones(family):
    items = (
        Item("a", "who?", ("a", "b"), 0, "", "t1"),
        Item("b", "what?", ("long", "c", "d e"), 1, "a context", "t2"),
    )
    task, lm = Task("short", items, ("say it.",)), tiny(family)
    for part in (task, replace(task, items=items[:1])):
        assert_same(by_site(attribute(lm, part)), reference.scores(lm, part, Method.v1()))


@pytest.mark.parametrize("family", ["umt5", "t5gemma", "gemma3-multimodal", "bloom", "falcon-40b"])
def test_equals_plain_autograd_on_families_that_nothing_names(family):
    lm = tiny(family)
    assert_same(by_site(attribute(lm, TASK)), reference.scores(lm, TASK, Method.v1()))


def test_eager_attention_gives_the_same_scores():
    lm = tiny("llama")
    expected = by_site(attribute(lm, TASK))
    lm.model.set_attn_implementation("eager")
    assert_same(by_site(attribute(lm, TASK)), expected, rtol=1e-4)


@pytest.mark.parametrize("family", ["flan-t5", "llama"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused_in_one_sentence(family, value, unchanged):
    lm = tiny(family)
    with torch.no_grad():
        lm.module(lm.sites[-1].name).weight[0, 0] = value
    with pytest.raises(SnipbiasError, match=r"wider type|wider one") as refusal:
        attribute(lm, TASK)
    assert "\n" not in str(refusal.value)


def test_a_wrong_option_of_probability_zero_is_refused(monkeypatch):
    """Then there is no biased option, and the first one, gold or not, would be taken for it."""
    lm = tiny("llama")
    score = type(lm).score

    def overflowing(self, queries, **how):
        scored = score(self, queries, **how)
        logprobs = scored.logprobs.clone()
        logprobs[0, 1:] = -torch.inf
        return replace(scored, logprobs=logprobs)

    monkeypatch.setattr(type(lm), "score", overflowing)
    query = lm.query("who is it?", ["the man", "him"])
    with pytest.raises(SnipbiasError, match="probability"):
        batch_bias(lm, [query], torch.tensor([0]), Method.v1())


@pytest.mark.parametrize("family", ["flan-t5", "bart", "llama-bias", "gpt2", "gemma3", "phi3"])
def test_scaling_a_neuron_changes_the_probability_by_its_attribution(family):
    """(d/d eps) P(yhat), with the neuron's output scaled by 1 + eps, is sum over k of A_k.

    Finite differences of plain forward passes through an edit: no autograd anywhere.
    """
    lm = tiny(family)
    lm.model.double()
    task = Task("one", ITEMS[:1], ("say it.",))
    method = Method.v1(tokens="sum", skill=0.0)
    found = attribute(lm, task, method)
    query = lm.query(DEFAULT.render(task.instructions[0], ITEMS[0]), ITEMS[0].options)
    wrong = reference_wrong(lm, query, ITEMS[0].gold)

    def probability(neuron: Neuron, factor: float) -> float:
        with NeuronEdit.of([neuron], found.model, factor).applied(lm), torch.no_grad():
            return reference.option_logprob(lm, query, query.options[wrong]).exp().item()

    largest = found.flat.abs().max().item()
    for site in lm.sites:
        scores = found[site]
        neuron = Neuron(site.name, int(scores.abs().argmax()))
        eps = 1e-2  # norms are computed in float32: a smaller step would measure their rounding
        slope = (probability(neuron, 1 + eps) - probability(neuron, 1 - eps)) / (2 * eps)
        assert slope == pytest.approx(scores[neuron.unit].item(), rel=1e-2, abs=1e-3 * largest)


def reference_wrong(lm, query, gold: int) -> int:
    with torch.no_grad():
        logprobs = [reference.option_logprob(lm, query, option).item() for option in query.options]
    return max((p, c) for c, p in enumerate(logprobs) if c != gold)[1]


@pytest.mark.parametrize("family", ["flan-t5", "gpt2", "llama-bias"])
def test_pruned_neurons_have_no_attribution_left(family):
    lm = tiny(family)
    edit = attribute(lm, TASK).top(10)
    with edit.applied(lm):
        after = attribute(lm, TASK)
        assert_same(by_site(after), reference.scores(lm, TASK, Method.v1()))
    assert [after[n.site][n.unit].item() for n in edit.neurons] == [0.0] * 10
    baked = edit.bake(lm)
    assert_same(by_site(attribute(lm, TASK)), by_site(after))
    baked.undo()


def test_one_attention_free_layer_by_hand():
    """A model whose answer is softmax(2 h, 0, ...) of one neuron h of the last FFN.

    All residual writes are 0 but one bias b = 0.5 of the down layer's unit 0, so that at the last
    prompt token logits are (2 b, 0, ..., 0) and dP(yhat)/db = -2 P(yhat) P(token 4).
    """
    lm = one_neuron()
    query = Query((5,), ((4,), (6,)))
    with lm.frozen():
        bias = batch_bias(lm, [query], torch.tensor([0]), Method.v1())
        without_skill = batch_bias(lm, [query], torch.tensor([0]), Method.v1(skill=0.0))
    total = math.exp(1.0) + VOCABULARY - 1
    gold, wrong = math.exp(1.0) / total, 1 / total
    a_wrong = 0.5 * -2 * wrong * gold
    a_gold = 0.5 * 2 * gold * (1 - gold)
    expected = {site.name: torch.zeros(1, site.width) for site in lm.sites}
    expected["model.layers.1.mlp.down_proj"][0, 0] = a_wrong - a_gold
    for site, value in expected.items():
        torch.testing.assert_close(bias[site].float(), value, msg=site)
    unit = without_skill["model.layers.1.mlp.down_proj"][0, 0].item()
    assert unit == pytest.approx(a_wrong, rel=1e-5)


def test_long_options_do_not_come_out_as_zero():
    """P of about e^-150 is below float32's smallest number."""
    items = (Item("a", "who?", ("ab " * 18, "cd " * 18), 0, "", "t1"),)
    task, lm = Task("long", items, ("say it.",)), tiny("llama")
    scores = attribute(lm, task)
    assert 0 < scores.flat.abs().max() < 1e-40
    assert_same(by_site(scores), reference.scores(lm, task, Method.v1()))
