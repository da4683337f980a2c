"""A scorer of one's own is found by name, in find and in a whole experiment."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints

import pytest

import snipbias as sb
from families import tiny
from snipbias.method import recipes
from snipbias.method.activations import magnitude

NAME = f"{__name__}:loudest"
RIVAL = f"{__name__}:quietest"


def loudest(lm, task, *, batch_size="auto", progress=lambda done: None):
    return magnitude(lm, task, batch_size=batch_size, progress=progress)


quietest = sb.Recipe(loudest, factors=(0.5,))


def test_find_and_reproduce_take_a_scorer_by_its_name(monkeypatch) -> None:
    lm, task = tiny("flan-t5"), sb.task("mini:age", instructions=["Answer."])
    small = {
        "samples": 2,
        "trials": 1,
        "draws": 1,
        "sizes": (2,),
        "refine": 0,
        "items": 4,
    }
    less = {"dev_items": 4, "texts": 0, "retention": (), "prompts": ()}
    settings = sb.preset("v1", method=NAME, methods=("random", RIVAL), **small, **less)
    assert settings.methods == ("original", NAME, "random", RIVAL)
    results = sb.reproduce(lm, task, settings)
    (found,) = (o.edit for o in results.outcomes if o.method == NAME)
    assert found.neurons == sb.find(lm, task, n=2, samples=2, method=loudest).neurons
    by_entry = EntryPoints([EntryPoint("loud", NAME, recipes.GROUP)])
    monkeypatch.setattr(recipes, "_others", lambda: by_entry.select(group=recipes.GROUP))
    assert sb.recipe("loud").score is loudest
    assert sb.preset("v1", methods=("loud",)).methods == ("original", "v1", "loud")
    with pytest.raises(sb.SnipbiasError, match="no method 'lout'"):
        sb.preset("v1", methods=("lout",))
