"""Writes GGUF files of tiny models, as llama.cpp's converter would."""

from __future__ import annotations

from pathlib import Path

from snipbias.models.language_model import LanguageModel


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
        if stem.endswith(("q_proj", "k_proj")):
            halves = tensor.view(-1, 2, config.head_dim // 2, tensor.shape[1])
            tensor = halves.transpose(1, 2).reshape(tensor.shape)
        name, array = f"{names.get_name(stem)}.{part}", tensor.contiguous().numpy()
        if quantised and stem in sites:
            writer.add_tensor(name, gguf.quantize(array, quantised), raw_dtype=quantised)
        else:
            writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
