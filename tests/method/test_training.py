"""A training on the demo: its gradients, what it keeps, and that it goes on after a kill."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import tensor

import snipbias as sb
import snipbias.method.learned.learn as learning
from snipbias.experiment.baselines.trained import numbers_fitted
from snipbias.method.learned import objective
from snipbias.method.learned.anchors import anchors
from snipbias.method.learned.below import Below
from snipbias.method.learned.check import DevCheck, Material, check
from snipbias.method.learned.factors import Factors, upper_sites
from snipbias.method.learned.first_order import first_order, pair_gradient, step_direction
from snipbias.method.learned.learn import by_path, gather
from snipbias.method.learned.rows import groups
from snipbias.method.learned.train import (
    STATE,
    Loop,
    Training,
    TrainingJob,
    _gradients,
    row_loss,
    train,
)


@pytest.fixture(scope="module")
def demo():
    return sb.load("demo"), sb.task("mini:age")


def job(lm, task, how, **more) -> TrainingJob:
    with torch.inference_mode(False), lm.frozen():
        _, material = gather(Below(lm, lm.sites), [task], 1, 0, how)
        original = check(Factors(lm, lm.sites), material)
    return TrainingJob(material, how, original, **more)


def test_the_gradient_of_a_step_is_that_of_small_changes(demo):
    lm, task = demo
    factors, how = Factors(lm, lm.sites), Training()
    work = job(lm, task, how)
    material, group = work.material, work.material.rows[0]
    with torch.inference_mode(False), lm.frozen():

        def loss() -> torch.Tensor:
            with factors.applied():
                return row_loss(material.below, group, tensor(0.0), how)

        (gradient,) = torch.autograd.grad(loss(), factors.change)
        place = int(gradient.abs().argmax())
        values = []
        for change in (0.01, -0.01):
            factors.set(change * torch.nn.functional.one_hot(tensor(place), len(gradient)))
            with torch.no_grad():
                values.append(float(loss()))
    assert (values[0] - values[1]) / 0.02 == pytest.approx(float(gradient[place]), rel=0.05)
    by = [Training(pair=weight) for weight in (0.0, 1.0, 3.0)]
    with torch.no_grad():
        by_weight = [float(row_loss(material.below, group, tensor(0.0), each)) for each in by]
    assert by_weight[2] - by_weight[0] == pytest.approx(3 * (by_weight[1] - by_weight[0]), rel=1e-4)
    assert by_weight[1] > by_weight[0]
    (rows,) = {len(each.items) for each in material.rows}
    loop = Loop(factors, how, work.original, "")
    for loop.step, texts in ((0, 1), (1, 0)):  # every second step reads a text too
        before = lm.passes.copy()
        with torch.inference_mode(False), lm.frozen():
            _gradients(work, loop)
        assert lm.passes - before == dict.fromkeys(("forward", "backward"), rows + texts)


def test_training_tells_better_without_harm_and_touches_no_weight(demo, tmp_path):
    lm, task = demo
    before = {name: value.clone() for name, value in lm.model.state_dict().items()}
    learned = sb.learn(lm, task, 500, training=Training(steps=24, checks=2), folder=tmp_path)
    trained = learned.trainings[None]
    original = trained.checks[0]
    assert trained.best.told > original.told
    assert not trained.best.harm(original, 0.02, 0.1)
    assert all(torch.equal(before[name], now) for name, now in lm.model.state_dict().items())
    assert {name: len(edit) for name, edit in learned.edits.items()}.get(500, 500) == 500
    assert set(learned.edit.found_on.templates) <= set(task.find.templates)
    # The state that was kept is of the finished training: going on changes nothing.
    again = sb.learn(lm, task, 500, training=Training(steps=24, checks=2), folder=tmp_path)
    assert again.edits == learned.edits


def test_a_killed_training_goes_on_to_the_same_factors(demo, tmp_path):
    lm, task = demo
    work, left = job(lm, task, Training(steps=6, checks=3)), list(range(3))

    def run(**more):
        return train(replace(work, **more), Factors(lm, lm.sites))

    def stop(done: int) -> None:
        if not left:
            raise KeyboardInterrupt
        left.pop()

    whole = run()
    with pytest.raises(KeyboardInterrupt):
        run(folder=tmp_path, progress=stop)
    steps, other = [], []
    resumed = run(folder=tmp_path, progress=steps.append)
    assert (steps[0], sum(steps)) == (2, 6)
    assert torch.allclose(resumed.carried, whole.carried, atol=1e-6)
    assert [c.told for c in resumed.checks] == pytest.approx([c.told for c in whole.checks])
    # A state of other rows or another seed is no start.
    run(folder=tmp_path, progress=other.append, key=("of other rows",))
    assert other == [1] * 6
    # Nor is one that is damaged, or of a version whose checks have other fields.
    loop = Loop(Factors(lm, lm.sites), work.how, work.original, "")
    (tmp_path / STATE).write_bytes(b"junk")
    assert not loop.load(tmp_path)
    torch.save({"key": "", "checks": [{"x": 1}]}, tmp_path / STATE)
    assert not loop.load(tmp_path)


def test_a_training_is_known_by_the_model_its_number_type_and_its_layers(demo, monkeypatch):
    none = Material((), (), (), (), None)
    whole = DevCheck(0, None, {}, {}, {"disambiguated": 1.0}, 1.0, 0.0)
    monkeypatch.setattr(learning, "gather", lambda *given: ([], none))
    monkeypatch.setattr(learning, "check", lambda *given: whole)
    keys: list = []
    picks = dict.fromkeys(learning.PICKS, lambda job: [keys.append(list(job.key))][1:])
    monkeypatch.setattr(learning, "PICKS", picks)
    others = [sb.load("demo", dtype=dtype) for dtype in ("bfloat16", "mixed")]
    settings = ({}, {"layers": 0.5}, {"roles": ["down"]}, {"pick": "grafting"}, {})
    for lm, how in (*((demo[0], how) for how in settings), *((lm, {}) for lm in others)):
        with pytest.raises(sb.SnipbiasError, match="no factors were found"):
            sb.learn(lm, demo[1], 3, **how)
    assert keys[0] == keys[4]
    assert all(keys[i] != keys[j] for i in range(7) for j in range(i) if (j, i) != (0, 4))


def test_rows_without_pairs_are_refused_in_one_sentence(demo):
    lm, task = demo
    alone = task.where(lambda item: item.condition == "ambiguous")
    with pytest.raises(sb.SnipbiasError, match="has no pairs of an ambiguous"):
        sb.learn(lm, alone)


def test_a_model_that_computes_no_numbers_is_refused(demo):
    lm = sb.load("demo")
    with torch.no_grad():
        lm.model.lm_head.weight[3] = torch.nan
    with pytest.raises(sb.SnipbiasError, match="not a number: load it in a wider type"):
        sb.learn(lm, demo[1], fillings=1)


def test_settings_that_train_nothing_are_refused():
    for name, value in (("rate", 0.0), ("rate", float("nan")), ("checks", 0), ("keep", -1.0)):
        with pytest.raises(sb.SnipbiasError, match=f"a training's {name} is {value}"):
            Training(**{name: value})


def test_pairs_are_told_by_what_they_ask_where_no_twin_is_named(demo):
    lm, task = demo
    one = {i.options[0] + i.template: i.twin for i in task.items}  # a question of each template
    some = task.where(lambda item: item.twin in one.values())
    nameless = some._with_items(replace(i, twin="") for i in some.items)
    for group in (*groups(lm, some, 1, 0), *groups(lm, nameless, 1, 0)):
        assert (len({item.template for item in group.items}), len(group.items)) in ((1, 4), (1, 8))


def test_a_token_that_a_model_never_says_moves_nothing(demo):
    """Some models mask tokens of their vocabulary, whose probability is 0."""
    lm, _ = demo
    query = [lm.text_query("The old man was late again, and nobody said a word.")]
    with lm.frozen(), torch.no_grad():
        (anchor,) = anchors(lm, query, 5, 0)
        masked = anchor.before.clone()
        masked[:, 0] = -torch.inf
        moved = replace(anchor, before=masked).moved(Below(lm, lm.sites))
    assert float(moved) == pytest.approx(0.0, abs=0.05)


def test_the_command_writes_an_edit_its_curve_and_what_to_run_next(cli, tmp_path):
    from snipbias.cli.rerun import recorded_arguments

    out, mine = tmp_path / "ages", tmp_path / "ages.learning" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("precious")
    done = cli(
        *("learn", "demo", "mini:age", "--steps", 12, "--instructions", 1),
        *("--fillings", 1, "--out", out, "--json", "-q"),
    )
    assert done.status == 0
    shown = json.loads(done.out)
    assert shown["edits"] == [str(out)]
    assert [check["step"] for check in shown["checks"]][:2] == [0, 2]
    assert sb.NeuronEdit.load(out).label == out.name
    assert (out / "curve.csv").read_text().startswith("neurons,step,loss,auroc_ambiguous")
    assert list(mine.parent.rglob("*")) == [mine]  # the training's own state is gone
    assert cli("learn", "demo", "mini:age", "--out", ".").status == 1
    again = recorded_arguments(out, tmp_path / "again", {})
    assert again[:5] == ["learn", "demo", "mini:age", "--steps", "12"]


def test_learned_methods_stand_beside_others_in_an_experiment(tmp_path):
    settings = sb.preset(
        "demo",
        methods=("original", "v1", "learned", "grafting", "learned LoRA"),
        tasks=("mini:age",),
        trials=1,
        steps=2,
        sizes=(10,),
        items=8,
        dev_items=8,
        instructions=1,
        prompts=(),
        texts=0,
        retention=(),
        elsewhere=1,
    )
    results = sb.reproduce("demo", "mini:age", settings, folder=tmp_path / "run", retention=())
    methods = {outcome.method for outcome in results.outcomes}
    assert methods == {"original", "v1", "learned", "grafting", "learned LoRA"}
    lora = next(outcome for outcome in results.outcomes if outcome.method == "learned LoRA")
    # Its training is what it took to make it, and no part of its answers.
    assert lora.cost.backward > 0
    assert lora.cost.answering == lora.test.num_rows
    lm = sb.load("demo")
    sites = upper_sites(lm)
    assert lora.trained == 8 * sum(site.width + lm.module(site.name).in_features for site in sites)
    every = sum(site.width for site in sites)
    picks = {"learned": every, "grafting": every, "learned random": 10, "first order": 0}
    assert {pick: numbers_fitted(lm, pick, 10) for pick in picks} == picks


def test_those_that_carried_most_are_kept_and_texts_hold_them_back(demo):
    lm, task = demo
    moved = []
    for keep in (0.0, 50.0):
        work = job(lm, task, Training(steps=8, checks=1, keep=keep), sizes=(500,))
        with torch.inference_mode(False), lm.frozen():
            (_, _, whole), (size, factors, _) = by_path(work)
        moved.append(whole.checks[-1].moved)
        kept = factors.free
        assert (size, int(kept.sum())) == (500, 500)
        assert float(whole.carried[kept].min()) >= float(whole.carried[~kept].max())
    assert moved[1] < moved[0]


def test_one_step_along_the_gradient_lowers_the_pair_loss(demo):
    lm, task = demo
    work = job(lm, task, Training(harm=1.0, moved=9.0), sizes=())
    factors, losses = Factors(lm, lm.sites), []

    def pair_losses() -> float:
        total = 0.0
        with torch.no_grad(), factors.applied():
            for group in work.material.rows:
                margin = objective.unknown_margin(group.score(work.material.below), group.unknown)
                total += float(objective.pair_loss(margin, group.unanswerable))
        return total

    with torch.inference_mode(False), lm.frozen():
        losses.append(pair_losses())
        direction = first_order(work, factors).carried
        rows, passes = sum(len(group.items) for group in work.material.rows), lm.passes.copy()
        gradient = pair_gradient(Factors(lm, lm.sites), work.material)
        assert lm.passes - passes == {"forward": rows, "backward": rows}
        factors.set(0.02 * step_direction(gradient, torch.ones_like(gradient)))
        losses.append(pair_losses())
    assert bool((direction >= 0).all())
    assert losses[1] < losses[0]


def test_an_interrupt_says_where_the_training_is_kept(tmp_path):
    from snipbias.base.errors import InterruptError
    from snipbias.cli.run import kept_in

    for folder, raised in ((tmp_path, InterruptError), (None, KeyboardInterrupt)):
        with pytest.raises(raised), kept_in(folder):
            raise KeyboardInterrupt


def test_a_state_that_does_not_fit_on_the_disk_is_one_sentence(tmp_path):
    resource = pytest.importorskip("resource")
    change = torch.zeros(1_000, requires_grad=True)
    loop = Loop(SimpleNamespace(change=change), Training(), DevCheck(0, None, {}, {}, {}, 0, 0), "")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, before[1]))
        with pytest.raises(sb.SnipbiasError, match=r"could not write .* free some space"):
            loop.save(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())
