"""Filters move what they leave out behind everything else."""

from __future__ import annotations

import pytest
import torch

import toys
from families import tiny
from snipbias import SnipbiasError, attribute, find
from snipbias.experiment.baselines.change import held_at
from snipbias.method import activations, filters, recipes
from snipbias.method import margins as scorers
from snipbias.method.recipes import RECIPES, recipe
from snipbias.tasks.neutral_text import passages

TASK = toys.task(10)


def test_roles_are_left_out_also_of_fused_layers():
    lm = tiny("gpt2")
    scores = attribute(lm, TASK.sample(4))
    kept = filters.without_roles(scores, ["k", "o", "down"])
    sites = {site.name: site for site in lm.sites}
    total = sum(sites[s.name].role(u) in ["q", "v", "up"] for s in lm.sites for u in range(s.width))
    assert {sites[n.site].role(n.unit) for n in kept.ranking(total)} == {"q", "v", "up"}
    with pytest.raises(SnipbiasError, match=f"ask for 1 to {total}"):
        kept.top(total + 1)
    order = [n for n in scores.ranking(len(scores)) if sites[n.site].role(n.unit) not in "k o down"]
    assert kept.ranking(total) == order
    with pytest.raises(SnipbiasError, match="no role 'keys'"):
        filters.without_roles(scores, ["keys"])


def test_the_top_share_of_other_scores_is_left_out():
    lm = tiny("llama")
    scores, others = attribute(lm, TASK.sample(4)), activations.magnitude(lm, TASK.sample(4))
    kept = filters.without_top(scores, others, 0.1)
    left = round(0.1 * len(scores))
    assert torch.isinf(kept.flat).sum() == left
    assert not set(kept.ranking(len(scores) - left)) & set(others.ranking(left))
    assert filters.without_top(scores, others, 0.0).ranking(20) == scores.ranking(20)
    with pytest.raises(SnipbiasError, match="share of 1"):
        filters.without_top(scores, others, 1.0)


def test_scores_subtract():
    lm = tiny("llama")
    one, two = scorers.gap(lm, TASK.sample(4)), scorers.utility(lm, TASK.sample(4))
    torch.testing.assert_close(filters.less(one, two, 2.0).flat, one.flat - 2 * two.flat)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_gives_an_edit(name):
    lm, chosen = tiny("llama"), recipe(name)
    scores = chosen.scores(lm, TASK.sample(4, balance=chosen.balance))
    assert len(scores.top(5)) == 5


def test_protection_leaves_out_what_answers_and_text_need():
    lm, drawn = tiny("llama"), TASK.sample(4, balance="condition")
    scores = attribute(lm, drawn)
    known = drawn.where(lambda item: item.condition == "disambiguated")
    top = scorers.utility(lm, known).ranking(round(0.05 * len(scores)))
    kept = recipes.protect_answers(lm, drawn, scores, 8)
    allowed = kept.ranking(int((kept.flat > -torch.inf).sum()))
    assert not set(top) & set(allowed)


def test_text_is_protected_by_other_passages_than_are_measured(monkeypatch):
    lm, drawn = tiny("llama"), TASK.sample(4)
    scores, read = attribute(lm, drawn), []

    def utility(lm, texts, like, **options):
        read.extend(texts)
        return like

    monkeypatch.setattr(scorers, "text_utility", utility)
    recipes.protect_text(lm, drawn, scores, 8)
    assert read
    assert not set(read) & set(passages())


def test_an_unknown_recipe_is_refused_with_the_names():
    with pytest.raises(SnipbiasError, match=r"no method 'v3'.*: use v1, v2,"):
        recipe("v3")


@pytest.mark.parametrize("family", ["flan-t5", "gpt2"])
def test_neurons_are_held_at_their_mean(family, unchanged):
    lm = tiny(family)
    edit = attribute(lm, TASK).top(10)
    mean = activations.mean_activation(lm, TASK)
    held = held_at(edit, {site.name: mean[site] for site in lm.sites})
    seen = {}

    def watch(name):
        def hook(module, args, output):
            seen.setdefault(name, output)

        return hook

    query = lm.query("who is it?", ["the man", "him"])
    with unchanged(lm.model), held.applied(lm), torch.no_grad():
        handles = [lm.module(s).register_forward_hook(watch(s)) for s in edit.factors]
        lm.score([query])
        for handle in handles:
            handle.remove()
    for site, units in edit.factors.items():
        width = next(s.width for s in lm.sites if s.name == site)
        for unit in units:
            values = seen[site].reshape(-1, width)[:, unit]
            torch.testing.assert_close(values, mean[site][unit].float().expand_as(values))
    assert held.label == f"{edit.label} at its mean"


@pytest.mark.parametrize("name", ["rounds", "at mean", "soft"])
def test_find_refuses_recipes_that_do_more_than_prune_the_top(name):
    with pytest.raises(SnipbiasError, match=f"'{name}' does more .* reproduce --methods"):
        find(tiny("llama"), TASK, n=3, method=name, samples=4)


def test_find_takes_a_recipe_by_name_or_itself():
    lm = tiny("llama")
    by_name = find(lm, TASK, n=3, method="paired", samples=4)
    assert by_name.neurons == find(lm, TASK, n=3, method=recipe("paired"), samples=4).neurons
    scores = scorers.paired_contrast(lm, TASK.sample(4, balance="twins"))
    assert by_name.neurons == scores.top(3).neurons


def test_all_but_one_neuron_may_be_left_out():
    scores = attribute(tiny("llama"), TASK.sample(4))
    kept = filters.without_top(scores, scores, 0.9999)
    assert int((kept.flat > -torch.inf).sum()) == 1
