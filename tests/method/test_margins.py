"""Margins against plain autograd and on paper."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial

import pytest
import torch

import reference
from families import tiny
from scored import FAMILIES, TASK, assert_same, mean, queries
from snipbias import SnipbiasError, attribute
from snipbias.method import margins as scorers
from snipbias.method.recipes import recipe
from snipbias.tasks.items import Task


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
