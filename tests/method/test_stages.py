"""Stages of a graph: apart where one tensor leads from each to the next, and else one stage."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from families import FAMILIES, GENERIC, tiny
from ragged import TASK
from snipbias import attribute
from snipbias.method import staged_backward as stages


def leaf() -> Tensor:
    return torch.ones(2, requires_grad=True)


def test_a_chain_is_cut_at_its_entries_and_an_end_belongs_to_what_makes_it():
    first, second = leaf(), leaf()
    a = first * 2
    b = (a + 1) * second
    side = (a - 1).exp()  # off the chain, as keys are, and only of what the first stage makes
    c = b.sin()
    found = stages.segments([a, b], [first, second], [c, side, b[:1]])
    assert all(stage.entry is entry for stage, entry in zip(found, (b, a, None), strict=True))
    assert [stage.ends for stage in found] == [[0, 2], [], [1]]
    assert [len(stage.leaves) for stage in found] == [0, 1, 1]
    assert found[1].leaves[0] is second


def test_what_leads_past_an_entry_makes_one_stage_of_all():
    first = leaf()
    a = first * 2
    b = a + first  # as where a layer reads the keys of an earlier one
    (only,) = stages.segments([a], [first], [b])
    assert only == stages.Segment(None, [first], [0])
    first = leaf()
    a = first * 2
    b = a.exp()
    assert len(stages.segments([a, b], [first], [b.sin()])) == 3
    assert len(stages.segments([a, b], [first], [b.sin(), a.sin() + b.sin()])) == 1


def test_stages_give_the_gradients_of_the_whole():
    first = leaf()
    a = first.exp()
    end, side = (a * a).sum(), a.sin()
    above, side_grad = None, torch.tensor([1.0, 2.0])
    for stage in stages.segments([a], [first], [end, side]):
        given = [((end, side)[n], (torch.tensor(1.0), side_grad)[n]) for n in stage.ends]
        given += [above] if above else []
        to = [stage.entry] if stage.entry is not None else stage.leaves
        (grad,) = torch.autograd.grad([e for e, _ in given], to, [g for _, g in given])
        above = (to[0], grad)
    x = torch.ones(2)
    expected = 2 * x.exp() * x.exp() + side_grad * x.exp().cos() * x.exp()
    torch.testing.assert_close(above[1], expected)


@pytest.mark.parametrize("family", [*FAMILIES, *GENERIC])
def test_every_family_is_walked_through_a_block_at_a_time(family, monkeypatch):
    lm, counts = tiny(family), []

    def counting(*graph: list[Tensor]) -> list[stages.Segment]:
        counts.append(len(found := segments(*graph)))
        return found

    segments = stages.segments
    monkeypatch.setattr(stages, "segments", counting)
    attribute(lm, TASK)
    blocks = lm.blocks("encoder" if lm.is_encoder_decoder else "decoder")
    assert set(counts) == {len(blocks)}
