"""Models as they come from training, pruning or quantising: right, or refused in one sentence."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.nn.utils import parametrizations, prune
from transformers import CohereConfig, CohereForCausalLM, OlmoConfig, OlmoForCausalLM
from transformers.integrations.bitnet import AutoBitLinear

import snipbias as sb
from families import tiny, tokenizer

ROWS = [
    {"question": "who?", "options": ["man", "the boy", "no one"], "gold": 2, "template": f"t{i}"}
    for i in range(2)
]
HOOKS: dict[str, Callable[[nn.Module], object]] = {
    "checkpointing": lambda m: m.gradient_checkpointing_enable(),  # type: ignore[operator]
    "inputs": lambda m: m.enable_input_require_grads(),  # type: ignore[operator]
}


def test_scores_do_not_depend_on_what_makes_inputs_require_gradients() -> None:
    task = sb.task(ROWS, instructions=["say it."])
    for family in ("llama", "gpt2", "flan-t5", "bart"):
        want = sb.attribute(sb.wrap(tiny(family).model, tokenizer()), task).flat
        for name, change in HOOKS.items():
            model = tiny(family).model
            change(model.train())
            found = sb.attribute(sb.wrap(model, tokenizer()), task).flat
            torch.testing.assert_close(found, want, rtol=1e-4, atol=1e-9, msg=f"{family} {name}")
            assert model.training
            assert name != "checkpointing" or model.is_gradient_checkpointing


def test_models_that_would_give_wrong_numbers_are_refused() -> None:
    class Packed(nn.Module):
        def __init__(self, layer: nn.Linear) -> None:
            super().__init__()
            self.register_buffer("codes", layer.weight.to(torch.int8))

    packed, wrapped, compiled = (tiny("llama").model for _ in range(3))
    layers = compiled.model.layers
    layers[0] = torch.compile(layers[0], backend="eager")  # type: ignore[assignment]
    packed.model.layers[1].mlp.up_proj = Packed(packed.model.layers[1].mlp.up_proj)
    wrapped.model.layers[0] = checkpoint_wrapper(wrapped.model.layers[0])
    for model, words in (
        (tiny("llama").model.model, "no language-model head"),
        (tiny("t5").model.get_encoder(), "no language-model head"),
        (packed, "not a plain linear"),
        (wrapped, "activation checkpointing"),
        (compiled, r"in place instead \(model.layers.0.compile\(\)\)"),
    ):
        with pytest.raises(sb.SnipbiasError, match=words):
            sb.wrap(model, tokenizer())


def test_what_is_no_model_or_no_tokenizer_is_refused() -> None:
    for model, tokens in ((tokenizer(), tiny("llama").model), (None, tokenizer())):
        with pytest.raises(sb.SnipbiasError, match="give a model of transformers and then its"):
            sb.wrap(model, tokens)  # type: ignore[arg-type]
    with pytest.raises(sb.SnipbiasError, match="LlamaForCausalLM with a str: give a model"):
        sb.wrap(tiny("llama").model, "gpt2")  # type: ignore[arg-type]


def test_a_norm_with_weights_for_every_head_is_no_projection() -> None:
    torch.manual_seed(0)
    sizes = dict.fromkeys(("hidden_size", "intermediate_size", "vocab_size"), 64)
    config = CohereConfig(**sizes, num_hidden_layers=1, num_attention_heads=4, use_qk_norm=True)
    lm = sb.wrap(CohereForCausalLM(config).eval(), tokenizer())
    assert "".join(site.role(0) for site in lm.sites[:4]) == "qkvo"


def test_a_model_that_clamps_in_place_is_attributed() -> None:
    """OLMo writes into what its first layers put out; where nothing is clamped, nothing changes."""
    torch.manual_seed(0)
    sizes = dict.fromkeys(("hidden_size", "intermediate_size", "vocab_size"), 64)
    config = OlmoConfig(**sizes, num_hidden_layers=1, num_attention_heads=4)
    lm, task = sb.wrap(OlmoForCausalLM(config).eval(), tokenizer()), sb.task(ROWS)
    want = sb.attribute(lm, task).flat
    lm.model.config.clip_qkv = 1e3
    torch.testing.assert_close(sb.attribute(lm, task).flat, want)


def test_the_default_type_of_tensors_does_not_matter() -> None:
    task, lm = sb.task(ROWS, instructions=["say it."]), tiny("llama")
    want = sb.attribute(lm, task).flat
    torch.set_default_dtype(torch.bfloat16)
    try:
        torch.testing.assert_close(sb.attribute(lm, task).flat, want)
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_token_that_the_model_does_not_know_is_named() -> None:
    lm = tiny("llama")
    lm.model.resize_token_embeddings(40)
    with pytest.raises(sb.SnipbiasError, match="has 40 embeddings"):
        lm.query("zebra", ["a"])


def _plus_one(layer: nn.Module) -> None:
    plain = layer.forward
    layer.forward = lambda x: plain(x) + 1  # type: ignore[method-assign]


def _quantised_as_it_runs(layer: nn.Module) -> None:
    """BitNet's linear layers share one scale, which changes with every row."""
    layer.forward = AutoBitLinear(16, 16, online_quant=True).forward  # type: ignore[method-assign]


def test_weights_that_are_computed_are_not_baked() -> None:
    for change in (
        _plus_one,
        lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
        parametrizations.weight_norm,
        parametrizations.orthogonal,
        _quantised_as_it_runs,
    ):
        lm = tiny("llama")
        site = lm.sites[-1].name
        change(lm.module(site))
        edit = sb.NeuronEdit({site: {0: 0.0}}, sb.random_edit(lm, 1, seed=0).model)
        with pytest.raises(sb.SnipbiasError, match="masked, re-parametrised"):
            edit.bake(lm)
