"""Which layers are sites, what their units do, and which models are refused."""

from __future__ import annotations

import re
from collections import Counter

import pytest
import torch
import transformers as tf
from torch import nn

from families import COMMON, ENCODER_DECODERS, FAMILIES, GENERIC, LLAMA_LIKE, T5_LIKE, tiny
from snipbias.base.errors import SnipbiasError
from snipbias.models.sites import Site, find_sites, unit_dim, width

ALL = [*FAMILIES, *GENERIC]


def on_meta(config: tf.PretrainedConfig) -> tf.PreTrainedModel:
    with torch.device("meta"):
        return tf.T5ForConditionalGeneration(config)


def flan_t5(d_model: int, d_ff: int, layers: int, heads: int) -> tf.T5Config:
    return tf.T5Config(
        d_model=d_model,
        d_ff=d_ff,
        num_layers=layers,
        num_heads=heads,
        d_kv=64,
        vocab_size=32128,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
    )


@pytest.mark.parametrize(
    ("config", "neurons"),
    [
        (flan_t5(768, 2048, 12, 12), 227_328),
        (flan_t5(1024, 2816, 24, 16), 614_400),
        (flan_t5(2048, 5120, 24, 32), 1_179_648),
    ],
    ids=["base", "large", "xl"],
)
def test_counts_of_flan_t5_are_the_published_ones(config, neurons):
    assert sum(site.width for site in find_sites(on_meta(config))) == neurons


def test_counts_by_hand_on_a_gated_t5():
    """A layer of width 16 and FFN 24: q, k, v, o; gate, up, down; cross-attention in decoders."""
    sites = tiny("flan-t5").sites
    self_attention, ffn = 4 * 16, 24 + 24 + 16
    per_encoder, per_decoder = self_attention + ffn, 2 * self_attention + ffn
    by_side = Counter()
    for site in sites:
        by_side[site.side] += site.width
    assert by_side == {"encoder": 2 * per_encoder, "decoder": 2 * per_decoder}


@pytest.mark.parametrize("family", ALL)
def test_every_site_is_a_linear_layer_whose_outputs_have_its_width(family):
    lm = tiny(family)
    widths, handles = {}, []

    def see(name):
        return lambda module, args, output: widths.__setitem__(name, output.shape[-1])

    for site in lm.sites:
        module = lm.module(site.name)
        assert module.weight.shape[unit_dim(module)] == width(module) == site.width
        handles.append(module.register_forward_hook(see(site.name)))
    ids = {"input_ids": torch.tensor([[3, 4, 5]])}
    with torch.no_grad():
        lm.model(**ids, **({"labels": ids["input_ids"]} if lm.is_encoder_decoder else {}))
    for handle in handles:
        handle.remove()
    assert widths == {site.name: site.width for site in lm.sites}


@pytest.mark.parametrize("family", ALL)
def test_no_linear_layer_of_a_text_block_is_missed_and_no_other_is_taken(family):
    model = tiny(family).model
    linear = {n for n, m in model.named_modules() if isinstance(m, (nn.Linear, tf.Conv1D))}
    sites = {site.name for site in find_sites(model)}
    outside = {n for n in linear - sites if "vision" not in n}
    assert all(re.search(r"lm_head|embed_out", name) for name in outside)
    assert not any(re.search(r"lm_head|embed|shared|relative|wte|vision", n) for n in sites)
    assert not any(isinstance(model.get_submodule(name), nn.Embedding) for name in sites)


@pytest.mark.parametrize("family", ALL)
def test_sides_layers_blocks_and_roles(family):
    lm = tiny(family)
    encoder_decoder = lm.is_encoder_decoder
    assert encoder_decoder == (
        family in (*ENCODER_DECODERS, "umt5", "t5gemma", "pegasus", "m2m100")
    )
    assert {site.side for site in lm.sites} == (
        {"encoder", "decoder"} if encoder_decoder else {"decoder"}
    )
    for side in {site.side for site in lm.sites}:
        here = [site for site in lm.sites if site.side == side]
        assert {site.layer for site in here} == {0, 1}
        cross = encoder_decoder and side == "decoder"
        for layer in (0, 1):
            roles = Counter()
            for site in here:
                if site.layer == layer:
                    roles.update({(site.block, site.role(unit)) for unit in range(site.width)})
            blocks = ("self-attention", "cross-attention") if cross else ("self-attention",)
            expected = {(block, role): 1 for block in blocks for role in "qkvo"}
            gated = {("ffn", "gate"): 1} if ("ffn", "gate") in roles else {}
            assert roles == {**expected, **gated, ("ffn", "up"): 1, ("ffn", "down"): 1}


def test_only_encoder_sites_and_cross_attention_inputs_see_the_prompt():
    seen = {site.name for site in tiny("t5").sites if site.sees_prompt}
    names = {site.name for site in tiny("t5").sites}
    assert seen == {
        n for n in names if n.startswith("encoder") or re.search(r"EncDecAttention\.[kv]$", n)
    }


def roles(lm, leaf: str) -> str:
    site = next(site for site in lm.sites if site.name.endswith(leaf))
    return "".join(site.role(unit)[0] for unit in range(site.width))


@pytest.mark.parametrize(
    ("family", "leaf", "expected"),
    [  # 4 heads of 4 units; 2 key-value heads where the family has fewer
        ("gpt2", "c_attn", "q" * 16 + "k" * 16 + "v" * 16),
        ("phi3", "qkv_proj", "q" * 16 + "k" * 8 + "v" * 8),
        ("phi3", "gate_up_proj", "g" * 24 + "u" * 24),
        ("glm4", "gate_up_proj", "g" * 24 + "u" * 24),
        ("gpt-neox", "query_key_value", "qqqqkkkkvvvv" * 4),
        ("bloom", "query_key_value", "qqqqkkkkvvvv" * 4),
        ("falcon-rw", "query_key_value", "qqqqkkkkvvvv" * 4),
        ("falcon-7b", "query_key_value", "q" * 16 + "k" * 4 + "v" * 4),
        ("falcon-40b", "query_key_value", ("q" * 8 + "k" * 4 + "v" * 4) * 2),
        ("starcoder", "c_attn", "q" * 16 + "k" * 4 + "v" * 4),
        ("santacoder-mha", "c_attn", "qqqqkkkkvvvv" * 4),
        ("codegen", "qkv_proj", "qqqqvvvvkkkk" * 4),
        ("mpt", "Wqkv", "q" * 16 + "k" * 16 + "v" * 16),
    ],
)
def test_roles_inside_fused_layers(family, leaf, expected):
    assert roles(tiny(family), leaf) == expected


@pytest.mark.parametrize(
    "family",
    ["gpt2", "phi3", "gpt-neox", "bloom", "falcon-7b", "falcon-40b", "santacoder-mha", "codegen"],
)
def test_values_of_the_first_token_are_what_it_attends_to(family):
    """One token attends to itself alone: queries and keys cannot matter, and values must."""
    lm = tiny(family)
    site = next(s for s in lm.sites if {"q", "k", "v"} <= {role for role, _ in s.layout})
    gradients = []

    def keep(module, args, output):
        output.requires_grad_(True)
        output.register_hook(gradients.append)

    handle = lm.module(site.name).register_forward_hook(keep)
    # Not a plain sum of logits: behind a normalisation that can be constant.
    lm.model(input_ids=torch.tensor([[5]])).logits[0, -1, 7].backward()
    handle.remove()
    matters = gradients[0].flatten().abs() > 1e-8
    assert matters.tolist() == [site.role(unit) == "v" for unit in range(site.width)]


def test_role_of_a_plain_layer_is_the_same_for_all_units():
    site = Site("x", 4, "decoder", 0, "ffn", (("up", 4),))
    assert [site.role(unit) for unit in range(4)] == ["up"] * 4


def test_there_is_no_linear_layer_of_another_name():
    lm = tiny("llama")
    for name in ("model.layers.7.mlp.up_proj", "model.layers.0", "model.embed_tokens", "nonsense"):
        with pytest.raises(SnipbiasError, match="use the model it came from"):
            lm.module(name)


def causal(config: type, **changes) -> tf.PreTrainedModel:
    return tf.AutoModelForCausalLM.from_config(config(**{**COMMON, **LLAMA_LIKE, **changes}))


def plain(config: type, **sizes) -> tf.PreTrainedModel:
    return tf.AutoModelForCausalLM.from_config(config(**COMMON, **sizes))


def peft_wrapped(**changes) -> tf.PreTrainedModel:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM", **changes)
    return peft.get_peft_model(tiny("llama").model, config)


def peft_ia3() -> tf.PreTrainedModel:
    peft = pytest.importorskip("peft")
    config = peft.IA3Config(
        target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]
    )
    return peft.get_peft_model(tiny("llama").model, config)


def peft_prompt_tuning() -> tf.PreTrainedModel:
    peft = pytest.importorskip("peft")
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    return peft.get_peft_model(tiny("llama").model, config)


GPT_LIKE = {"n_embd": 16, "n_layer": 2, "n_head": 4}
RECURRENT_SIZES = {"hidden_size": 16, "num_hidden_layers": 2}
REFUSED = {
    "mixtral": (lambda: causal(tf.MixtralConfig, num_local_experts=2), "mixture of experts"),
    "qwen3-moe": (
        lambda: causal(tf.Qwen3MoeConfig, num_experts=2, moe_intermediate_size=8),
        "mixture of experts",
    ),
    "llama4": (
        lambda: causal(tf.Llama4TextConfig, head_dim=4, num_local_experts=2),
        "mixture of experts",
    ),
    "switch": (
        lambda: tf.SwitchTransformersForConditionalGeneration(
            tf.SwitchTransformersConfig(**COMMON, **T5_LIKE, num_experts=2)
        ),
        "mixture of experts",
    ),
    "mamba": (lambda: plain(tf.MambaConfig, **RECURRENT_SIZES), "no linear layers|not known"),
    "rwkv": (
        lambda: plain(tf.RwkvConfig, **RECURRENT_SIZES, attention_hidden_size=16),
        "recurrent",
    ),
    "jamba": (
        lambda: causal(tf.JambaConfig, num_experts=1, attn_layer_period=2, attn_layer_offset=1),
        "recurrent",
    ),
    "attention-and-convolution": (
        lambda: causal(tf.Lfm2Config, layer_types=["conv", "full_attention"]),
        "no linear layers|not known",
    ),
    "gpt2-with-cross-attention": (
        lambda: plain(tf.GPT2Config, **GPT_LIKE, add_cross_attention=True),
        "no encoder to attend to",
    ),
    "bert-as-decoder": (lambda: causal(tf.BertConfig, is_decoder=True), "FFN is not known"),
    "ctrl": (lambda: plain(tf.CTRLConfig, **GPT_LIKE, dff=24), "FFN is not known"),
    "lora": (peft_wrapped, "merge_and_unload"),
    "ia3": (peft_ia3, "merge_and_unload"),
    "prompt-tuning": (peft_prompt_tuning, "merge_and_unload"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_models_without_such_neurons_are_refused_in_one_sentence(kind):
    build, why = REFUSED[kind]
    with pytest.raises(SnipbiasError, match=why) as refusal:
        find_sites(build())
    assert "\n" not in str(refusal.value)
    assert str(refusal.value).endswith(".")


def test_a_merged_adapter_is_no_obstacle():
    merged = peft_wrapped().merge_and_unload()
    assert find_sites(merged) == tiny("llama").sites
