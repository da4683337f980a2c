"""A comparison: what is held out, which controls stand beside an edit, and what is printed."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from comparisons import OTHER, TEXTS, compared, found, task_of_two
from families import tiny
from snipbias.base.errors import SnipbiasError
from snipbias.base.words import ORIGINAL
from snipbias.edits.controls import layer_matched_edit, random_edit
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.provenance import ModelId, Provenance
from snipbias.evaluation import stats
from snipbias.evaluation.compare import compare, hold_out
from snipbias.evaluation.evaluate import evaluate
from snipbias.evaluation.measured import measured
from snipbias.evaluation.measures import PARTS
from snipbias.evaluation.neutral_text import GUESSING, kl_interval, perplexity_ratio
from snipbias.evaluation.reading import Reading
from snipbias.evaluation.tables import (
    comparison_grids,
    comparison_markdown,
)
from snipbias.tasks import mini
from toys import task


def test_only_held_out_templates_are_used() -> None:
    toy = task()
    comparison = compared()
    assert comparison.task.templates == len(toy.test.templates)
    used = set(comparison.evaluation.table["template"].to_pylist())
    assert used == set(toy.test.templates)
    assert not used & set(found()[0].found_on.templates)


def test_templates_that_an_edit_saw_are_dropped_with_a_note() -> None:
    toy, edit = task(), found()[0]
    assert hold_out(toy, [edit]) == (toy.test, ())
    seen = toy.test.templates[0]
    leaky = replace(edit, found_on=replace(edit.found_on, templates=(seen,)))
    left, notes = hold_out(toy, [edit, leaky])
    assert set(left.templates) == set(toy.test.templates) - {seen}
    assert len(left) == len(toy.test) - 2
    assert "1 template" in notes[0]
    comparison = compare(tiny("flan-t5"), toy, leaky, texts=(), items=4, control_rows=False)
    assert notes[0] in str(comparison)
    assert comparison.to_dict()["notes"] == list(notes)
    assert seen not in comparison.evaluation.table["template"].to_pylist()


def test_nothing_left_to_hold_out_and_a_margin_in_points_are_refused() -> None:
    toy, edit = task(), found()[0]
    greedy = replace(edit, found_on=replace(edit.found_on, templates=toy.templates))
    with pytest.raises(SnipbiasError, match="every held-out template"):
        compare(tiny("flan-t5"), toy, greedy)
    for margin in (2, float("inf"), float("nan"), -0.1):  # 2 points are 0.02
        with pytest.raises(SnipbiasError, match=r"must be a share below 1, not .*: give 0\.02"):
            compare(tiny("flan-t5"), toy, edit, margin=margin)
    drawn = toy.sample(4)
    own = replace(edit, found_on=replace(edit.found_on, templates=drawn.templates))
    with pytest.raises(SnipbiasError, match="every held-out template"):
        hold_out(drawn, [own])


def test_controls_stand_beside_every_edit() -> None:
    first, second = found()
    comparison = compared()
    controls = [
        "5 random neurons",
        "12 random neurons",
        f"random in the same layers as {first.label}",
        f"random in the same layers as {second.label}",
    ]
    assert list(comparison.summaries) == [ORIGINAL, first.label, second.label, *controls]
    assert comparison.controls == tuple(controls)
    assert list(comparison.neurons.values()) == [0, 5, 12, 5, 12, 5, 12]
    more = compare(tiny("flan-t5"), task(), first, controls=2, items=2, texts=())
    assert len(more.controls) == len(set(more.controls)) == 4
    assert not compare(tiny("flan-t5"), task(), first, controls=0, items=2, texts=()).controls


def test_figures_are_those_of_each_method_alone() -> None:
    first, second = found()
    alone = evaluate(tiny("flan-t5"), task().test, [second])
    comparison = compared()
    for method in (ORIGINAL, second.label):
        ours, theirs = comparison.evaluation.rows(method), alone.rows(method)
        np.testing.assert_allclose(ours.scores, theirs.scores, rtol=1e-6)
    kept = evaluate(tiny("flan-t5"), OTHER, [first]).summaries
    answers = comparison.evaluation.retention["other"]
    assert answers.summaries[first.label].accuracy == kept[first.label].accuracy
    assert set(answers.methods) == {ORIGINAL, first.label, second.label}  # and no control
    assert comparison.original.kl_per_token == 0
    assert comparison.summaries[first.label].kl_per_token > 0


def test_labels_that_meet_are_told_apart() -> None:
    lm = tiny("flan-t5")
    first = found()[0]
    half = replace(first, factors={s: dict.fromkeys(u, 0.5) for s, u in first.factors.items()})
    control = random_edit(lm, 5)  # its own control is the same draw, under the same label
    comparison = compare(lm, task(), first, half, control, items=2, texts=())
    assert len(comparison.summaries) == len(comparison.neurons) == 1 + 3 + 2 + 3
    assert len(comparison.controls) == 5  # random ones pruned, and scaled by a half
    edits = [m for m in comparison.summaries if m not in comparison.controls]
    assert edits[1].startswith(first.label)
    assert edits[2].startswith(first.label)


@pytest.mark.parametrize(
    "settings",
    [
        {"texts": ()},
        {"texts": TEXTS, "retention": [OTHER], "controls": 2},
        {"texts": TEXTS, "items": 3, "reading": Reading(options="letters"), "controls": 0},
        {"texts": None, "items": 2, "controls": 0},
    ],
    ids=["plain", "all", "letters", "default text"],
)
def test_work_is_what_progress_sums_to(settings: dict, monkeypatch) -> None:
    for name in ("passages", "chat_prompts"):
        monkeypatch.setattr(sys.modules["snipbias.evaluation.compare"], name, lambda: TEXTS)
    lm, (first, second) = tiny("flan-t5"), found()
    done: list[int] = []
    told: dict[str, int] = {}
    options = {"progress": done.append, "stage": told.__setitem__, "batch_size": 5}
    compare(lm, task(), first, second, **options, **settings)
    assert sum(done) == sum(told.values())


def test_changes_have_the_intervals_of_their_rows() -> None:
    comparison = compared()
    label = found()[0].label
    rows, before = comparison.evaluation.rows(label), comparison.evaluation.rows()
    edited, original = comparison.measured[label], comparison.measured[ORIGINAL]
    assert list(comparison.measured) == list(comparison.summaries)
    assert set(edited.parts) == set(PARTS) - {"filler", "mismatch"}
    for part in edited.parts:
        metric = PARTS[part]
        assert edited.value(part).interval == stats.interval(metric, [rows])
        assert edited.value(part).interval.estimate == pytest.approx(edited.value(part).value)
        assert edited.change(part).interval == stats.interval(metric, [rows], [before])
        assert edited.sign_flip(part) == stats.sign_flip_of(metric, [rows], [before])
        assert original.value(part).interval == stats.interval(metric, [before])
        assert original.change(part).value is original.sign_flip(part) is None
    assert original.mcnemar() is None
    here = before.ambiguous
    right = [(each.chosen == each.gold)[here] for each in (rows, before)]
    assert edited.mcnemar(PARTS["ambiguous"]) == stats.mcnemar(*right)
    neither = evaluate(tiny("flan-t5"), OTHER, [found()[0]]).trials
    every = measured("other", {name: [trial] for name, trial in neither.items()})
    assert {each.parts for each in every.values()} == {("overall",)}


def test_what_is_kept_is_said_for_every_edit() -> None:
    comparison = compared()
    label = found()[0].label
    task, perplexity, kl, chat = comparison.retained(label)
    answers = comparison.evaluation.retention["other"]
    rows, before = ([answers.rows(method)] for method in (label, ORIGINAL))
    assert task.interval == stats.interval(PARTS["overall"], rows, before)
    assert "worse by more than 2.0 points: " in task.sentence
    texts = comparison.evaluation.text
    assert perplexity.interval == perplexity_ratio(texts[label], texts[ORIGINAL])
    assert kl.interval == kl_interval(texts[label])
    assert chat.interval == kl_interval(comparison.evaluation.chat[label])
    everything = (task, perplexity, kl, chat)
    for part, wide in zip(everything, replace(comparison, margin=1e9).retained(label), strict=True):
        assert part.what in ("other", "perplexity", "KL", "chat answers")
        assert part.sentence.startswith("not ") is part.kept
        assert wide.kept
        assert wide.sentence.startswith("not ")
    for part, margin in (
        (perplexity, perplexity.interval.guarded.high - 1),
        (kl, kl.interval.guarded.high),
        (task, -task.interval.guarded.low),
    ):
        for more in (-0.01, 0.01):
            at = replace(comparison, margin=margin + more).retained(label)
            assert next(p for p in at if p.what == part.what).kept is (more > 0)
    assert not kl.kept  # a pruned random model is not the original
    flat = " ".join(str(comparison).split())
    for edit in found():
        for part in comparison.retained(edit.label):
            assert f"{edit.label}: {part.what} {part.sentence}" in flat
            assert f"- {edit.label}: {part.what} " in comparison_markdown(comparison)
    assert f"{comparison.controls[0]}: other" not in flat
    assert compare(tiny("flan-t5"), task_of_two(), found()[0], texts=(), margin=0.5).margin == 0.5


def test_perplexity_of_a_model_that_guesses_anyway_is_no_thing_to_keep() -> None:
    comparison, label = compared(), found()[0].label
    text = comparison.evaluation.text

    def said(perplexity: float) -> list[str]:
        worse = {**text, ORIGINAL: replace(text[ORIGINAL], perplexity=perplexity)}
        of = replace(comparison, evaluation=replace(comparison.evaluation, text=worse))
        assert [p["what"] for p in of.to_dict()["methods"][label]["retained"]] == [
            part.what for part in of.retained(label)
        ]
        return [part.what for part in of.retained(label)]

    assert said(GUESSING) == ["other", "perplexity", "KL", "chat answers"]
    assert said(GUESSING + 1) == said(1.7e11) == ["other", "KL", "chat answers"]


def test_one_template_has_no_interval() -> None:
    comparison = compare(tiny("flan-t5"), task_of_two(), found()[0], texts=TEXTS[:1])
    edited = comparison.measured[found()[0].label]
    assert edited.value("overall").interval is edited.change("overall").interval is None
    grid = next(g for g in comparison_grids(comparison) if g.title.startswith("How sure"))
    assert {row[3] for row in grid.rows} == {"-"}
    assert "no interval can be given" in " ".join(str(comparison).split())
    json.dumps(comparison.to_dict(), allow_nan=False)


def test_controls_have_the_seed_asked_for_and_the_edits_factor() -> None:
    lm = tiny("flan-t5")
    first = found()[0]
    half = replace(first, factors={s: dict.fromkeys(u, 0.5) for s, u in first.factors.items()})
    comparison = compare(lm, task(), half, items=2, texts=(), seed=7)
    assert len(comparison.controls) == 2
    assert all(name.endswith(", draw 8") for name in comparison.controls)
    assert "x 0.5" in comparison.controls[0]
    control = layer_matched_edit(lm, half, 7)
    assert {f for units in control.factors.values() for f in units.values()} == {0.5}


def test_a_whole_task_is_for_edits_of_other_tasks_alone():
    ages, poor = mini.load("age"), mini.load("ses")
    edit = NeuronEdit.of([], ModelId("m", "a", 1, "w"), found_on=Provenance.of(ages.find, {}))
    with pytest.raises(SnipbiasError, match="was found on 'mini:age' itself"):
        hold_out(ages, [edit], whole=True)
    everything = replace(edit, found_on=replace(edit.found_on, task="bbq:SES + mini"))
    for inside in (ages, replace(ages, name="bbq")):
        with pytest.raises(SnipbiasError, match="itself"):
            hold_out(inside, [everything], whole=True)
    mine = replace(ages, name="age", split_over=(), items=poor.items)
    assert hold_out(mine, [edit], whole=True)[0].items == poor.items
    assert hold_out(poor, [edit], whole=True)[0].templates == poor.templates
    assert hold_out(poor, [edit])[0].templates == poor.test.templates
