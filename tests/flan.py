"""A random model of Flan-T5's kind: T5's tokenizer class, gated GELU, an untied head."""

from __future__ import annotations

from functools import cache

import torch
import transformers as tf

from snipbias.models.language_model import LanguageModel
from snipbias.models.loading import wrap

PAD, END, UNKNOWN = 0, 1, 2
WORDS = """Answer the question . Context : The old man and boy met who did it Question Options -
nobody can tell of them ? er s ed"""
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,:?-'"


@cache
def sentencepiece_like() -> tf.PreTrainedTokenizerBase:
    """Flan-T5's layout: <pad> 0, </s> 1, <unk> 2, pieces with a mark for spaces, sentinels."""
    pieces = [f"▁{word}" for word in dict.fromkeys(WORDS.split())] + ["▁", *LETTERS, "er", "ed"]
    scores = {piece: -2.0 - 0.01 * i for i, piece in enumerate(dict.fromkeys(pieces))}
    scores |= dict.fromkeys(LETTERS, -9.0)
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    sentinels = [(f"<extra_id_{i}>", 0.0) for i in (2, 1, 0)]
    return tf.T5TokenizerFast(vocab=[*special, *scores.items(), *sentinels], extra_ids=3)


def flan_t5(scale: float = 1.0) -> LanguageModel:
    """A random model of Flan-T5's configuration but for its sizes; scale > 1: a wild gated FFN."""
    torch.manual_seed(0)
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
    config = tf.T5Config(
        vocab_size=128, feed_forward_proj="gated-gelu", tie_word_embeddings=False,
        decoder_start_token_id=PAD, pad_token_id=PAD, eos_token_id=END, dropout_rate=0.1,
        initializer_factor=2.0, **sizes,
    )  # fmt: skip
    model = tf.T5ForConditionalGeneration(config).eval()
    # transformers 5 ties the head of a new T5 whatever it is told, and leaves that of a checkpoint
    # untied where it holds two different matrices, as Flan-T5's do.
    model.lm_head.weight = torch.nn.Parameter(torch.randn(128, 32))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if ".wi_" in name:
                weight.mul_(scale)
    return wrap(model, sentencepiece_like(), name="random Flan-T5")
