"""An edit hooked, baked and written by hand is one thing; undone, nothing; saved, itself."""

from __future__ import annotations

import errno
import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from families import FAMILIES, GENERIC, tiny
from snipbias.base.errors import SnipbiasError
from snipbias.base.files import atomic_folder
from snipbias.edits import provenance
from snipbias.edits.controls import random_edit
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.provenance import ModelId, Provenance, same_weights
from snipbias.edits.switch import switched
from snipbias.experiment.baselines.ablation import MeanAblation
from snipbias.models.language_model import Query
from snipbias.models.sites import Neuron, unit_dim

QUERIES = [Query((5, 6, 7, 8), ((9, 10, 11), (12,))), Query((20,), ((5, 6), (7, 8), (9,)))]
# Powers of two: baked and by hand are the same to the bit.
FACTORS = [
    *((family, f) for family in FAMILIES for f in (0.0, 0.5, 2.0)),
    *((g, 0.0) for g in GENERIC),
]
FOUND_ON = Provenance("toy", ("t1", "t2"), ("a", "b"), 10, "f00", {"target": "prob"})
OTHER_WEIGHTS = pytest.mark.filterwarnings("ignore:the edit was found on other weights")


def edit_of(lm, factor: float = 0.0, every: int = 5) -> NeuronEdit:
    """An edit with units in every site."""
    neurons = [Neuron(s.name, unit) for s in lm.sites for unit in range(1, s.width, every)]
    return NeuronEdit.of(neurons, ModelId.of(lm), factor, FOUND_ON, "a label")


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
    held = MeanAblation(edit, means)
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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_undo_is_exact_to_the_bit_in_every_type(dtype, unchanged):
    lm = tiny("llama-bias")
    lm.model.to(dtype)
    edit = edit_of(lm, factor=0.3)  # which no division could take back
    with unchanged(lm.model):
        edit.bake(lm).undo()
    with unchanged(lm.model):
        first, second = edit.bake(lm), edit_of(lm, 0.0, every=3)
        again = second.bake(lm)
        again.undo()
        first.undo()
        first.undo()  # the second time changes nothing


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
@pytest.mark.parametrize("kind", ["int8", "uint8", "float8_e4m3fn", "packed", "meta"])
def test_weights_that_cannot_be_scaled_row_by_row_are_refused(kind):
    lm = tiny("llama")
    site = lm.sites[3]
    edit, module = NeuronEdit.of([Neuron(site.name, 1)], ModelId.of(lm)), lm.module(site.name)
    weight = module.weight.detach()
    converted = {
        "packed": lambda: weight.reshape(-1, 1),  # as bitsandbytes keeps 4 bits
        "meta": lambda: weight.to("meta"),
    }.get(kind, lambda: weight.to(getattr(torch, kind)))()
    module.weight = nn.Parameter(converted, requires_grad=False)
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


def test_factor_one_and_no_neuron_change_nothing():
    lm = tiny("gpt2")
    original = logprobs(lm)
    for edit in (edit_of(lm, 1.0), NeuronEdit.of([], ModelId.of(lm))):
        with edit.applied(lm):
            assert torch.equal(logprobs(lm), original)
        baked = edit.bake(lm)
        assert torch.equal(logprobs(lm), original)
        baked.undo()


# -- the model it belongs to ------------------------------------------------------------------


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


@pytest.mark.parametrize("family", ["flan-t5", "gpt2"])
def test_a_pruned_model_has_other_weights_whichever_neuron_it_was(family):
    lm = tiny(family)
    original = ModelId.of(lm)
    for site in (lm.sites[0], lm.sites[-1]):
        for unit in range(site.width):
            baked = NeuronEdit.of([Neuron(site.name, unit)], original).bake(lm)
            assert ModelId.of(lm).weights != original.weights, (site.name, unit)
            baked.undo()
    assert ModelId.of(lm) == original


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("family", ["flan-t5", "gpt2"])
def test_the_number_type_is_not_another_model(family):
    lm = tiny(family)
    edit = edit_of(lm)
    lm.model.to(torch.bfloat16)
    with edit.applied(lm):
        pass


# -- on disk ----------------------------------------------------------------------------------


def test_saved_and_loaded_it_is_the_same(tmp_path):
    edit = edit_of(tiny("gpt2"), factor=0.1)
    folder = edit.save(tmp_path / "new" / "edit")
    assert NeuronEdit.load(folder) == edit
    assert NeuronEdit.load(folder / "edit.json") == edit
    control = replace(edit, found_on=None)
    assert NeuronEdit.load(control.save(tmp_path / "control")) == control
    assert [path.name for path in tmp_path.rglob("*")].count("edit.json") == 2


def test_numbers_of_any_kind_are_saved_and_have_one_fingerprint(tmp_path):
    model = ModelId.of(tiny("llama"))
    site = "model.layers.0.mlp.up_proj"
    edit = NeuronEdit({site: {np.int64(3): 0, 1: np.float32(0.5)}}, model)  # type: ignore[dict-item]
    loaded = NeuronEdit.load(edit.save(tmp_path / "edit"))
    assert loaded == edit
    assert loaded.fingerprint == edit.fingerprint


def test_what_holds_no_neuron_is_not_written(tmp_path):
    edit = edit_of(tiny("llama"))
    empty = edit - edit
    for write in (empty.save, empty.save_pretrained):
        with pytest.raises(SnipbiasError, match="has no neurons"):
            write(tmp_path / "edit")
        assert not list(tmp_path.iterdir())
    with pytest.raises(SnipbiasError, match="listed without neurons"):
        NeuronEdit({"a": {}}, edit.model)


def test_overwriting_is_refused_unless_asked_for(tmp_path):
    edit = edit_of(tiny("llama"))
    folder = edit.save(tmp_path / "edit")
    with pytest.raises(SnipbiasError, match="exists"):
        replace(edit, label="second").save(folder)
    assert NeuronEdit.load(folder).label == "a label"
    replace(edit, label="second").save(folder, overwrite=True)
    assert NeuronEdit.load(folder).label == "second"
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SnipbiasError, match="is a file"):
        edit.save(tmp_path / "file", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["edit", "file"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_full_disk_leaves_nothing_half_written(overwrite, tmp_path, monkeypatch):
    edit = edit_of(tiny("llama"))
    if overwrite:
        edit.save(tmp_path / "edit")

    write = Path.write_bytes

    def full(self: Path, content: bytes) -> int:
        write(self, content[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(SnipbiasError, match="No space left") as refusal:
            replace(edit, label="second").save(tmp_path / "edit", overwrite=overwrite)
    assert "\n" not in str(refusal.value)
    assert [path.name for path in tmp_path.iterdir()] == (["edit"] if overwrite else [])
    if overwrite:
        assert NeuronEdit.load(tmp_path / "edit") == edit


def test_what_somebody_else_made_in_the_meantime_stays(tmp_path):
    one, other = edit_of(tiny("llama")), edit_of(tiny("llama"), every=3)

    def slowly() -> None:
        with atomic_folder(tmp_path / "edit") as new:
            one.write_into(new)
            other.save(tmp_path / "edit")

    with pytest.raises(SnipbiasError, match="edit exists"):
        slowly()
    assert NeuronEdit.load(tmp_path / "edit") == other
    assert [path.name for path in tmp_path.iterdir()] == ["edit"]


def test_several_writers_leave_one_whole_edit_and_nothing_else(tmp_path):
    edits = [replace(edit_of(tiny("llama")), label=str(number)) for number in range(4)]

    def write(edit: NeuronEdit) -> None:
        for _ in range(20):
            edit.save_pretrained(tmp_path / "added to")
            with suppress(SnipbiasError):  # somebody else was quicker, which may be said
                edit.save(tmp_path / "replaced", overwrite=True)

    with ThreadPoolExecutor(len(edits)) as pool:
        list(pool.map(write, edits))
    assert {path.name for path in tmp_path.iterdir()} == {"added to", "replaced"}
    assert {path.name for path in (tmp_path / "added to").iterdir()} == {"edit.json", "README.md"}
    assert NeuronEdit.load(tmp_path / "added to") in edits
    assert NeuronEdit.load(tmp_path / "replaced") in edits


def test_what_is_replaced_stays_where_the_new_cannot_take_its_name(tmp_path, monkeypatch):
    edit = edit_of(tiny("llama"))
    edit.save(tmp_path / "edit")
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if self.parent.name.startswith(".edit."):
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse)
        with pytest.raises(SnipbiasError, match="Input/output error"):
            replace(edit, label="second").save(tmp_path / "edit", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["edit"]
    assert NeuronEdit.load(tmp_path / "edit") == edit


SITE = {"units": [0], "factors": [0.0]}
MODEL = {"name": "toy", "architecture": "Toy", "neurons": 5, "weights": "f0", "revision": None}
WHOLE = {"format": 1, "label": "x", "model": MODEL, "found_on": None, "sites": {"a": SITE}}
DAMAGED = {
    "a list": [],
    "a number": 3,
    "no format": {key: WHOLE[key] for key in WHOLE if key != "format"},
    "no sites": {**WHOLE, "sites": {}},
    "sites are a list": {**WHOLE, "sites": [SITE]},
    "empty site": {**WHOLE, "sites": {"a": {"units": [], "factors": []}}},
    "site without factors": {**WHOLE, "sites": {"a": {"units": [0]}}},
    "fewer factors": {**WHOLE, "sites": {"a": {"units": [0, 1], "factors": [0.0]}}},
    "negative unit": {**WHOLE, "sites": {"a": {"units": [-1], "factors": [0.0]}}},
    "unit is a text": {**WHOLE, "sites": {"a": {"units": ["0"], "factors": [0.0]}}},
    "unit is a fraction": {**WHOLE, "sites": {"a": {"units": [0.5], "factors": [0.0]}}},
    "unit is a truth": {**WHOLE, "sites": {"a": {"units": [True], "factors": [0.0]}}},
    "unit twice": {**WHOLE, "sites": {"a": {"units": [1, 1], "factors": [0.0, 2.0]}}},
    "factor is a text": {**WHOLE, "sites": {"a": {"units": [0], "factors": ["0"]}}},
    "factor is null": {**WHOLE, "sites": {"a": {"units": [0], "factors": [None]}}},
    "factor is no number": {**WHOLE, "sites": {"a": {"units": [0], "factors": [float("nan")]}}},
    "factor is infinite": {**WHOLE, "sites": {"a": {"units": [0], "factors": [float("inf")]}}},
    "model is a text": {**WHOLE, "model": "toy"},
    "model without weights": {**WHOLE, "model": {**MODEL, "weights": None}},
    "model of a text of neurons": {**WHOLE, "model": {**MODEL, "neurons": "5"}},
    "model lacks a field": {**WHOLE, "model": {"name": "toy"}},
    "found on a text": {**WHOLE, "found_on": "toy"},
    "found on something else": {**WHOLE, "found_on": {"task": "toy"}},
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_edit_is_refused_in_one_sentence(kind, tmp_path):
    (tmp_path / "edit.json").write_text(json.dumps(DAMAGED[kind]))
    with pytest.raises(SnipbiasError, match="is not a complete edit") as refusal:
        NeuronEdit.load(tmp_path)
    assert "\n" not in str(refusal.value)
    assert str(tmp_path) in str(refusal.value)


def test_the_undamaged_one_is_read():
    assert len(NeuronEdit.from_dict(WHOLE)) == 1


@pytest.mark.parametrize("cut", [0, 1, 100, -5])
def test_a_truncated_edit_is_refused(cut, tmp_path):
    folder = edit_of(tiny("llama")).save(tmp_path / "edit")
    whole = (folder / "edit.json").read_bytes()
    (folder / "edit.json").write_bytes(whole[:cut])
    with pytest.raises(SnipbiasError, match="is damaged"):
        NeuronEdit.load(folder)
    (folder / "edit.json").write_bytes(b"\xff\xfe" + whole)
    with pytest.raises(SnipbiasError, match="is damaged"):
        NeuronEdit.load(folder)


def test_a_missing_edit_and_one_of_a_newer_format_say_what_to_do(tmp_path):
    with pytest.raises(SnipbiasError, match="there is no edit at"):
        NeuronEdit.load(tmp_path / "nowhere")
    with pytest.raises(SnipbiasError, match="there is no edit at"):
        NeuronEdit.load(tmp_path)
    (tmp_path / "edit.json").write_text(json.dumps({**WHOLE, "format": 3, "new": "field"}))
    with pytest.raises(SnipbiasError, match="upgrade snipbias"):
        NeuronEdit.load(tmp_path)


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_a_factor_that_is_no_number_never_becomes_an_edit(factor):
    lm = tiny("llama")
    with pytest.raises(SnipbiasError, match="not a finite number"):
        NeuronEdit.of([(lm.sites[0].name, 0)], ModelId.of(lm), factor)


def test_a_file_is_one_model_in_each_type_and_another_with_one_neuron_pruned():
    here = {}
    for kind in (torch.float32, torch.bfloat16, torch.float16):
        lm = tiny("llama")
        lm.model.to(kind)
        here[kind] = ModelId.of(lm).weights
        with torch.no_grad():
            lm.module(lm.sites[3].name).weight[5] = 0
        pruned = ModelId.of(lm).weights
        assert not any(same_weights(found, pruned) for found in here.values()), kind
    for a, b in itertools.combinations(here.values(), 2):
        assert a != b
        assert same_weights(a, b)
    first = here[torch.float32].split(".")[0]  # all that earlier versions wrote
    assert same_weights(first, here[torch.bfloat16])
    assert not same_weights("0" * 16, here[torch.bfloat16])


def test_a_dense_edit_keeps_its_factors_in_a_file_beside_it(tmp_path, monkeypatch):
    from snipbias.edits import record

    edit = edit_of(tiny("llama"))
    plain = edit.save(tmp_path / "plain")
    monkeypatch.setattr(record, "DENSE_FROM", len(edit))
    dense = edit.save(tmp_path / "dense")
    assert NeuronEdit.load(dense) == NeuronEdit.load(plain) == edit
    written = json.loads((dense / "edit.json").read_text())
    assert (written["format"], written["sites"]) == (2, {})
    assert sum(written["factors"]["sites"].values()) == len(edit)
    factors = dense / "factors.safetensors"
    for harm in (lambda: factors.write_bytes(factors.read_bytes()[:-1] + b"x"), factors.unlink):
        harm()
        with pytest.raises(SnipbiasError, match=r"factors\.safetensors"):
            NeuronEdit.load(dense)


def test_a_loop_over_edits_hashes_the_weights_once(monkeypatch) -> None:
    lm = tiny("llama")
    edit = random_edit(lm, 2)
    hashed: list[int] = []
    once = provenance._weights_hash
    monkeypatch.setattr(provenance, "_weights_hash", lambda lm: hashed.append(1) or once(lm))
    with provenance.weights_unchanged(lm):
        for _ in range(3):
            with edit.applied(lm):
                pass
    assert len(hashed) == 1
    edit.check(lm)
    assert len(hashed) == 2
