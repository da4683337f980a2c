"""Steering vectors against plain passes, and that they leave nothing behind."""

from __future__ import annotations

import pytest
import torch

import reference
import toys
from families import tiny
from snipbias import SnipbiasError
from snipbias.evaluation.evaluate import evaluate
from snipbias.experiment.baselines.steering import mean_difference
from snipbias.tasks.prompts import DEFAULT

TASK = toys.task(3)
FAMILIES = ["flan-t5", "gpt2", "llama", "bart"]


def states(lm, query, option):
    """Each decoder block's mean output over the answer's tokens, by one plain pass."""
    named = lm.blocks("decoder")
    found = {}

    def keep(name):
        def hook(module, args, output):
            found[name] = (output[0] if isinstance(output, tuple) else output).detach()

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in named]
    with torch.no_grad():
        if lm.is_encoder_decoder:  # the answer's tokens are what is read behind the start token
            start = [lm.start_token, *option[:-1]]
            lm.model(
                input_ids=torch.tensor([query.prompt]), decoder_input_ids=torch.tensor([start])
            )
            skip = 1
        else:
            lm.model(input_ids=torch.tensor([[*query.prompt, *option]]))
            skip = len(query.prompt)
    for handle in handles:
        handle.remove()
    return torch.stack([found[name][0, skip:].mean(0) for name, _ in named])


@pytest.mark.parametrize("family", FAMILIES)
def test_vectors_are_gold_less_biased_states(family, unchanged):
    lm, parts = tiny(family), []
    with unchanged(lm.model):
        vectors = mean_difference(lm, TASK, batch_size=4)
    for instruction in TASK.instructions:
        for item in TASK.items:
            query = lm.query(DEFAULT.render(instruction, item), item.options)
            logs = [reference.option_logprob(lm, query, o).item() for o in query.options]
            wrong = max((p, c) for c, p in enumerate(logs) if c != item.gold)[1]
            gold = states(lm, query, query.options[item.gold])
            parts.append(gold - states(lm, query, query.options[wrong]))
    expected = torch.stack(parts).mean(0)
    torch.testing.assert_close(vectors.vectors, expected, rtol=1e-4, atol=1e-5)
    assert len(vectors.blocks) == 2


@pytest.mark.parametrize("family", FAMILIES)
def test_a_vector_is_added_to_the_block_while_it_is_applied(family, unchanged):
    lm = tiny(family)
    vectors = mean_difference(lm, TASK)
    none, some = vectors.at(1, 0.0), vectors.at(1, 50.0)
    with unchanged(lm.model):
        evaluation = evaluate(lm, TASK, [none, some])
    original = evaluation.rows("original").scores
    assert (evaluation.rows(none.label).scores == original).all()
    assert abs(evaluation.rows(some.label).scores - original).max() > 1e-3
    seen = []
    module = lm.model.get_submodule(vectors.blocks[1])
    query = lm.query("who is it?", ["the man", "him"])

    def watch(module, args, output):
        seen.append(output[0] if isinstance(output, tuple) else output)

    with torch.no_grad():
        for steering in (none, some):
            with steering.applied(lm):
                handle = module.register_forward_hook(watch)
                lm.score([query])
                handle.remove()
    added = seen[len(seen) // 2] - seen[0]
    torch.testing.assert_close(added, (50.0 * vectors.vectors[1]).expand_as(added))


def test_a_model_that_does_not_fit_is_refused():
    vectors = mean_difference(tiny("llama"), TASK)
    with pytest.raises(SnipbiasError, match="has no block"):
        vectors.at(0, 1.0).check(tiny("gpt2"))
