"""An edit hooked, baked and written by hand is one thing; undone, nothing; saved, itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from edits_by_hand import edit_of
from families import FAMILIES, GENERIC, tiny
from snipbias.base.errors import SnipbiasError
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.export.write import export
from snipbias.edits.provenance import ModelId
from snipbias.edits.switch import switched
from snipbias.experiment.baselines.change import held_at
from snipbias.models.language_model import Query
from snipbias.models.sites import Neuron, unit_dim

QUERIES = [Query((5, 6, 7, 8), ((9, 10, 11), (12,))), Query((20,), ((5, 6), (7, 8), (9,)))]
# Powers of two: baked and by hand are the same to the bit.
FACTORS = [
    *((family, f) for family in FAMILIES for f in (0.0, 0.5, 2.0)),
    *((g, 0.0) for g in GENERIC),
]


OTHER_WEIGHTS = pytest.mark.filterwarnings("ignore:the edit was found on other weights")


@torch.no_grad()
def logprobs(lm) -> torch.Tensor:
    return lm.score(QUERIES).logprobs


@torch.no_grad()
def by_hand(lm, edit: NeuronEdit) -> None:
    """Scale each unit's row (Conv1D: column) and bias term, one at a time."""
    for site, units in edit.factors.items():
        module = lm.module(site)
        rows = module.weight.T if unit_dim(module) else module.weight
        for unit, factor in units.items():
            rows[unit] *= factor
            if module.bias is not None:
                module.bias[unit] *= factor


@pytest.mark.parametrize(("family", "factor"), FACTORS)
def test_hooked_baked_and_by_hand_are_the_same(family, factor, unchanged):
    lm, expected = tiny(family), tiny(family)
    edit, original = edit_of(lm, factor), logprobs(lm)
    by_hand(expected, edit)
    assert not torch.allclose(logprobs(expected), original, atol=1e-3)
    with unchanged(lm.model):
        with edit.applied(lm):
            hooked = logprobs(lm)
        baked = edit.bake(lm)
        written = logprobs(lm)
        baked.undo()
    torch.testing.assert_close(hooked, logprobs(expected), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(written, logprobs(expected), rtol=0, atol=0)
    assert torch.equal(logprobs(lm), original)


COMPILED = {
    "in place": lambda model: model.compile(backend="eager") or model,
    "beside": lambda model: torch.compile(model, backend="eager"),
}


@pytest.mark.parametrize("way", COMPILED)
@torch.no_grad()
def test_a_compiled_model_is_edited_too(way):
    """Also by what was compiled before the hooks came; and not by what is when they are gone."""
    torch.compiler.reset()
    lm, ids = tiny("llama"), torch.arange(5, 17).reshape(2, 6)
    edit = edit_of(lm)
    original = lm.model(ids).logits
    with edit.applied(lm):
        expected = lm.model(ids).logits
    means = {site.name: torch.full((site.width,), 0.5) for site in lm.sites}
    held = held_at(edit, means)
    with held.applied(lm):
        at_means = lm.model(ids).logits
    run = COMPILED[way](lm.model)
    for _ in range(2):
        assert torch.equal(run(ids).logits, original)
        with edit.applied(lm):
            assert torch.equal(run(ids).logits, expected)
        with held.applied(lm):
            assert torch.equal(run(ids).logits, at_means)
        with switched(lm, {"a": edit}) as switch:
            assert torch.equal(run(ids).logits, original)
            switch.rows([None, "a"])
            rows = run(ids).logits
            assert torch.equal(rows[0], original[0])
            torch.testing.assert_close(rows[1], expected[1])
    assert not torch.allclose(expected, original, atol=1e-3)
    assert not torch.allclose(at_means, original, atol=1e-3)


@torch.no_grad()
def outputs(lm) -> dict[str, torch.Tensor]:
    """What every site gives in its first firing of a pass."""
    seen: dict[str, torch.Tensor] = {}

    handles = [lm.module(s.name).register_forward_hook(_see(seen, s.name)) for s in lm.sites]
    logprobs(lm)
    for handle in handles:
        handle.remove()
    return seen


def _see(seen: dict[str, torch.Tensor], name: str):
    def hook(module: nn.Module, args: object, output: torch.Tensor) -> None:
        seen.setdefault(name, output.clone())

    return hook


@pytest.mark.parametrize("family", ["flan-t5", "gpt2", "llama-bias", "opt"])
def test_pruned_outputs_are_exactly_zero_for_every_listener(family):
    """Also for hooks that were there before the edit, and with bias terms."""
    lm = tiny(family)
    edit, plain, seen = edit_of(lm), outputs(lm), {}
    earlier = [lm.module(s.name).register_forward_hook(_see(seen, s.name)) for s in lm.sites]
    with edit.applied(lm):
        logprobs(lm)
    for handle in earlier:
        handle.remove()
    baked = edit.bake(lm)
    written = outputs(lm)
    baked.undo()
    for site, units in edit.factors.items():
        pruned = list(units)
        assert (seen[site][..., pruned] == 0).all()
        assert (written[site][..., pruned] == 0).all()
    first = lm.sites[0].name  # what it is given is the same in all three runs
    kept = [u for u in range(lm.sites[0].width) if u not in edit.factors[first]]
    assert torch.equal(seen[first][..., kept], plain[first][..., kept])


def test_zero_is_written_where_the_output_is_infinite():
    lm = tiny("llama")
    site = lm.sites[0].name
    edit = NeuronEdit.of([Neuron(site, 1)], ModelId.of(lm))
    with torch.no_grad():
        lm.module(site).weight[1] = torch.inf
    expected = outputs(lm)[site][..., 1]
    assert not torch.isfinite(expected).any()
    with edit.applied(lm):
        assert torch.isfinite(logprobs(lm)[1]).all()
    baked = edit.bake(lm)
    assert torch.isfinite(logprobs(lm)[1]).all()
    baked.undo()
    assert torch.isinf(lm.module(site).weight[1]).all()


def test_applied_is_undone_after_an_exception(unchanged):
    lm = tiny("gpt2")

    def fail() -> None:
        with edit_of(lm).applied(lm):
            raise KeyboardInterrupt

    with unchanged(lm.model), pytest.raises(KeyboardInterrupt):
        fail()


@OTHER_WEIGHTS
def test_a_bake_that_fails_half_way_changes_nothing(unchanged):
    lm = tiny("llama")
    edit, last = edit_of(lm), lm.module(lm.sites[-1].name)
    last.weight = nn.Parameter(last.weight.to(torch.int8), requires_grad=False)
    with unchanged(lm.model), pytest.raises(SnipbiasError, match="quantised") as refusal:
        edit.bake(lm)
    assert "\n" not in str(refusal.value)


@OTHER_WEIGHTS
@pytest.mark.parametrize("kind", ["int8", "uint8", "float8_e4m3fn", "packed", "meta", "own"])
def test_weights_that_cannot_be_scaled_row_by_row_are_refused(kind):
    lm = tiny("llama")
    site = lm.sites[3]
    edit, module = NeuronEdit.of([Neuron(site.name, 1)], ModelId.of(lm)), lm.module(site.name)
    weight = module.weight.detach()
    converted = {
        "packed": lambda: weight.reshape(-1, 1),  # as bitsandbytes keeps 4 bits
        "meta": lambda: weight.to("meta"),
        "own": lambda: weight,
    }.get(kind, lambda: weight.to(getattr(torch, kind)))()
    # A class of its own may show the shape and type of what it keeps otherwise.
    made = type("Quantised", (nn.Parameter,), {}) if kind == "own" else nn.Parameter
    module.weight = made(converted, requires_grad=False)
    with pytest.raises(SnipbiasError, match="quantised or not in memory"):
        edit.bake(lm)


@OTHER_WEIGHTS  # a baked model has other weights: so it says
def test_nested_edits_multiply():
    lm = tiny("llama-bias")
    outer, inner, both = edit_of(lm, 0.5), edit_of(lm, 4.0, every=3), edit_of(lm, 1.0, every=1)
    product = {
        site: {
            unit: outer.factors.get(site, {}).get(unit, 1.0)
            * inner.factors.get(site, {}).get(unit, 1.0)
            for unit in units
        }
        for site, units in both.factors.items()
    }
    with replace(both, factors=product).applied(lm):
        expected = logprobs(lm)
    with outer.applied(lm), inner.applied(lm):
        nested = logprobs(lm)
    with inner.applied(lm), outer.applied(lm):
        swapped = logprobs(lm)
    assert torch.equal(nested, expected)
    assert torch.equal(swapped, expected)
    baked = outer.bake(lm), inner.bake(lm)
    assert torch.equal(logprobs(lm), expected)
    for undo in reversed(baked):
        undo.undo()


def test_a_weight_that_two_layers_share_is_not_baked(unchanged, tmp_path):
    """The hook scales what one of them puts out; the weights would change the other as well."""
    lm = tiny("llama")
    first, second = lm.module(lm.sites[0].name), lm.module(lm.sites[1].name)
    first.weight = second.weight = nn.Parameter(first.weight[: lm.sites[1].width].clone())
    shared, other = (replace(edit_of(lm), factors={lm.sites[i].name: {0: 0.0}}) for i in (1, -1))
    with unchanged(lm.model), pytest.raises(SnipbiasError, match="another layer has the same weig"):
        shared.bake(lm)
    other.bake(lm).undo()
    with unchanged(lm.model), pytest.raises(SnipbiasError, match="layers share a weight"):
        export(lm, other, "checkpoint", tmp_path / "out", check=False)


def test_factor_one_and_no_neuron_change_nothing():
    lm = tiny("gpt2")
    original = logprobs(lm)
    for edit in (edit_of(lm, 1.0), NeuronEdit.of([], ModelId.of(lm))):
        with edit.applied(lm):
            assert torch.equal(logprobs(lm), original)
        baked = edit.bake(lm)
        assert torch.equal(logprobs(lm), original)
        baked.undo()


@pytest.mark.parametrize("neuron", [("no.such.layer", 0), ("SITE", 10**6), ("SITE", -1)])
def test_an_edit_that_does_not_fit_is_refused(neuron, unchanged):
    lm = tiny("llama")
    site = lm.sites[0].name if neuron[0] == "SITE" else neuron[0]
    edit = NeuronEdit.of([Neuron(site, neuron[1])], ModelId.of(lm))
    for use in (lambda: edit.bake(lm), lambda: edit.applied(lm).__enter__()):
        with unchanged(lm.model), pytest.raises(SnipbiasError, match="does not fit") as refusal:
            use()
        assert "\n" not in str(refusal.value)


def test_an_edit_of_another_family_is_refused():
    with pytest.raises(SnipbiasError, match=r"found on t5 .* does not fit llama"):
        edit_of(tiny("t5")).bake(tiny("llama"))


def test_other_weights_of_the_same_shape_are_warned_of():
    edit = edit_of(tiny("llama", seed=0))
    with pytest.warns(UserWarning, match="other weights"), edit.applied(tiny("llama", seed=1)):
        pass
