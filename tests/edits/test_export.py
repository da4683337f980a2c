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

from families import FAMILIES, GENERIC, tiny, tokenizer
from snipbias.base.errors import SnipbiasError
from snipbias.cli.app import app
from snipbias.edits.card.card import model_card
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.export import lora, write
from snipbias.edits.export.base import Base
from snipbias.edits.export.check import float32_twin
from snipbias.edits.export.write import export
from snipbias.edits.provenance import ModelId
from snipbias.models.language_model import LanguageModel
from snipbias.models.loading import load
from snipbias.models.source import quiet_transformers

peft = pytest.importorskip("peft")

FORMATS = ("lora", "ia3", "checkpoint")
IDS = torch.tensor([[5, 6, 7, 8, 9, 20], [21, 22, 23, 24, 25, 26], [9, 8, 7, 6, 5, 4]])
FACTORS = (0.0, 0.3, 1.7)


def edit_of(lm: LanguageModel, every: int = 1, first: int = 0) -> NeuronEdit:
    """Units 1, 6, 11, ... of every so-many-th site, pruned, damped and amplified in turn."""
    factors = {
        site.name: {u: FACTORS[(u + first) % 3] for u in range(1 + first, site.width, 5)}
        for site in lm.sites[first::every]
    }
    return NeuronEdit(factors, ModelId.of(lm), label=f"from {first}, every {every}")


def inputs(lm: LanguageModel, ids: torch.Tensor = IDS) -> dict[str, torch.Tensor]:
    """What a forward pass takes."""
    second = {"decoder_input_ids": ids.flip(1)} if lm.is_encoder_decoder else {}
    return {"input_ids": ids, **second}


@torch.no_grad()
def hooked(lm: LanguageModel, edit: NeuronEdit | None, ids: torch.Tensor = IDS) -> torch.Tensor:
    """The edited model's logits."""
    if edit is None:
        return lm.model(**inputs(lm, ids)).logits
    with edit.applied(lm):
        return lm.model(**inputs(lm, ids)).logits


def saved(lm: LanguageModel, place: Path) -> LanguageModel:
    """The same model, loaded from a folder."""
    with quiet_transformers():
        lm.model.save_pretrained(place)
        lm.tokenizer.save_pretrained(place)
    return load(place)


# -- the round trip ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "families", [FAMILIES, pytest.param(GENERIC, marks=pytest.mark.slow)], ids=["named", "generic"]
)
def test_every_family_comes_back_without_snipbias(families, tmp_path):
    """Every format of every family, in one process that does not import it."""
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


@pytest.mark.parametrize("kind", FORMATS)
def test_an_export_that_answers_otherwise_is_not_left_behind(kind, tmp_path, monkeypatch):
    lm = tiny("llama")
    edit, other = edit_of(lm), edit_of(lm, first=1)
    for part in ("lora_config", "lora_tensors", "ia3_config", "ia3_tensors", "write_checkpoint"):
        right = getattr(write, part)
        monkeypatch.setattr(
            write, part, partial(lambda f, lm, _, *a, **o: f(lm, other, *a, **o), right)
        )
    with pytest.raises(SnipbiasError, match="does not answer like"):
        export(lm, edit, kind, tmp_path / "out")
    assert not list(tmp_path.iterdir())


# -- LoRA -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [nn.Linear, Conv1D])
def test_the_update_by_hand(kind):
    """Rows 0 and 2 of a layer of three outputs, halved and pruned."""
    weight = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    module = nn.Linear(2, 3) if kind is nn.Linear else Conv1D(3, 2)
    module.weight = nn.Parameter(weight if kind is nn.Linear else weight.T.contiguous())
    module.bias = nn.Parameter(torch.tensor([10.0, 20.0, 30.0]))
    update = lora._update(module, {2: 0.0, 0: 0.5}, "layer", 3, with_bias=True)
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


# -- number types -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("factor", [0.0, 0.3])
def test_from_bfloat16(kind, factor, tmp_path, unchanged):
    """Zeros are exact in any type; a scaled row of a checkpoint is rounded to the weights' type."""
    lm = tiny("llama")
    lm.model.to(torch.bfloat16)
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


# -- the folder -------------------------------------------------------------------------------


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


# -- refusals ---------------------------------------------------------------------------------


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
