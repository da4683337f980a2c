"""Every language model class of the installed transformers is right, or refused in a sentence."""

from __future__ import annotations

import pytest
import torch
import transformers as tf

import tiny
from families import COMMON, LLAMA_LIKE
from snipbias.base.errors import SnipbiasError
from snipbias.method.activations import magnitude
from snipbias.method.attribute import attribute
from snipbias.method.equations import Method
from snipbias.method.learned.anchors import predictions
from snipbias.method.learned.below import Below
from snipbias.method.learned.factors import upper_sites
from snipbias.models.language_model import Query
from snipbias.models.loading import wrap
from snipbias.models.sites import find_sites
from sweep import TASK, outcome, sweep, tokenizer, written

METHODS = [Method.v1(target="share"), Method.v2(target="logprob"), Method.v1(tokens="last")]


@pytest.mark.slow
def test_every_class_is_right_or_refused_and_the_page_says_which():
    found = sweep()
    assert not {name: one.why for name, one in found.items() if one.verdict == "wrong"}
    version, page = written()
    here = {name: one.verdict for name, one in found.items()}
    if version == tf.__version__:
        assert here == page
    lost = {name for name, verdict in page.items() if verdict == "right"} - {
        name for name, verdict in here.items() if verdict == "right"
    }
    assert not lost & here.keys()


def test_what_runs_other_than_once_per_token_is_refused():
    refused = {
        "HrmTextForCausalLM": "6 times per pass",
        "PegasusXForConditionalGeneration": "2 times per pass",
        "T5Gemma2ForConditionalGeneration": "2 times per pass",
        "FSMTForConditionalGeneration": "(16, 2) positions while it reads (2, 16) tokens",
        "MusicgenMelodyForCausalLM": "cannot read a prompt of plain tokens",
    }
    for name, why in refused.items():
        one = outcome(name, tiny.classes()[name])
        assert one.verdict == "refused", name
        assert why in one.why
        assert len(one.why) < 400


def test_the_attention_of_long_t5_decides_whether_it_is_supported():
    """Its local attention reads each token once, its transient-global one projects it twice."""
    config = tiny.config_of("longt5", "LongT5ForConditionalGeneration")
    wrap(tf.LongT5ForConditionalGeneration(config), tokenizer())
    config.encoder_attention_type = "transient-global"
    with pytest.raises(SnipbiasError, match="2 times per pass"):
        wrap(tf.LongT5ForConditionalGeneration(config), tokenizer())


def without_mask(stack):
    forward = stack.forward
    stack.forward = lambda *args, attention_mask=None, **rest: forward(*args, **rest)


def add_sum(module, args, output):
    """Every position gets what all hold, padding too."""
    output.last_hidden_state += output.last_hidden_state.sum(1, keepdim=True)


def test_a_model_that_reads_padding_is_refused_or_read_in_whole_sequences():
    """Padding at the end, where a decoder does not look; an encoder looks everywhere."""
    decoder = tiny.build("GPT2LMHeadModel", "gpt2")
    assert not wrap(decoder, tokenizer()).reads_whole
    without_mask(decoder.transformer)
    assert wrap(decoder, tokenizer()).reads_whole
    other = tiny.build("BartForConditionalGeneration", "bart")
    other.model.encoder.register_forward_hook(add_sum)
    with pytest.raises(SnipbiasError, match="another score in a padded batch"):
        wrap(other, tokenizer())


def test_whole_sequences_give_the_scores_that_a_cache_gives():
    lm = wrap(tiny.build("LlamaForCausalLM", "llama"), tokenizer(), chat=False)
    ways = [
        lambda: magnitude(lm, TASK),
        *(lambda m=m: attribute(lm, TASK, m, batch_size=4) for m in METHODS),
    ]
    cached = [way().flat for way in ways]
    lm.reads_whole = True
    for way, expected in zip(ways, cached, strict=True):
        found = way().flat
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6 * expected.abs().max())


def test_linear_attention_and_latent_attention_have_roles():
    layouts = {}
    for name in ("Qwen3_5ForCausalLM", "MiniCPM3ForCausalLM"):
        for site in find_sites(tiny.build(name, tiny.classes()[name])):
            layouts[site.name.rsplit(".", 1)[-1]] = site.layout
    assert layouts["in_proj_qkv"] == (("q", 16), ("k", 16), ("v", 16))
    assert layouts["in_proj_z"] == (("gate", 16),)
    assert layouts["kv_a_proj_with_mqa"] == (("kv", 8), ("k", 4))
    assert layouts["kv_b_proj"] == (("k", 4), ("v", 4))  # head by head
    assert not {"in_proj_a", "in_proj_b"} & layouts.keys()


def test_longrope_is_read_up_to_its_switch():
    """Beyond its original context a row would change the positions of the others in its batch."""
    factors = {"short_factor": [1.0, 1.0], "long_factor": [4.0, 8.0]}
    config = tf.Phi3Config(
        **COMMON,
        **LLAMA_LIKE,
        original_max_position_embeddings=32,
        rope_parameters={"rope_type": "longrope", "rope_theta": 1e4, **factors},
    )
    lm = wrap(tf.Phi3ForCausalLM(config), tokenizer())
    assert lm.context_length == 32
    with pytest.raises(SnipbiasError, match="context of 32"):
        lm.query("a b " * 20, ["c", "d"])


@torch.no_grad()
def test_layers_that_share_keys_run_again_below_those_that_are_trained():
    query, places = Query((5, 6, 7), ((8, 9, 10),)), torch.arange(3)
    for name in ("Gemma3nForCausalLM", "Gemma4ForCausalLM", "LlamaForCausalLM"):
        lm = wrap(tiny.build(name, tiny.classes()[name]), tokenizer(), chat=False)
        below = Below(lm, upper_sites(lm, 0.5))
        for _ in range(2):
            with below.of("text"):
                found = predictions(lm, query, places)
            assert torch.equal(found, predictions(lm, query, places)), name


@torch.no_grad()
def test_layers_that_share_keys_run_for_every_token_of_the_prompt():
    """Gemma 4 skips all but the last token there, if asked for its logits by a number."""
    for name in ("Gemma3nForCausalLM", "Gemma4ForCausalLM"):
        lm, read = wrap(tiny.build(name, tiny.classes()[name]), tokenizer(), chat=False), []
        last = lm.module(lm.sites[-1].name)
        last.register_forward_hook(lambda _, __, output, read=read: read.append(output.shape[-2]))
        lm.score([Query((5, 6, 7), ((8, 9), (10, 11)))])
        assert read[0] == 3, name


@torch.no_grad()
def test_texts_start_with_the_token_that_options_start_with():
    """The classes of transformers would start labels with their last token, the language."""
    query = Query((5, 6, 7), ((8, 9, 10),))
    for name in ("MBartForConditionalGeneration", "PLBartForConditionalGeneration"):
        lm = wrap(tiny.build(name, tiny.classes()[name]), tokenizer(), chat=False)
        logprobs, tokens = lm.answer_logprobs(query)
        alone = lm.score([query]).logprobs[0, 0]
        torch.testing.assert_close(logprobs.gather(1, tokens[:, None]).sum(), alone)
        torch.testing.assert_close(predictions(lm, query, torch.arange(3)), logprobs)


def test_an_answer_that_starts_with_its_language_needs_to_be_told_it():
    model = tiny.build("MBartForConditionalGeneration", "mbart")
    model.config.decoder_start_token_id = None
    with pytest.raises(SnipbiasError, match="does not say which token its answers start with"):
        wrap(model, tokenizer())
