"""Attribution against slow plain autograd, on every family; and what it must not depend on."""

from __future__ import annotations

import gc
import importlib
import math
import weakref
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import reference
from families import FAMILIES, VOCABULARY, one_neuron, tiny
from snipbias.base.errors import SnipbiasError
from snipbias.edits.edit import NeuronEdit
from snipbias.method.attribute import attribute, batch_bias
from snipbias.method.equations import Method
from snipbias.models.language_model import Query
from snipbias.models.sites import Neuron
from snipbias.tasks.items import Item, Task
from snipbias.tasks.prompts import DEFAULT

ITEMS = (
    Item(
        *("a", "who is it?", ("the old man", "him", "nobody"), 1, "a man and a dog", "t1"), biased=2
    ),
    Item("b", "what now?", ("yes we can", "no"), 0, "", "t2", biased=0),  # the right one
    Item(
        *("c", "which of the many?", ("ab", "cd", "ef", "gh it is"), 3, "one two three four", "t3"),
        biased=1,
    ),
)
TASK = Task("toy", ITEMS, ("say it.", "please choose the right one:"))
DEVIATIONS = [
    Method.v1(),
    Method.v2(),
    Method.v1(target="logprob"),
    Method.v1(target="share"),
    Method.v1(tokens="mean"),
    Method.v1(tokens="sum"),
    Method.v1(skill=0.0),
    Method.v1(skill=0.5, clamp=False),
    Method.v1(instructions="max"),
    Method.v2(tokens="mean", target="logprob"),
    Method.v1(tokens="prompt"),
    Method.v1(tokens="last"),
    Method.v1(terms="apart"),
    Method.v1(terms="apart", target="share", tokens="prompt"),
    Method.v1(biased="manual"),
    Method.v2(biased="manual", terms="apart", skill=0.0),
    Method.v2_as_coded(),
]


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor], rtol: float = 1e-5) -> None:
    """Equal to `rtol` of the largest score of the model."""
    assert ours.keys() == theirs.keys()
    scale = max(float(t.abs().max()) for t in theirs.values())
    assert scale > 0
    for site, expected in theirs.items():
        torch.testing.assert_close(ours[site], expected, rtol=rtol, atol=rtol * scale, msg=site)


def by_site(scores) -> dict[str, Tensor]:
    return {site.name: scores[site] for site in scores.sites}


@pytest.mark.parametrize("family", FAMILIES)
def test_equals_plain_autograd_on_every_family(family):
    lm = tiny(family)
    assert_same(by_site(attribute(lm, TASK)), reference.scores(lm, TASK, Method.v1()))


@pytest.mark.parametrize("method", DEVIATIONS, ids=str)
@pytest.mark.parametrize("family", ["flan-t5", "llama"])
def test_equals_plain_autograd_for_every_deviation(family, method):
    lm = tiny(family)
    assert_same(by_site(attribute(lm, TASK, method)), reference.scores(lm, TASK, method))


# -- what a result does not depend on ---------------------------------------------------------

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


def test_a_biased_option_that_is_not_named_is_refused_before_any_work():
    silent = replace(TASK, items=(*ITEMS[:2], replace(ITEMS[2], biased=None)))
    with pytest.raises(SnipbiasError, match=r"item 'c' does not name its biased option"):
        attribute(tiny("llama"), silent, Method.v1(biased="manual"))


@pytest.mark.parametrize("method", [Method.v2(), Method.v1(tokens="mean", instructions="max")])
def test_two_halves_add_to_the_whole(method):
    lm = tiny("flan-t5")
    halves = [attribute(lm, replace(TASK, items=part), method) for part in (ITEMS[:1], ITEMS[1:])]
    total, whole = halves[0] + halves[1], attribute(lm, TASK, method)
    assert_same(by_site(total), by_site(whole))
    assert total.counts.tolist() == whole.counts.tolist() == [3, 3]
    assert total.ranking(5) == whole.ranking(5)
    assert set(total.found_on.items) == {"a", "b", "c"}


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


@pytest.mark.parametrize("family", ["flan-t5", "llama"])
def test_options_of_one_token_beside_longer_ones(family):
    items = (
        Item("a", "who?", ("a", "b"), 0, "", "t1"),
        Item("b", "what?", ("long", "c", "d e"), 1, "a context", "t2"),
    )
    task, lm = Task("short", items, ("say it.",)), tiny(family)
    for part in (task, replace(task, items=items[:1])):
        assert_same(by_site(attribute(lm, part)), reference.scores(lm, part, Method.v1()))


@pytest.mark.parametrize("family", ["umt5", "t5gemma", "gemma3-multimodal", "bloom", "falcon-40b"])
def test_equals_plain_autograd_on_families_that_nothing_names(family):
    lm = tiny(family)
    assert_same(by_site(attribute(lm, TASK)), reference.scores(lm, TASK, Method.v1()))


def test_eager_attention_gives_the_same_scores():
    lm = tiny("llama")
    expected = by_site(attribute(lm, TASK))
    lm.model.set_attn_implementation("eager")
    assert_same(by_site(attribute(lm, TASK)), expected, rtol=1e-4)


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


# -- what is left behind ----------------------------------------------------------------------


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


# -- numbers that are no numbers --------------------------------------------------------------


@pytest.mark.parametrize("family", ["flan-t5", "llama"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused_in_one_sentence(family, value, unchanged):
    lm = tiny(family)
    with torch.no_grad():
        lm.module(lm.sites[-1].name).weight[0, 0] = value
    with pytest.raises(SnipbiasError, match=r"wider type|wider one") as refusal:
        attribute(lm, TASK)
    assert "\n" not in str(refusal.value)


def test_a_wrong_option_of_probability_zero_is_refused(monkeypatch):
    """Then there is no biased option, and the first one, gold or not, would be taken for it."""
    lm = tiny("llama")
    score = type(lm).score

    def overflowing(self, queries, **how):
        scored = score(self, queries, **how)
        logprobs = scored.logprobs.clone()
        logprobs[0, 1:] = -torch.inf
        return replace(scored, logprobs=logprobs)

    monkeypatch.setattr(type(lm), "score", overflowing)
    query = lm.query("who is it?", ["the man", "him"])
    with pytest.raises(SnipbiasError, match="probability"):
        batch_bias(lm, [query], torch.tensor([0]), Method.v1())


# -- theorems ---------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["flan-t5", "bart", "llama-bias", "gpt2", "gemma3", "phi3"])
def test_scaling_a_neuron_changes_the_probability_by_its_attribution(family):
    """(d/d eps) P(yhat), with the neuron's output scaled by 1 + eps, is sum over k of A_k.

    Finite differences of plain forward passes through an edit: no autograd anywhere.
    """
    lm = tiny(family)
    lm.model.double()
    task = Task("one", ITEMS[:1], ("say it.",))
    method = Method.v1(tokens="sum", skill=0.0)
    found = attribute(lm, task, method)
    query = lm.query(DEFAULT.render(task.instructions[0], ITEMS[0]), ITEMS[0].options)
    wrong = reference_wrong(lm, query, ITEMS[0].gold)

    def probability(neuron: Neuron, factor: float) -> float:
        with NeuronEdit.of([neuron], found.model, factor).applied(lm), torch.no_grad():
            return reference.option_logprob(lm, query, query.options[wrong]).exp().item()

    largest = found.flat.abs().max().item()
    for site in lm.sites:
        scores = found[site]
        neuron = Neuron(site.name, int(scores.abs().argmax()))
        eps = 1e-2  # norms are computed in float32: a smaller step would measure their rounding
        slope = (probability(neuron, 1 + eps) - probability(neuron, 1 - eps)) / (2 * eps)
        assert slope == pytest.approx(scores[neuron.unit].item(), rel=1e-2, abs=1e-3 * largest)


def reference_wrong(lm, query, gold: int) -> int:
    with torch.no_grad():
        logprobs = [reference.option_logprob(lm, query, option).item() for option in query.options]
    return max((p, c) for c, p in enumerate(logprobs) if c != gold)[1]


@pytest.mark.parametrize("family", ["flan-t5", "gpt2", "llama-bias"])
def test_pruned_neurons_have_no_attribution_left(family):
    lm = tiny(family)
    edit = attribute(lm, TASK).top(10)
    with edit.applied(lm):
        after = attribute(lm, TASK)
        assert_same(by_site(after), reference.scores(lm, TASK, Method.v1()))
    assert [after[n.site][n.unit].item() for n in edit.neurons] == [0.0] * 10
    baked = edit.bake(lm)
    assert_same(by_site(attribute(lm, TASK)), by_site(after))
    baked.undo()


def test_one_attention_free_layer_by_hand():
    """A model whose answer is softmax(2 h, 0, ...) of one neuron h of the last FFN.

    All residual writes are 0 but one bias b = 0.5 of the down layer's unit 0, so that at the last
    prompt token logits are (2 b, 0, ..., 0) and dP(yhat)/db = -2 P(yhat) P(token 4).
    """
    lm = one_neuron()
    query = Query((5,), ((4,), (6,)))
    with lm.frozen():
        bias = batch_bias(lm, [query], torch.tensor([0]), Method.v1())
        without_skill = batch_bias(lm, [query], torch.tensor([0]), Method.v1(skill=0.0))
    total = math.exp(1.0) + VOCABULARY - 1
    gold, wrong = math.exp(1.0) / total, 1 / total
    a_wrong = 0.5 * -2 * wrong * gold
    a_gold = 0.5 * 2 * gold * (1 - gold)
    expected = {site.name: torch.zeros(1, site.width) for site in lm.sites}
    expected["model.layers.1.mlp.down_proj"][0, 0] = a_wrong - a_gold
    for site, value in expected.items():
        torch.testing.assert_close(bias[site].float(), value, msg=site)
    unit = without_skill["model.layers.1.mlp.down_proj"][0, 0].item()
    assert unit == pytest.approx(a_wrong, rel=1e-5)


def test_long_options_do_not_come_out_as_zero():
    """P of about e^-150 is below float32's smallest number."""
    items = (Item("a", "who?", ("ab " * 18, "cd " * 18), 0, "", "t1"),)
    task, lm = Task("long", items, ("say it.",)), tiny("llama")
    scores = attribute(lm, task)
    assert 0 < scores.flat.abs().max() < 1e-40
    assert_same(by_site(scores), reference.scores(lm, task, Method.v1()))
