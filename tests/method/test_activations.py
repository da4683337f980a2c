"""Scores read from activations, against plain hooks and on paper."""

from __future__ import annotations

import pytest
import torch

import reference
from families import tiny
from scored import FAMILIES, TASK, assert_same, mean, queries
from snipbias.method import activations


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
