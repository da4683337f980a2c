"""Learned factors: the losses by hand, the tree against plain scoring, and what a training does."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from math import exp, log
from types import SimpleNamespace

import pytest
import torch
from torch import tensor

import snipbias as sb
from families import FAMILIES, GENERIC, tiny
from queries import make_queries
from snipbias.edits.provenance import ModelId
from snipbias.edits.pruning import tensors
from snipbias.experiment.baselines import trained as baselines
from snipbias.method.learned import objective
from snipbias.method.learned.anchors import Anchor
from snipbias.method.learned.below import Below
from snipbias.method.learned.check import DevCheck, Material, best_of, check
from snipbias.method.learned.factors import Factors, LowRank, Mask, highest, upper_sites
from snipbias.method.learned.learn import NothingLearnedError
from snipbias.method.learned.rows import Group, groups
from snipbias.method.learned.train import Loop, Training
from snipbias.models.loading import multiply_in_bfloat16
from snipbias.models.token_tree import TokenTree, takes_trees

UNKNOWN, UNANSWERABLE = tensor([2, 2]), tensor([True, False])
KINDS = ("ambiguous", "disambiguated")
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


def test_a_row_may_have_fewer_options_than_another():
    wider = torch.cat([LOGPROBS, torch.full((2, 1), -torch.inf)], 1).requires_grad_()
    for smoothing in (0.0, 0.1):
        few, more = (
            objective.person_loss(each, tensor([2, 0]), UNKNOWN, UNANSWERABLE, smoothing)
            for each in (LOGPROBS, wider)
        )
        assert float(more.detach()) == pytest.approx(float(few))
        assert torch.autograd.grad(more, wider)[0].isfinite().all()


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
    for one in (tree, None):  # a prompt is counted as one, in a tree as in a batch
        group, before = Group(tuple(queries), tuple(queries), one), lm.passes.copy()
        with torch.no_grad():
            group.score(below)
        assert lm.passes - before == {"forward": len(queries)}


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


def test_harm_is_told_from_a_gain():
    right = {"ambiguous": 0.0, "filler": 0.0, "mismatch": 0.0, "disambiguated": 0.9}
    original = DevCheck(0, None, {"ambiguous": 0.6}, {"ambiguous": 0.8}, right, 0.9, 0.0)
    shift = DevCheck(
        9, 1.0, {"ambiguous": 0.6}, {"ambiguous": 0.8}, {**right, "disambiguated": 0.4}, 0.9, 0
    )
    chatty = DevCheck(9, 1.0, {"ambiguous": 0.9}, {"ambiguous": 0.9}, right, 0.9, 0.5)
    gain = DevCheck(9, 1.0, {"ambiguous": 0.9}, {"ambiguous": 0.9}, right, 0.9, 0.01)
    assert [bool(c.harm(original, 0.02, 0.1)) for c in (original, shift, chatty, gain)] == [
        False,
        True,
        True,
        False,
    ]
    assert DevCheck(9, 1.0, {}, {}, right, 0.8, 0.0).harm(original, 0.02, 0.1)  # the right person
    assert DevCheck(9, 1.0, {}, {}, right, 0.9, float("nan")).harm(original, 0.02, 0.1)
    one_of_50 = DevCheck(9, 1.0, {}, {}, {**right, "disambiguated": 44 / 50}, 0.9, 0.0)
    assert not one_of_50.harm(original, 0.02, 0.1)
    assert replace(chatty, right=shift.right).harm(original, 0.02, 0.1) == [
        "answerable rows right 90 -> 40 %",
        "other texts move by 0.50 nats per token",
    ]
    assert one_of_50.harm(original, 0.019, 0.1)
    assert original.told == pytest.approx(0.7)
    noisy = replace(original, moved=0.2)  # as on a device whose sums differ from pass to pass
    assert best_of([noisy, chatty], 0.02, 0.1) is noisy


def test_a_check_is_what_a_hand_computes():
    """The mismatch row is tied with its answerable twin, which declines but has the right name."""
    logprobs = tensor([[-2.0, -3.0, -1.0], [-1.0, -2.0, -0.5], [-1.0, -2.0, -0.5]])
    items = [SimpleNamespace(condition=c, twin="a") for c in (*KINDS, "mismatch")]
    group = SimpleNamespace(
        items=items,
        gold=tensor([2, 0, 2]),
        unknown=tensor([2, 2, 2]),
        score=lambda below: logprobs,
    )
    factors = SimpleNamespace(applied=nullcontext)
    material = SimpleNamespace(dev=[group], dev_texts=[], below=None)
    found = check(factors, material, 3, None)
    assert (found.auroc["ambiguous"], found.auroc["mismatch"]) == (1.0, 0.5)
    assert (found.twins["ambiguous"], found.twins["mismatch"]) == (1.0, 0.5)
    assert (found.right["disambiguated"], found.right["mismatch"], found.named) == (0.0, 1.0, 1.0)
    assert found.told == 0.75  # there are no filler rows
    assert not found.harm(found, 0.0, 0.1)
    logprobs[0, 0] = torch.nan  # else the AUROC of no number were 0 or 1
    assert check(factors, material, 3, None).harm(found, 0.0, 0.1)
    logprobs[:, 2] = -torch.inf  # a model that never says "unknown"
    logprobs[0, 0] = -1.0
    assert check(factors, material, 3, None).twins["mismatch"] == 0.5


def test_how_far_a_text_moved_is_the_mean_over_its_tokens(monkeypatch):
    before, after = tensor([[0.5, 0.5], [0.9, 0.1]]).log(), tensor([[0.5, 0.5], [0.1, 0.9]]).log()
    monkeypatch.setattr("snipbias.method.learned.anchors.predictions", lambda *given: after)
    below = SimpleNamespace(lm=None, of=lambda name: nullcontext())
    assert float(Anchor(None, None, before).moved(below)) == pytest.approx(0.8 * log(9) / 2)


def test_a_training_is_known_by_its_rows_and_their_right_answers():
    items = [SimpleNamespace(gold=0), SimpleNamespace(gold=1), SimpleNamespace(gold=1)]
    groups = [[SimpleNamespace(items=item, queries="asked")] for item in items]
    first, other, same = (Material(group, (), (), (), None).fingerprint for group in groups)
    assert first != other == same


def test_a_neuron_carried_its_gradient_times_its_change_against_the_sign():
    """Adam's first step is as long as its rate, here a fifth of 0.01, whatever the gradient."""
    change = torch.zeros(2, requires_grad=True)
    factors = SimpleNamespace(change=change, bound=lambda most: None)
    loop = Loop(factors, Training(), DevCheck(0, None, {}, {}, {}, 0.0, 0.0), "")
    change.grad = tensor([2.0, -1.0])
    loop.move(tensor([3.0, 0.5]))  # of the rows alone; the second was moved by the texts
    assert change.tolist() == pytest.approx([-0.002, 0.002], rel=1e-4)
    assert loop.carried.tolist() == pytest.approx([0.006, -0.001], rel=1e-4)


def test_a_group_asks_about_the_same_people():
    lm, part = sb.load("demo"), sb.task("mini:age").find
    for group in groups(lm, part, 2, 0):
        assert len({frozenset(item.options[i] for i in item.named) for item in group.items}) == 1
        assert {item.polarity for item in group.items} == {"neg", "nonneg"}


def test_a_trained_baseline_keeps_the_largest_size_that_there_is(monkeypatch):
    asked, error = [], NothingLearnedError

    def learn(lm, task, sizes, **how):
        asked.append(list(sizes))
        raise error("nothing found")

    upper = SimpleNamespace(width=40)
    monkeypatch.setattr(baselines, "learn", learn)
    monkeypatch.setattr(baselines, "upper_sites", lambda lm: [upper])
    cell = SimpleNamespace(
        seed=0,
        settings=SimpleNamespace(steps=1, sizes=(30, 3, 10)),
        lm=SimpleNamespace(is_encoder_decoder=True),
        task=None,
        key=str,
        store=SimpleNamespace(value=lambda key, compute: compute()),
        unchanged=lambda: "unchanged",
    )
    assert baselines.learned(cell, "grafting", True) == "unchanged"
    upper.width = 20
    baselines.learned(cell, "grafting", True)
    baselines.learned(cell, "learned", False)
    assert asked == [[30], [10], []]
    error = sb.SnipbiasError  # rows that cannot be trained on: no result, rather than "unchanged"
    with pytest.raises(sb.SnipbiasError, match="nothing found"):
        baselines.learned(cell, "learned", False)


def test_those_that_carried_most_are_kept_and_none_of_a_training_that_diverged():
    assert highest(tensor([0.1, 0.3, 0.2]), 2).tolist() == [False, True, True]
    with pytest.raises(sb.SnipbiasError, match="the training diverged"):
        highest(tensor([0.1, torch.nan, 0.2]), 1)


def test_what_is_kept_is_harmless_and_the_first_of_equals():
    def made(step: int, told: float, right: float = 0.9) -> DevCheck:
        return DevCheck(step, None, {"ambiguous": told}, {}, {"disambiguated": right}, 0.9, 0.0)

    factors = SimpleNamespace(change=torch.zeros(1, requires_grad=True))
    loop = Loop(factors, Training(patience=2), made(0, 0.6), "")
    for found, kept, goes_on in (
        (made(1, 0.9, right=0.5), 0, True),
        (made(2, 0.7), 2, True),
        (made(3, 0.7), 2, True),
        (made(4, 0.65), 2, False),
    ):
        factors.change.data.fill_(found.step)
        assert loop.look(found) is goes_on
        assert (loop.best_check.step, float(loop.best)) == (kept, kept)


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


def test_a_score_of_a_mask_gets_the_gradient_of_pruning_its_neuron():
    lm = tiny("llama")
    mask = Mask(lm, lm.sites, 5, seed=0)
    weights = torch.randn(len(mask.change), generator=torch.Generator().manual_seed(1))
    (weights * mask.current()).sum().backward()
    assert torch.allclose(mask.change.grad, -weights)


def test_a_training_that_only_does_harm_says_which():
    strict = Training(steps=24, checks=2, moved=1e-4)
    with pytest.raises(sb.SnipbiasError, match=r"but do harm: other texts move by 0\.\d\d nats"):
        sb.learn(sb.load("demo"), sb.task("mini:age"), training=strict)
