"""What the page answers and which neurons it shows, against evaluation and the plain model."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from asked import ITEM, SAY, edit_of
from families import FAMILIES, GENERIC, one_neuron, tiny
from snipbias.edits.controls import random_edit
from snipbias.evaluation.evaluate import evaluate
from snipbias.evaluation.reading import Reading
from snipbias.models.language_model import LanguageModel
from snipbias.models.sites import Neuron
from snipbias.play.answers import (
    Answer,
    EditSetting,
    Firing,
    Question,
    answer,
    firings,
    together,
)
from snipbias.play.session import Session
from snipbias.tasks.items import Item, Task
from snipbias.tasks.prompts import DEFAULT
from toys import RAGGED

KINDS = ("flan-t5", "bart", "gpt2", "opt", "llama", "qwen2")


@pytest.mark.parametrize("family", KINDS)
def test_answers_are_those_of_evaluate(family: str, unchanged) -> None:
    lm = tiny(family)
    edit = random_edit(lm, 40)
    few = Task("few", RAGGED.items[:2], RAGGED.instructions)
    table = evaluate(lm, few, [edit], reading=Reading(generate=True)).table.to_pylist()
    found = {(row["method"], row["item"], row["instruction"]): row for row in table}
    before = []
    with unchanged(lm.model):
        for (method, name, number), row in found.items():
            item = next(item for item in RAGGED.items if item.id == name)
            applied = None if method == "original" else edit
            said = answer(lm, Question(item, RAGGED.instructions[number]), applied)
            assert said.logprobs == pytest.approx(row["logprob"], rel=1e-4)
            assert said.chosen == np.argmax(row["logprob"])
            assert said.text == row["text"]
            assert said.matched == (None if row["chosen"] < 0 else row["chosen"])
            before.append((method, said.logprobs))
    original = [logprobs for method, logprobs in before if method == "original"]
    edited = [logprobs for method, logprobs in before if method != "original"]
    assert not np.allclose(np.concatenate(original), np.concatenate(edited))


def test_an_answer_on_paper() -> None:
    """Every token has logit 0 but one, which has 1; pruned, all are as likely."""
    lm = one_neuron()
    tokens = lm.tokenizer.convert_ids_to_tokens([4])
    assert tokens == ["a"]
    item = Item("x", "who?", ("a", "b"), 0)
    question = Question(item, SAY)
    prune = edit_of(lm, {"model.layers.1.mlp.down_proj": {0: 0.0}})
    normal = np.log(63 + np.e)
    assert answer(lm, question).logprobs == pytest.approx((1 - normal, -normal))
    assert answer(lm, question).shares == pytest.approx((np.e / (np.e + 1), 1 / (np.e + 1)))
    assert answer(lm, question, prune).logprobs == pytest.approx((-np.log(64), -np.log(64)))
    (fired,) = firings(lm, question, prune, 0)
    assert set(fired.outputs) == {0.5}
    assert fired.tokens[-3:] == ("##e", "##r", "##:")
    assert len(fired.tokens) == len(lm.query(DEFAULT.render(SAY, item), item.options).prompt)


def test_shares_and_choice_by_hand() -> None:
    said = Answer((np.log(0.1), np.log(0.3), -1e5), "", None)
    assert said.shares == pytest.approx((0.25, 0.75, 0.0))
    assert said.chosen == 1
    far = Answer((-5000.0, -5000.0), "", None)  # exp(-5000) is 0
    assert far.shares == (0.5, 0.5)
    assert far.chosen == 0


def test_numbers_as_the_page_writes_them() -> None:
    pytest.importorskip("nicegui")
    from snipbias.play.elements import minus, percent

    assert [minus(x) for x in (-1.005, 2, -0.001)] == ["\N{MINUS SIGN}1.00", "2.00", "0.00"]
    assert minus(-0.04, 1) == "0.0"
    assert [percent(x) for x in (0, 1e-9, 0.0005, 0.5, 0.9999, 1)] == [
        *("0.0 %", "<0.1 %", "0.1 %", "50.0 %", ">99.9 %", "100.0 %")
    ]


def plain_outputs(lm: LanguageModel, site: str, item: Item, option: int) -> torch.Tensor:
    """Outputs of a layer in one pass of the Hugging Face model over prompt and answer."""
    query = lm.query(DEFAULT.render(SAY, item), item.options)
    prompt, words = list(query.prompt), list(query.options[option])
    kept: list[torch.Tensor] = []
    handle = lm.module(site).register_forward_hook(lambda m, a, out: kept.append(out))
    with torch.no_grad():
        if lm.is_encoder_decoder:
            config = lm.model.config.get_text_config()
            start = getattr(config, "decoder_start_token_id", None)
            start = config.bos_token_id if start is None else start
            lm.model(
                input_ids=torch.tensor([prompt]),
                decoder_input_ids=torch.tensor([[start, *words[:-1]]]),
            )
        else:
            lm.model(input_ids=torch.tensor([prompt + words[:-1]]))
    handle.remove()
    assert len(kept) == 1
    return kept[0].reshape(-1, kept[0].shape[-1])


@pytest.mark.parametrize("family", FAMILIES | GENERIC)
def test_neurons_fire_as_in_the_plain_model(family: str) -> None:
    lm = tiny(family)
    edit = edit_of(lm, {site.name: {0: 0.5, site.width - 1: 0.0} for site in lm.sites})
    found = firings(lm, Question(ITEM, SAY), edit, 0)
    assert {f.neuron for f in found} == set(edit.neurons)
    expected = {site: plain_outputs(lm, site, ITEM, 0) for site in edit.factors}
    for fired in found:
        site, unit = fired.neuron
        column = expected[site][:, unit].tolist()
        assert fired.outputs == pytest.approx(column, rel=1e-3, abs=1e-4)
        assert len(fired.tokens) == len(column)
        assert abs(fired.outputs[fired.top(1)[0]]) == max(map(abs, fired.outputs))
    change = [abs(f.factor - 1) * max(map(abs, f.outputs)) for f in found]
    assert change == sorted(change, reverse=True)


def test_tokens_are_those_that_the_layer_sees() -> None:
    lm = tiny("flan-t5")
    sides = {"encoder.block.0.layer.0.SelfAttention.q": {0: 0.0}}
    cross = {"decoder.block.0.layer.1.EncDecAttention.k": {0: 0.0}}
    decoder = {"decoder.block.0.layer.1.EncDecAttention.q": {0: 0.0}}
    edit = edit_of(lm, {**sides, **cross, **decoder})
    tokens = {f.neuron.site: f.tokens for f in firings(lm, Question(ITEM, SAY), edit, 1)}
    prompt = lm.query(DEFAULT.render(SAY, ITEM), ITEM.options).prompt
    words = tuple(lm.tokenizer.convert_ids_to_tokens(list(prompt)))
    assert tokens[next(iter(sides))] == tokens[next(iter(cross))]
    assert [t.lstrip("#") for t in tokens[next(iter(sides))]] == [w.lstrip("#") for w in words]
    assert tokens[next(iter(decoder))] == ("(start of answer)", "h", "##i", "##m")


def test_tops_and_scaled_by_hand() -> None:
    fired = Firing(Neuron("x", 0), "", 0.5, ("a", "b", "c", "d"), (1.0, -4.0, 2.0, 4.0))
    assert fired.top(3) == [1, 3, 2]
    assert [fired.scaled(token) for token in range(4)] == [0.5, -2.0, 1.0, 2.0]
    pruned = replace(fired, factor=0.0, outputs=(float("inf"), 1.0))
    assert [pruned.scaled(token) for token in range(2)] == [0.0, 0.0]  # 0 * inf is no number


def test_the_factor_farthest_from_one_counts() -> None:
    lm = tiny("llama")
    site = lm.sites[0].name
    first = edit_of(lm, {site: {0: 0.5, 1: 0.0, 2: 0.9}})
    second = edit_of(lm, {site: {0: 0.25, 1: 0.7, 3: 1.5, 4: 1.0}})
    both = together(lm, [EditSetting(first), EditSetting(second)])
    assert both is not None
    assert both.factors == {site: {0: 0.25, 1: 0.0, 2: 0.9, 3: 1.5}}
    assert (
        together(lm, [EditSetting(second), EditSetting(first)]).factors[site] == both.factors[site]
    )
    twice = together(lm, [EditSetting(first), EditSetting(first)])
    assert twice.factors == first.factors
    tie = together(lm, [EditSetting(edit_of(lm, {site: {0: f}})) for f in (1.5, 0.5)])
    assert tie.factors == {site: {0: 0.5}}


@pytest.mark.parametrize(
    ("strength", "factors"),
    [(1, (0.0, 0.3)), (0.5, (0.5, 0.65)), (2, (-1.0, -0.4)), (-1, (2.0, 1.7)), (0, None)],
)
def test_strength(strength: float, factors: tuple[float, ...] | None) -> None:
    lm = tiny("llama")
    site = lm.sites[0].name
    made = together(lm, [EditSetting(edit_of(lm, {site: {0: 0.0, 1: 0.3}}), strength)])
    if factors is None:
        assert made is None
        return
    assert list(made.factors[site].values()) == pytest.approx(factors)
    if strength == 1:
        assert made.factors[site][1] == 0.3  # to the bit


def test_single_neurons_can_be_left_alone() -> None:
    lm = tiny("llama")
    edit = random_edit(lm, 5)
    left = frozenset(edit.neurons[:2])
    assert set(together(lm, [EditSetting(edit, 1.0, left)]).neurons) == set(edit.neurons) - left
    assert together(lm, [EditSetting(edit, 1.0, frozenset(edit.neurons))]) is None
    assert together(lm, []) is None


def test_what_is_said_about_an_edit() -> None:
    lm = tiny("llama")
    models = {"own": lm, "trained": tiny("llama", seed=1), "strange": tiny("gpt2")}
    edits = [replace(random_edit(model, 3), label=label) for label, model in models.items()]
    notes = Session(lm, edits, [RAGGED]).notes
    assert notes["own"] == (True, "")
    assert notes["trained"][0]
    assert notes["trained"][1].startswith("the edit was found on other weights")
    assert not notes["strange"][0]
    assert "does not fit" in notes["strange"][1]


def test_tabs_at_once_get_their_own_answers(unchanged) -> None:
    lm = tiny("flan-t5")
    edits = [replace(random_edit(lm, 60, seed), label=str(seed)) for seed in range(2)]
    session = Session(lm, edits, [RAGGED])
    jobs = [
        (Question(item, SAY), [EditSetting(edit)] if edit else [])
        for item in RAGGED.items
        for edit in (None, *edits)
    ]
    alone = [Session(lm, edits, [RAGGED]).ask(*job) for job in jobs]
    assert len({result.edited for result in alone}) == len(RAGGED) * len(edits) + 1
    with unchanged(lm.model), ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda job: session.ask(*job), jobs)) == alone
