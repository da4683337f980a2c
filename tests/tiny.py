"""A tiny random model of any language model class of transformers, by rules over its fields."""

from __future__ import annotations

import re
from typing import Any

import torch
import transformers as tf
from transformers import PretrainedConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
)

# What a field's name says about its size; the first rule that fits counts.
RULES: tuple[tuple[str, int], ...] = (
    (r"^(pad|eos|bos|sep|cls|unk|mask)_token_id$|^(pad|eos|bos)_index$", -1),
    (r"vocab_size|^n_words$|^ntoken$", 64),
    (r"token_(id|index)$|_token$", 3),
    (r"layers_block_type|_(every|interval|period|freq|step|pattern)|^first_k|^moe_layer_start", 1),
    (r"max_position|n_positions|n_ctx|max_seq|_positions$|max_(source|target)", 256),
    (r"sliding_window|window_size|attention_chunk", 8),
    (r"qk_rope_head_dim|qk_nope_head_dim|rotary_dim|partial_rotary", 4),
    (r"(key_value|kv)_heads|num_global_key", 2),
    (r"heads$|^n_head$|num_head$|n_kv", 4),
    (r"head_dim|^d_kv$|d_head|_head_size$|^key_size|kv_channels|attention_head_size", 4),
    (r"lora_rank|_rank$", 8),
    (r"layers$|^n_layer$|num_blocks$|_depth$|^depth$|^num_hidden|n_layers", 2),
    (r"n_group|topk_group|n_groups", 1),
    (r"experts_per_tok|top_?k|num_selected|moe_topk|num_shared|n_shared", 1),
    (r"expert_(capacity|size)", 8),
    (r"experts|num_local", 2),
    (r"ffn|intermediate|inner|d_ff|mlp|feed_forward", 24),
    (r"hidden_size|d_model|n_embd|embed_dim|hidden_dim|embedding_size|_proj_dim|emb_dim|^dim$", 16),
    (r"hidden|embed|width|dim$|_size$", 16),
)
IDS = {"pad": 0, "eos": 1, "bos": 2}
KEPT = re.compile(
    r"patch|image_size|kernel|stride|conv|group_size|block_size|expand|type_vocab|chunk|state"
)


def shrunk(values: dict[str, Any]) -> dict[str, Any]:
    """A configuration's fields with every size made tiny."""
    return {key: _shrunk(key, value) for key, value in values.items() if key not in DERIVED}


# What stays large in spite of the rules; both are refused by their layers alone.
LARGE = ("BltForCausalLM", "VibeVoiceAsrForConditionalGeneration")
# Lists with an entry per layer are made anew by the configuration.
DERIVED = (
    "layer_types",
    "mlp_layer_types",
    "attention_layers",
    "layers_block_type",
    "per_layer_config",
    "no_rope_layers",
    "moe_layers",
    "transformers_version",
)


def _shrunk(key: str, value: Any) -> Any:
    if isinstance(value, dict):
        return value if "rope" in key else shrunk(value)
    if isinstance(value, bool) or not isinstance(value, int | None):
        return value
    if (name := key.split("_")[0]) in IDS and re.fullmatch(r"\w+_token_id|\w+_index", key):
        return IDS[name]
    if value is None or KEPT.search(key):
        return value
    return next(
        (min(size, value) if value > 0 else value for rule, size in RULES if re.search(rule, key)),
        value,
    )


LATENT = {"num_key_value_heads": 4, "head_dim": 4, "qk_rope_head_dim": 4, "qk_head_dim": 8}
MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 8, "mamba_n_groups": 1}
FULL = {"rope_type": "default", "rope_theta": 1e4}
ROPE = {"full_attention": FULL, "sliding_attention": FULL}
SHARED = {"num_hidden_layers": 4, "num_kv_shared_layers": 2}  # layers 2 and 3 have no keys
SHARED["layer_types"] = ["sliding_attention", "full_attention"] * 2
GEMMA_3N = {**SHARED, "intermediate_size": 24, "activation_sparsity_pattern": [0.5, 0.0, 0.0, 0.0]}
# What the rules cannot know, by class.
CHANGES: dict[str, dict[str, Any]] = {
    "BambaForCausalLM": MAMBA,
    "FalconH1ForCausalLM": {**MAMBA, "mamba_d_ssm": 32},
    "GraniteMoeHybridForCausalLM": MAMBA,
    "DbrxForCausalLM": {"attn_config": {"rope_theta": 1e4}},
    "Dots1ForCausalLM": {"n_routed_experts": 2, "n_shared_experts": 1, "num_experts_per_tok": 1},
    "CohereCompassForCausalLM": {"rope_parameters": ROPE},
    "Dots3NoteForCausalLM": {"num_key_value_heads": 4},
    "Gemma3nForCausalLM": GEMMA_3N,
    "Gemma3nForConditionalGeneration": {"text_config": GEMMA_3N},
    "Gemma4ForCausalLM": SHARED,
    "Gemma4ForConditionalGeneration": {"text_config": SHARED},
    "T5ForConditionalGeneration": {"decoder_start_token_id": 0},
    "LongT5ForConditionalGeneration": {"decoder_start_token_id": 0},
    "MBartForConditionalGeneration": {"decoder_start_token_id": 1},
    "PLBartForConditionalGeneration": {"decoder_start_token_id": 1},
    "GPTNeoForCausalLM": {"attention_types": [[["global", "local"], 1]]},
    "HunYuanDenseV1ForCausalLM": {"head_dim": 4},
    "HunYuanMoEV1ForCausalLM": {"head_dim": 4},
    "JambaForCausalLM": {"expert_layer_period": 2, "attn_layer_period": 2, "attn_layer_offset": 1},
    "LagunaForCausalLM": {"num_attention_heads_per_layer": [4, 4]},
    "Lfm2MoeForCausalLM": {"layer_types": ["full_attention", "conv"]},
    "Mamba2ForCausalLM": {"num_heads": 4, "head_dim": 8},
    "MinistralForCausalLM": {"head_dim": 4},
    "MiniCPM3ForCausalLM": LATENT,
    "YoutuForCausalLM": LATENT,
    "NemotronForCausalLM": {"head_dim": 4, "num_key_value_heads": 2},
    "Qwen3_5ForCausalLM": {"layer_types": ["linear_attention", "full_attention"]},
    "ReformerModelWithLMHead": {"is_decoder": True, "axial_pos_embds_dim": [8, 8]},
    "ZambaForCausalLM": {"num_hidden_layers": 4, "layers_block_type": ["mamba", "hybrid"] * 2},
    "Zamba2ForCausalLM": {"layers_block_type": ["mamba", "hybrid"]},
}


def classes() -> dict[str, str]:
    """Every class -> the model type it is registered under first."""
    found: dict[str, str] = {}
    for names in (MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES):
        for model_type, name in names.items():
            found.setdefault(name, model_type)
    return found


def config_of(model_type: str, name: str) -> PretrainedConfig:
    """The configuration class that the model itself names, or else the one it is registered by."""
    config = getattr(tf, name).config_class or CONFIG_MAPPING[model_type]
    changes = CHANGES.get(name, {})
    try:
        given = shrunk(config().to_dict())
    except ValueError:  # its own defaults do not fit together
        given = {}
    return config(**_merged(given, changes))


def _merged(given: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    out = dict(given)
    for key, value in changes.items():
        nested = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = _merged(out[key], value) if nested else value
    return out


def build(name: str, model_type: str) -> PreTrainedModel:
    """A random model, its weights large enough that its answers differ."""
    torch.manual_seed(0)
    with torch.device("meta" if name in LARGE else "cpu"):
        model = getattr(tf, name)(config_of(model_type, name)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim < 2:
                parameter.add_(0.3 * torch.randn_like(parameter))
            elif not parameter.is_meta and parameter.abs().max() < 0.3:
                parameter.mul_(5)  # attention would hardly matter
    return model
