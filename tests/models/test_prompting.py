"""How a prompt becomes tokens: chat templates, special tokens, merges, and what does not fit."""

from __future__ import annotations

import pytest
import torch
import transformers as tf
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from families import tiny, tokenizer
from queries import plain
from snipbias.base.errors import SnipbiasError
from snipbias.models.language_model import LanguageModel, Query
from snipbias.models.loading import wrap

TEMPLATE = (
    "{{ bos_token }} {% for m in messages %}{{ m['role'] }}: {{ m['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


@torch.no_grad()
def test_a_pad_token_equal_to_the_end_token_is_still_read_in_options():
    """Masks come from lengths, not from ids: an option may hold the padding's id."""
    lm = tiny("llama")
    queries = [Query((0, 5, 0), ((0, 7, 0), (8,))), Query((5,) * 9, ((9,), (0, 0)))]
    torch.testing.assert_close(lm.score(queries).logprobs, plain(lm, queries), rtol=1e-4, atol=1e-4)


def with_template(family: str = "llama", **wrap_arguments) -> LanguageModel:
    chatty = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer().backend_tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        bos_token="<s>",
        unk_token="<unk>",
    )
    chatty.chat_template = TEMPLATE
    return wrap(tiny(family).model, chatty, **wrap_arguments)


def test_chat_template_is_used_where_there_is_one_and_can_be_turned_off():
    on, off = with_template(), with_template(chat=False)
    assert on.chat
    assert not off.chat
    assert on.prompt_text("hello") == "<s> user: hello assistant:"
    assert off.prompt_text("hello") == "hello"
    assert on.query("hello", ["a", "b"]).prompt != off.query("hello", ["a", "b"]).prompt
    assert not tiny("llama").chat


def test_chat_without_a_template_is_refused():
    with pytest.raises(SnipbiasError, match="no chat template"):
        wrap(tiny("llama").model, tokenizer(), chat=True)


def special(begin: str = "", end: str = "") -> PreTrainedTokenizerFast:
    backend = Tokenizer.from_str(tokenizer().backend_tokenizer.to_str())
    ids = {"<s>": 2, "</s>": 1}
    backend.post_processor = processors.TemplateProcessing(
        single=" ".join(filter(None, (begin, "$A", end))),
        special_tokens=[(t, ids[t]) for t in (begin, end) if t],
    )
    names = {"pad_token": "<pad>", "eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names)


def test_the_chat_templates_own_special_tokens_are_not_doubled():
    tokens = special(begin="<s>")
    tokens.chat_template = TEMPLATE
    lm = wrap(tiny("llama").model, tokens)
    assert lm.query("hi", ["a", "b"]).prompt.count(2) == 1
    assert wrap(lm.model, tokens, chat=False).query("hi", ["a", "b"]).prompt[0] == 2


def test_a_decoder_never_reads_an_end_token_between_prompt_and_option():
    lm = wrap(tiny("llama").model, special(begin="<s>", end="</s>"))
    query = lm.query("hi there", ["yes", "no"])
    bare = wrap(lm.model, special(begin="<s>")).query("hi there", ["yes", "no"])
    assert query == bare


def test_an_encoder_decoders_options_end_once():
    for tokens in (tokenizer(), special(end="</s>")):
        query = wrap(tiny("t5").model, tokens).query("hi", ["yes", "no no"])
        for option in query.options:
            assert option[-1] == 1
            assert option.count(1) == 1
    model = tiny("t5").model
    model.config.eos_token_id = None  # then the tokenizer's ends them
    assert wrap(model, tokenizer()).query("hi", ["yes"]).options[0][-1] == 1


def merging() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer that merges "." with a space after it: across the border."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [(".", "Ġ"), ("y", "e")]
    pieces = ["<pad>", "</s>", "<s>", *letters, *("".join(m) for m in merges)]
    backend = Tokenizer(models.BPE({p: i for i, p in enumerate(pieces)}, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="</s>")


def test_where_the_tokenizer_merges_across_the_border_the_prompt_stays_whole():
    tokens = merging()
    config = tf.LlamaConfig(
        vocab_size=300, hidden_size=16, intermediate_size=24, num_hidden_layers=1,
        num_attention_heads=4, max_position_embeddings=64,
    )  # fmt: skip
    lm = wrap(tf.LlamaForCausalLM(config), tokens)
    merged = lm.query("a.", ["yes", "no"])
    assert merged.prompt == tuple(tokens("a.")["input_ids"])
    assert tuple(tokens("a. yes")["input_ids"])[:2] != merged.prompt
    assert [tokens.decode(option) for option in merged.options] == [" yes", " no"]
    assert [tokens.decode(option) for option in lm.query("a", ["yes", "no"]).options] == [
        " yes",
        " no",
    ]


@pytest.mark.parametrize("family", ["bart", "gpt2", "opt", "llama"])
def test_a_prompt_longer_than_the_context_is_refused_and_the_longest_one_is_not(family):
    lm = tiny(family)
    options = ["a", "bb"]
    fits = "a " * (256 if lm.is_encoder_decoder else 254)
    lm.score([lm.query(fits, options)])
    with pytest.raises(SnipbiasError, match="does not fit") as refusal:
        lm.query(fits + "a a", options)
    assert "\n" not in str(refusal.value)


def test_t5_has_no_longest_prompt():
    lm = tiny("flan-t5")
    assert lm.context_length is None
    assert len(lm.query(" ".join("abcdefgh" * 100), ["a", "b"]).prompt) == 800


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_texts_that_become_nothing_are_refused(family):
    lm = tiny(family)
    with pytest.raises(SnipbiasError, match="into no token"):
        lm.query("", ["a", "b"])
    if family == "llama":
        with pytest.raises(SnipbiasError, match="into no token"):
            lm.query("a", ["  ", "b"])


def test_options_that_become_the_same_tokens_are_refused():
    """Their scores would always be equal, and a choice between them mean nothing."""
    tokens = tokenizer()
    tokens.backend_tokenizer.normalizer = normalizers.Lowercase()
    with pytest.raises(SnipbiasError, match=r"turns all the options .* into the same"):
        wrap(tiny("llama").model, tokens).query("a", ["The Man", "the man"])


def test_an_encoder_decoder_that_does_not_know_how_answers_start_is_refused():
    lm = tiny("t5")
    lm.model.config.decoder_start_token_id = lm.model.config.bos_token_id = None
    with pytest.raises(SnipbiasError, match="decoder_start_token_id"):
        lm.score([Query((5,), ((6,), (7,)))])
