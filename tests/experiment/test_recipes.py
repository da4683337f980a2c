"""Recipes that do more than rank, and edits that must do no harm, in an experiment."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial

import pytest
import torch

from families import tiny
from small_experiment import KEPT, SMALL, TOY, places, run
from snipbias.edits.edit import NeuronEdit
from snipbias.evaluation.evaluate import evaluate
from snipbias.experiment.baselines.change import held_at
from snipbias.experiment.choose import in_short
from snipbias.experiment.methods import METHODS, pruned
from snipbias.experiment.outcome import Outcome, named
from snipbias.experiment.plan import Plan
from snipbias.experiment.run import reproduce
from snipbias.experiment.settings import ORIGINAL
from snipbias.method.activations import mean_activation
from snipbias.method.attribute import attribute
from snipbias.method.equations import Method
from snipbias.method.recipes import Recipe, without_roles
from snipbias.models.sites import ROLES
from snipbias.tasks.items import Task


@cache
def special() -> dict[str, Outcome]:
    methods = (ORIGINAL, "v1", "soft", "rounds", "at mean", "paired", "random")
    settings = replace(SMALL, method="v1", methods=methods, sizes=(4, 30))
    return {outcome.method: outcome for outcome in run(settings).outcomes}


def test_factors_are_chosen_with_the_size() -> None:
    soft = special()["soft"]
    assert [(p.setting["n"], p.setting["factor"]) for p in soft.curve] == [
        (n, factor) for n in (4, 30) for factor in (0.75, 0.5, 1.5, 0.25, 0.0)
    ]
    assert soft.edit is not None
    assert len(soft.edit) == soft.chosen["n"]
    scaled = {factor for units in soft.edit.factors.values() for factor in units.values()}
    assert scaled == {soft.chosen["factor"]}


@pytest.mark.parametrize("rounds", [1, 3])
def test_sizes_that_filters_leave_no_neurons_for_are_not_tried(
    monkeypatch: pytest.MonkeyPatch, rounds: int
) -> None:
    lm = tiny("flan-t5")
    there = sum(site.role(unit) == "q" for site in lm.sites for unit in range(site.width))
    few = Recipe(attribute, filters=(without_roles(*(set(ROLES) | {"o"}) - {"q"}),), rounds=rounds)
    monkeypatch.setitem(METHODS, "v1", partial(pruned, recipe=few))
    settings = replace(SMALL, method="v1", methods=(ORIGINAL, "v1"), sizes=(3, there + 1))
    _, found = run(settings).outcomes
    assert [point.setting["n"] for point in found.curve] == [3]
    assert found.edit is not None
    assert len(found.edit) == 3


def test_rounds_score_again_without_what_is_pruned() -> None:
    rounds, lm = special()["rounds"], tiny("flan-t5")
    assert rounds.edit is not None
    n = int(rounds.chosen["n"])
    sample = TOY.sample(4, 0)
    pruned: list = []
    for size in {4: (1, 1, 1, 1), 30: (8, 7, 7, 8)}[n]:
        edit = attribute(lm, sample).top(1)
        edit = replace(edit, factors=NeuronEdit.of(pruned, edit.model).factors)
        with edit.applied(lm):
            ranking = attribute(lm, sample).ranking(n + len(pruned))
        pruned += [neuron for neuron in ranking if neuron not in pruned][:size]
    assert set(rounds.edit.neurons) == set(pruned)
    assert len(rounds.edit) == n


def test_fewer_neurons_than_rounds_leave_some_rounds_without_any() -> None:
    settings = replace(SMALL, sizes=(1,))
    (cell,) = Plan.of(tiny("flan-t5"), [TOY], settings, [KEPT]).grounds
    found = pruned(replace(cell, method="rounds", trial=0), Recipe(attribute, rounds=4)).edit
    assert found is not None
    assert found.neurons == attribute(tiny("flan-t5"), TOY.sample(4, 0)).top(1).neurons


def test_settings_that_differ_are_kept_apart() -> None:
    assert in_short({"n": 1_234_567}) != in_short({"n": 1_234_568})
    assert in_short({"layer": 3, "strength": 2.0}) == "layer3-strength2"
    assert in_short({"factor": 0.1234567}) != in_short({"factor": 0.1234568})


def test_at_its_mean_a_neuron_is_no_edit() -> None:
    held, lm = special()["at mean"], tiny("flan-t5")
    assert held.edit is None
    sample = TOY.sample(4, 0)
    means = mean_activation(lm, sample)
    edit = attribute(lm, sample).top(int(held.chosen["n"]))
    with held_at(edit, {site.name: means[site] for site in lm.sites}).applied(lm):
        expected = evaluate(lm, TOY.test).table
    found, wanted = (
        [p for row in table["logprob"].to_pylist() for p in row] for table in (held.test, expected)
    )
    assert found == pytest.approx(wanted, abs=1e-5)


def test_a_recipe_draws_its_own_sample() -> None:
    paired = special()["paired"]
    assert paired.edit is not None
    assert paired.edit.found_on is not None
    twins = TOY.sample(4, 0, balance="twins")
    assert paired.edit.found_on.items == tuple(item.id for item in twins.items)


def test_no_more_neurons_are_tried_than_filters_leave() -> None:
    def but_five(lm, drawn, scores, batch_size):
        top = set(scores.ranking(5))
        return scores.keep(
            {
                site.name: torch.tensor([(site.name, u) in top for u in range(site.width)])
                for site in scores.sites
            }
        )

    recipe = Recipe(attribute, filters=(but_five,))
    (cell,) = Plan.of(tiny("flan-t5"), [TOY], replace(SMALL, sizes=(3, 5, 6)), [KEPT]).grounds
    outcome = pruned(replace(cell, method="v1", trial=0), recipe)
    assert [point.setting["n"] for point in outcome.curve] == [3, 5]


def test_where_every_edit_does_harm_there_is_none() -> None:
    settings = replace(SMALL, objective="no-harm", margin=0.0, sizes=(200, 300))
    experiment = run(settings)
    (original,) = places(experiment.outcomes, "toy", ORIGINAL)
    (v2,) = places(experiment.outcomes, "toy", "v2")
    assert [point.setting["n"] for point in v2.curve] == [200, 300]
    assert all(p.objective <= (p.ambiguous or 0) for p in v2.curve)
    for outcome in (v2, *places(experiment.outcomes, "toy", "random")):
        assert outcome.edit is None
        assert outcome.chosen == {}
        assert outcome.test.equals(named(original.test, outcome.method))
        assert outcome.text == original.text
        assert outcome.retention["kept"].equals(named(original.retention["kept"], outcome.method))


def answered(toy: Task) -> Task:
    """The task with what the model answers as gold: whatever an edit changes, it makes worse."""
    toy = toy.with_instructions(toy.instructions[:1])
    said = evaluate(tiny("flan-t5"), toy).rows().chosen
    items = [replace(i, gold=int(g)) for i, g in zip(toy.items, said, strict=True)]
    return replace(toy, items=tuple(items))


@pytest.mark.parametrize("harmed", ["disambiguated rows", "retention"])
def test_no_harm_forbids_on_dev_what_loses_too_much_there(harmed: str) -> None:
    on_retention = harmed == "retention"
    toy, other = (TOY, answered(KEPT)) if on_retention else (answered(TOY), KEPT)
    settings = replace(
        SMALL, objective="no-harm", margin=0.2, sizes=(1, 20, 150, 350), retention_items=None
    )
    lm = tiny("flan-t5")
    (v2,) = places(reproduce(lm, [toy], settings, retention=[other]).outcomes, "toy", "v2")
    scores = attribute(lm, toy.sample(4, 0), Method.v2())
    forbidden = []
    for point in v2.curve:
        edit = scores.top(int(point.setting["n"]))
        own, kept = (evaluate(lm, part.dev, [edit]).summaries for part in (toy, other))
        falls = [
            own[ORIGINAL].accuracy.disambiguated - own[edit.label].accuracy.disambiguated,
            kept[ORIGINAL].accuracy.overall - kept[edit.label].accuracy.overall,
        ]
        forbidden.append(max(falls) > settings.margin + 1e-9)
        assert point.objective == (float("-inf") if forbidden[-1] else point.ambiguous)
    assert set(forbidden) == {True, False}
