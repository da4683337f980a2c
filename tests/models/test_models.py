"""Option log-probabilities against the plain model's, whatever stands beside them in a batch."""

from __future__ import annotations

import random

import pytest
import torch
import transformers as tf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast
from transformers.activations import NewGELUActivation

import reference
from families import ENCODER_DECODERS, FAMILIES, GENERIC, tiny, tokenizer
from snipbias.base.errors import SnipbiasError
from snipbias.models import scoring as passes
from snipbias.models.language_model import LanguageModel, Query
from snipbias.models.loading import wrap

DECODERS = [family for family in FAMILIES if family not in ENCODER_DECODERS]
TEMPLATE = (
    "{{ bos_token }} {% for m in messages %}{{ m['role'] }}: {{ m['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def make_queries(seed: int = 0) -> list[Query]:
    """Prompts of 1 to 60 tokens with 2 to 5 options of 1 to 6 tokens, ids other than special."""
    rng = random.Random(seed)

    def ids(length: int) -> tuple[int, ...]:
        return tuple(rng.randrange(4, 64) for _ in range(length))

    lengths = [(60, [1, 6]), (3, [6, 1, 2]), (17, [1, 1, 1, 1, 1]), (1, [4, 5]), (30, [1, 6, 2, 3])]
    return [Query(ids(n), tuple(ids(k) for k in options)) for n, options in lengths]


def plain(lm: LanguageModel, queries: list[Query]) -> torch.Tensor:
    """The plain model's log-probabilities, one option at a time; -inf where there is none."""
    most = max(len(query.options) for query in queries)
    rows = torch.full((len(queries), most), -torch.inf)
    for b, query in enumerate(queries):
        for c, option in enumerate(query.options):
            rows[b, c] = reference.option_logprob(lm, query, option)
    return rows


@pytest.mark.parametrize("family", [*FAMILIES, *GENERIC])
@torch.no_grad()
def test_log_probabilities_are_the_plain_models(family):
    lm, queries = tiny(family), make_queries()
    expected = plain(lm, queries)
    assert expected[torch.isfinite(expected)].std() > 0.1  # the options do differ
    torch.testing.assert_close(lm.score(queries).logprobs, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_nothing_depends_on_the_batch_or_its_order(family):
    lm, queries = tiny(family), make_queries()
    together = lm.score(queries).logprobs
    order = [3, 0, 4, 2, 1]
    shuffled = lm.score([queries[i] for i in order]).logprobs
    torch.testing.assert_close(shuffled, together[order], rtol=1e-4, atol=1e-4)
    for b, query in enumerate(queries):
        alone = lm.score([query]).logprobs[0]
        torch.testing.assert_close(together[b, : len(alone)], alone, rtol=1e-4, atol=1e-4)


STARTS_SHARED = ["gpt-neox", "llama", "llama-bias", "qwen2", "qwen3", "phi3"]


def with_a_common_start(queries: list[Query], length: int) -> list[Query]:
    start = tuple(random.Random(1).randrange(4, 64) for _ in range(length))
    return [Query(start + query.prompt, query.options) for query in queries]


@pytest.mark.parametrize("family", [*FAMILIES, *GENERIC])
@torch.no_grad()
def test_a_common_start_is_read_once_where_the_model_allows_it(family, monkeypatch):
    monkeypatch.setattr(passes, "reads_trees", lambda lm: False)  # as on a GPU
    lm, queries = tiny(family), with_a_common_start(make_queries(), passes.WORTH_SHARING)
    tokens = []
    embeddings = lm.model.get_input_embeddings()
    handle = embeddings.register_forward_hook(lambda m, args, out: tokens.append(args[0].numel()))
    shared = lm.score(queries, share_start=True).logprobs
    handle.remove()
    torch.testing.assert_close(shared, lm.score(queries).logprobs, rtol=1e-6, atol=1e-5)
    longest = max(len(query.prompt) for query in queries)
    if family in STARTS_SHARED:
        assert tokens[:2] == [
            passes.WORTH_SHARING,
            len(queries) * (longest - passes.WORTH_SHARING),
        ]
    elif family in FAMILIES and tokens:
        assert tokens[0] == len(queries) * longest


@torch.no_grad()
def test_each_prompt_keeps_a_token_of_its_own():
    lm, (first, *others) = tiny("llama"), with_a_common_start(make_queries(), 12)
    queries = [Query(first.prompt[:12], first.options), *others, Query(first.prompt[:12], ((5,),))]
    together = lm.score(queries, share_start=True).logprobs
    torch.testing.assert_close(together, plain(lm, queries), rtol=1e-4, atol=1e-4)
    same = [queries[0]] * 3
    assert lm.score(same, share_start=True).logprobs.std(0).max() < 1e-5


def test_alike_prompts_stand_together():
    queries = [Query(start * 20 + (7,) * n, ((5,),)) for n in (3, 1, 2) for start in ((5,), (6,))]
    llama = sorted(queries, key=tiny("llama").alike())
    assert [(q.prompt[0], len(q.prompt)) for q in llama] == [
        (5, 21), (5, 22), (5, 23), (6, 21), (6, 22), (6, 23)
    ]  # fmt: skip
    lengths = [len(q.prompt) for q in sorted(queries, key=tiny("flan-t5").alike())]
    assert lengths == [21, 21, 22, 22, 23, 23]


@pytest.mark.parametrize("family", ["flan-t5", "bart", "gpt2", "llama", "mistral-sliding"])
@torch.no_grad()
def test_options_of_one_token_each_need_no_second_pass(family):
    lm = tiny(family)
    queries = [Query((5, 6, 7), ((8,), (9,))), Query((5,), ((8,), (9,), (10,)))]
    scored = lm.score(queries)
    torch.testing.assert_close(scored.logprobs, plain(lm, queries), rtol=1e-4, atol=1e-4)
    assert scored.options_mask.shape == (5, 0)


@pytest.mark.parametrize("family", ["flan-t5", "bart", "llama", "gemma3", "qwen3", "gpt2"])
@torch.no_grad()
def test_eager_and_sdpa_attention_agree(family):
    lm, queries = tiny(family), make_queries()
    results = []
    for kind in ("eager", "sdpa"):
        lm.model.set_attn_implementation(kind)
        results.append(lm.score(queries).logprobs)
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_bfloat16_is_close_and_reported_in_float32(family):
    lm, queries = tiny(family), make_queries()
    exact = lm.score(queries).logprobs
    lm.model.to(torch.bfloat16)
    scored = lm.score(queries).logprobs
    assert scored.dtype == torch.float32
    torch.testing.assert_close(scored, exact, rtol=0.1, atol=0.3)


@torch.no_grad()
@pytest.mark.parametrize("family", ["mistral-sliding", "gemma2", "gemma3", "cohere2"])
def test_the_sliding_window_does_slide(family):
    """A token out of every layer's reach (2 windows of 8) changes nothing; a near one does."""
    lm = tiny(family)
    assert lm.model.config.sliding_window == 8
    ids = list(range(4, 64))
    far = Query((63, *ids[1:40]), ((50, 51), (52, 53)))
    near = Query((*ids[:38], 63, ids[39]), far.options)
    base = Query(tuple(ids[:40]), far.options)
    original, moved_near = lm.score([base]).logprobs, lm.score([near]).logprobs
    assert not torch.allclose(original, moved_near)
    if family == "mistral-sliding":  # the others have layers that see everything
        torch.testing.assert_close(lm.score([far]).logprobs, original)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", ["flan-t5", "llama"])
@torch.no_grad()
def test_the_tokenizers_padding_side_is_irrelevant(family, side, monkeypatch):
    monkeypatch.setattr(tokenizer(), "padding_side", side)
    lm = tiny(family)
    queries = [lm.query("a longer prompt by far", ["yes", "no no"]), lm.query("b", ["c", "d"])]
    torch.testing.assert_close(lm.score(queries).logprobs, plain(lm, queries), rtol=1e-4, atol=1e-4)
    assert tokenizer().padding_side == side


@torch.no_grad()
def test_a_pad_token_equal_to_the_end_token_is_still_read_in_options():
    """Masks come from lengths, not from ids: an option may hold the padding's id."""
    lm = tiny("llama")
    queries = [Query((0, 5, 0), ((0, 7, 0), (8,))), Query((5,) * 9, ((9,), (0, 0)))]
    torch.testing.assert_close(lm.score(queries).logprobs, plain(lm, queries), rtol=1e-4, atol=1e-4)


# -- prompting --------------------------------------------------------------------------------


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


def test_an_encoder_decoder_that_does_not_know_how_answers_start_is_refused():
    lm = tiny("t5")
    lm.model.config.decoder_start_token_id = lm.model.config.bos_token_id = None
    with pytest.raises(SnipbiasError, match="decoder_start_token_id"):
        lm.score([Query((5,), ((6,), (7,)))])


# -- what is left behind ----------------------------------------------------------------------


@pytest.mark.parametrize("family", ["flan-t5", "llama"])
def test_scoring_leaves_the_model_as_it_was(family, unchanged):
    lm = tiny(family)
    with unchanged(lm.model):
        lm.score(make_queries())


@pytest.mark.parametrize("fails", [False, True])
def test_frozen_gives_back_every_modules_mode_and_every_weights_gradient(fails, unchanged):
    lm = tiny("llama")
    lm.model.train()
    lm.model.model.layers[0].eval()  # as somebody who fine-tunes the second layer has it
    for parameter in lm.model.model.layers[0].parameters():
        parameter.requires_grad_(False)

    def use() -> None:
        with lm.frozen():
            assert not any(module.training for module in lm.model.modules())
            assert not any(p.requires_grad for p in lm.model.parameters())
            if fails:
                raise KeyboardInterrupt

    with unchanged(lm.model):
        if fails:
            with pytest.raises(KeyboardInterrupt):
                use()
        else:
            use()


@pytest.mark.parametrize("family", ["flan-t5", "gpt2"])
def test_composed_activations_are_one_operation_inside_frozen(family, unchanged):
    lm = tiny(family)
    plain = lm.score(make_queries()).logprobs
    composed = [m for m in lm.model.modules() if isinstance(m, NewGELUActivation)]
    assert composed
    with unchanged(lm.model), lm.frozen():
        assert not any(isinstance(module, NewGELUActivation) for module in lm.model.modules())
        torch.testing.assert_close(lm.score(make_queries()).logprobs, plain, rtol=1e-6, atol=1e-5)
