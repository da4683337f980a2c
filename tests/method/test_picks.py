"""Which neurons a learned edit keeps, by pick, and what cannot be learned."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import tensor

import snipbias as sb
import snipbias.method.learned.learn as learning
import toys
from families import tiny
from snipbias.method.learned import objective
from snipbias.method.learned.below import Below
from snipbias.method.learned.factors import upper_sites


def job(seed: int, *sizes: int) -> SimpleNamespace:
    lm = tiny("llama")
    return SimpleNamespace(
        material=SimpleNamespace(below=Below(lm, upper_sites(lm))), sizes=sizes, seed=seed
    )


def test_random_neurons_are_as_many_and_those_of_the_seed(monkeypatch) -> None:
    monkeypatch.setattr(learning, "train", lambda job, factors, size: factors.free.clone())

    def kept(seed: int) -> dict[int, torch.Tensor]:
        return {n: free for n, _, free in learning.PICKS["learned random"](job(seed, 9, 4))}

    one, again, other = kept(0), kept(0), kept(1)
    assert {n: int(free.sum()) for n, free in one.items()} == {9: 9, 4: 4}
    assert not bool((one[4] & ~one[9]).any())  # the smaller edit is part of the larger
    assert all(torch.equal(one[n], again[n]) for n in one)
    assert not torch.equal(one[9], other[9])


def test_one_step_is_made_with_as_many_neurons_as_asked_for_or_all(monkeypatch) -> None:
    monkeypatch.setattr(learning, "first_order", lambda job, factors, size: size)
    for sizes, asked in (((), [None]), ((9, 4), [9, 4])):
        found = list(learning.PICKS["first order"](job(0, *sizes)))
        assert [(size, told) for size, _, told in found] == [(n, n) for n in asked]
        assert len({id(factors) for _, factors, _ in found}) == len(asked)


def test_what_cannot_be_learned_is_said_before_any_row_is_drawn(monkeypatch) -> None:
    monkeypatch.setattr(learning, "gather", None)
    lm, task = tiny("llama"), toys.task()
    upper = sum(site.width for site in upper_sites(lm))
    for how, said in (
        ({"pick": "learnt"}, r"no pick 'learnt'.*did you mean 'learned'"),
        ({"n": upper + 1}, f"cannot keep {upper + 1} neurons: ask for 1 to {upper}"),
        ({"n": 0}, "cannot keep 0 neurons"),
        ({"pick": "grafting"}, "'grafting' needs a number of neurons"),
        ({"layers": 1.5}, r"the share of layers is 1\.5"),
        ({"roles": ("router",)}, "no role 'router': it has"),
    ):
        with pytest.raises(sb.SnipbiasError, match=said):
            sb.learn(lm, task, **how)


def test_rows_that_nobody_can_answer_say_nothing_of_the_right_person() -> None:
    logprobs = tensor([[-1.0, -2.0, -0.5]], requires_grad=True)
    loss = objective.person_loss(logprobs, tensor([2]), tensor([2]), tensor([True]), 0.1)
    loss.backward()
    assert float(loss.detach()) == 0
    assert logprobs.grad.tolist() == [[0.0, 0.0, 0.0]]
