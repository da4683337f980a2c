"""What is exported is the edited model, for those who load it without snipbias."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers.pytorch_utils import Conv1D
from typer.testing import CliRunner

import snipbias as sb
import tiny as sweep_tiny
from exported import FORMATS, edit_of, hooked, inputs, peft, saved
from families import FAMILIES, GENERIC, tiny
from snipbias.base.errors import SnipbiasError
from snipbias.cli.app import app
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.export import adapters, write
from snipbias.edits.export.write import export
from snipbias.edits.provenance import ModelId
from snipbias.models.source import quiet_transformers


def test_every_family_comes_back_without_snipbias(tmp_path):
    """Every format of every family, in one process that does not import it."""
    families = FAMILIES | GENERIC
    cases: list[dict[str, Any]] = []
    layers = {}
    for family in families:
        lm = tiny(family)
        with quiet_transformers():
            lm.model.save_pretrained(tmp_path / family)
        edit = edit_of(lm, every=3)
        assert (hooked(lm, edit) - hooked(lm, None)).abs().max() > 1e-3
        save_file({**inputs(lm), "logits": hooked(lm, edit)}, tmp_path / f"{family}.data")
        for kind in FORMATS:
            place, base = f"{family}-{kind}", str(tmp_path / family)
            export(lm, edit, kind, tmp_path / place, base=base, check=False)
            layers[place] = [] if kind == "checkpoint" else sorted(edit.factors)
            case = {"folder": place, "base": base, "data": f"{family}.data"}
            encoder_decoder = lm.is_encoder_decoder
            cases.append({**case, "inputs": [*inputs(lm)], "encoder_decoder": encoder_decoder})
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    script = Path(__file__).parents[1] / "plain.py"
    done = subprocess.run(
        [sys.executable, script, tmp_path], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert {place: case["layers"] for place, case in found.items()} == layers
    far = {place: case["difference"] for place, case in found.items()}
    assert not {place: value for place, value in far.items() if not value <= 1e-5}
    assert len(far) == 3 * len(families)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("family", ["flan-t5", "gpt2", "llama-bias", "qwen2"])
def test_the_check_sees_what_was_written_and_leaves_the_model_alone(
    family, kind, tmp_path, unchanged
):
    lm = tiny(family)
    with unchanged(lm.model):
        exported = export(lm, edit_of(lm), kind, tmp_path / "out")
    assert not hasattr(lm.model, "peft_config")
    assert exported.check is not None
    assert exported.check.difference <= 1e-6 < 1e-3 < exported.check.effect
    assert exported.neurons == len(edit_of(lm))
    assert NeuronEdit.load(tmp_path / "out") == edit_of(lm)
    assert json.loads((tmp_path / "out" / "export.json").read_text()) == exported.to_dict()
    if kind != "checkpoint":  # how GPT-2's weights lie, for readers that do not look themselves
        config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
        assert config["fan_in_fan_out"] == (family == "gpt2")


@pytest.mark.parametrize("kind", FORMATS)
def test_an_export_that_answers_otherwise_is_not_left_behind(kind, tmp_path, monkeypatch):
    lm = tiny("llama")
    edit, other = edit_of(lm), edit_of(lm, first=1)
    for part in ("write_adapter", "write_checkpoint"):
        right = getattr(write, part)
        monkeypatch.setattr(
            write, part, partial(lambda f, lm, _, *a, **o: f(lm, other, *a, **o), right)
        )
    with pytest.raises(SnipbiasError, match="does not answer like"):
        export(lm, edit, kind, tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", [nn.Linear, Conv1D])
def test_the_update_by_hand(kind):
    """Rows 0 and 2 of a layer of three outputs, halved and pruned."""
    weight = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    module = nn.Linear(2, 3) if kind is nn.Linear else Conv1D(3, 2)
    module.weight = nn.Parameter(weight if kind is nn.Linear else weight.T.contiguous())
    module.bias = nn.Parameter(torch.tensor([10.0, 20.0, 30.0]))
    update = adapters._update(module, {2: 0.0, 0: 0.5}, "layer", 3, with_bias=True)
    assert update["lora_A.weight"].tolist() == [[-5.0, -6.0], [-0.5, -1.0], [0.0, 0.0]]
    assert update["lora_B.weight"].tolist() == [[0, 1, 0], [0, 0, 0], [1, 0, 0]]
    assert update["lora_B.bias"].tolist() == [-5.0, 0.0, -30.0]


@pytest.mark.parametrize("one_rank", [False, True])
def test_ranks_and_scaling_as_peft_vllm_and_llama_cpp_read_them(one_rank, tmp_path):
    """PEFT: patterns; vLLM: r and lora_alpha for all; llama.cpp: lora_alpha over the real rank."""
    lm = tiny("llama")
    sites = [site.name for site in lm.sites][:3]
    factors = {site: dict.fromkeys(range(n), 0.0) for site, n in zip(sites, (1, 4, 2), strict=True)}
    edit = NeuronEdit(factors, ModelId.of(lm))
    exported = export(lm, edit, "lora", tmp_path / "out", one_rank=one_rank)
    config = json.loads((tmp_path / "out/adapter_config.json").read_text())
    tensors = load_file(tmp_path / "out/adapter_model.safetensors")
    ranks = {site: len(tensors[f"base_model.model.{site}.lora_A.weight"]) for site in sites}
    assert ranks == dict(zip(sites, (4, 4, 4) if one_rank else (1, 4, 2), strict=True))
    assert exported.rank == config["r"] == config["lora_alpha"] == 4
    assert not config["lora_bias"]
    model = peft.PeftModel.from_pretrained(tiny("llama").model, str(tmp_path / "out"))
    for site in sites:
        assert model.get_submodule(f"base_model.model.{site}").scaling == {"default": 1.0}
    if one_rank:
        assert {config["lora_alpha"] / rank for rank in ranks.values()} == {1.0}


def test_merged_by_peft_it_is_the_baked_model_to_the_bit(tmp_path):
    lm = tiny("llama")
    edit = NeuronEdit.of(edit_of(lm).neurons, ModelId.of(lm))
    export(lm, edit, "lora", tmp_path / "out")
    merged = peft.PeftModel.from_pretrained(tiny("llama").model, str(tmp_path / "out"))
    merged = merged.merge_and_unload().state_dict()
    edit.bake(lm)
    for name, tensor in lm.model.state_dict().items():
        assert torch.equal(merged[name], tensor), name


@pytest.mark.filterwarnings("ignore:the edit was found on other weights")
def test_what_cannot_be_exported_is_said_in_one_sentence(tmp_path, monkeypatch):
    lm = tiny("llama")
    edit = edit_of(lm)

    def refusal(*arguments: Any, **options: Any) -> str:
        with pytest.raises(SnipbiasError) as refused:
            export(*arguments, tmp_path / "out", **options)  # type: ignore[misc]
        assert not list(tmp_path.iterdir())
        return str(refused.value)

    assert "'lora', 'ia3', 'checkpoint'" in refusal(lm, edit, "gguf")
    assert "nothing to export" in refusal(lm, NeuronEdit.of(edit.neurons, edit.model, 1.0), "lora")
    assert "does not fit" in refusal(tiny("gpt2"), edit, "lora")
    replaced, plain = tiny("llama"), tiny("llama").model.forward
    replaced.model.forward = lambda *args, **named: plain(*args, **named)
    for kind in FORMATS:
        assert "was replaced by a function, which a copy" in refusal(replaced, edit, kind)
    beam = sweep_tiny.build("BeamForCausalLM", "beam")
    gated = sb.wrap(beam, lm.tokenizer)
    one = NeuronEdit({"model.layers.0.mlp.gate_proj": {1: 0.0}}, ModelId.of(gated))
    assert "PEFT cannot load the export (Cannot convert" in refusal(gated, one, "lora")
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "peft", None)
        assert "snipbias[peft]" in refusal(lm, edit, "lora")
    lm.module(lm.sites[0].name).to("meta")
    assert "not in memory" in refusal(lm, edit, "ia3")
    assert "not in memory" in refusal(lm, edit, "lora", check=False)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_model_itself_is_not_overwritten(kind, tmp_path, monkeypatch):
    lm = saved(tiny("llama"), tmp_path / "models" / "base")
    edit_of(lm).save(tmp_path / "edit")
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    for out in ("models/base", "models"):
        with pytest.raises(SnipbiasError, match="holds the model itself"):
            export(lm, edit_of(lm), kind, out, overwrite=True)
        line = f"export edit --model models/base --format {kind} --out {out} --overwrite"
        assert CliRunner().invoke(app, line.split()).exit_code == 1
        assert sorted(tmp_path.rglob("*")) == before
    lm.model.config.name_or_path = "owner/name"  # a hub id is no folder
    export(lm, edit_of(lm), kind, "owner", check=False)


def test_a_tokenizer_that_does_not_fit_on_the_disk_is_one_sentence(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise Exception("No space left on device (os error 28)")  # as the library does

    lm = tiny("llama")
    monkeypatch.setattr(type(lm.tokenizer), "save_pretrained", full)
    with pytest.raises(SnipbiasError, match=r"could not write .*No space left"):
        export(lm, edit_of(lm), "checkpoint", tmp_path / "out", check=False)
    assert not list(tmp_path.iterdir())


def test_neurons_that_are_multiplied_by_1_take_no_rank(tmp_path):
    lm = tiny("llama")
    first, second = (site.name for site in lm.sites[:2])
    edit = NeuronEdit({first: {0: 1.0, 1: 0.0}, second: {3: 1.0}}, ModelId.of(lm))
    exported = export(lm, edit, "lora", tmp_path / "out")
    assert (exported.neurons, exported.modules, exported.rank) == (1, 1, 1)
    assert NeuronEdit.load(tmp_path / "out") == edit


def test_the_readme_has_the_figures_that_lie_beside_the_edit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main = CliRunner().invoke
    for line in (
        "find demo mini:age --n 3 --samples 2 --instructions 1 --out age",
        "export age --out before",
        "evaluate demo mini:age --edit age --items 4 --instructions 1 --no-text --no-retention "
        "--out run",
        "export age --run run --out measured",
        "card age --run run",
        f"export {tmp_path}/age --out {tmp_path}/after --quiet",
    ):
        monkeypatch.setattr(sys, "argv", ["snipbias", *line.split()])  # for the record
        done = main(app, line.split())
        assert done.exit_code == 0, done.output
    before, after, measured = (
        Path(name, "README.md").read_text() for name in ("before", "after", "measured")
    )
    assert "\nsnipbias export age --run run --out measured\n" in measured
    assert "effect has not been measured" not in measured
    assert "\nsnipbias export before --format lora --run RUN --out NEW\n" in before
    kept = [Path(name, "evaluation.json") for name in ("age", "after", "measured")]
    assert len({file.read_text() for file in kept}) == 1
    assert not Path("before", "evaluation.json").exists()
    done = main(app, ["export", "age", "--run", "nowhere", "--out", "none"])
    assert "there is no evaluation at nowhere" in str(done.exception)
    assert not Path("none").exists()
    assert "\nsnipbias export age --out after\n" in after  # with no folder of this machine
    assert "effect has not been measured" in before
    assert "record of the run that found it is missing" not in before
    assert "effect has not been measured" not in after
    accuracy = json.loads(Path("run/summary.json").read_text())["methods"]["original"]["accuracy"]
    assert f"{100 * accuracy['overall']:.1f}" in after
