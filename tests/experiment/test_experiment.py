"""The experiment on a tiny model: what is run, on which rows, and what is chosen by them."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import snipbias as sb
from families import tiny
from small_experiment import KEPT, SETTINGS, SMALL, TOY, TOY2, places, run
from snipbias.base.errors import SnipbiasError
from snipbias.evaluation.evaluate import evaluate
from snipbias.experiment.outcome import Experiment, named
from snipbias.experiment.plan import Plan, left_out
from snipbias.experiment.run import reproduce
from snipbias.experiment.settings import ORIGINAL, preset
from snipbias.method.recipes import RECIPES
from snipbias.tasks.items import Task


@cache
def whole() -> Experiment:
    done: list[int] = []
    told: dict[str, int] = {}
    options = {"progress": done.append, "stage": told.__setitem__}
    experiment = run(SETTINGS, tasks=(TOY, TOY2), **options)
    assert sum(done) == sum(told.values())
    return experiment


@cache
def every() -> Experiment:
    """All methods of two presets, once each."""
    methods = tuple(dict.fromkeys(m for name in ("v1", "v2") for m in preset(name).methods))
    return run(replace(SMALL, methods=methods, sizes=(3,)))


def test_every_method_is_there_in_every_trial_and_draw() -> None:
    experiment = whole()
    once = {ORIGINAL, "CC", "offset", "always unknown"}
    for method in SETTINGS.methods:
        for name in ("toy", "toy:two"):
            found = [(o.trial, o.draw) for o in places(experiment.outcomes, name, method)]
            draws = 2 if "random" in method else 1
            expected = [(t, d) for t in range(2) for d in range(draws)]
            assert found == ([(None, 0)] if method in once else expected), method
    per_trial = len(SETTINGS.methods) - len(once) - 2
    assert len(experiment.outcomes) == 2 * (len(once) + 2 * per_trial + 2 * 2 * 2)


def test_every_method_of_the_presets_runs() -> None:
    assert [outcome.method for outcome in every().outcomes] == list(every().settings.methods)


def test_rows_are_of_the_parts_that_were_asked_for() -> None:
    for outcome in (*whole().outcomes, *every().outcomes):
        toy = {"toy": TOY, "toy:two": TOY2}[outcome.task]
        assert set(outcome.test["item"].to_pylist()) == {item.id for item in toy.test.items}
        assert outcome.test["method"].unique().to_pylist() == [outcome.method]
        if outcome.dev is not None:
            assert set(outcome.dev["item"].to_pylist()) == {item.id for item in toy.dev.items}
            assert outcome.dev["method"].unique().to_pylist() == [outcome.method]
        for name, rows in outcome.retention.items():
            assert name == "kept"
            assert set(rows["item"].to_pylist()) <= {item.id for item in KEPT.test.items}
            assert len(rows) == 4


def test_filler_and_mismatch_rows_are_tested_beside_the_rest() -> None:
    settings = replace(SMALL, items=8, control_rows=True)
    (ground,) = Plan.of(tiny("flan-t5"), [sb.task("mini:age")], settings).grounds
    counts = Counter(item.condition for item in ground.test.items)
    assert counts == dict.fromkeys(("ambiguous", "disambiguated", "filler", "mismatch"), 4)
    assert {item.condition for item in ground.dev.items} == {"ambiguous", "disambiguated"}


def test_an_edit_s_rows_are_those_of_the_core_s_evaluation() -> None:
    experiment = whole()
    lm = tiny("flan-t5")
    for method in ("v2", "gap", "random", "layer-matched random"):
        outcome = places(experiment.outcomes, "toy", method)[-1]
        assert outcome.edit is not None
        edit = replace(outcome.edit, label=method)
        table = evaluate(lm, TOY.test, [edit]).table
        expected = table.slice(len(table) // 2)
        assert outcome.test["item"].equals(expected["item"])
        found, wanted = (
            [p for row in t["logprob"].to_pylist() for p in row] for t in (outcome.test, expected)
        )
        assert found == pytest.approx(wanted, abs=1e-5)


def test_what_is_chosen_is_the_best_of_the_curve_on_dev() -> None:
    experiment = whole()
    for outcome in experiment.outcomes:
        if outcome.curve and outcome.method not in ("offset", "offset by wording"):
            assert outcome.dev is not None
            if not outcome.chosen:  # it may find no edit best, whatever the settings' objective
                assert RECIPES[outcome.method].objective == "no-harm"
                continue
            top = max(point.objective for point in outcome.curve)
            chosen = next(p for p in outcome.curve if p.objective == top)
            assert outcome.chosen == chosen.setting
            right = outcome.dev["chosen"].to_numpy() == outcome.dev["gold"].to_numpy()
            assert chosen.overall == pytest.approx(right.mean())
            if outcome.edit is not None:
                assert len(outcome.edit) == outcome.chosen["n"]
                assert outcome.curve[0].setting["n"] == 3
            assert len(outcome.curve) == (3 if outcome.edit else 4)


def test_neurons_are_found_on_the_trial_s_own_sample_and_never_on_held_out_templates() -> None:
    experiment = whole()
    found = [outcome.edit for outcome in places(experiment.outcomes, "toy", "v2")]
    assert experiment.edits("toy", "v2") == tuple(found)
    for outcome in places(experiment.outcomes, "toy", "v2"):
        assert outcome.edit is not None
        assert outcome.edit.found_on is not None
        assert outcome.trial is not None
        sample = TOY.sample(4, outcome.trial)
        assert outcome.edit.found_on.items == tuple(item.id for item in sample.items)
        held_out = {*TOY.dev.templates, *TOY.test.templates}
        assert not held_out & set(outcome.edit.found_on.templates)


def test_controls_have_as_many_neurons_as_the_preset_s_method_in_their_trial() -> None:
    experiment = whole()
    for name in ("toy", "toy:two"):
        own = {o.trial: o.edit for o in places(experiment.outcomes, name, "v2")}
        for method in ("random", "layer-matched random"):
            drawn = places(experiment.outcomes, name, method)
            for control in drawn:
                edit = own[control.trial]
                assert edit is not None
                assert control.edit is not None
                assert len(control.edit) == len(edit)
                if method != "random":
                    sites = {site: len(units) for site, units in edit.factors.items()}
                    assert {s: len(u) for s, u in control.edit.factors.items()} == sites
            seen = [tuple(o.edit.neurons) for o in drawn if o.edit]
            assert len(set(seen)) == len(seen) == 4


def test_the_ablation_without_weight_is_v1() -> None:
    experiment = whole()
    for v1, ablated in zip(
        places(experiment.outcomes, "toy", "v1"),
        places(experiment.outcomes, "toy", "v2 no weight"),
        strict=True,
    ):
        assert ablated.edit == v1.edit
        assert ablated.test.equals(named(v1.test, "v2 no weight"))


def test_transfer_takes_an_edit_to_the_other_task() -> None:
    experiment = whole()
    assert [(o.found_on, o.task, o.trial) for o in experiment.transfer] == [
        ("toy", "toy:two", 0),
        ("toy", "toy:two", 1),
        ("toy:two", "toy", 0),
        ("toy:two", "toy", 1),
    ]
    for outcome in experiment.transfer:
        found_on = places(experiment.outcomes, str(outcome.found_on), "v2")
        assert outcome.edit == found_on[outcome.trial or 0].edit
        toy = {"toy": TOY, "toy:two": TOY2}[outcome.task]
        assert set(outcome.test["item"].to_pylist()) == {item.id for item in toy.test.items}


def test_edits_are_evaluated_under_other_prompts() -> None:
    experiment = whole()
    places_of = [(ORIGINAL, None), ("v2", 0), ("v2", 1)]
    assert [(o.task, o.prompt, o.method, o.trial) for o in experiment.prompts] == [
        (name, prompt, *place)
        for name in ("toy", "toy:two")
        for prompt in ("paper", "letters")
        for place in places_of
    ]
    lm = tiny("flan-t5")
    for outcome in experiment.prompts[:3]:
        assert (
            outcome.edit
            == places(experiment.outcomes, "toy", outcome.method)[outcome.trial or 0].edit
        )
        with nullcontext() if outcome.edit is None else outcome.edit.applied(lm):
            plain = evaluate(lm, TOY.test.with_prompt("paper")).table
        assert outcome.test["chosen"].to_pylist() == plain["chosen"].to_pylist()
    own = run(replace(SMALL, prompt="paper", prompts=("paper", "plain")))
    assert {o.prompt for o in own.prompts} == {"plain"}  # its own rows are there already
    other = places(experiment.prompts, "toy", ORIGINAL)[0].test  # the original in the same wording
    assert places(own.outcomes, "toy", ORIGINAL)[0].test.equals(other)


def test_prompts_count_in_the_identity_and_need_names_of_their_own(tmp_path: Path) -> None:
    def identity(**changes: Any) -> dict[str, Any]:
        plan = Plan.of(tiny("flan-t5"), [TOY], replace(SMALL, **changes), retention=[KEPT])
        return {**plan.identity, "settings": {}}

    file = tmp_path / "mine.txt"
    file.write_text("{instruction} {context} {question} {options}")
    first = identity(prompts=(str(file),))
    assert first != identity()
    file.write_text("{context} {question} {options} {instruction}")
    assert first != identity(prompts=(str(file),))
    assert identity(prompt="paper")["data"] != identity()["data"]
    with pytest.raises(SnipbiasError, match="two of the prompts are called 'mine'"):
        identity(prompts=(str(file), str(tmp_path / "." / ".." / tmp_path.name / "mine.txt")))


def test_the_sample_curve_finds_neurons_on_other_numbers_of_items() -> None:
    experiment = whole()
    found = [(o.task, o.trial, o.samples) for o in experiment.sample_curve]
    assert found == [(name, t, 2) for name in ("toy", "toy:two") for t in (0, 1)]
    for outcome in experiment.sample_curve:
        assert outcome.edit is not None
        assert outcome.edit.found_on is not None
        assert len(outcome.edit.found_on.items) == 2
    assert all(outcome.samples is None for outcome in experiment.outcomes)


def test_what_is_measured_beside_the_rows() -> None:
    experiment = whole()
    for outcome in (*experiment.outcomes, *every().outcomes):
        scored_only = outcome.trial is None and outcome.method != ORIGINAL
        assert (outcome.text is None) == scored_only
        assert list(outcome.retention) == ([] if scored_only else ["kept"])
    (original,) = places(experiment.outcomes, "toy", ORIGINAL)
    assert original.text is not None
    assert original.text.kl_per_token == 0
    assert original.dev is not None


def test_a_method_is_left_out_where_the_task_has_no_rows_for_it() -> None:
    plain = Task("plain", tuple(replace(i, condition=None) for i in TOY.items), TOY.instructions)
    methods = (ORIGINAL, "v2", "paired", "learned")
    plan = Plan.of(tiny("flan-t5"), [plain, TOY], replace(SMALL, methods=methods), retention=[KEPT])
    ran = [(cell.task.name, cell.method) for cell, _ in plan.jobs]
    assert ran == [*(("plain", m) for m in methods[:2]), *(("toy", m) for m in methods[:3])]
    own = replace(SMALL, method="paired", methods=(ORIGINAL, "paired"))
    with pytest.raises(SnipbiasError, match="'paired' cannot run: 'plain' has no rows to balance"):
        Plan.of(tiny("flan-t5"), [plain], own, retention=[KEPT])
    (info, other) = run(replace(SMALL, methods=methods), tasks=(plain, TOY)).tasks
    assert "paired, learned left out" in info.notes[-1]
    assert "learned left out" in other.notes[-1]  # one question: no row to borrow another from


def test_learned_methods_need_rows_to_decide_when_to_stop() -> None:
    # A question per template, so that there is another one to borrow.
    asked = replace(
        TOY, items=tuple(replace(i, question=f"{i.question} {i.template}") for i in TOY.items)
    )
    settings = replace(SMALL, methods=(ORIGINAL, "learned"))
    assert left_out(asked, settings) == ()
    for part in (asked.find, asked.dev):
        items = tuple(replace(i, condition=None) if i in part.items else i for i in asked.items)
        assert left_out(replace(asked, items=items), settings) == ("learned",)


def test_a_task_without_conditions_says_what_it_is_chosen_by() -> None:
    items = tuple(replace(item, condition=None, unknown=None) for item in TOY.items)
    plain = Task("plain", items, TOY.instructions)
    settings = replace(SMALL, objective="balanced", methods=(*SMALL.methods, "always unknown"))
    experiment = run(settings, tasks=(plain,))
    (info,) = experiment.tasks
    assert any("chosen by overall accuracy" in note for note in info.notes)
    (offset,) = places(experiment.outcomes, "plain", "offset")
    (original,) = places(experiment.outcomes, "plain", ORIGINAL)
    assert offset.chosen == {}
    assert offset.test.equals(named(original.test, "offset"))
    (v2,) = places(experiment.outcomes, "plain", "v2")
    assert all(point.objective == point.overall for point in v2.curve)


def test_a_decoder_only_model_goes_through_all_of_it() -> None:
    settings = replace(SMALL, methods=(ORIGINAL, "v2", "steering", "DC"), texts=1)
    experiment = reproduce(tiny("llama"), [TOY], settings, retention=[KEPT])
    assert [outcome.method for outcome in experiment.outcomes] == list(settings.methods)
    assert all(len(outcome.test) == 16 for outcome in experiment.outcomes)
