"""Adapters of one base model: a choice per row, number types, and the code that loads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from exported import FORMATS, IDS, edit_of, hooked, inputs, peft, saved
from families import FAMILIES, GENERIC, tiny, tokenizer
from snipbias.base.errors import SnipbiasError
from snipbias.edits.card.card import model_card
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.export.base import Base
from snipbias.edits.export.check import float32_twin
from snipbias.edits.export.write import export
from snipbias.edits.provenance import ModelId
from snipbias.models.language_model import LanguageModel
from snipbias.models.loading import load, multiply_in_bfloat16
from snipbias.models.source import quiet_transformers

MIXED = [
    *(pytest.param(f, marks=pytest.mark.xfail(strict=True)) for f in ("opt", "mpt")),
    *(f for f in FAMILIES if f != "opt"),
    *(pytest.param(f, marks=pytest.mark.slow) for f in GENERIC if f != "mpt"),
]


@pytest.mark.parametrize("family", MIXED)
def test_an_edit_for_each_row_of_one_batch(family, tmp_path):
    """One base, three adapters and none, a different one in every row: as hooked one by one.

    PEFT refuses this for OPT and ignores it for MPT; docs/serving.md says so.
    """
    lm = tiny(family)
    edits = {f"e{first}": edit_of(lm, every=3, first=first) for first in range(3)}
    names = ["e2", "__base__", "e0", "e1"]
    ids = torch.cat([IDS, IDS[:1].flip(1)])
    model = adapted(tiny(family), edits, tmp_path)
    with torch.no_grad():
        mixed = model(**inputs(lm, ids), adapter_names=names).logits
    for row, name in enumerate(names):
        expected = hooked(lm, edits.get(name), ids[row : row + 1])
        torch.testing.assert_close(mixed[row : row + 1], expected, rtol=0, atol=1e-5)
    assert (mixed[0] - hooked(lm, None, ids)[0]).abs().max() > 1e-4


@pytest.mark.parametrize("family", ["llama", "flan-t5"])
def test_text_of_a_mixed_batch_and_adapters_switched(family, tmp_path):
    lm = tiny(family)
    edits = {f"e{first}": edit_of(lm, every=3, first=first) for first in range(3)}
    names = ["e2", "e0", "__base__"]
    model = adapted(tiny(family), edits, tmp_path)
    written = model.generate(input_ids=IDS, adapter_names=names, max_new_tokens=5)
    for row, name in enumerate(names):
        text = generated(lm, edits.get(name), IDS[row : row + 1], max_new_tokens=5)
        assert written[row, : text.shape[1]].tolist() == text[0].tolist()
    for name, edit in edits.items():
        model.set_adapter(name)
        with torch.no_grad():
            alone = model(**inputs(lm)).logits
        torch.testing.assert_close(alone, hooked(lm, edit), rtol=0, atol=1e-5)


def adapted(lm: LanguageModel, edits: dict[str, NeuronEdit], folder: Path) -> nn.Module:
    """The model with an adapter of each edit, by plain PEFT."""
    for name, edit in edits.items():
        export(lm, edit, "lora", folder / name, check=False)
    first, *others = edits
    model = peft.PeftModel.from_pretrained(lm.model, str(folder / first), adapter_name=first)
    for name in others:
        model.load_adapter(str(folder / name), adapter_name=name)
    return model.eval()


def generated(lm: LanguageModel, edit: NeuronEdit | None, ids: torch.Tensor, **settings: Any):
    """What the hooked model writes."""
    if edit is None:
        return lm.model.generate(input_ids=ids, **settings)
    with edit.applied(lm):
        return lm.model.generate(input_ids=ids, **settings)


def in_bfloat16(lm: LanguageModel) -> None:
    lm.model.to(torch.bfloat16)


@pytest.mark.parametrize("turn", [in_bfloat16, multiply_in_bfloat16])
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("factor", [0.0, 0.3])
def test_from_bfloat16(kind, factor, turn, tmp_path, unchanged):
    """Zeros are exact in any type; a scaled row of a checkpoint is rounded to the weights' type."""
    lm = tiny("llama")
    turn(lm)
    edit = NeuronEdit.of(edit_of(lm).neurons, ModelId.of(lm), factor)
    with unchanged(lm.model):
        check = export(lm, edit, kind, tmp_path / "out").check
    assert check is not None
    rounded = kind == "checkpoint" and factor > 0
    assert check.tolerance == (2**-7 if rounded else 1e-5)
    assert (check.difference > 1e-5) == rounded


def test_in_16_bits_ia3_is_zero_and_lora_is_nearly(tmp_path):
    """The layer's own rounding is what a LoRA adapter leaves of a pruned neuron."""
    lm = tiny("llama")
    lm.model.to(torch.bfloat16)
    site, units = lm.sites[5].name, [1, 6, 11]
    edit = NeuronEdit({site: dict.fromkeys(units, 0.0)}, ModelId.of(lm))
    x = torch.randn(50, lm.module(site).in_features, dtype=torch.bfloat16)
    whole = lm.module(site)(x)[:, units].float().abs().max()
    left = {}
    for kind in ("lora", "ia3"):
        export(lm, edit, kind, tmp_path / kind)
        model = peft.PeftModel.from_pretrained(float16_copy(lm), str(tmp_path / kind))
        out = model.get_submodule(f"base_model.model.{site}")(x)
        assert out.dtype == torch.bfloat16
        left[kind] = float(out[:, units].detach().float().abs().max() / whole)
    assert left["ia3"] == 0
    assert 0 < left["lora"] < 0.005


def float16_copy(lm: LanguageModel) -> nn.Module:
    """The model again, in its own type."""
    return float32_twin(lm.model).to(lm.model.dtype)


def test_the_base_model_is_named_so_that_it_is_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved(tiny("llama"), tmp_path / "base")
    lm = load("base")
    export(lm, edit_of(lm), "lora", "out")
    config = json.loads(Path("out/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tmp_path / "base")
    export(lm, edit_of(lm), "ia3", "named", base="somebody/base")
    config = json.loads(Path("named/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "somebody/base"
    assert "base_model: somebody/base\n" in Path("named/README.md").read_text()
    for name in ("/not/here", "a b](http://x)"):  # on a server, or nonsense: on the hub it is not
        export(lm, edit_of(lm), "lora", "elsewhere", base=name, overwrite=True)
        text = Path("elsewhere/README.md").read_text()
        assert "base_model:" not in text
        assert f"[{name[:3]}" not in text
    lm.model.config.name_or_path, lm.revision = "owner/model", "0" * 40
    assert Base.of(lm) == Base("owner/model", "0" * 40, None, False)
    export(lm, edit_of(lm), "lora", "hub")
    assert json.loads(Path("hub/adapter_config.json").read_text())["revision"] == "0" * 40


def test_a_lora_of_higher_rank_than_its_weight_is_refused(tmp_path):
    """An FFN of 24 units reads 16 inputs: of 17 edited units no LoRA is smaller than the weight."""
    lm = tiny("llama")
    site = next(s.name for s in lm.sites if s.name.endswith("up_proj"))
    for units in (16, 17):
        edit = NeuronEdit({site: dict.fromkeys(range(units), 0.5)}, ModelId.of(lm), label="many")
        if units == 16:
            export(lm, edit, "lora", tmp_path / "out")
            continue
        with pytest.raises(SnipbiasError, match=r"many would have rank 17 at .* \(16\): .* ia3"):
            export(lm, edit, "lora", tmp_path / "dense")
    assert [folder.name for folder in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("family", ["llama", "flan-t5"])
def test_the_code_in_the_readme_loads_it(family, kind, tmp_path, monkeypatch):
    lm = saved(tiny(family), tmp_path / "base")
    edit = edit_of(lm)
    export(lm, edit, kind, tmp_path / "out")
    text = (tmp_path / "out/README.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    assert "snipbias" not in code
    assert str(tmp_path) not in text
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    with quiet_transformers():
        exec(code, names)
    with torch.no_grad():
        logits = names["model"].eval()(**inputs(lm)).logits
    torch.testing.assert_close(logits, hooked(lm, edit), rtol=0, atol=1e-5)
    assert names["tokenizer"]("a b")["input_ids"] == tokenizer()("a b")["input_ids"]


def test_the_code_in_the_cards_of_the_demo_model_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lm = load("demo")
    edit = NeuronEdit.of([(lm.sites[0].name, 1)], ModelId.of(lm), label="one")
    export(lm, edit, "lora", "adapter")  # as the edit's card calls it
    expected = hooked(lm, edit)
    assert (expected - hooked(lm, None)).abs().max() > 1e-3
    text = Path("adapter/README.md").read_text()
    assert str(Path(lm.model.config.name_or_path)) not in text
    for card in (text, model_card(edit, place="adapter")):
        code = next(c for c in card.split("```python\n")[1:] if "peft" in c).split("```")[0]
        names: dict[str, Any] = {}
        with quiet_transformers():
            exec(code, names)
        with torch.no_grad():
            logits = names["model"].float().eval()(**inputs(lm)).logits
        torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
