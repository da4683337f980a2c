"""Rivals as methods of an experiment: what is measured is what their papers' parts are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from families import tiny
from small_experiment import KEPT, SMALL, TOY
from snipbias.edits.controls import random_edit
from snipbias.edits.given import Intervention
from snipbias.evaluation.evaluate import evaluate
from snipbias.experiment.baselines import fairsteer, trained, unibias
from snipbias.experiment.baselines.prompting import PROMPTINGS
from snipbias.experiment.baselines.steering import mean_difference
from snipbias.experiment.cell import Cell
from snipbias.experiment.choose import Setting
from snipbias.experiment.methods import outcome_of
from snipbias.experiment.plan import Plan
from snipbias.method.learned.factors import upper_sites
from snipbias.models.language_model import LanguageModel
from snipbias.tasks.items import Task

Make = Callable[[LanguageModel, Task, Setting], Intervention]


def cell(lm: LanguageModel, method: str, task: Task = TOY, **changes: Any) -> Cell:
    small = {
        "sizes": (3,),
        "strengths": (9.0,),
        "layers": 2,
        "steps": 2,
        "elsewhere": 0,
        "texts": 0,
    }
    settings = replace(SMALL, **{**small, **changes})
    (ground,) = Plan.of(lm, [task], settings, [KEPT]).grounds
    return replace(ground, method=method, trial=0)


def _unibias(lm: LanguageModel, sample: Task, setting: Setting) -> Intervention:
    found = unibias.biased_components(lm, sample)
    parts = [*found.vectors[: int(setting["vectors"])], *found.heads[: int(setting["heads"])]]
    sites = {site for site, _ in parts}
    return unibias.masked(
        {site: sum((units for name, units in parts if name == site), ()) for site in sites}, "it"
    )


def _fairsteer(lm: LanguageModel, sample: Task, setting: Setting) -> Intervention:
    layer, vectors = int(setting["layer"]), mean_difference(lm, sample)
    return fairsteer.gated(vectors, layer, setting["strength"], fairsteer.probes(lm, sample)[layer])


def _lora(lm: LanguageModel, sample: Task, setting: Setting) -> Intervention:
    return trained.finetune(lm, sample, "LoRA")[int(setting["epochs"])]


@pytest.mark.parametrize(
    ("method", "tried", "make"),
    [
        ("UniBias", [{"vectors": v, "heads": h} for v in (0, 3) for h in (0, 1)][1:], _unibias),
        ("FairSteer", [{"layer": n, "strength": 9.0} for n in (0, 1)], _fairsteer),
        ("LoRA", [{"epochs": n} for n in (1, 3, 10)], _lora),
    ],
)
def test_what_is_chosen_is_what_was_fitted_on_the_trial_s_items(
    method: str, tried: list[Setting], make: Make, unchanged
) -> None:
    lm = tiny("llama")
    with unchanged(lm.model):
        outcome = outcome_of(cell(lm, method))
        made = make(lm, TOY.sample(4, 0), outcome.chosen)
        expected = evaluate(lm, TOY.test, [made])
    assert [dict(point.setting) for point in outcome.curve] == tried
    original, scores = (expected.rows(name).scores for name in expected.methods)
    np.testing.assert_allclose(outcome.test["score"].to_pylist(), scores, atol=1e-5)
    assert abs(scores - original).max() > 1e-4


def test_a_way_of_asking_is_asked_everywhere_and_leaves_texts_as_they_are() -> None:
    lm, name = tiny("llama"), "unknown is allowed"
    place = cell(lm, name, texts=1)
    outcome, original = outcome_of(place), outcome_of(place.unedited)
    assert outcome.test["score"].equals(PROMPTINGS[name].answers(lm, TOY.test)["score"])
    (asked, kept), (plain, other) = ((o.test, o.retention["kept"]) for o in (outcome, original))
    for ours, theirs in ((asked, plain), (kept, other)):
        assert ours["item"].equals(theirs["item"])
        assert ours["score"] != theirs["score"]
    assert outcome.text == original.text


def reasked(task: Task) -> Task:
    """Half the templates ask another question: rows of the kind `mismatch` borrow it."""
    asked = {t: ("who was it?", "who left?")[n % 2] for n, t in enumerate(task.templates)}
    return task._with_items(replace(i, question=asked[i.template]) for i in task.items)


def test_the_outcome_of_a_training_is_the_edit_that_it_found_and_what_it_fitted(monkeypatch):
    lm, asked = tiny("llama"), []
    edit = random_edit(lm, 3, 0)

    def learn(lm, task, sizes, *, pick, training, seed):
        asked.append((task, sizes, pick, training.steps, seed))
        return SimpleNamespace(edits={3: edit})

    monkeypatch.setattr(trained, "learn", learn)
    upper = sum(site.width for site in upper_sites(lm))
    fitted = {"learned": upper, "learned random": 3, "grafting": upper, "first order": 0}
    for pick, numbers in fitted.items():
        outcome = outcome_of(cell(lm, pick))
        sizes = [3] if pick in ("learned random", "grafting") else []
        assert asked.pop() == (TOY, sizes, pick, 2, 0)
        assert outcome.edit == edit
        assert (outcome.chosen, outcome.trained) == ({"n": 3}, numbers)


def test_a_learned_lora_is_trained_once_and_stands_in_the_model_while_it_answers(
    monkeypatch, unchanged
) -> None:
    lm, there = tiny("llama"), []

    def train(job, factors) -> None:
        torch.nn.init.normal_(factors.change.data, generator=torch.Generator().manual_seed(0))
        there.append(factors)

    monkeypatch.setattr(trained, "train", train)
    task = reasked(TOY)
    with unchanged(lm.model):
        outcome = outcome_of(cell(lm, "learned LoRA", task))
        original = evaluate(lm, task.test).rows().scores
        (factors,) = there
        with torch.no_grad(), factors.applied():
            scores = evaluate(lm, task.test).rows().scores
    np.testing.assert_allclose(outcome.test["score"].to_pylist(), scores, atol=1e-5)
    assert abs(scores - original).max() > 1e-3
    widths = [lm.module(site.name).weight.shape for site in upper_sites(lm)]
    assert outcome.trained == sum(trained.RANK * (rows + columns) for rows, columns in widths)
