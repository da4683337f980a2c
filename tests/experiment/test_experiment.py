"""The experiment on a tiny model: what is chosen where, and what survives a crash."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import asdict, replace
from functools import cache, partial
from itertools import count as count_up
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

import snipbias as sb
from families import tiny
from snipbias.base.errors import SnipbiasError
from snipbias.edits.edit import NeuronEdit
from snipbias.evaluation.evaluate import evaluate
from snipbias.experiment import store as stores
from snipbias.experiment.baselines.ablation import MeanAblation
from snipbias.experiment.choose import in_short
from snipbias.experiment.methods import METHODS, pruned
from snipbias.experiment.outcome import Experiment, Outcome, named
from snipbias.experiment.plan import Plan
from snipbias.experiment.run import reproduce
from snipbias.experiment.settings import KNOWN, ORIGINAL, PRESETS, Settings, preset
from snipbias.experiment.store import Store
from snipbias.method.activations import mean_activation
from snipbias.method.attribute import attribute
from snipbias.method.equations import Method
from snipbias.method.recipes import RECIPES, Recipe, without_roles
from snipbias.models.sites import ROLES
from snipbias.tasks.items import Task
from toys import task

TOY = task(10)
TOY2 = Task("toy:two", task(9).items, task(9).instructions)
KEPT = Task("kept", task(6).items, ("say it.",))
SETTINGS = preset(
    "v2",
    methods=(
        *(ORIGINAL, "v2", "v1", "gap", "v2 no weight", "random", "layer-matched random"),
        *("steering", "CC", "offset", "always unknown"),
    ),
    control_rows=False,
    elsewhere=2,
    samples=4,
    trials=2,
    draws=2,
    sizes=(3, 20),
    refine=1,
    layers=2,
    strengths=(1.0, 4.0),
    texts=2,
    sample_sizes=(2,),
    retention_items=4,
)
SMALL = replace(
    SETTINGS,
    methods=(ORIGINAL, "v2", "random", "steering", "CC", "offset"),
    trials=1,
    draws=1,
    layers=1,
    strengths=(1.0,),
    transfer=False,
    sample_sizes=(),
    prompts=(),
    texts=1,
    refine=0,
)


def run(settings: Settings, folder: Path | None = None, tasks=(TOY,), **options) -> Experiment:
    return reproduce(
        tiny("flan-t5"), list(tasks), settings, retention=[KEPT], folder=folder, **options
    )


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


def places(outcomes: tuple[Outcome, ...], task_name: str, method: str) -> list[Outcome]:
    return [o for o in outcomes if (o.task, o.method) == (task_name, method)]


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
    methods = (ORIGINAL, "v2", "paired")
    plan = Plan.of(tiny("flan-t5"), [plain, TOY], replace(SMALL, methods=methods), retention=[KEPT])
    ran = [(job.cell.task.name, job.cell.method) for job in plan.jobs]
    assert ran == [*(("plain", m) for m in methods[:2]), *(("toy", m) for m in methods)]
    own = replace(SMALL, method="paired", methods=(ORIGINAL, "paired"))
    with pytest.raises(SnipbiasError, match="'paired' cannot run: 'plain' has no rows to balance"):
        Plan.of(tiny("flan-t5"), [plain], own, retention=[KEPT])
    (info, other) = run(replace(SMALL, methods=methods), tasks=(plain, TOY)).tasks
    assert "paired left out" in info.notes[-1]
    assert not other.notes


def test_a_task_without_conditions_says_what_it_is_chosen_by() -> None:
    items = tuple(replace(item, condition=None, unknown=None) for item in TOY.items)
    plain = Task("plain", items, TOY.instructions)
    settings = replace(SMALL, objective="balanced", methods=(*SMALL.methods, "always unknown"))
    experiment = run(settings, tasks=(plain,))
    (info,) = experiment.tasks
    assert not info.conditions
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


# -- recipes that do more than rank ---------------------------------------------------------------


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
    with MeanAblation(edit, {site.name: means[site] for site in lm.sites}).applied(lm):
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


# -- no harm -------------------------------------------------------------------------------------


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


# -- settings ------------------------------------------------------------------------------------


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
        ({"methods": ("original", "v1", "v1")}, "stands twice"),
        ({"tasks": ("a", "a")}, "stands twice"),
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


# -- the store -----------------------------------------------------------------------------------


def test_a_part_is_computed_once_and_read_as_it_was_written(tmp_path: Path) -> None:
    table = pa.table({"score": [[0.1, 1 / 3], [2.0]], "item": ["a", "b"]})
    value = {"tuple": (1, 2.5), "text": "é", "worst": float("-inf")}
    for folder in (None, tmp_path / "new"):
        calls = count_up()

        def make(result: object, calls=calls) -> Callable[[], object]:
            return lambda: (next(calls), result)[1]

        with Store.open(folder, {"a": 1}) as store:
            for _ in range(2):
                assert store.rows("x/y", make(table)).equals(table)  # type: ignore[arg-type]
                assert store.value("x/y", make(value)) == {**value, "tuple": [1, 2.5]}
        assert next(calls) == 2


def opened(*where: Any, value: int = 1, **how: bool) -> int:
    """The value that is kept in a store, or now put there."""
    with Store.open(*where, **how) as store:
        return store.value("a", lambda: value)


def test_a_folder_belongs_to_one_experiment(tmp_path: Path) -> None:
    place = tmp_path / "run"
    identity = {"settings": {"trials": 3, "sizes": (1, 2)}, "versions": {"torch": "2"}}
    assert opened(place, identity) == 1
    assert opened(place, identity, value=2) == 1
    other = {"settings": {"trials": 5, "sizes": (1, 2)}, "versions": {"torch": "2"}, "seed": 1}
    with pytest.raises(SnipbiasError) as refused:
        opened(place, other)
    assert str(refused.value) == (
        f"{place} holds another experiment (settings.trials is 3 there and 5 here; seed is None "
        "there and 1 here): give another --out, or --overwrite it."
    )
    assert opened(place, identity, value=2, overwrite=True) == 1
    assert opened(place, other, value=2, overwrite=True) == 2


def test_an_experiment_is_replaced_only_when_the_new_one_is_whole(tmp_path: Path) -> None:
    place = tmp_path / "run"
    opened(place, {"seed": 1})
    (place / "table1.csv").write_text("old")
    for value in (2, 3):  # the second finds what the first did
        with suppress(KeyboardInterrupt), Store.open(place, {"seed": 2}, overwrite=True) as store:
            assert store.value("a", lambda value=value: value) == 2
            raise KeyboardInterrupt
        assert (place / "table1.csv").read_text() == "old"
    assert opened(place, {"seed": 1}, value=9) == 1
    assert opened(place, {"seed": 2}, value=9, overwrite=True) == 2
    assert {file.name for file in place.iterdir()} <= {"settings.json", "parts", "costs.jsonl"}
    assert [file.name for file in tmp_path.iterdir()] == ["run"]


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    place = tmp_path / "run"
    with Store.open(place, {}), pytest.raises(SnipbiasError, match="another process is at work"):
        opened(place, {})
    assert opened(place, {}) == 1


def test_what_is_no_experiment_is_not_written_over(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path)
    refused = {".": "is no experiment", "notes.txt": "is a file", "link": "is a symbolic link"}
    for overwrite in (False, True):
        for name, words in refused.items():
            with pytest.raises(SnipbiasError, match=words):
                opened(tmp_path / name, {}, overwrite=overwrite)
    new = tmp_path / "new"
    new.mkdir()
    opened(new, {})
    with monkeypatch.context() as patch:
        patch.chdir(new)
        with pytest.raises(SnipbiasError, match="holds the folder you are in"):
            opened(".", {"a": 1}, overwrite=True)
    for damage in ("{", "[" * 10**5, "\udcff"):
        (new / stores.SETTINGS).write_text(damage, errors="surrogateescape")
        with pytest.raises(SnipbiasError, match="damaged"):
            opened(new, {})
    assert opened(new, {}, overwrite=True) == 1


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s", {}) as store:
        for part, read in (("a.parquet", store.rows), ("a.json", store.value)):
            path = tmp_path / "s" / stores.PARTS / part
            path.parent.mkdir(exist_ok=True)
            for damage in ("{ nothing", "[" * 10**5):
                path.write_text(damage)
                with pytest.raises(SnipbiasError, match=f"{part} is damaged"):
                    read("a", lambda: pa.table({}))  # type: ignore[arg-type]


def test_another_experiment_is_refused_before_any_work(tmp_path: Path) -> None:
    done: list[int] = []
    run(SMALL, tmp_path / "run")
    with pytest.raises(SnipbiasError, match=r"settings.seed is 0 there and 1 here"):
        run(replace(SMALL, seed=1), tmp_path / "run", progress=done.append)
    with pytest.raises(SnipbiasError, match=r"data.toy is"):
        run(SMALL, tmp_path / "run", tasks=(TOY.with_instructions(("say it.",)),))
    assert not done


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


# -- crashes -------------------------------------------------------------------------------------


def plain(outcome: Outcome) -> dict:
    """All that is in an outcome, to compare."""
    tables = {"test": outcome.test, "dev": outcome.dev, **outcome.retention}
    return {
        **{k: v for k, v in vars(outcome).items() if k not in ("test", "dev", "retention")},
        "edit": outcome.edit and outcome.edit.to_dict(),
        "text": outcome.text and asdict(outcome.text),
        "tables": {name: t and t.to_pylist() for name, t in tables.items()},
    }


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "costs.jsonl"  # seconds, never the same twice
    }


class Crash(BaseException):
    """As sudden as a kill: nothing that catches errors may stop it."""


def test_in_memory_and_on_disk_are_the_same(tmp_path: Path) -> None:
    kept, resumed = (run(SMALL, tmp_path / "run") for _ in range(2))
    for memory, first, second in zip(
        run(SMALL).outcomes, kept.outcomes, resumed.outcomes, strict=True
    ):
        assert plain(memory) == plain(first) == plain(second)


def test_a_crash_at_any_write_changes_no_byte(tmp_path: Path, monkeypatch) -> None:
    few = replace(SMALL, methods=(ORIGINAL, "v2", "offset"), sizes=(3,), elsewhere=1)
    reference = run(few, tmp_path / "whole")
    expected = files(tmp_path / "whole")
    assert len(expected) > 10
    real = Path.replace
    for last in range(len(expected)):
        writes = count_up()

        def crash(path: Path, target: Path, writes=writes, last=last) -> Path:
            if next(writes) == last:
                path.write_bytes(path.read_bytes()[:7])  # half-written, and never renamed
                real(path, path.with_name(f".{target.name}.99999"))  # left there by a kill
                raise Crash
            return real(path, target)

        place = tmp_path / f"at{last}"
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", crash)
            with pytest.raises(Crash):
                run(few, place)
        there = {name: data for name, data in files(place).items() if not name.endswith(".99999")}
        assert there.items() <= expected.items()
        assert len(there) == last
        resumed = run(few, place)
        assert files(place) == expected
        assert list(map(plain, resumed.outcomes)) == list(map(plain, reference.outcomes))
