"""What an attribution must not depend on, and that it leaves the model as it was."""

from __future__ import annotations

import gc
import importlib
import weakref
from dataclasses import replace

import pytest
import torch

import reference
from families import tiny
from ragged import ITEMS, TASK, assert_same, by_site
from snipbias.method.attribute import attribute, batch_bias
from snipbias.method.equations import Method
from snipbias.tasks.items import Item
from snipbias.tasks.prompts import DEFAULT

INVARIANT = ["flan-t5", "bart", "llama", "mistral-sliding", "gpt2"]


@pytest.mark.parametrize("family", INVARIANT)
def test_batch_size_row_order_and_padding_side_do_not_matter(family, monkeypatch):
    lm = tiny(family)
    together = by_site(attribute(lm, TASK, batch_size=100))
    for size in (1, 2, 4):
        assert_same(by_site(attribute(lm, TASK, batch_size=size)), together)
    backwards = replace(TASK, items=ITEMS[::-1], instructions=TASK.instructions[::-1])
    assert_same(by_site(attribute(lm, backwards, batch_size=2)), together)
    monkeypatch.setattr(lm.tokenizer, "padding_side", "left")
    assert_same(by_site(attribute(lm, TASK)), together)


@pytest.mark.parametrize("family", ["flan-t5", "llama", "gpt2"])
def test_batch_size_does_not_matter_to_any_choice(family):
    lm = tiny(family)
    for method in (
        Method.v2_as_coded(),
        Method.v2_as_coded(tokens="prompt"),
        Method.v1(biased="manual", tokens="prompt"),
        Method.v1(terms="apart", tokens="quantile"),
    ):
        together = by_site(attribute(lm, TASK, method, batch_size=100))
        for size in (1, 2):
            assert_same(by_site(attribute(lm, TASK, method, batch_size=size)), together)


NEGATIVE_EVERYWHERE = [
    ("flan-t5", "right"),
    ("bart", "right"),
    ("llama", "left"),
    ("llama", "right"),
    ("gpt2", "left"),
]


@pytest.mark.parametrize(("family", "side"), NEGATIVE_EVERYWHERE)
@pytest.mark.parametrize("terms", ["together", "apart"])
def test_padding_never_gives_0_to_a_neuron_that_is_negative_everywhere(
    family, side, terms, monkeypatch
):
    """Prompts and options of every length in one batch: encoder, prompt and answer are padded."""
    lm = tiny(family)
    monkeypatch.setattr(lm.tokenizer, "padding_side", side)
    long = Item("d", "who of all the people was it then?", ("a", "an old man"), 0)
    queries = [lm.query(DEFAULT.render("say it.", item), item.options) for item in (*ITEMS, long)]
    gold = torch.tensor([item.gold for item in (*ITEMS, long)])
    seen = 0
    for tokens in ("max", "prompt"):
        method = Method.v1(tokens=tokens, terms=terms)
        with lm.frozen():
            padded = batch_bias(lm, queries, gold, method)
        for row, item in enumerate(ITEMS):
            alone = replace(TASK, items=(item,), instructions=("say it.",))
            exact = reference.scores(lm, alone, method)
            rounding = 1e-6 * max(float(scores.abs().max()) for scores in exact.values())
            for site, scores in exact.items():
                negative = scores < -rounding
                seen += int(negative.sum())
                assert (padded[site][row][negative] < 0).all(), (site, tokens, item.id)
    assert seen > 10


@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode])
def test_the_callers_gradient_mode_does_not_matter(around):
    lm = tiny("llama")
    expected = by_site(attribute(lm, TASK))
    with around():
        assert_same(by_site(attribute(lm, TASK)), expected)


def test_training_mode_does_not_matter():
    lm = tiny("flan-t5")  # has dropout
    expected = by_site(attribute(lm, TASK))
    lm.model.train()
    assert_same(by_site(attribute(lm, TASK)), expected)


def test_bfloat16_finds_close_scores():
    lm = tiny("flan-t5")
    exact = attribute(lm, TASK).flat
    lm.model.to(torch.bfloat16)
    rough = attribute(lm, TASK).flat
    assert rough.dtype == torch.float64
    assert torch.corrcoef(torch.stack([exact, rough]))[0, 1] > 0.99


@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_a_compiled_model_gives_the_same_scores():
    lm = tiny("llama")
    expected = by_site(attribute(lm, TASK))
    torch.compiler.reset()
    lm.model.compile(backend="eager")
    assert_same(by_site(attribute(lm, TASK)), expected)


@pytest.mark.parametrize("family", ["flan-t5", "gpt2", "llama"])
def test_the_model_is_left_as_it_was(family, unchanged):
    lm = tiny(family)
    lm.model.train()
    with unchanged(lm.model):
        attribute(lm, TASK)


@pytest.mark.parametrize("step", ["crispr_plan", "batch_bias"])
def test_the_model_is_left_as_it_was_after_an_exception(step, monkeypatch, unchanged):
    def fail(*args: object) -> None:
        raise KeyboardInterrupt

    lm = tiny("llama")
    lm.model.train()
    # `import snipbias.method.attribute` gives the function of that name.
    monkeypatch.setattr(importlib.import_module("snipbias.method.attribute"), step, fail)
    with unchanged(lm.model), pytest.raises(KeyboardInterrupt):
        attribute(lm, TASK)


@pytest.mark.parametrize(
    ("family", "target", "passes"),
    [("gpt2", "prob", 2 + 1), ("gpt2", "share", 2 + 2), ("llama", "prob", 2 + 2)],
)
def test_options_with_copies_of_their_own_are_walked_through_once(family, target, passes):
    """The prompt is once a term. A share depends on all options; packed ones share their cache."""
    lm = tiny(family)
    arrived = []

    def watch(module, args, output):
        output.register_hook(lambda grad: arrived.append(len(grad)))

    handle = lm.module(lm.sites[-1].name).register_forward_hook(watch)
    query = lm.query("who is it?", ["the old man", "him there", "nobody"])
    with lm.frozen():
        batch_bias(lm, [query], torch.tensor([1]), Method.v1(target=target))
    handle.remove()
    assert len(arrived) == passes


def test_no_activation_outlives_its_batch():
    """Without waiting for the garbage collector, which would double the peak."""
    lm = tiny("llama")
    kept = []

    def watch(module, args, output):
        kept.append(weakref.ref(output.untyped_storage()))
        kept.append(weakref.ref(output))

    handles = [lm.module(s.name).register_forward_hook(watch, always_call=True) for s in lm.sites]
    query = lm.query("who is it?", ["the man", "him"])
    gc.collect()
    gc.disable()
    try:
        tensors = sum(map(torch.is_tensor, gc.get_objects()))
        with lm.frozen():
            batch_bias(lm, [query], torch.tensor([0]), Method.v1())
        assert kept
        assert not any(reference() is not None for reference in kept)
        assert sum(map(torch.is_tensor, gc.get_objects())) <= tensors
    finally:
        gc.enable()
        for handle in handles:
            handle.remove()
