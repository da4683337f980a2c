"""Loading: the same model from memory and disk, no surprise from a damaged or hostile folder."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from families import FAMILIES, tiny, tokenizer
from gguf_file import write_gguf
from snipbias.base.errors import SnipbiasError
from snipbias.edits.provenance import ModelId
from snipbias.method.attribute import attribute
from snipbias.models.language_model import LanguageModel, Query
from snipbias.models.loading import load, multiply_in_bfloat16, wrap
from snipbias.tasks.items import Item, Task

TASK = Task("toy", (Item("a", "who?", ("the man", "him", "no"), 1, "", "t"),), ("say it.",))


@pytest.fixture(scope="session")
def saved(tmp_path_factory) -> Callable[[str], Path]:
    """Folders that save_pretrained wrote, one a family."""
    root = tmp_path_factory.mktemp("models")

    def folder(family: str) -> Path:
        if not (root / family).exists():
            tiny(family).model.save_pretrained(root / family)
            tokenizer().save_pretrained(root / family)
        return root / family

    return folder


@pytest.fixture
def copy(saved, tmp_path) -> Callable[..., Path]:
    """A folder of one's own, with some keys of its configuration changed."""

    def make(family: str = "llama", **changes: object) -> Path:
        shutil.copytree(saved(family), tmp_path / "model")
        path = tmp_path / "model" / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
        return path.parent

    return make


@torch.no_grad()
def logprobs(lm: LanguageModel) -> torch.Tensor:
    """Of ids, since transformers has a tokenizer class of its own for some of the families."""
    queries = [Query((5, 6, 7, 8), ((9, 10, 11), (12,))), Query((20,), ((5, 6), (7, 8), (9,)))]
    return lm.score(queries).logprobs


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_folder_is_the_model_in_memory(family, saved):
    lm, original = load(saved(family)), tiny(family)
    torch.testing.assert_close(logprobs(lm), logprobs(original))
    assert ModelId.of(lm).weights == ModelId.of(original).weights
    assert lm.name == str(saved(family))
    assert not lm.model.training


def test_number_types(saved):
    assert load(saved("llama")).model.dtype == torch.float32
    assert load(saved("llama"), dtype="bfloat16").model.dtype == torch.bfloat16
    assert load(saved("llama"), dtype="float16").model.dtype == torch.float16
    with pytest.raises(SnipbiasError, match="overflows in float16"):
        load(saved("flan-t5"), dtype="float16")
    assert load(saved("llama"), dtype=torch.bfloat16).model.dtype == torch.bfloat16
    with pytest.raises(SnipbiasError, match="no number type 'bf16': use one of auto, "):
        load(saved("llama"), dtype="bf16")  # type: ignore[arg-type]


def test_a_bfloat16_checkpoint_is_computed_in_float32_on_a_cpu(tmp_path):
    lm = tiny("llama")
    lm.model.to(torch.bfloat16).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    assert load(tmp_path, device="cpu").model.dtype == torch.float32


@pytest.mark.parametrize("family", ["flan-t5", "llama"])
@pytest.mark.parametrize("device_map", [{"": "cpu"}, "auto", {"": "disk"}], ids=str)
def test_spread_or_offloaded_it_is_the_same_model(family, device_map, saved, tmp_path, monkeypatch):
    pytest.importorskip("accelerate")
    monkeypatch.chdir(tmp_path)
    plain = load(saved(family))
    lm = load(saved(family), device_map=device_map)
    if device_map == {"": "disk"}:
        assert lm.module(lm.sites[0].name).weight.is_meta
    torch.testing.assert_close(logprobs(lm), logprobs(plain))
    assert ModelId.of(lm).weights == ModelId.of(plain).weights
    ours, expected = attribute(lm, TASK), attribute(plain, TASK)
    torch.testing.assert_close(ours.flat, expected.flat, rtol=1e-4, atol=1e-12)
    edit = expected.top(5)
    with edit.applied(lm), edit.applied(plain):
        torch.testing.assert_close(logprobs(lm), logprobs(plain))
    if device_map == {"": "disk"}:
        with pytest.raises(SnipbiasError, match="not in memory"):
            edit.bake(lm)


def test_a_local_folder_needs_no_network(saved, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)

    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("the network was touched")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    load(saved("llama"))
    load(saved("flan-t5"))


@pytest.mark.parametrize("family", ["llama", "flan-t5"])
def test_a_compiled_model_is_what_it_was_made_of(family):
    lm = tiny(family)
    wrapped = wrap(torch.compile(lm.model, backend="eager"), lm.tokenizer)  # type: ignore[arg-type]
    assert wrapped.model is lm.model
    assert wrapped.sites == lm.sites


def test_wrap_keeps_the_users_objects():
    lm = tiny("llama")
    wrapped = wrap(lm.model, lm.tokenizer, name="mine")
    assert wrapped.model is lm.model
    assert wrapped.tokenizer is lm.tokenizer
    assert wrapped.name == "mine"


# -- what is refused --------------------------------------------------------------------------


def refusal(model: object, **options: object) -> str:
    """The one sentence with which loading is refused."""
    with pytest.raises(SnipbiasError) as error:
        load(model, **options)
    text = str(error.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


def test_a_processor_has_a_tokenizer():
    lm = wrap(tiny("llama").model, SimpleNamespace(tokenizer=tokenizer()))  # type: ignore[arg-type]
    assert lm.tokenizer is tokenizer()


def test_what_is_not_there(tmp_path):
    assert "no model at" in refusal(tmp_path / "nowhere")
    assert "no model at" in refusal("./nowhere")
    with pytest.raises(SnipbiasError, match=r"no model 'demmo': did you mean 'demo'\?"):
        load("demmo")
    assert "no file" in refusal(tmp_path / "nowhere.gguf")
    assert "has no config.json" in refusal(tmp_path)
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter/adapter_config.json").write_text("{}")
    assert "is an adapter, not a model: give its base model" in refusal(tmp_path / "adapter")
    (tmp_path / "file").touch()
    assert "no model at" in refusal(tmp_path / "file")
    assert "HF_HUB_OFFLINE is set" in refusal("nobody/no-such-model")


def test_devices_that_are_not_there(saved):
    assert "no device 'tpuu'" in refusal(saved("llama"), device="tpuu")
    assert "meta is not supported" in refusal(saved("llama"), device="meta")
    assert "no cuda:99" in refusal(saved("llama"), device="cuda:99")


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "no-such-family"},
        {"num_attention_heads": "four"},
        {"num_attention_heads": 3},
        {"hidden_act": "no-such-function"},
    ],
    ids=str,
)
def test_broken_configurations(changes, copy):
    assert "check that its files are whole" in refusal(copy(**changes))


def test_a_class_that_only_its_own_loader_knows(copy):
    assert "load it by its own class and give it to sb.wrap" in refusal(copy(model_type="vit"))


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "\x00"])
def test_configurations_that_are_none(text, copy):
    folder = copy()
    (folder / "config.json").write_text(text)
    assert "check that its files are whole" in refusal(folder)


@pytest.mark.parametrize("content", [b"", b"x" * 2000, "half"])
def test_damaged_weights(content, copy):
    weights = copy() / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    assert "check that its files are whole" in refusal(weights.parent)


@pytest.mark.parametrize("changes", [{"num_hidden_layers": 3}, {"intermediate_size": 32}], ids=str)
def test_weights_that_are_missing_are_not_made_up(changes, copy):
    assert "weights are missing or have another shape" in refusal(copy(**changes))


@pytest.mark.parametrize("family", ["llama", "flan-t5"])
def test_one_missing_weight_is_not_made_up(family, copy):
    weights = copy(family) / "model.safetensors"
    tensors = load_file(weights)
    del tensors[next(name for name in tensors if "wo" in name or "down_proj" in name)]
    save_file(tensors, weights, metadata={"format": "pt"})
    assert "1 weights are missing" in refusal(weights.parent)


def test_pickled_weights_are_not_opened(copy, monkeypatch):
    folder = copy()
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    monkeypatch.setattr(torch, "load", lambda *a, **k: pytest.fail("a pickle was opened"))
    assert "model.safetensors" in refusal(folder)


def test_code_in_the_folder_is_not_run(copy, tmp_path):
    marker = tmp_path / "ran"
    classes = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    folder = copy(model_type="evil", auto_map=classes)
    (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w')\nclass Config: pass\n")
    assert "custom code" in refusal(folder)
    assert not marker.exists()


@pytest.mark.parametrize("content", [None, "{"])
def test_a_missing_or_broken_tokenizer(content, copy):
    folder = copy()
    for path in folder.glob("tokenizer*"):
        path.write_text(content) if content else path.unlink()
    assert "check that its files are whole" in refusal(folder)


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF" + b"\x07" * 100, b"MZ" * 50])
def test_files_that_are_no_gguf(content, tmp_path):
    pytest.importorskip("gguf")
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    assert "model.gguf" in refusal(path)


# -- GGUF -------------------------------------------------------------------------------------


def test_a_gguf_file_is_the_model_it_was_written_from(tmp_path):
    pytest.importorskip("gguf")
    original = tiny("llama")
    write_gguf(tmp_path / "tiny.gguf", original)
    lm = load(tmp_path / "tiny.gguf")
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        torch.testing.assert_close(
            lm.model(ids).logits, original.model(ids).logits, rtol=1e-4, atol=1e-4
        )
    assert lm.sites == original.sites
    assert lm.revision.startswith("sha256:")
    assert lm.query("a b", ["c"]).options


def test_products_in_bfloat16_follow_a_later_type() -> None:
    for dtype in (torch.bfloat16, torch.float64):
        lm = tiny("llama")
        multiply_in_bfloat16(lm)
        module = lm.module(lm.sites[0].name).to(dtype)
        given = torch.ones(2, module.weight.shape[1], dtype=dtype)
        assert module(given).dtype == dtype
