"""Settings and presets: what contradicts itself, and what makes another experiment."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from families import tiny
from small_experiment import KEPT, SETTINGS, SMALL, TOY, TOY2, run
from snipbias.base.errors import SnipbiasError
from snipbias.experiment.methods import METHODS
from snipbias.experiment.plan import Plan
from snipbias.experiment.settings import KNOWN, ORIGINAL, PRESETS, Settings, preset


def test_the_known_methods_are_those_there_are() -> None:
    assert set(METHODS) == set(KNOWN)
    assert not [name for name in KNOWN if "," in name]  # names are listed with commas


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_plain_and_its_own_method_comes_first(name: str) -> None:
    settings = preset(name)
    assert Settings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings
    assert settings.preset == name
    assert settings.methods[:2] == (ORIGINAL, settings.method)


def test_the_presets_are_the_papers_settings() -> None:
    assert (preset("v1").method, preset("v1").samples, preset("v1").trials) == ("v1", 10, 3)
    assert (preset("v2").method, preset("v2").samples) == ("v2", 20)
    assert preset("v1").objective == preset("v2").objective == "overall"
    assert preset("v1").instructions is preset("v2").instructions is None
    assert preset("v2").transfer


def test_what_every_method_is_compared_with_is_run_as_well() -> None:
    assert preset("v1", methods=("gap",)).methods == ("original", "v1", "gap")
    assert preset("v1", methods=("gap", "v1")).methods == ("original", "gap", "v1")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"methods": ("original", "v1", "v3")}, "no method 'v3'"),
        ({"methods": ("original", "v1", "v1")}, "appears twice"),
        ({"tasks": ("a", "a")}, "appears twice"),
        ({"trials": 0}, "trials needs at least 1"),
        ({"sizes": ()}, "sizes needs at least 1"),
        ({"sizes": (3, 0)}, "sizes needs at least 1"),
        ({"strengths": (float("nan"),)}, "not a finite number"),
        ({"method": "CC"}, "finds no neurons"),
        ({"method": "at mean", "methods": ("original", "at mean")}, "no random control"),
        ({"refine": -1}, "give 0 or more"),
        ({"objective": "best"}, "no objective 'best'"),
        ({"margin": 2.0}, "give 0.02 for two points"),
        ({"sample_sizes": (10,)}, "leave them out"),
    ],
)
def test_contradictory_settings_are_refused(changes: dict, said: str) -> None:
    with pytest.raises(SnipbiasError, match=said):
        preset("v1", **changes)


def test_other_passages_are_another_experiment(monkeypatch) -> None:
    """They decide which neurons are spared, and what perplexity is measured on."""
    plan = Plan.of(tiny("flan-t5"), [TOY], SMALL, [KEPT])
    before = plan.identity
    assert plan.identity == before
    for name in ("passages", "passages_to_protect"):
        with monkeypatch.context() as patch:
            patch.setattr(f"snipbias.experiment.plan.{name}", lambda: ("another text",))
            changed = plan.identity
        assert {key for key in before if changed[key] != before[key]} == {"text"}


def test_unknown_settings_and_presets_are_refused() -> None:
    with pytest.raises(SnipbiasError, match="no setting 'sampels'"):
        Settings.from_dict({"sampels": 3})
    with pytest.raises(SnipbiasError, match="no preset 'v9'"):
        preset("v9")


def test_too_much_to_ask_is_refused_before_any_work() -> None:
    done: list[int] = []
    with pytest.raises(SnipbiasError, match="cannot draw 99 items"):
        run(replace(SETTINGS, sample_sizes=(99,)), progress=done.append)
    with pytest.raises(SnipbiasError, match="balanced by twins"):
        run(replace(SETTINGS, samples=3, methods=("original", "v2", "paired")))
    with pytest.raises(SnipbiasError, match="fewer than 1000000 neurons"):
        run(replace(SETTINGS, sizes=(1_000_000,)), progress=done.append)
    with pytest.raises(SnipbiasError, match="would share a folder"):
        run(SETTINGS, tasks=(TOY, replace(TOY2, name="Toy")), progress=done.append)
    with pytest.raises(SnipbiasError, match="no task"):
        run(SETTINGS, tasks=(), progress=done.append)
    assert not done


def test_retention_tasks_are_asked_under_as_many_instructions_as_the_settings_say():
    kept = replace(KEPT, instructions=("say it.", "who is it?"))
    for instructions, rows in ((1, 4), (2, 8), (None, 8)):
        settings = replace(SMALL, retention_instructions=instructions)
        (ground,) = Plan.of(tiny("flan-t5"), [TOY], settings, [kept]).grounds
        assert ground.unedited.held()["kept"].num_rows == rows


def test_batches_that_hold_gradients_are_half_as_large():
    (ground,) = Plan.of(tiny("flan-t5"), [TOY], SMALL, [KEPT]).grounds
    for size, half in (("auto", "auto"), (9, 4), (1, 1)):
        cell = replace(ground, trial=0, batch_size=size)
        assert cell.found(lambda lm, task, batch_size: batch_size) == half
