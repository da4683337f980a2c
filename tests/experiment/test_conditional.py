"""The conditional edit: its unit by hand, where it fires, and that it leaves nothing behind."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

import toys
from families import tiny
from snipbias import SnipbiasError
from snipbias.evaluation.evaluate import evaluate
from snipbias.experiment.baselines import conditional as made
from snipbias.experiment.baselines.change import Change
from snipbias.method.learned.objective import unknown_margin
from snipbias.tasks.answerable import answerable

TEXT = "who was it?"


def _ffn(lm):
    return made._gated_ffns(lm)[-1]


def _seen(lm, query):
    """What the last FFN's gate and down layers read, and what it writes, at each prompt token."""
    gate, _, down = _ffn(lm)
    seen = {}

    def keep(module, args, output):
        seen.setdefault(module, (args[0][0], output[0]))

    with torch.no_grad(), lm.hooked([(gate, keep), (down, keep)]):
        logprobs = lm.score([query]).logprobs
    return (
        seen[lm.module(gate)][0],
        *seen[lm.module(down)],
        unknown_margin(logprobs, torch.tensor([0])).item(),
    )


def test_a_unit_is_its_three_weights_and_no_other_changes(unchanged) -> None:
    lm = tiny("llama")
    query, ffn = lm.query(TEXT, ["nil", "him"]), _ffn(lm)
    torch.manual_seed(0)
    unit = made.Unit(ffn, 5, *torch.randn(3, 16))
    with unchanged(lm.model):
        x, inner, written, _ = _seen(lm, query)
        with made.rewired((unit,), "it").applied(lm):
            again, new, rewritten, _ = _seen(lm, query)
    column = lm.module(ffn[2]).weight[:, 5]
    value = F.silu(x @ unit.gate) * (x @ unit.up)
    torch.testing.assert_close(again, x)
    torch.testing.assert_close(new[:, 5], value)
    expected = written - inner[:, 5:6] * column + value[:, None] * unit.down
    torch.testing.assert_close(rewritten, expected.detach(), rtol=1e-4, atol=1e-5)
    with pytest.raises(SnipbiasError, match="no linear layer"):
        made.rewired((unit,), "it").check(tiny("gpt2"))


def test_it_writes_at_the_last_token_alone_and_only_where_the_probe_fires() -> None:
    lm = tiny("llama")
    query, ffn = lm.query(TEXT, ["nil", "him"]), _ffn(lm)
    x, *_ = _seen(lm, query)
    x = x[-6:].double()  # fewer tokens than dimensions: a row that is 1 at one and 0 at others
    last = made.last_token_row(x[-1:], x[:-1].T @ x[:-1] / (len(x) - 1)).float()
    (gradient,) = made._gradients(lm, [ffn[2]], [(query, 0)])
    others = np.array([-1.0, -1.0])

    def edit(sure: float, strength: float) -> Change:
        layer = made.Layer(ffn, 5, sure * last, abs(sure), others, last, gradient)
        return made.rewired((layer.unit(strength, 0.5),), "it")

    def under(edit: Change):
        with edit.applied(lm):
            _, inner, _, margin = _seen(lm, query)
        return inner[-6:, 5], margin

    # The gate is 16 (3 + 1) / (3 + 1) where the probe says 3, and 16 (-3 + 1) / (3 + 1) at -3.
    fires, low = under(edit(3.0, -0.02))
    assert fires[-1].item() == pytest.approx(16, rel=1e-3)
    assert fires[:-1].abs().max() < 0.1
    assert under(edit(-3.0, 0.02))[0].abs().max() < 0.1
    # To first order it moves the margin by so many nats.
    assert under(edit(3.0, 0.02))[1] - low == pytest.approx(0.04, rel=0.05)


def test_it_is_fitted_on_neutral_questions_and_changes_answers(unchanged, monkeypatch) -> None:
    lm, task = tiny("llama"), replace(toys.task(3), name="mini:toy")
    few = answerable("mini")._with_items(answerable("mini").items[:40])
    monkeypatch.setattr(made, "answerable", lambda vocabulary: few)
    monkeypatch.setattr(made, "chat_prompts_to_protect", lambda: ("who is it?", "say it."))
    with unchanged(lm.model):
        layers = made.conditional_layers(lm, task, 2)
        edits = [
            made.conditional(layers, {"layers": 2, "strength": s, "fires": 0.1}) for s in (0.0, 9.0)
        ]
        found = evaluate(lm, task, edits)
    none, some = (found.rows(edit.label).scores for edit in edits)
    assert abs(some - none).max() > 0.1
    assert edits[1].parameters == 2 * 3 * 16
    assert all(len(layer.others) == 10 + 2 for layer in layers)  # chat requests are among them
    with pytest.raises(SnipbiasError, match="leave it out"):
        made.conditional_layers(tiny("gpt2"), task, 1)


def test_the_weakest_is_tried_first_on_the_best_layer_and_on_all(monkeypatch) -> None:
    fitted = (torch.ones(2), 1.0, np.array([-1.0, 0.0]), torch.ones(2), torch.ones(2))
    layers = [made.Layer((f"gate{n}", "up", "down"), n, *fitted) for n in range(3)]
    monkeypatch.setattr(made, "conditional_layers", lambda lm, task, most: layers[:most])
    settings = SimpleNamespace(layers=3, strengths=(4.0, -2.0))
    family = made.conditionals(SimpleNamespace(lm=None, task=None, settings=settings))
    places = [(each["strength"], each["fires"], each["layers"]) for each in family.tried]
    assert places == [(s, f, n) for s in (-2.0, 4.0) for f in made.FIRES for n in (1, 3)]
    for number, setting in zip((1, 3), family.tried, strict=False):
        assert family.at(setting).parameters == number * 3 * 2  # rows of two numbers


def test_a_unit_by_hand() -> None:
    """Nine in ten of the other rows lie below 0.8; at 2, the mean of the unanswerable, it opens."""
    fitted = (torch.tensor([1.0, 0.0]), 2.0, np.linspace(-1, 1, 101), torch.tensor([0.0, 1.0]))
    unit = made.Layer(("gate", "up", "down"), 7, *fitted, torch.tensor([3.0, 4.0])).unit(8.0, 0.1)
    assert unit.gate.tolist() == pytest.approx([16 / 1.2, -0.8 * 16 / 1.2])
    assert (unit.number, unit.up.tolist()) == (7, [0.0, 1.0])
    assert unit.down.tolist() == pytest.approx([3 * 8 / 16 / 25, 4 * 8 / 16 / 25])


def test_a_rewired_unit_has_no_bias_and_the_down_layer_keeps_its_own() -> None:
    layers = {"gate": nn.Linear(4, 6), "up": nn.Linear(4, 6), "down": nn.Linear(6, 4)}
    before = layers["down"].bias.detach().clone()
    rows = (torch.full((4,), value) for value in (1.0, 2.0, 3.0))
    unit = made.Unit(("gate", "up", "down"), 5, *rows)
    made._rewire(SimpleNamespace(module=layers.get), unit, ExitStack())
    assert torch.equal(layers["down"].bias, before)
    assert [float(layers[name].bias[5]) for name in ("gate", "up")] == [0.0, 0.0]
    assert all(float(layers[name].bias[4]) for name in ("gate", "up"))
    assert layers["down"].weight[:, 5].tolist() == [3.0] * 4
