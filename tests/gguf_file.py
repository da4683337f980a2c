"""Writes GGUF files of tiny models, as llama.cpp's converter would."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import transformers as tf
from safetensors.torch import load_file
from torch import Tensor

from families import COMMON, LLAMA_LIKE, tokenizer
from snipbias.models.language_model import LanguageModel


def wide_llama() -> LanguageModel:
    """A tiny Llama whose rows are as long as a block of the usual types."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64}
    config = tf.LlamaConfig(**{**COMMON, **LLAMA_LIKE, **sizes})
    return LanguageModel(tf.LlamaForCausalLM(config).eval(), tokenizer(), name="wide")


def write_gguf(path: Path, lm: LanguageModel, kind: str = "F32") -> None:
    """A tiny Llama as llama.cpp writes it: with q and k rows in the order of its own rotation.

    `kind` names the type that the weights of the sites are quantised to; the rest stays float32.
    """
    import gguf

    config, tensors = lm.model.config, lm.model.state_dict()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    letters = [chr(ord("!") + i) for i in range(config.vocab_size - 5)]
    writer.add_token_list(["<pad>", "</s>", "<s>", *letters, "Ġ", '!"'])
    writer.add_token_types([3, 3, 3, *[1] * (config.vocab_size - 3)])
    writer.add_token_merges(['! "'])
    writer.add_bos_token_id(2)
    writer.add_eos_token_id(1)
    writer.add_pad_token_id(0)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    sites = {site.name for site in lm.sites}
    quantised = None if kind == "F32" else gguf.GGMLQuantizationType[kind]
    for name, tensor in tensors.items():
        stem, part = name.rsplit(".", 1)
        tensor = _rotated(stem, tensor, config.head_dim)
        name, array = f"{names.get_name(stem)}.{part}", tensor.contiguous().numpy()
        if quantised and stem in sites:
            writer.add_tensor(name, gguf.quantize(array, quantised), raw_dtype=quantised)
        else:
            writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_lora_gguf(path: Path, lm: LanguageModel, folder: Path) -> None:
    """A PEFT LoRA adapter of one rank as llama.cpp's converter writes it."""
    import gguf

    config = lm.model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string("adapter.type", "lora")
    alpha = json.loads((folder / "adapter_config.json").read_text())["lora_alpha"]
    writer.add_float32("adapter.lora.alpha", alpha)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, tensor in load_file(folder / "adapter_model.safetensors").items():
        site, part = name.removeprefix("base_model.model.").rsplit(".lora_", 1)
        if part == "B.weight":  # its rows are outputs
            tensor = _rotated(site, tensor, config.head_dim)
        half = part[0].lower()
        writer.add_tensor(f"{names.get_name(site)}.weight.lora_{half}", tensor.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _rotated(site: str, tensor: Tensor, head_dim: int) -> Tensor:
    """With q's and k's outputs in the order of llama.cpp's rotation."""
    if not site.endswith(("q_proj", "k_proj")):
        return tensor
    halves = tensor.view(-1, 2, head_dim // 2, tensor.shape[1])
    return halves.transpose(1, 2).reshape(tensor.shape)
