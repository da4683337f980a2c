"""Learned factors: the losses by hand, the tree against plain scoring, and what a training does."""

from __future__ import annotations

import json
from math import exp, log

import pytest
import torch
from torch import tensor

import snipbias as sb
from families import FAMILIES, GENERIC, tiny
from snipbias.edits.provenance import ModelId
from snipbias.edits.pruning import tensors
from snipbias.method.learned import objective
from snipbias.method.learned.below import Below
from snipbias.method.learned.check import Check, check
from snipbias.method.learned.factors import Factors, LowRank, Mask, upper_sites
from snipbias.method.learned.first_order import first_order, pair_gradient, step_direction
from snipbias.method.learned.learn import Job, by_path, gather
from snipbias.method.learned.train import Trained, Training, row_loss, train
from snipbias.models.products import multiply_in_bfloat16
from snipbias.models.token_tree import TokenTree, takes_trees
from test_models import make_queries

UNKNOWN, UNANSWERABLE = tensor([2, 2]), tensor([True, False])
LOGPROBS = tensor([[-1.0, -2.0, -0.5], [-1.5, -0.5, -3.0]])


def test_losses_are_what_a_hand_computes():
    margin = objective.unknown_margin(LOGPROBS, UNKNOWN)
    expected = [-0.5 - log(exp(-1) + exp(-2)), -3 - log(exp(-1.5) + exp(-0.5))]
    assert margin.tolist() == pytest.approx(expected)
    pair = objective.pair_loss(margin, UNANSWERABLE)
    assert float(pair) == pytest.approx(log(1 + exp(expected[1] - expected[0])))
    # Margins to the best name: 0.5 and -2.5; the answerable row weighs twice.
    declined = objective.decline_loss(LOGPROBS, UNKNOWN, UNANSWERABLE, tensor(0.0), 2.0, 0.0)
    assert float(declined) == pytest.approx((log(1 + exp(-0.5)) + 2 * log(1 + exp(-2.5))) / 3)
    person = objective.person_loss(LOGPROBS, tensor([2, 0]), UNKNOWN, UNANSWERABLE, 0.0)
    assert float(person) == pytest.approx(log(1 + exp(-0.5 + 1.5)))


def test_a_constant_on_unknown_changes_the_loss_of_declining_and_no_pair():
    shifted = LOGPROBS + 3 * torch.nn.functional.one_hot(UNKNOWN, 3)
    pair, declined = (
        [loss(given) for given in (LOGPROBS, shifted)]
        for loss in (
            lambda z: objective.pair_loss(objective.unknown_margin(z, UNKNOWN), UNANSWERABLE),
            lambda z: objective.decline_loss(z, UNKNOWN, UNANSWERABLE, tensor(0.0), 1.0, 0.0),
        )
    )
    assert float(pair[0]) == pytest.approx(float(pair[1]), abs=1e-6)
    assert float(declined[1] - declined[0]) > 0.2
    moved = objective.decline_loss(LOGPROBS, UNKNOWN, UNANSWERABLE, tensor(3.0), 1.0, 0.0)
    assert float(moved) == pytest.approx(float(declined[1]))


def test_a_tree_scores_as_row_by_row_does_in_every_family_that_takes_one():
    told = []
    for family in (*FAMILIES, *GENERIC):
        lm, queries = tiny(family), make_queries()
        if not takes_trees(lm):
            continue
        tree = TokenTree.of([*queries, queries[0]], lm.device)
        with torch.no_grad():
            expected = [lm.score([query]).logprobs[0].tolist() for query in (*queries, queries[0])]
            found = tree.score(lm).tolist()
        assert len(tree.tokens) < sum(len(q.prompt) for q in (*queries, queries[0]))
        for row, right in zip(found, expected, strict=True):
            assert row[: len(right)] == pytest.approx(right, abs=1e-4)
        told.append(family)
    assert {"llama", "qwen2"} <= set(told)


def test_what_lies_below_is_run_once_and_left_as_it_was():
    lm, queries = tiny("llama"), make_queries()
    below, tree = Below(lm, upper_sites(lm, 0.5)), TokenTree.of(queries, lm.device)
    runs = []
    first = lm.blocks("decoder")[0][1].self_attn.q_proj
    hook = first.register_forward_hook(lambda *args: runs.append(1))
    with torch.no_grad():
        scores = []
        for _ in range(3):
            with below.of("tree"):
                scores.append(tree.score(lm))
        plain = tree.score(lm)
    hook.remove()
    assert len(runs) == 2
    assert all(torch.equal(score, plain) for score in scores)


def test_factors_do_what_the_edit_made_of_them_does():
    lm, queries = tiny("llama"), make_queries()
    factors = Factors(lm, upper_sites(lm, 0.5))
    factors.set(0.3 * torch.randn(len(factors.change), generator=torch.Generator().manual_seed(0)))
    chosen = torch.arange(len(factors.change)) % 3 == 0
    factors.keep(chosen)
    edit = sb.NeuronEdit(factors.by_site(), ModelId.of(lm))
    assert len(edit) == int(chosen.sum())
    with torch.no_grad():
        with factors.applied():
            learned = lm.score(queries).logprobs
        with edit.applied(lm):
            applied = lm.score(queries).logprobs
    assert torch.allclose(learned, applied, atol=1e-5)
    mask = Mask(lm, upper_sites(lm, 1.0), 5, seed=0)
    pruned = mask.by_site()
    assert sum(map(len, pruned.values())) == 5
    assert all(set(tensors(units)[1].tolist()) == {0.0} for units in pruned.values())
    with torch.no_grad(), LowRank(lm, upper_sites(lm, 1.0), 2, seed=0).applied():
        assert torch.equal(lm.score(queries).logprobs, tiny("llama").score(queries).logprobs)


@pytest.fixture(scope="module")
def demo():
    return sb.load("demo"), sb.task("mini:age")


def test_the_gradient_of_a_step_is_that_of_small_changes(demo):
    lm, task = demo
    factors = Factors(lm, lm.sites)
    how = Training()
    with torch.inference_mode(False), lm.frozen():
        _, material = gather(lm, [task], 1, 0, how, Below(lm, lm.sites))
        group = material.rows[0]

        def loss() -> torch.Tensor:
            with factors.applied():
                return row_loss(lm, material.below, group, tensor(0.0), how)

        (gradient,) = torch.autograd.grad(loss(), factors.change)
        place = int(gradient.abs().argmax())
        values = []
        for change in (0.01, -0.01):
            factors.set(change * torch.nn.functional.one_hot(tensor(place), len(gradient)))
            with torch.no_grad():
                values.append(float(loss()))
    assert (values[0] - values[1]) / 0.02 == pytest.approx(float(gradient[place]), rel=0.05)


def test_training_tells_better_without_harm_and_touches_no_weight(demo, tmp_path):
    lm, task = demo
    before = {name: value.clone() for name, value in lm.model.state_dict().items()}
    learned = sb.learn(lm, task, 500, training=Training(steps=24, checks=2), folder=tmp_path)
    trained = learned.trainings[None]
    original = trained.checks[0]
    assert trained.best.told > original.told
    assert not trained.best.harms(original, 0.02, 0.1)
    assert all(torch.equal(before[name], now) for name, now in lm.model.state_dict().items())
    assert {name: len(edit) for name, edit in learned.edits.items()}.get(500, 500) == 500
    assert set(learned.edit.found_on.templates) <= set(task.find.templates)
    # The state that was kept is of the finished training: going on changes nothing.
    again = sb.learn(lm, task, 500, training=Training(steps=24, checks=2), folder=tmp_path)
    assert again.edits == learned.edits


def test_a_killed_training_goes_on_to_the_same_factors(demo, tmp_path):
    lm, task = demo
    how = Training(steps=12, checks=3)
    with torch.inference_mode(False), lm.frozen():
        _, material = gather(lm, [task], 1, 0, how, Below(lm, lm.sites))
        original = check(lm, Factors(lm, lm.sites), material, 0, None)

    def run(**more) -> Trained:
        return train(lm, Factors(lm, lm.sites), material, how, original=original, **more)

    left = list(range(7))

    def stop(done: int) -> None:
        if not left:
            raise KeyboardInterrupt
        left.pop()

    whole = run()
    with pytest.raises(KeyboardInterrupt):
        run(folder=tmp_path, progress=stop)
    steps = []
    resumed = run(folder=tmp_path, progress=steps.append)
    assert (steps[0], sum(steps)) == (4, 12)
    assert torch.allclose(resumed.carried, whole.carried, atol=1e-6)
    assert [c.told for c in resumed.checks] == pytest.approx([c.told for c in whole.checks])
    # A state of other rows or another seed is no start.
    other = []
    run(folder=tmp_path, progress=other.append, key="of other rows")
    assert other == [1] * 12


def test_rows_without_pairs_are_refused_in_one_sentence(demo):
    lm, task = demo
    alone = task.where(lambda item: item.condition == "ambiguous")
    with pytest.raises(sb.SnipbiasError, match="has no pairs of an ambiguous"):
        sb.learn(lm, alone)


def test_harm_is_told_from_a_gain():
    right = {"ambiguous": 0.0, "filler": 0.0, "mismatch": 0.0, "disambiguated": 0.9}
    original = Check(0, None, {"ambiguous": 0.6}, {"ambiguous": 0.8}, right, 0.9, 0.0)
    shift = Check(
        9, 1.0, {"ambiguous": 0.6}, {"ambiguous": 0.8}, {**right, "disambiguated": 0.4}, 0.9, 0
    )
    chatty = Check(9, 1.0, {"ambiguous": 0.9}, {"ambiguous": 0.9}, right, 0.9, 0.5)
    gain = Check(9, 1.0, {"ambiguous": 0.9}, {"ambiguous": 0.9}, right, 0.9, 0.01)
    assert [c.harms(original, 0.02, 0.1) for c in (original, shift, chatty, gain)] == [
        False,
        True,
        True,
        False,
    ]
    assert Check(9, 1.0, {}, {}, right, 0.8, 0.0).harms(original, 0.02, 0.1)  # the right person
    assert original.told == pytest.approx(0.7)


def test_products_in_bfloat16_are_near_and_follow_the_weights():
    plain, mixed = tiny("llama"), tiny("llama")
    multiply_in_bfloat16(mixed)
    queries = make_queries()
    with torch.no_grad():
        right, near = plain.score(queries).logprobs, mixed.score(queries).logprobs
        assert not torch.equal(right, near)
        assert torch.allclose(right, near, atol=0.05)
        site = mixed.sites[0].name
        edit = sb.NeuronEdit({site: {0: 0.0, 1: 3.0}}, ModelId.of(mixed))
        with edit.applied(mixed):
            hooked = mixed.score(queries).logprobs
        edit.bake(mixed)
        assert torch.allclose(mixed.score(queries).logprobs, hooked, atol=0.02)


def test_the_command_writes_an_edit_its_curve_and_what_to_run_next(tmp_path, capsys):
    from snipbias.cli.app import main
    from snipbias.cli.rerun import recorded_arguments

    out = tmp_path / "ages"
    with pytest.raises(SystemExit) as done:
        main(["learn", "demo", "mini:age", "--steps", "36", "--out", str(out), "--json", "-q"])
    assert done.value.code == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["edits"] == [str(out)]
    assert [check["step"] for check in shown["checks"]][:2] == [0, 6]
    assert sb.NeuronEdit.load(out).label == out.name
    assert (out / "curve.csv").read_text().startswith("neurons,step,loss,auroc_ambiguous")
    assert not (tmp_path / "ages.learning").exists()
    again = recorded_arguments(out, tmp_path / "again", {})
    assert again[:5] == ["learn", "demo", "mini:age", "--steps", "36"]


def test_learned_methods_stand_beside_others_in_an_experiment(tmp_path):
    settings = sb.preset(
        "demo",
        methods=("original", "v1", "learned", "grafting", "learned LoRA"),
        tasks=("mini:age",),
        trials=1,
        steps=6,
        sizes=(3, 10),
        items=16,
        dev_items=16,
        texts=0,
        retention=(),
        elsewhere=1,
    )
    results = sb.reproduce("demo", "mini:age", settings, folder=tmp_path / "run", retention=())
    methods = {outcome.method for outcome in results.outcomes}
    assert methods == {"original", "v1", "learned", "grafting", "learned LoRA"}


def job(lm, task, how, **more) -> Job:
    with torch.inference_mode(False), lm.frozen():
        _, material = gather(lm, [task], 1, 0, how, Below(lm, lm.sites))
        original = check(lm, Factors(lm, lm.sites), material, 0, None)
    quiet = {"progress": lambda done: None, "told": lambda check: None, "folder": None}
    return Job(lm, lm.sites, material, how, original, key=(), seed=0, **{**quiet, **more})


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
                margin = objective.unknown_margin(
                    group.score(lm, work.material.below), group.unknown
                )
                total += float(objective.pair_loss(margin, group.unanswerable))
        return total

    with torch.inference_mode(False), lm.frozen():
        losses.append(pair_losses())
        direction = first_order(lm, factors, work.material, work.how, work.original).carried
        rows, passes = sum(len(group.items) for group in work.material.rows), lm.passes.copy()
        gradient = pair_gradient(lm, Factors(lm, lm.sites), work.material)
        assert lm.passes - passes == {"forward": rows, "backward": rows}
        factors.set(0.02 * step_direction(gradient, torch.ones_like(gradient)))
        losses.append(pair_losses())
    assert bool((direction >= 0).all())
    assert losses[1] < losses[0]


def test_a_score_of_a_mask_gets_the_gradient_of_pruning_its_neuron():
    lm = tiny("llama")
    mask = Mask(lm, lm.sites, 5, seed=0)
    weights = torch.randn(len(mask.change), generator=torch.Generator().manual_seed(1))
    (weights * mask.current()).sum().backward()
    assert torch.allclose(mask.change.grad, -weights)


def test_an_interrupt_says_where_the_training_is_kept(tmp_path):
    from snipbias.base.errors import InterruptError
    from snipbias.cli.run import kept_in

    for folder, raised in ((tmp_path, InterruptError), (None, KeyboardInterrupt)):
        with pytest.raises(raised), kept_in(folder):
            raise KeyboardInterrupt
