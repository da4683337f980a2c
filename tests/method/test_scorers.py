"""Every scorer against slow reference code: one example, one option, one plain pass at a time."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from functools import partial

import pytest
import torch

import reference
from families import VOCABULARY, one_neuron, tiny
from scored import TASK, queries
from snipbias import SnipbiasError, attribute
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.provenance import ModelId
from snipbias.method import activations
from snipbias.method import margins as scorers
from snipbias.method.equations import Method
from snipbias.models.language_model import Query
from snipbias.tasks.items import Item, Task

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
