"""The way through a GGUF file: rows of zeros are rows of zeros in every type."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from gguf_file import wide_llama, write_gguf
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.export.write import export
from snipbias.edits.provenance import ModelId
from snipbias.models.loading import load
from snipbias.models.sites import Neuron

gguf = pytest.importorskip("gguf")

BLOCK = 256  # the longest block of any type
TYPES = [kind for kind in gguf.GGMLQuantizationType if kind.name != "F32"]


def does(action, array: np.ndarray, kind) -> np.ndarray | None:
    """What the library makes of the array; None for what it does not know."""
    try:
        return action(array, kind)
    except NotImplementedError:
        return None


def quantisable() -> list:
    zeros = np.zeros((1, BLOCK), np.float32)
    return [kind for kind in TYPES if does(gguf.quantize, zeros, kind) is not None]


def test_the_types_that_can_be_tried():
    names = {kind.name for kind in quantisable()}
    assert names >= {"F16", "BF16", "Q8_0", "Q5_0", "Q5_1", "Q4_0", "Q4_1", "TQ1_0", "TQ2_0"}


@pytest.mark.parametrize("kind", quantisable(), ids=lambda kind: kind.name)
def test_rows_of_zeros_stay_zeros_and_scaled_rows_keep_their_error(kind):
    rows = np.random.default_rng(0).normal(size=(6, 2 * BLOCK)).astype(np.float32)
    pruned = rows * np.array([[1], [0], [1], [0], [0.3], [1]], np.float32)
    back, whole = (gguf.dequantize(gguf.quantize(r, kind), kind) for r in (pruned, rows))
    assert (back[[1, 3]] == 0).all()
    np.testing.assert_array_equal(back[[0, 2, 5]], whole[[0, 2, 5]])  # rows do not touch each other

    def error(got: np.ndarray, want: np.ndarray) -> float:
        return float(np.linalg.norm(got - want) / np.linalg.norm(want))

    assert error(back[4], pruned[4]) == pytest.approx(error(whole[4], rows[4]), rel=0.25)


def readable() -> list:
    sizes = {kind: gguf.GGML_QUANT_SIZES[kind] for kind in TYPES}
    zeros = {
        k: np.zeros((2, BLOCK // block * size), np.uint8) for k, (block, size) in sizes.items()
    }
    return [(k, array) for k, array in zeros.items() if does(gguf.dequantize, array, k) is not None]


@pytest.mark.parametrize(("kind", "zeros"), readable(), ids=[kind.name for kind, _ in readable()])
def test_a_block_whose_scale_is_0_decodes_to_zeros(kind, zeros):
    """Also in the types that llama.cpp alone can write."""
    back = gguf.dequantize(zeros, kind)
    assert back.shape == (2, BLOCK)
    assert (back == 0).all()


def test_the_types_that_can_be_read():
    names = {kind.name for kind, _ in readable()}
    assert names >= {"Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ2_XXS", "IQ4_NL", "IQ4_XS"}


@pytest.mark.parametrize("kind", ["F32", "BF16", "Q8_0", "Q4_0"])
def test_pruned_neurons_of_a_gguf_file_put_out_zeros(kind, tmp_path: Path):
    lm = wide_llama()
    units = {site.name: dict.fromkeys((1, 5, 11), 0.0) for site in lm.sites}
    edit = NeuronEdit(units, ModelId.of(lm))
    export(lm, edit, "checkpoint", tmp_path / "baked")
    write_gguf(tmp_path / "baked.gguf", load(tmp_path / "baked"), kind)
    back = load(tmp_path / "baked.gguf")

    # q and k rows stand elsewhere in the file, and are as many
    reader = gguf.GGUFReader(tmp_path / "baked.gguf")
    tensors = {t.name: gguf.dequantize(t.data, t.tensor_type) for t in reader.tensors}
    zeros = {name: (~tensors[f"blk.0.{name}.weight"].any(1)).nonzero()[0] for name in PARTS}
    assert zeros["attn_q"].tolist() != [1, 5, 11] == zeros["ffn_up"].tolist()
    assert {len(rows) for rows in zeros.values()} == {3}

    seen: dict[str, torch.Tensor] = {}

    def keep(name: str, *call: torch.Tensor) -> None:
        seen[name] = call[-1]

    for site in back.sites:
        back.module(site.name).register_forward_hook(partial(keep, site.name))
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    with torch.no_grad(), edit.applied(lm):
        expected = lm.model(ids).logits
    with torch.no_grad():
        logits = back.model(ids).logits
    assert len(seen) == len(lm.sites)
    for name, output in seen.items():
        alive = output.abs().amax((0, 1)) > 0
        assert (~alive).nonzero().flatten().tolist() == [1, 5, 11], name
    if kind == "F32":
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


PARTS = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")


@pytest.mark.parametrize("kind", ["lora", "checkpoint"])
def test_an_edit_of_a_gguf_file_is_exported(kind, tmp_path: Path):
    """Its weights are plain numbers once they are read, and the file stays the base model."""
    write_gguf(tmp_path / "base.gguf", wide_llama(), "Q8_0")
    lm = load(tmp_path / "base.gguf")
    neurons = [(site.name, unit) for site in lm.sites for unit in (1, 5)]
    edit = NeuronEdit.of(map(Neuron._make, neurons), ModelId.of(lm))
    mark = lm.model.hf_quantizer
    exported = export(lm, edit, kind, tmp_path / "out")
    assert lm.model.hf_quantizer is mark is not None
    assert (exported.base.name, exported.base.gguf_file) == (str(tmp_path), "base.gguf")
    if kind == "checkpoint":
        plain = load(tmp_path / "out")
        edit.bake(lm)
        for name, tensor in plain.model.state_dict().items():
            assert torch.equal(tensor, lm.model.state_dict()[name]), name
        assert not hasattr(plain.model.config, "quantization_config")
    else:
        assert 'gguf_file="base.gguf"' in (tmp_path / "out/README.md").read_text()
