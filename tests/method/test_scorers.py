"""Every scorer against slow reference code: one example, one option, one plain pass at a time."""

from __future__ import annotations

import math
import random
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest
import torch

import reference
import toys
from families import VOCABULARY, one_neuron, tiny
from snipbias import SnipbiasError, attribute
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.provenance import ModelId
from snipbias.method import activations
from snipbias.method import margins as scorers
from snipbias.method.equations import Method
from snipbias.method.recipes import recipe
from snipbias.models.language_model import Query
from snipbias.tasks.items import Item, Task
from snipbias.tasks.prompts import DEFAULT

FAMILIES = ["flan-t5", "gpt2", "llama", "bart"]
TASK = toys.task(3)
SCORERS = {
    "gap": scorers.gap,
    "gap at the last token": partial(scorers.gap, tokens="last"),
    "integrated gap": partial(scorers.integrated_gap, steps=3),
    "paired contrast": scorers.paired_contrast,
    "paired contrast, clamped": partial(scorers.paired_contrast, clamp=True, gold=2.0),
    "utility": scorers.utility,
    "magnitude": activations.magnitude,
    "largest magnitude": partial(activations.magnitude, largest=True),
    "mean activation": activations.mean_activation,
    "skill neurons": activations.skill_neurons,
    "share": partial(attribute, method=Method.v1(target="share")),
    "quantile": partial(attribute, method=Method.v1(tokens="quantile")),
    "last": partial(attribute, method=Method.v2(tokens="last")),
    "ranks": partial(attribute, method=Method.v1(instances="rank")),
}


def queries(lm, task):
    """(instruction, item, query) of every row, in order."""
    return [
        (number, item, lm.query(DEFAULT.render(instruction, item), item.options))
        for number, instruction in enumerate(task.instructions)
        for item in task.items
    ]


def log_attributions(lm, query):
    """Per option log P and {site: [K, D]} of h * dlogP/dh."""
    every = [reference.token_attributions(lm, query, option) for option in query.options]
    logs = [torch.tensor(p, dtype=torch.float64).log().item() for p, _ in every]
    return logs, [{site: a / p for site, a in found.items()} for p, found in every]


def aligned(first, second, weight):
    """first + weight * second at each token, the shorter one counting 0 where it ends."""
    total = torch.zeros(max(len(first), len(second)), first.shape[1], dtype=torch.float64)
    total[: len(first)] += first
    total[: len(second)] += weight * second
    return total


def assert_same(scores, expected, relative=1e-4):
    largest = max(values.abs().max().item() for values in expected.values())
    for site, values in expected.items():
        torch.testing.assert_close(
            scores[site], values, rtol=relative, atol=relative * largest, msg=site
        )


def mean(parts):
    return {site: torch.stack([part[site] for part in parts]).mean(0) for site in parts[0]}


@pytest.mark.parametrize("family", FAMILIES)
def test_gap_is_one_gradient_of_the_difference(family):
    lm, parts = tiny(family), []
    for _, item, query in queries(lm, TASK):
        logs, found = log_attributions(lm, query)
        wrong = max((p, c) for c, p in enumerate(logs) if c != item.gold)[1]
        parts.append(
            {s: aligned(found[wrong][s], found[item.gold][s], -1.0).sum(0) for s in found[wrong]}
        )
    assert_same(scorers.gap(lm, TASK), mean(parts))


# Which outputs of an attention layer are queries and keys, of 16 dimensions and 4 heads of 4.
QUERIES_AND_KEYS = {
    "c_attn": range(32),
    "qkv_proj": range(16 + 8),
    "query_key_value": [u for u in range(48) if u % 12 < 8],
    **dict.fromkeys(("q", "k", "q_proj", "k_proj"), range(16)),
}


@contextmanager
def damped(lm, factor):
    """Queries and keys computed anew from an input through which a factor of the gradient goes."""

    def again(units, module, args, output):
        x = args[0] * factor + args[0].detach() * (1 - factor)
        here = torch.zeros(output.shape[-1], dtype=torch.bool)
        here[[u for u in units if u < len(here)]] = True
        return torch.where(here, module.forward(x), output)

    hooks = []
    for name, module in lm.model.named_modules():
        if (units := QUERIES_AND_KEYS.get(name.rsplit(".", 1)[-1])) is not None:
            hooks.append(module.register_forward_hook(partial(again, units)))
    yield
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize(
    ("family", "sharper"),
    [("flan-t5", 1), ("gpt2", 30), ("bart", 10), ("qwen3", 10), ("gpt-neox", 10), ("phi3", 10)],
)
def test_the_damped_gap_loses_gradient_in_front_of_attention_alone(family, sharper):
    lm, parts = tiny(family), []
    with torch.no_grad():  # so that attention looks somewhere
        for name, parameter in lm.model.named_parameters():
            if name.split(".")[-2] in QUERIES_AND_KEYS and parameter.ndim > 1:
                parameter.mul_(sharper)
    task = Task("two", TASK.items[:2], TASK.instructions[:1])
    with damped(lm, 0.25):
        for _, item, query in queries(lm, task):
            logs, found = log_attributions(lm, query)
            wrong = max((p, c) for c, p in enumerate(logs) if c != item.gold)[1]
            right = found[item.gold]
            parts.append({s: aligned(a, right[s], -1.0).sum(0) for s, a in found[wrong].items()})
    expected = mean(parts)
    assert_same(recipe("damped gap").score(lm, task), expected)
    plain = scorers.gap(lm, task)
    assert any((plain[s] - v).abs().max() > 0.02 * v.abs().max() for s, v in expected.items())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("clamp", [False, True])
def test_paired_contrast_is_the_one_margin_less_the_other(family, clamp):
    lm, parts = tiny(family), []
    for _, item, query in queries(lm, TASK):
        logs, found = log_attributions(lm, query)
        other = max((p, c) for c, p in enumerate(logs) if c != item.gold)[1]
        gold = {s: aligned(found[item.gold][s], found[other][s], -1.0).sum(0) for s in found[0]}
        if item.condition == "ambiguous":  # here gold is "unknown", and other is named
            parts.append({site: -values for site, values in gold.items()})
        else:
            parts.append({s: -0.5 * (v.clamp(min=0) if clamp else v) for s, v in gold.items()})
    assert_same(scorers.paired_contrast(lm, TASK, gold=0.5, clamp=clamp), mean(parts))


@pytest.mark.parametrize("family", FAMILIES)
def test_utility_is_the_size_of_the_effect_on_the_right_answer(family):
    lm = tiny(family)
    parts = [
        {s: a.sum(0).abs() for s, a in log_attributions(lm, query)[1][item.gold].items()}
        for _, item, query in queries(lm, TASK)
    ]
    assert_same(scorers.utility(lm, TASK), mean(parts))


@pytest.mark.parametrize("family", FAMILIES)
def test_text_utility_is_the_same_of_a_passages_second_half(family):
    lm = tiny(family)
    texts = ["the man and a dog met the boy again", "two people left, who was it?"]
    like = attribute(lm, TASK)
    parts = []
    for text in texts:
        query = lm.text_query(text)
        found = log_attributions(lm, query)[1][0]
        parts.append({site: a.sum(0).abs() for site, a in found.items()})
    assert_same(scorers.text_utility(lm, texts, like, batch_size=1), mean(parts))
    assert_same(scorers.text_utility(lm, texts, like, batch_size=2), mean(parts))


def test_a_text_without_a_second_half_is_refused():
    lm = tiny("llama")
    with pytest.raises(SnipbiasError, match="long enough"):
        scorers.text_utility(lm, [""], attribute(lm, TASK))


@pytest.mark.parametrize("family", ["flan-t5", "llama"])
def test_integrated_gaps_add_up_to_the_whole_models_gap(family):
    """Completeness: over all neurons, the gap of the model less that of a model without any."""
    lm = tiny(family)
    one = Task("one", TASK.items[:1], TASK.instructions[:1])
    ((_, item, query),) = queries(lm, one)

    def logprobs():
        with torch.no_grad():
            return [reference.option_logprob(lm, query, o).item() for o in query.options]

    now = logprobs()
    wrong = max((p, c) for c, p in enumerate(now) if c != item.gold)[1]
    nobody = NeuronEdit.of(
        [(site.name, unit) for site in lm.sites for unit in range(site.width)], ModelId.of(lm)
    )
    with nobody.applied(lm):
        bare = logprobs()
    expected = (now[wrong] - now[item.gold]) - (bare[wrong] - bare[item.gold])
    found = scorers.integrated_gap(lm, one, steps=200).flat.sum().item()
    assert found == pytest.approx(expected, rel=1e-2, abs=1e-3)
    assert abs(scorers.gap(lm, one).flat.sum().item() - expected) > 1e-2  # which gap alone is not


@pytest.mark.parametrize("family", FAMILIES)
def test_activations_are_read_over_the_prompt(family):
    lm, absolute, plain, largest = tiny(family), [], [], []
    width = {site.name: site.width for site in lm.sites}
    for _, _, query in queries(lm, TASK):
        kept = {}

        def keep(name, into):
            def hook(module, args, output):
                into.setdefault(name, output.detach())  # returned, it would take the output's place

            return hook

        handles = [lm.module(s.name).register_forward_hook(keep(s.name, kept)) for s in lm.sites]
        ids = {"input_ids": torch.tensor([query.prompt])}
        if lm.is_encoder_decoder:
            ids["decoder_input_ids"] = torch.tensor([[lm.start_token]])
        lm.model(**ids)
        for handle in handles:
            handle.remove()
        states = {s: h.reshape(-1, width[s]).double() for s, h in kept.items()}
        absolute.append({s: h.abs().mean(0) for s, h in states.items()})
        plain.append({s: h.mean(0) for s, h in states.items()})
        largest.append({s: h.abs().amax(0) for s, h in states.items()})
    assert_same(activations.magnitude(lm, TASK, batch_size=2), mean(absolute))
    assert_same(activations.magnitude(lm, TASK, largest=True), mean(largest))
    assert_same(activations.mean_activation(lm, TASK), mean(plain))

    found = activations.skill_neurons(lm, TASK, batch_size=4)
    per_instruction = []
    for number in range(len(TASK.instructions)):
        here = [i for i, (n, _, _) in enumerate(queries(lm, TASK)) if n == number]
        gaps = []
        for i in here:
            _, item, query = queries(lm, TASK)[i]
            logs = [reference.option_logprob(lm, query, o).item() for o in query.options]
            gaps.append(max(p for c, p in enumerate(logs) if c != item.gold) - logs[item.gold])
        median = sorted(gaps)[(len(gaps) - 1) // 2]
        values = {}
        for site, size in width.items():
            values[site] = torch.zeros(size, dtype=torch.float64)
            for unit in range(size):
                h = [plain[i][site][unit].item() for i in here]
                above = [x > sum(h) / len(h) for x in h]
                share = sum(a == (g > median) for a, g in zip(above, gaps, strict=True)) / len(h)
                values[site][unit] = max(share, 1 - share)
        per_instruction.append(values)
    expected = mean(per_instruction)
    differs = torch.cat([(found[s] - v).abs() > 1e-9 for s, v in expected.items()])
    states = torch.cat([torch.stack([p[s] for p in plain]) for s in expected], 1)
    by_instruction = states.reshape(len(TASK.instructions), len(TASK.items), -1)
    off = (by_instruction - by_instruction.mean(1, keepdim=True)).abs()
    wide = off.amin((0, 1)) > 1e-4 * states.abs().amax(0)
    # An activation that lies on its mean is above or below it by rounding; the others are told.
    assert wide.double().mean() > 0.2
    assert not differs[wide].any()
    # A constant neuron is never above: it tells as much as the larger class.
    assert (found.flat[off.amax((0, 1)) < 1e-7 * states.abs().amax(0)] == 0.5).all()


def test_predictivity_by_hand():
    states = torch.tensor([[1.0, 0.0, 5.0], [2.0, 9.0, 5.0], [3.0, 0.0, 5.0], [6.0, 9.0, 5.0]])
    labels = torch.tensor([False, False, True, True])
    # Means 3, 4.5, 5. Unit 0 is above for the last: 3 of 4 right; unit 1: 2 of 4; unit 2: never.
    assert activations.predictivity(states, labels).tolist() == [0.75, 0.5, 0.5]
    # Above the mean -3 are the first two, and both labels are the other way round.
    assert activations.predictivity(-states, labels).tolist()[:1] == [1.0]


@pytest.mark.parametrize("name", SCORERS)
@pytest.mark.parametrize("family", ["flan-t5", "gpt2"])
def test_neither_batches_nor_order_nor_hooks_left_behind(family, name, unchanged):
    lm, scorer = tiny(family), SCORERS[name]
    rows = list(TASK.items)
    random.Random(1).shuffle(rows)
    with unchanged(lm.model):
        one_by_one = scorer(lm, TASK, batch_size=1).flat
        together = scorer(lm, replace(TASK, items=tuple(rows)), batch_size=5).flat
    tolerance = 1e-5 * one_by_one.abs().max().item()
    if name in ("ranks", "skill neurons"):  # rounding exchanges neighbours, or crosses a mean
        assert ((together - one_by_one).abs() > 0.1).double().mean() < 0.01
    else:
        torch.testing.assert_close(together, one_by_one, rtol=1e-4, atol=tolerance)


def test_a_contrast_needs_both_conditions_and_their_unknown_options():
    only = TASK.where(lambda item: item.condition == "ambiguous")
    with pytest.raises(SnipbiasError, match="balance='twins'"):
        scorers.paired_contrast(tiny("llama"), only)
    without = replace(TASK, items=tuple(replace(i, unknown=None) for i in TASK.items))
    with pytest.raises(SnipbiasError, match="unknown option"):
        scorers.paired_contrast(tiny("llama"), without)
    named = replace(TASK, items=tuple(replace(i, gold=i.named[0]) for i in TASK.items))
    with pytest.raises(SnipbiasError, match="unknown option"):
        scorers.paired_contrast(tiny("llama"), named)


def test_integration_takes_a_step():
    with pytest.raises(SnipbiasError, match="0 steps"):
        scorers.integrated_gap(tiny("llama"), TASK, steps=0)


def by_hand():
    """`families.one_neuron`, answering three options of one token each."""
    lm = one_neuron()
    lm.query = lambda prompt, options: Query((5, 6), tuple((TOKENS[o],) for o in options))
    return lm


TOKENS = {"a": 4, "b": 7, "nobody": 8}
ACTIVE = "model.layers.1.mlp.down_proj"


def question(gold, condition):
    options = ("a", "b", "nobody")
    index = options.index(gold)
    twin = {"condition": condition, "unknown": 2, "twin": "t", "template": "t"}
    return Item(condition, "who?", options, index, **twin)


def test_rivals_on_paper():
    """Three options with logits 1, 0, 0: which neuron counts for what is plain."""
    lm = by_hand()
    ambiguous = Task("toy", (question("nobody", "ambiguous"),), ("say it.",))

    def of(scores):
        everywhere = scores.flat.abs().sum()
        value = scores[ACTIVE][0]
        assert everywhere == pytest.approx(abs(value.item()))  # no other neuron does anything
        return value.item()

    # log P(a) - log P(nobody) = 2 h with h = 0.5 at the last of two tokens.
    assert of(scorers.gap(lm, ambiguous)) == pytest.approx(1.0)
    assert of(scorers.gap(lm, ambiguous, tokens="last")) == pytest.approx(1.0)
    assert of(scorers.gap(lm, ambiguous, tokens="mean")) == pytest.approx(0.5)
    assert of(scorers.integrated_gap(lm, ambiguous, steps=3)) == pytest.approx(1.0)
    assert of(activations.magnitude(lm, ambiguous)) == pytest.approx(0.5)
    assert of(activations.mean_activation(lm, ambiguous)) == pytest.approx(0.5)
    # A(yhat) alone: h * dP(a)/dh = 0.5 * 2 * P (1 - P), with P = e / (e + 63).
    p = math.e / (math.e + VOCABULARY - 1)
    assert of(attribute(lm, ambiguous, Method.v1(skill=0.0))) == pytest.approx(p * (1 - p))
    # The share of a among the three: s (1 - s) with s = e / (e + 2), and the gold's skill term is
    # negative and clamped.
    s = math.e / (math.e + 2)
    assert of(attribute(lm, ambiguous, Method.v1(target="share"))) == pytest.approx(s * (1 - s))


def test_the_paired_contrast_on_paper():
    lm = by_hand()
    pair = (question("nobody", "ambiguous"), question("a", "disambiguated"))
    other = (pair[0], question("b", "disambiguated"))

    def contrast(items, **settings):
        found = scorers.paired_contrast(lm, Task("toy", items, ("say it.",)), **settings)
        return found[ACTIVE][0].item()

    # It adds 1 nat to naming "a" where nobody knows, and as much where "a" is right.
    assert contrast(pair, gold=0.5) == pytest.approx((1 - 0.5) / 2)
    with pytest.raises(SnipbiasError, match="every score is 0"):
        contrast(pair)  # alike in both, it is not what tells them apart
    assert contrast(pair, gold=0.0) == pytest.approx(0.5)  # the mean of 1 and 0
    # Where "b" is right it takes 1 nat away, and pruning it mends both: the mean of 1 and 1.
    assert contrast(other) == pytest.approx(1.0)
    assert contrast(other, clamp=True) == pytest.approx(0.5)
    useful = scorers.utility(lm, Task("toy", (pair[1],), ("say it.",)))
    assert useful[ACTIVE][0].item() == pytest.approx(1 - math.e / (math.e + VOCABULARY - 1))
