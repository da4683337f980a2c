"""Tiny random models of every supported family, built in memory, with a word tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import transformers as tf
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from snipbias.models.language_model import LanguageModel

VOCABULARY = 64
COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": 2,
}
LLAMA_LIKE: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
T5_LIKE: dict[str, Any] = {
    "d_model": 16,
    "d_kv": 4,
    "d_ff": 24,
    "num_layers": 2,
    "num_heads": 4,
    "decoder_start_token_id": 0,
}


def _t5(kind: str, **changes: Any) -> PreTrainedModel:
    config = tf.T5Config(**COMMON, **T5_LIKE, feed_forward_proj=kind, **changes)
    return tf.T5ForConditionalGeneration(config)


def _mt5() -> PreTrainedModel:
    return tf.MT5ForConditionalGeneration(tf.MT5Config(**COMMON, **T5_LIKE))


def _bart() -> PreTrainedModel:
    config = tf.BartConfig(
        **COMMON,
        d_model=16,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=24,
        decoder_ffn_dim=24,
        max_position_embeddings=256,
        decoder_start_token_id=1,
        forced_eos_token_id=1,
    )
    return tf.BartForConditionalGeneration(config)


def _gpt2() -> PreTrainedModel:
    return tf.GPT2LMHeadModel(
        tf.GPT2Config(**COMMON, n_embd=16, n_layer=2, n_head=4, n_positions=256)
    )


def _opt() -> PreTrainedModel:
    config = tf.OPTConfig(
        **COMMON,
        hidden_size=16,
        ffn_dim=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=256,
        word_embed_proj_dim=16,
    )
    return tf.OPTForCausalLM(config)


def _neox() -> PreTrainedModel:
    config = tf.GPTNeoXConfig(
        **COMMON,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=256,
    )
    return tf.GPTNeoXForCausalLM(config)


def _causal(config: type, **changes: Any) -> PreTrainedModel:
    return tf.AutoModelForCausalLM.from_config(config(**{**COMMON, **LLAMA_LIKE, **changes}))


FAMILIES: dict[str, Callable[[], PreTrainedModel]] = {
    "t5": lambda: _t5("relu"),
    "flan-t5": lambda: _t5("gated-gelu", tie_word_embeddings=False),
    "mt5": _mt5,
    "bart": _bart,
    "gpt2": _gpt2,
    "opt": _opt,
    "gpt-neox": _neox,
    "llama": lambda: _causal(tf.LlamaConfig),
    "llama-bias": lambda: _causal(tf.LlamaConfig, attention_bias=True, mlp_bias=True),
    "mistral-sliding": lambda: _causal(tf.MistralConfig, sliding_window=8),
    "qwen2": lambda: _causal(tf.Qwen2Config),
    "qwen3": lambda: _causal(tf.Qwen3Config, head_dim=4),
    "gemma2": lambda: _causal(tf.Gemma2Config, head_dim=4, sliding_window=8),
    "gemma3": lambda: _causal(tf.Gemma3TextConfig, head_dim=4, sliding_window=8),
    "phi3": lambda: _causal(tf.Phi3Config),
}


def _bert_like(config: type, model: type, start: int = 0) -> PreTrainedModel:
    """Encoder-decoders that share BART's configuration keys."""
    sides = ("encoder", "decoder")
    sizes = {f"{side}_{key}": n for side in sides for key, n in _SIDE.items()}
    changes = {"d_model": 16, "max_position_embeddings": 256, "decoder_start_token_id": start}
    return model(config(**COMMON, **sizes, **changes))


_SIDE = {"layers": 2, "attention_heads": 4, "ffn_dim": 24}
_GPT_LIKE = {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 256}
_FALCON = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}


def _other(config: type, **sizes: Any) -> PreTrainedModel:
    return tf.AutoModelForCausalLM.from_config(config(**COMMON, **sizes))


def _t5gemma() -> PreTrainedModel:
    side = {**COMMON, **LLAMA_LIKE, "head_dim": 4, "sliding_window": 8}
    decoder = {**side, "cross_attention_hidden_size": 16}
    config = tf.T5GemmaConfig(encoder=side, decoder=decoder, vocab_size=VOCABULARY)
    return tf.T5GemmaForConditionalGeneration(config)


def _gemma3_multimodal() -> PreTrainedModel:
    vision = {"image_size": 28, "patch_size": 14, "num_attention_heads": 2, "hidden_size": 16}
    config = tf.Gemma3Config(
        text_config={**COMMON, **LLAMA_LIKE, "head_dim": 4, "sliding_window": 8},
        vision_config={**vision, "intermediate_size": 24, "num_hidden_layers": 1},
        mm_tokens_per_image=4,
    )
    return tf.Gemma3ForConditionalGeneration(config)


# Families that nothing here names: they are right because they look like one of those above.
GENERIC: dict[str, Callable[[], PreTrainedModel]] = {
    "umt5": lambda: tf.UMT5ForConditionalGeneration(tf.UMT5Config(**COMMON, **T5_LIKE)),
    "t5gemma": _t5gemma,
    "pegasus": lambda: _bert_like(tf.PegasusConfig, tf.PegasusForConditionalGeneration),
    "m2m100": lambda: _bert_like(tf.M2M100Config, tf.M2M100ForConditionalGeneration, start=1),
    "gemma3-multimodal": _gemma3_multimodal,
    "bloom": lambda: _other(tf.BloomConfig, hidden_size=16, n_layer=2, n_head=4),
    "falcon-7b": lambda: _other(tf.FalconConfig, **_FALCON, multi_query=True),
    "falcon-rw": lambda: _other(
        tf.FalconConfig, **_FALCON, multi_query=False, alibi=True, bias=True, parallel_attn=False
    ),
    "falcon-40b": lambda: _other(
        tf.FalconConfig, **_FALCON, new_decoder_architecture=True, num_kv_heads=2
    ),
    "starcoder": lambda: _other(tf.GPTBigCodeConfig, **_GPT_LIKE, multi_query=True),
    "santacoder-mha": lambda: _other(tf.GPTBigCodeConfig, **_GPT_LIKE, multi_query=False),
    "starcoder2": lambda: _causal(tf.Starcoder2Config),
    "codegen": lambda: _other(tf.CodeGenConfig, **_GPT_LIKE, rotary_dim=4),
    "gpt-j": lambda: _other(tf.GPTJConfig, **_GPT_LIKE, rotary_dim=4),
    "mpt": lambda: _other(tf.MptConfig, d_model=16, n_heads=4, n_layers=2, max_seq_len=256),
    "phi2": lambda: _causal(tf.PhiConfig),
    "olmo2": lambda: _causal(tf.Olmo2Config),
    "cohere2": lambda: _causal(tf.Cohere2Config, sliding_window=8),
    "granite": lambda: _causal(tf.GraniteConfig),
    "smollm3": lambda: _causal(tf.SmolLM3Config),
    "glm4": lambda: _causal(tf.Glm4Config, head_dim=4),
}
ENCODER_DECODERS = ("t5", "flan-t5", "mt5", "bart")


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer whose tokens are short pieces of words, so that options have several."""
    letters = "abcdefghijklmnopqrstuvwxyz.,:?-"
    pieces = ["<pad>", "</s>", "<s>", "<unk>", *letters, *("##" + c for c in letters)]
    vocabulary = {piece: i for i, piece in enumerate(pieces[:VOCABULARY])}
    backend = Tokenizer(
        models.WordPiece(vocabulary, unk_token="<unk>", max_input_chars_per_word=100)  # type: ignore[arg-type]
    )
    backend.normalizer = normalizers.Lowercase()  # type: ignore[assignment]
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        eos_token="</s>",
        bos_token="<s>",
        unk_token="<unk>",
    )


def tiny(family: str, seed: int = 0) -> LanguageModel:
    """A random model, with weights large enough that its answers differ."""
    torch.manual_seed(seed)
    model = (FAMILIES | GENERIC)[family]().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:  # biases and norms start at 0 or 1 and would test nothing
                parameter.add_(0.3 * torch.randn_like(parameter))
    return LanguageModel(model, tokenizer(), name=family)


def one_neuron() -> LanguageModel:
    """A model whose answers are known on paper.

    All weights are 0 but a bias b = 0.5 of one unit of the last FFN, which one row of the head
    reads with 2: every token has logit 0 but token 4, which has 2 b = 1.
    """
    lm = tiny("llama-bias")
    with torch.no_grad():
        for parameter in lm.model.parameters():
            parameter.zero_()
        lm.model.model.layers[1].mlp.down_proj.bias[0] = 0.5
        lm.model.model.norm = torch.nn.Identity()
        lm.model.lm_head.weight[4, 0] = 2.0
    return lm
