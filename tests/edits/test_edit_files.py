"""An edit on disk: the same when loaded, never half-written, and refused where it is damaged."""

from __future__ import annotations

import errno
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from edit_json import WHOLE
from edits_by_hand import edit_of
from families import tiny
from snipbias.base.errors import SnipbiasError
from snipbias.base.files import atomic_folder
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.format import unpack
from snipbias.edits.provenance import ModelId


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


def test_a_dense_edit_keeps_its_factors_in_a_file_beside_it(tmp_path, monkeypatch):
    edit = edit_of(tiny("llama"))
    plain = edit.save(tmp_path / "plain")
    monkeypatch.setattr("snipbias.edits.format.DENSE_FROM", len(edit))
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


def test_factors_of_another_kind_or_shape_are_refused():
    def read(units: torch.Tensor, factors: torch.Tensor) -> dict:
        content = save({"a.units": units, "a.factors": factors})
        named = {"sha256": sha256(content).hexdigest(), "sites": {"a": 2}}
        return unpack(content, named, "edit.json")

    units, factors = torch.tensor([3, 1], dtype=torch.int32), torch.tensor([0.0, 0.5]).double()
    assert read(units, factors) == {"a": {3: 0.0, 1: 0.5}}
    for harmed in (
        (units + 0.5, factors),
        (units[:, None], factors),
        (units, factors[:, None]),
        (units, factors.float()),
        (units[0], factors[0]),
        (-units, factors),
        (units * 0, factors),
        (units, factors / 0),
    ):
        with pytest.raises(SnipbiasError, match="find or download both again"):
            read(*harmed)
    for content in (save({"a.units": units}), b"no tensors"):
        named = {"sha256": sha256(content).hexdigest(), "sites": {"a": 2}}
        with pytest.raises(SnipbiasError, match="find or download both again"):
            unpack(content, named, "edit.json")
